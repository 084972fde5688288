//! The machine at places that hand-written events reach best; the simulator covers their combinations.

use super::*;
use crate::change::Change;
use crate::feed::tests::{key, source, target, transaction};
use crate::ledger::{ChunkId, CopiedChunk, Span};
use crate::limits::Limits;
use crate::plan::{CopyMode, Equality, Estimate, PLAN_VERSION, ServerIdentity};
use crate::way_back::WayBack;

#[expect(clippy::disallowed_methods, reason = "a test has to begin at some moment")]
fn begin() -> Instant {
    Instant::now()
}

fn snapshot(text: &str) -> Snapshot {
    text.parse().unwrap()
}

fn plan() -> Plan {
    let step = CopyStep {
        source: source(Equality::Bytes, true),
        targets: vec![target()],
        copy_mode: CopyMode::Incremental,
        copy_mode_reason: String::new(),
        estimate: Estimate::default(),
        statements: Vec::new(),
        way_back: WayBack::default(),
        back: None,
    };
    Plan {
        version: PLAN_VERSION,
        name: "m".parse().unwrap(),
        server: ServerIdentity {
            system_identifier: 1,
            version_num: 150_000,
            database: "d".into(),
        },
        search_path: String::new(),
        change: String::new(),
        steps: vec![Step::CopyIntoTables(Box::new(step))],
        limits: Limits::default(),
        notices: Vec::new(),
    }
}

/// A machine that copies in chunks; these are copied.
fn copying(now: Instant, chunks: Vec<CopiedChunk>) -> Migration {
    let durable = Durable {
        phase: Phase::Copying,
        paused: false,
        copy: CopyState::Chunked {
            applied: Lsn(10),
            slot: snapshot("100:100:"),
            chunks,
            rows: 0,
            unproven: Vec::new(),
        },
        back: None,
        back_closed: false,
        aligned: None,
        equal: None,
        now: snapshot("100:100:"),
        detected: Default::default(),
    };
    let options = Options {
        copiers: 1,
        cutover_when_ready: true,
        roll_back: false,
        old_snapshots: crate::cutover::OldSnapshots::Wait,
        verify: false,
        feed: crate::feed::FeedLimits::default(),
    };
    let mut machine = Migration::new(now, plan(), durable, options);
    machine.handle_event(now, Event::KeyIndexBuilt);
    machine
}

fn commands(machine: &mut Migration) -> Vec<Command> {
    std::iter::from_fn(|| machine.poll_command()).collect()
}

fn chunk(id: u64, lower: Option<&str>, upper: Option<&str>, seen: &str) -> CopiedChunk {
    CopiedChunk {
        id: ChunkId(id),
        span: Span {
            lower: lower.map(key),
            upper: upper.map(key),
        },
        snapshot: snapshot(seen),
    }
}

#[test]
fn a_drain_that_a_truncate_overtook_does_not_end_the_copy() {
    let now = begin();
    let copied = vec![
        chunk(0, None, Some("g"), "110:110:"),
        chunk(1, Some("g"), None, "130:130:"),
    ];
    let mut machine = copying(now, copied);
    assert_eq!(machine.activity(), Activity::DrainingBacklog);
    assert!(commands(&mut machine).contains(&Command::ReadInsertPosition));
    // Only the second chunk has seen it: the copy begins again.
    let gone = Change::Truncate {
        restart_identity: false,
    };
    let truncate = transaction(120, vec![gone], Some(20));
    machine.handle_event(now, Event::Stream(truncate));
    assert_eq!(machine.activity(), Activity::Copying);
    machine.handle_event(now, Event::InsertPosition(Lsn(15)));
    machine.handle_event(now, Event::PieceApplied);
    assert!(!commands(&mut machine).contains(&Command::Analyze));
    assert_eq!(machine.activity(), Activity::Copying);
}

#[test]
fn a_chunk_that_is_copied_for_too_long_is_canceled_until_it_ends_and_then_cut_smaller() {
    let start = begin();
    let mut machine = copying(start, Vec::new());
    let opening = |machine: &mut Migration| {
        let opened = commands(machine).into_iter().find_map(|command| match command {
            Command::OpenChunk(opening) => Some(opening),
            _other => None,
        });
        opened.unwrap()
    };
    let first = opening(&mut machine);
    let opened = OpenedChunk {
        id: first.id,
        span: Span::default(),
        snapshot: snapshot("110:110:"),
        file: 1,
        position: Lsn(10),
    };
    machine.handle_event(start, Event::ChunkOpened(opened));
    commands(&mut machine);
    let max = Limits::default().chunk_time_max();
    machine.handle_timeout(start + max / 2);
    assert_eq!(commands(&mut machine), []);
    let cancel = Command::CancelChunk { id: first.id };
    machine.handle_timeout(start + max);
    assert_eq!(commands(&mut machine), std::slice::from_ref(&cancel));
    machine.handle_timeout(start + max + Duration::from_secs(1));
    assert_eq!(
        commands(&mut machine),
        [cancel],
        "the first may have come too early"
    );
    machine.handle_event(start + max, Event::ChunkFailed { id: first.id });
    machine.handle_timeout(start + max * 2);
    let again = opening(&mut machine);
    assert_eq!(
        (again.id, again.rows),
        (first.id, first.rows.map(|rows| rows / 2))
    );
}
