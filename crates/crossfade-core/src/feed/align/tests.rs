//! One alignment each; the simulator covers their combinations.

use super::*;
use crate::feed::tests::{feed, feed_of, insert, piece, row, transaction, update};
use crate::feed::{FeedLimits, FeedStep};
use crate::piece::TargetKey;
use crate::plan::Equality;

fn snapshot(text: &str) -> Snapshot {
    text.parse().unwrap()
}

/// Begins an alignment with what `text` sees, up to `until`.
fn begin(feed: &mut Feed, text: &str, until: u64) -> Result<(), NotAligned> {
    feed.expect_alignment();
    feed.align(snapshot(text), Lsn(until), Repair::default())
}

#[test]
fn what_the_snapshot_sees_is_applied_and_the_rest_is_held() {
    let mut feed = feed();
    begin(&mut feed, "101:105:101,103", 40).unwrap();
    for (xid, key, commit) in [(100, "a", 20), (101, "b", 30), (102, "c", 40), (103, "d", 50)] {
        assert_eq!(feed.poll(true), None, "not before everything is here");
        let change = insert(&format!("{key} x 1"));
        feed.receive(transaction(xid, vec![change], Some(commit)))
            .unwrap();
        if commit < 40 {
            continue;
        }
        break;
    }
    let aligned = piece(feed.poll(true));
    assert_eq!((aligned.puts.len(), aligned.applied), (2, Some(Lsn(20))));
    assert_eq!(aligned.aligned, Some(snapshot("101:105:101,103")));
    feed.piece_applied();
    assert!(!feed.is_aligning());
    assert_eq!(
        feed.applied(),
        Lsn(20),
        "not beyond the first change that is held"
    );
    let after = piece(feed.poll(true));
    assert_eq!(
        (after.puts.len(), after.applied, after.aligned),
        (1, Some(Lsn(40)), None)
    );
}

#[test]
fn the_next_engine_applies_no_part_of_it_again() {
    let mut feed = feed();
    feed.inherit(Some(&snapshot("101:105:101,103")), &snapshot("106:106:"), &[]);
    for (xid, commit) in [(101, 30), (102, 40), (103, 50)] {
        feed.receive(transaction(xid, vec![insert("a x 1")], Some(commit)))
            .unwrap();
    }
    assert_eq!(piece(feed.poll(false)).puts.len(), 1, "two changes of one key");
    assert_eq!(feed.counts().dropped, 1);
}

#[test]
fn a_snapshot_that_misses_what_the_target_has_is_refused() {
    let mut feed = feed();
    feed.receive(transaction(100, vec![insert("a x 1")], Some(20)))
        .unwrap();
    piece(feed.poll(false));
    feed.piece_applied();
    assert_eq!(
        begin(&mut feed, "100:105:100", 40),
        Err(NotAligned { xid: Xid(100) })
    );
    // What is visible now was not when the snapshot was taken.
    feed.expect_alignment();
    feed.observe(&snapshot("105:105:"));
    let refused = feed.align(snapshot("100:105:100"), Lsn(40), Repair::default());
    assert_eq!(refused, Err(NotAligned { xid: Xid(100) }));
    begin(&mut feed, "101:105:", 40).unwrap();
}

#[test]
fn the_copys_own_snapshot_may_be_ahead_of_what_is_visible() {
    let mut feed = feed();
    assert_eq!(
        begin(&mut feed, "99:105:99", 40),
        Err(NotAligned { xid: Xid(99) })
    );
}

#[test]
fn a_large_alignment_is_one_batch() {
    let limits = FeedLimits {
        piece_changes_max: 2,
        ..FeedLimits::default()
    };
    let mut feed = feed_of(Equality::Bytes, true, limits);
    begin(&mut feed, "105:105:", 20).unwrap();
    let changes = vec![insert("a x 1"), insert("b x 1"), insert("c x 1")];
    feed.receive(transaction(100, changes, Some(20))).unwrap();
    let first = piece(feed.poll(true));
    assert_eq!((first.puts.len(), first.applied, first.aligned), (2, None, None));
    assert!(!feed.give_alignment_up(), "it has begun");
    feed.piece_applied();
    let last = piece(feed.poll(true));
    assert_eq!((last.first, last.applied), (false, Some(Lsn(20))));
}

#[test]
fn what_does_not_fit_is_given_up_and_applied_as_ever() {
    let limits = FeedLimits {
        queue_bytes_max: 300,
        ..FeedLimits::default()
    };
    let mut feed = feed_of(Equality::Bytes, true, limits);
    begin(&mut feed, "100:105:100", 90).unwrap();
    let changes = vec![insert("a x 1"), insert("b x 1"), update("c x 1"), update("d x 1")];
    feed.receive(transaction(100, changes, Some(20))).unwrap();
    assert!(feed.is_crowded());
    assert!(feed.give_alignment_up());
    let piece = piece(feed.poll(false));
    assert_eq!(
        (piece.puts.len(), piece.applied, piece.aligned),
        (4, Some(Lsn(20)), None)
    );
}

#[test]
fn a_fetch_under_the_snapshot_does_not_reach_further() {
    let mut feed = feed();
    begin(&mut feed, "105:105:", 20).unwrap();
    let moved = crate::change::Change::Update {
        old_key: Some(crate::feed::tests::row("a x 1")),
        new: crate::feed::tests::row("b ~ 1"),
    };
    feed.receive(transaction(100, vec![moved], Some(20))).unwrap();
    assert!(matches!(feed.poll(true), Some(FeedStep::Fetch { .. })));
    let row = Some(crate::feed::tests::row("b x 1"));
    let aligned = piece(feed.fetched(snapshot("105:105:"), vec![row], Lsn(1_000)));
    assert_eq!(aligned.applied, Some(Lsn(20)));
}

#[test]
fn a_repair_is_written_behind_what_the_snapshot_sees() {
    let limits = FeedLimits {
        piece_changes_max: 2,
        ..FeedLimits::default()
    };
    let mut feed = feed_of(Equality::Bytes, true, limits);
    let gone = TargetKey {
        target: 0,
        key: vec!["z".to_owned()],
    };
    let repair = Repair {
        rows: vec![row("a x 7"), row("c x 7")],
        removes: vec![gone.clone()],
    };
    feed.expect_alignment();
    feed.align(snapshot("101:105:101"), Lsn(40), repair).unwrap();
    let changes = vec![insert("a x 1"), insert("b x 1"), insert("c x 1")];
    feed.receive(transaction(100, changes, Some(20))).unwrap();
    feed.receive(transaction(101, vec![update("a x 8")], Some(40)))
        .unwrap();
    let first = piece(feed.poll(true));
    assert_eq!(
        (first.puts.len(), first.removes.len(), first.applied),
        (2, 0, None)
    );
    feed.piece_applied();
    let last = piece(feed.poll(true));
    let rows: Vec<_> = last.puts.iter().map(|put| put.row.clone()).collect();
    assert_eq!(
        rows,
        [row("c x 7"), row("a x 7")],
        "the last word of this instant"
    );
    assert_eq!((last.removes, last.applied), (vec![gone], Some(Lsn(20))));
    feed.piece_applied();
    let after = piece(feed.poll(true));
    assert_eq!(after.puts[0].row, row("a x 8"), "what comes later comes later");
}
