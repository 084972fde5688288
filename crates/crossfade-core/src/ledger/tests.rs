//! The ledger's verdicts, one by one; the simulator covers their combinations.

use super::*;
use bytes::Bytes;

use crate::change::Cell;
use crate::plan::{Equality, Key, Order, SourceColumn};

fn snapshot(text: &str) -> Snapshot {
    text.parse().unwrap()
}

fn key(text: &str) -> KeyCells {
    KeyCells(Box::new([Cell::Text(Bytes::copy_from_slice(text.as_bytes()))]))
}

fn chunked(copied: Vec<CopiedChunk>) -> Ledger {
    let column = SourceColumn {
        name: "key".into(),
        type_oid: 25,
        type_name: "text".into(),
        equality: Equality::Bytes,
        order: Order::Bytes,
    };
    let order = KeyOrder::new(&Key { columns: vec![0] }, &[column]);
    Ledger::chunked(order, snapshot("5:5:"), copied, [])
}

fn copied(id: u32, lower: Option<&str>, upper: Option<&str>) -> CopiedChunk {
    CopiedChunk {
        id: ChunkId(id),
        span: Span {
            lower: lower.map(key),
            upper: upper.map(key),
        },
        snapshot: snapshot("10:10:"),
    }
}

/// Opens and registers the next chunk.
fn begin(ledger: &mut Ledger, upper: Option<&str>, seen: &str) -> Result<ChunkId, Unusable> {
    let id = ledger.open(100).unwrap().id;
    let registered = ledger.register(id, upper.map(key), snapshot(seen));
    ledger.released(id);
    registered.map(|()| id)
}

#[test]
fn visible_changes_are_dropped_and_the_others_applied_whatever_their_order() {
    let mut ledger = chunked(vec![]);
    let id = begin(&mut ledger, None, "10:20:12").unwrap();
    assert_eq!(ledger.judge(Home(0), Xid(11)), Verdict::Drop);
    assert_eq!(ledger.judge(Home(0), Xid(12)), Verdict::Hold);
    ledger.recorded(id);
    let older = "older than 19 and yet not in the copy";
    assert_eq!(ledger.judge(Home(0), Xid(12)), Verdict::Apply, "{older}");
    assert_eq!(ledger.judge(Home(0), Xid(19)), Verdict::Drop);
    assert_eq!(ledger.judge(Home(0), Xid(20)), Verdict::Apply);
}

#[test]
fn a_snapshot_that_misses_a_dropped_change_is_not_registered() {
    let mut ledger = chunked(vec![]);
    assert_eq!(ledger.judge(Home(0), Xid(15)), Verdict::Drop);
    let refused = begin(&mut ledger, None, "15:20:15");
    assert_eq!(refused, Err(Unusable::NotProven { xid: Xid(15) }));
    begin(&mut ledger, None, "16:20:").unwrap();
    assert!(ledger.unproven().is_empty());
}

#[test]
fn a_snapshot_that_misses_what_the_slot_will_not_send_is_not_registered() {
    let mut ledger = chunked(vec![]);
    let refused = begin(&mut ledger, None, "3:20:3");
    assert_eq!(refused, Err(Unusable::NotProven { xid: Xid(3) }));
}

#[test]
fn a_failed_copy_judges_as_if_it_had_not_been() {
    let mut ledger = chunked(vec![]);
    let id = begin(&mut ledger, None, "10:20:").unwrap();
    ledger.failed(id);
    assert_eq!(ledger.judge(Home(0), Xid(30)), Verdict::Drop);
    assert_eq!(ledger.unproven().len(), 1);
    assert!(!ledger.is_whole());
}

#[test]
fn one_snapshot_is_out_at_a_time() {
    let mut ledger = chunked(vec![]);
    let first = ledger.open(100).unwrap();
    assert_eq!(ledger.open(100), None);
    ledger.released(first.id);
    assert_eq!(ledger.open(100), Some(first));
}

#[test]
fn a_key_is_at_home_where_its_chunk_ends_at_or_above_it() {
    let mut ledger = chunked(vec![copied(0, None, Some("d")), copied(1, Some("d"), Some("m"))]);
    let homes = ["a", "d", "da", "m", "n"].map(|text| ledger.home(&key(text)).unwrap().0);
    assert_eq!(homes, [0, 0, 1, 1, 2]);
    assert_eq!(
        ledger.judge(Home(2), Xid(20)),
        Verdict::Drop,
        "the rest is pending"
    );
}

#[test]
fn what_is_not_recorded_between_two_chunks_is_copied_first_and_then_the_rest() {
    let rows = vec![copied(0, None, Some("d")), copied(3, Some("p"), Some("t"))];
    let mut ledger = chunked(rows);
    let gap = Opening {
        id: ChunkId(1),
        lower: Some(key("d")),
        upper: Upper::Known(Some(key("p"))),
    };
    assert_eq!(ledger.open(100), Some(gap));
    let id = ChunkId(1);
    ledger.register(id, Some(key("p")), snapshot("20:20:")).unwrap();
    let rest = Opening {
        id: ChunkId(4),
        lower: Some(key("t")),
        upper: Upper::AfterRows(100),
    };
    assert_eq!(ledger.open(100), Some(rest));
    ledger.register(ChunkId(4), None, snapshot("20:20:")).unwrap();
    assert!(ledger.open(100).is_none());
    ledger.recorded(id);
    assert!(!ledger.is_whole(), "a chunk that was only dispatched");
    ledger.recorded(ChunkId(4));
    assert!(ledger.is_whole());
}

#[test]
fn a_truncate_that_only_a_part_of_the_chunks_sees_begins_again() {
    let mut ledger = chunked(vec![copied(0, None, Some("d"))]);
    begin(&mut ledger, None, "30:30:").unwrap();
    assert_eq!(ledger.judge_truncate(Xid(25)), Truncation::Hold, "a copy runs");
    ledger.recorded(ChunkId(1));
    assert_eq!(ledger.judge_truncate(Xid(5)), Truncation::Drop);
    assert_eq!(ledger.judge_truncate(Xid(40)), Truncation::Empty);
    assert_eq!(ledger.judge_truncate(Xid(25)), Truncation::Restart);
    assert!(!ledger.is_whole());
    let note = ledger.take_note();
    assert!(note.restart);
    assert_eq!(note.drops, [Xid(25)]);
}

#[test]
fn after_the_copy_is_settled_everything_is_applied() {
    let ledger = Ledger::settled();
    assert_eq!(ledger.judge_alike(Xid(0)), Some(Verdict::Apply));
    assert!(ledger.bounds().is_empty());
}
