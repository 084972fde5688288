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

fn copied(id: u64, lower: Option<&str>, upper: Option<&str>) -> CopiedChunk {
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
    assert_eq!(ledger.judge(Home(0), Xid(11), None), Verdict::Drop);
    assert_eq!(ledger.judge(Home(0), Xid(12), None), Verdict::Hold);
    ledger.recorded(id);
    let older = "older than 19 and yet not in the copy";
    assert_eq!(ledger.judge(Home(0), Xid(12), None), Verdict::Apply, "{older}");
    assert_eq!(ledger.judge(Home(0), Xid(19), None), Verdict::Drop);
    assert_eq!(ledger.judge(Home(0), Xid(20), None), Verdict::Apply);
}

#[test]
fn a_snapshot_that_misses_a_dropped_change_is_not_registered() {
    let mut ledger = chunked(vec![]);
    assert_eq!(ledger.judge(Home(0), Xid(15), None), Verdict::Drop);
    let refused = begin(&mut ledger, None, "15:20:15");
    assert_eq!(refused, Err(Unusable::NotProven { xid: Xid(15) }));
    begin(&mut ledger, None, "16:20:").unwrap();
    assert_eq!(ledger.unproven().count(), 0);
}

/// Xid 15 touched "f" in what is still to be read.
fn with_an_invisible_change() -> Ledger {
    let mut ledger = chunked(vec![]);
    assert_eq!(ledger.judge(Home(0), Xid(15), Some(&key("f"))), Verdict::Drop);
    ledger
}

#[test]
fn a_chunk_is_read_though_another_has_to_wait_for_a_proof() {
    let mut ledger = with_an_invisible_change();
    begin(&mut ledger, Some("d"), "15:20:15").unwrap();
    let refused = Err(Unusable::NotProven { xid: Xid(15) });
    assert_eq!(begin(&mut ledger, Some("f"), "15:20:15"), refused);
    let again = ledger.open(100).unwrap();
    assert_eq!(again.lower, Some(key("d")), "it is waited for");
    ledger.released(again.id);
    ledger.wait_aside(Xid(15));
    assert_eq!(begin(&mut ledger, Some("f"), "15:20:15"), refused);
    let behind = ledger.open(100).unwrap();
    assert_eq!(behind.lower, Some(key("f")), "it is not waited for any more");
    ledger.register(behind.id, None, snapshot("15:20:15")).unwrap();
    assert_eq!(ledger.open(100), None);
    ledger.observe(&snapshot("16:20:"));
    let last = ledger.open(100).unwrap();
    assert_eq!((last.lower, last.limit), (Some(key("d")), Some(key("f"))));
}

#[test]
fn where_an_invisible_transaction_was_at_work_is_not_known_of_one_that_touched_much() {
    let mut ledger = with_an_invisible_change();
    for number in 0..100 {
        ledger.judge(Home(0), Xid(15), Some(&key(&format!("f{number}"))));
    }
    let refused = Err(Unusable::NotProven { xid: Xid(15) });
    assert_eq!(begin(&mut ledger, Some("d"), "15:20:15"), refused);
    ledger.wait_aside(Xid(15));
    assert_eq!(ledger.open(100), None);
    ledger.observe(&snapshot("16:20:"));
    begin(&mut ledger, Some("d"), "16:20:").unwrap();
}

#[test]
fn while_a_snapshot_is_out_what_another_sees_proves_nothing_for_it() {
    let mut ledger = with_an_invisible_change();
    let opening = ledger.open(100).unwrap();
    ledger.observe(&snapshot("16:20:"));
    let older = ledger.register(opening.id, None, snapshot("15:20:15"));
    assert_eq!(older, Err(Unusable::NotProven { xid: Xid(15) }));
    ledger.released(opening.id);
    ledger.observe(&snapshot("16:20:"));
    assert_eq!(ledger.unproven().count(), 0);
    let note = ledger.take_note();
    assert!(
        note.forget && note.drops.is_empty(),
        "what is proven is forgotten"
    );
}

#[test]
fn a_chunk_that_failed_is_cut_smaller_and_no_key_is_left_out() {
    let mut ledger = chunked(vec![]);
    let first = begin(&mut ledger, Some("m"), "10:10:").unwrap();
    let second = begin(&mut ledger, None, "10:10:").unwrap();
    ledger.failed(first);
    let mut lower = None;
    for upper in ["c", "f", "m"] {
        let opening = ledger.open(2).unwrap();
        let expected = (&lower, Some(key("m")), Some(2));
        assert_eq!((&opening.lower, opening.limit, opening.rows), expected);
        assert!(opening.id < second, "numbers rise with the keys");
        lower = Some(key(upper));
        ledger
            .register(opening.id, lower.clone(), snapshot("10:10:"))
            .unwrap();
        ledger.recorded(opening.id);
    }
    ledger.recorded(second);
    assert!(ledger.is_whole());
    assert_eq!(ledger.counts(), (4, 4));
}

#[test]
fn a_chunk_without_room_for_another_number_is_not_cut() {
    let mut ledger = chunked(vec![copied(1, Some("d"), Some("m"))]);
    assert_eq!(ledger.open(2).unwrap().rows, None);
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
    assert_eq!(ledger.judge(Home(0), Xid(30), None), Verdict::Drop);
    assert_eq!(ledger.unproven().count(), 1);
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
        ledger.judge(Home(2), Xid(20), None),
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
        limit: Some(key("p")),
        rows: Some(100),
    };
    assert_eq!(ledger.open(100), Some(gap));
    let id = ChunkId(1);
    ledger.register(id, Some(key("p")), snapshot("20:20:")).unwrap();
    let rest = ledger.open(100).unwrap();
    assert_eq!(
        (&rest.lower, &rest.limit, rest.rows),
        (&Some(key("t")), &None, Some(100))
    );
    ledger.register(rest.id, None, snapshot("20:20:")).unwrap();
    assert!(ledger.open(100).is_none());
    ledger.recorded(id);
    assert!(!ledger.is_whole(), "a chunk that was only dispatched");
    ledger.recorded(rest.id);
    assert!(ledger.is_whole());
}

#[test]
fn a_truncate_that_only_a_part_of_the_chunks_sees_begins_again() {
    let mut ledger = chunked(vec![copied(0, None, Some("d"))]);
    let second = begin(&mut ledger, None, "30:30:").unwrap();
    assert_eq!(ledger.judge_truncate(Xid(25)), Truncation::Hold, "a copy runs");
    ledger.recorded(second);
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
