//! The machine at places that hand-written events reach best; the simulator covers their combinations.

use super::*;
use crate::change::{Change, StreamItem};
use crate::cutover::CutoverEvent;
use crate::feed::tests::{key, row, source, target, transaction};
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
        keeps_source: false,
        targets: vec![target()],
        copy_mode: CopyMode::Incremental,
        copy_mode_reason: String::new(),
        estimate: Estimate::default(),
        statements: Vec::new(),
        view: None,
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
        destination: None,
    }
}

/// Of a migration at that phase, whose copy is in chunks; these are copied.
fn durable(phase: Phase, chunks: Vec<CopiedChunk>) -> Durable {
    Durable {
        phase,
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
        committing: Vec::new(),
        detected: Seen::default(),
    }
}

fn options() -> Options {
    Options {
        copiers: 1,
        cutover_when_ready: true,
        roll_back: false,
        old_snapshots: crate::cutover::OldSnapshots::Wait,
        verify: false,
        repair: false,
        feed: crate::feed::FeedLimits::default(),
    }
}

/// A machine that copies in chunks; these are copied.
fn copying(now: Instant, chunks: Vec<CopiedChunk>) -> Migration {
    let mut machine = Migration::new(now, plan(), durable(Phase::Copying, chunks), options());
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

/// What comes behind the key index of a copy under one snapshot, if that many changes have come meanwhile.
fn behind_the_key_index(changes: usize) -> (Vec<Command>, Activity) {
    let now = begin();
    let mut plan = plan();
    let Step::CopyIntoTables(step) = &mut plan.steps[0];
    step.copy_mode = CopyMode::Snapshot;
    let durable = Durable {
        copy: CopyState::Nothing,
        ..durable(Phase::Copying, Vec::new())
    };
    let mut machine = Migration::new(now, plan, durable, options());
    machine.handle_event(
        now,
        Event::SnapshotOpened {
            consistent_point: Lsn(10),
            snapshot: snapshot("100:100:"),
            ranges: 1,
        },
    );
    let insert = |id: usize| Change::Insert {
        new: row(&format!("{id} a b")),
    };
    let inserts = (0..changes).map(insert).collect();
    machine.handle_event(now, Event::Stream(transaction(120, inserts, Some(20))));
    let begun = commands(&mut machine);
    assert!(begun.contains(&Command::Follow { from: Lsn(10) }), "{begun:?}");
    assert!(!begun.iter().any(|command| matches!(command, Command::Apply(_))));
    assert_eq!(machine.progress().applied, Lsn(0), "nothing is, durably");
    let range = RangeId(0);
    machine.handle_event(now, Event::RangeCopied { range, rows: 1 });
    machine.handle_event(now, Event::ChunkRecorded);
    assert_eq!(machine.progress().applied, Lsn(10));
    assert!(commands(&mut machine).contains(&Command::BuildKeyIndex));
    machine.handle_event(now, Event::KeyIndexBuilt);
    (commands(&mut machine), machine.activity())
}

#[test]
fn a_backlog_is_drained_before_the_other_indexes_if_it_is_one() {
    let piece = options().feed.piece_changes_max;
    let (commands, activity) = behind_the_key_index(piece);
    assert_eq!(
        (commands, activity),
        (vec![Command::BuildIndexes], Activity::BuildingIndexes)
    );
    let (commands, activity) = behind_the_key_index(piece + 1);
    assert_eq!(activity, Activity::DrainingBacklog);
    assert!(!commands.contains(&Command::BuildIndexes));
    assert!(commands.contains(&Command::ReadInsertPosition));
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

/// Answers what a machine asks for on its way to a rollback, until the tables are to be closed.
fn close(machine: &mut Migration, now: Instant) {
    let at = |lsn| StreamItem::Keepalive { wal_end: Lsn(lsn) };
    for _ in 0..100 {
        let Some(command) = machine.poll_command() else {
            machine.handle_event(now, Event::Detected(at(40)));
            machine.handle_event(now, Event::Stream(at(40)));
            continue;
        };
        let event = match command {
            Command::Cutover(CutoverCommand::Close) => return,
            Command::Finish => Event::Finished,
            Command::ReadInsertPosition => Event::InsertPosition(Lsn(30)),
            Command::Apply { .. } => Event::PieceApplied,
            Command::NoteSeen(_) => Event::SeenNoted,
            Command::Cutover(CutoverCommand::ListOldSnapshots { round }) => {
                let holders = Vec::new();
                Event::Cutover(CutoverEvent::OldSnapshots { round, holders })
            }
            Command::Cutover(CutoverCommand::Lock { .. }) => Event::Cutover(CutoverEvent::Locked),
            Command::Cutover(CutoverCommand::PlantMarker { attempt }) => {
                machine.handle_event(now, Event::Cutover(CutoverEvent::MarkerPlanted));
                let content = crate::piece::marker("m", attempt);
                let mut item = transaction(130, vec![], Some(50));
                if let StreamItem::Transaction(part) = &mut item {
                    part.messages.push(content);
                }
                Event::Stream(item)
            }
            _not_answered => continue,
        };
        machine.handle_event(now, event);
    }
    panic!("it never comes to that: {:?}", machine.activity());
}

#[test]
fn what_the_application_writes_behind_a_rollback_is_no_stray() {
    let now = begin();
    let mut machine = swapped(now);
    close(&mut machine, now);
    let position = Lsn(60);
    machine.handle_event(now, Event::Cutover(CutoverEvent::Closed { position }));
    assert_eq!(commands(&mut machine), [], "the detector has not read so far");
    assert!(machine.wants_detected());
    machine.handle_event(now, Event::Detected(StreamItem::Keepalive { wal_end: position }));
    assert!(matches!(
        machine.poll_command(),
        Some(Command::Cutover(CutoverCommand::Swap { .. }))
    ));
    assert!(
        !machine.wants_detected(),
        "it may be committed before we are told"
    );
    machine.handle_event(now, Event::Cutover(CutoverEvent::Swapped));
    assert_eq!(machine.phase(), Phase::RolledBack);
    assert!(
        !machine.wants_detected(),
        "the old table is the application's again"
    );
}

#[test]
fn who_asks_twice_for_a_cutover_does_not_ask_for_the_way_back() {
    let now = begin();
    let mut plan = plan();
    let Step::CopyIntoTables(step) = &mut plan.steps[0];
    step.back = Some(step.clone());
    let mut machine = Migration::new(now, plan, durable(Phase::Ready, Vec::new()), options());
    machine.handle_event(now, Event::KeyIndexBuilt);
    for _ in 0..100 {
        let Some(command) = machine.poll_command() else {
            machine.handle_event(now, Event::Stream(StreamItem::Keepalive { wal_end: Lsn(40) }));
            continue;
        };
        let event = match command {
            Command::RecordPhase(_) => Event::PhaseRecorded,
            Command::BuildIndexes => Event::IndexesBuilt,
            Command::Analyze => Event::Analyzed,
            Command::PrepareBack => Event::BackPrepared,
            Command::ReadInsertPosition => Event::InsertPosition(Lsn(30)),
            Command::Apply(_) => Event::PieceApplied,
            Command::Cutover(command) => {
                machine.handle_event(now, Event::Asked(Ask::Cutover));
                match cutover_answer(command) {
                    Some(event) => Event::Cutover(event),
                    None => continue,
                }
            }
            Command::Stop(stop) => {
                assert_eq!((stop, machine.phase()), (Stop::Again, Phase::Swapped));
                assert_eq!(machine.wants_swap(), None);
                return;
            }
            _not_answered => continue,
        };
        machine.handle_event(now, event);
        if machine.cutover.is_draining() {
            machine.cutover.drained();
        }
    }
    panic!("it never comes to that: {:?}", machine.activity());
}

/// The next batch is there before the last one ends, and it too has to read from the table.
#[test]
fn a_lock_that_is_due_goes_before_the_next_batch_s_fetch() {
    let now = begin();
    let durable = durable(Phase::Ready, vec![chunk(0, None, None, "100:100:")]);
    let mut machine = Migration::new(now, plan(), durable, options());
    machine.handle_event(now, Event::KeyIndexBuilt);
    let mut next = 100;
    let mut fetches = 0;
    for _ in 0..200 {
        let event = match machine.poll_command() {
            None => moved(&mut next),
            Some(Command::ReadInsertPosition) => Event::InsertPosition(Lsn(1000)),
            Some(Command::Fetch { keys, .. }) => {
                fetches += 1;
                // It sees what was received, and something more is received while it runs.
                let snapshot = snapshot(&format!("{next}:{next}:"));
                let reach = Lsn(u64::from(next - 1) * 10);
                machine.handle_event(now, moved(&mut next));
                let rows = keys.iter().map(|_key| Some(row("b x 1"))).collect();
                Event::Fetched {
                    snapshot,
                    rows,
                    reach,
                }
            }
            Some(Command::Apply(_)) => Event::PieceApplied,
            Some(Command::Cutover(CutoverCommand::Lock { .. })) => {
                assert!(fetches > 0, "nothing was in its way");
                return;
            }
            Some(Command::Cutover(command)) => match cutover_answer(command) {
                Some(event) => Event::Cutover(event),
                None => continue,
            },
            Some(_not_answered) => continue,
        };
        machine.handle_event(now, event);
    }
    panic!("the lock is never asked for: {:?}", machine.activity());
}

/// A transaction that changes a key and does not say what the rest of the row is.
fn moved(next: &mut u32) -> Event {
    let moved = Change::Update {
        old_key: Some(row("a - -")),
        new: row("b ~ 1"),
    };
    let transaction = transaction(*next, vec![moved], Some(u64::from(*next) * 10));
    *next += 1;
    Event::Stream(transaction)
}

/// Of a server on which nothing stands in the way.
fn cutover_answer(command: CutoverCommand) -> Option<CutoverEvent> {
    match command {
        CutoverCommand::ListOldSnapshots { round } => Some(CutoverEvent::OldSnapshots {
            round,
            holders: Vec::new(),
        }),
        CutoverCommand::Lock { .. } => Some(CutoverEvent::Locked),
        CutoverCommand::PlantMarker { .. } => Some(CutoverEvent::MarkerPlanted),
        CutoverCommand::Swap { .. } => Some(CutoverEvent::Swapped),
        _other => None,
    }
}

/// A machine behind the swap, which is asked to go back.
fn swapped(now: Instant) -> Migration {
    let mut plan = plan();
    let Step::CopyIntoTables(step) = &mut plan.steps[0];
    step.back = Some(step.clone());
    let durable = Durable {
        copy: CopyState::Nothing,
        back: Some(Lsn(20)),
        equal: Some(true),
        detected: Seen {
            upto: Some(Lsn(20)),
            ..Seen::default()
        },
        ..durable(Phase::Swapped, Vec::new())
    };
    let options = Options {
        cutover_when_ready: false,
        roll_back: true,
        ..options()
    };
    Migration::new(now, plan, durable, options)
}
