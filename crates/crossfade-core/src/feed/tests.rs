//! The feed against hand-written streams; the simulator covers their combinations.

use super::*;
use crate::ledger::{ChunkId, CopiedChunk, Span};
use crate::name::TableName;
use crate::order::KeyOrder;
use crate::plan::{Equality, Expression, Key, Order, Part, SourceColumn, TargetColumn};

fn column(name: &str, equality: Equality) -> SourceColumn {
    SourceColumn {
        name: name.into(),
        type_oid: 25,
        type_name: "text".into(),
        equality,
        order: if equality == Equality::Bytes {
            Order::Bytes
        } else {
            Order::Server
        },
    }
}

pub(crate) fn source(equality: Equality, keyed: bool) -> Source {
    Source {
        name: TableName::new("public", "t"),
        oid: 1,
        columns: vec![
            column("key", equality),
            column("big", Equality::Bytes),
            column("small", Equality::Bytes),
        ],
        key: keyed.then(|| Key { columns: vec![0] }),
        identity_to_restore: None,
        full_identity: false,
        binary: false,
        never_missing: Vec::new(),
        each_row_once: false,
        parts: Vec::new(),
        definition: String::new(),
    }
}

pub(crate) fn target() -> Target {
    let column = |name: &str, position: usize| TargetColumn {
        name: name.into(),
        type_name: "text".into(),
        value: Expression {
            sql: name.into(),
            reads: vec![position],
        },
    };
    Target {
        shadow: TableName::new("crossfade_t", "t"),
        name: TableName::new("public", "t"),
        columns: vec![column("key", 0), column("big", 1), column("small", 2)],
        key: Some(vec![0]),
        filter: None,
        derived: None,
        partitioned: false,
        definition: String::new(),
    }
}

/// A feed after a copy under `100:100:`, so that transactions from 100 on are applied.
pub(crate) fn feed_of(equality: Equality, keyed: bool, limits: FeedLimits) -> Feed {
    let ledger = Ledger::whole("100:100:".parse().unwrap());
    Feed::new(
        &source(equality, keyed),
        &[target()],
        ledger,
        Lsn(10),
        Xid(100),
        limits,
    )
}

pub(crate) fn key(text: &str) -> KeyCells {
    KeyCells(Box::new([Cell::Text(Bytes::copy_from_slice(text.as_bytes()))]))
}

/// A feed while the table is copied: the keys up to `g` are copied under `100:100:`, the rest is to come.
fn chunked(equality: Equality) -> Feed {
    let source = source(equality, true);
    let order = KeyOrder::new(source.key.as_ref().unwrap(), &source.columns);
    let copied = CopiedChunk {
        id: ChunkId(0),
        span: Span {
            lower: None,
            upper: Some(key("g")),
        },
        snapshot: "100:100:".parse().unwrap(),
    };
    let ledger = Ledger::chunked(order, "90:90:".parse().unwrap(), vec![copied], []);
    let limits = FeedLimits::default();
    Feed::new(&source, &[target()], ledger, Lsn(10), Xid(100), limits)
}

pub(crate) fn feed() -> Feed {
    feed_of(Equality::Bytes, true, FeedLimits::default())
}

pub(crate) fn row(text: &str) -> Row {
    let cell = |text: &str| match text {
        "~" => Cell::Unchanged,
        value => Cell::Text(Bytes::copy_from_slice(value.as_bytes())),
    };
    Row(text.split(' ').map(cell).collect())
}

pub(crate) fn insert(text: &str) -> Change {
    Change::Insert { new: row(text) }
}

pub(crate) fn update(text: &str) -> Change {
    Change::Update {
        old_key: None,
        new: row(text),
    }
}

pub(crate) fn transaction(xid: u32, changes: Vec<Change>, commit: Option<u64>) -> StreamItem {
    StreamItem::Transaction(TransactionPart {
        xid,
        final_lsn: Lsn(0),
        first: true,
        changes,
        tables: Vec::new(),
        messages: vec![],
        commit_lsn: commit.map(Lsn),
    })
}

pub(crate) fn piece(step: Option<FeedStep>) -> Piece {
    match step {
        Some(FeedStep::Apply(piece)) => piece,
        other => panic!("expected a piece, not {other:?}"),
    }
}

#[test]
fn what_the_copy_contains_is_dropped() {
    let mut feed = feed();
    feed.receive(transaction(99, vec![insert("a x 1")], Some(20)))
        .unwrap();
    feed.receive(transaction(100, vec![insert("b x 1")], Some(30)))
        .unwrap();
    let piece = piece(feed.poll(false));
    assert_eq!((piece.puts.len(), piece.applied), (1, Some(Lsn(30))));
    assert_eq!(feed.counts().dropped, 1);
}

#[test]
fn a_transaction_larger_than_a_piece_is_one_batch_of_many() {
    let limits = FeedLimits {
        piece_changes_max: 2,
        ..FeedLimits::default()
    };
    let mut feed = feed_of(Equality::Bytes, true, limits);
    feed.receive(transaction(
        100,
        vec![insert("a x 1"), insert("b x 1"), insert("c x 1")],
        None,
    ))
    .unwrap();
    let first = piece(feed.poll(false));
    assert_eq!((first.first, first.puts.len(), first.applied), (true, 2, None));
    assert_eq!(feed.poll(false), None, "one piece at a time");
    feed.piece_applied();
    assert_eq!(feed.poll(false), None, "the rest waits for the commit");
    assert_eq!(feed.applied(), Lsn(10));
    feed.receive(transaction(100, vec![], Some(40))).unwrap();
    let last = piece(feed.poll(false));
    assert_eq!(
        (last.first, last.puts.len(), last.applied),
        (false, 1, Some(Lsn(40)))
    );
    assert!(!feed.is_at_boundary());
    feed.piece_applied();
    assert!(feed.is_at_boundary());
    assert_eq!(feed.applied(), Lsn(40));
}

#[test]
fn a_piece_ends_on_the_last_commit_that_fits() {
    let limits = FeedLimits {
        piece_changes_max: 3,
        ..FeedLimits::default()
    };
    let mut feed = feed_of(Equality::Bytes, true, limits);
    feed.receive(transaction(100, vec![insert("a x 1")], Some(20)))
        .unwrap();
    feed.receive(transaction(101, vec![insert("b x 1"), insert("c x 1")], Some(30)))
        .unwrap();
    let piece = piece(feed.poll(false));
    assert_eq!((piece.puts.len(), piece.applied), (1, Some(Lsn(20))));
}

#[test]
fn idle_positions_are_written_down_only_when_asked() {
    let mut feed = feed();
    feed.receive(StreamItem::Keepalive { wal_end: Lsn(50) }).unwrap();
    assert_eq!(feed.poll(false), None);
    assert_eq!(
        feed.applied(),
        Lsn(10),
        "a keepalive acknowledges nothing by itself"
    );
    assert_eq!(piece(feed.poll(true)).applied, Some(Lsn(50)));
    feed.piece_applied();
    assert_eq!(feed.applied(), Lsn(50));
}

#[test]
fn a_fetched_row_holds_the_batch_open_until_its_position_is_reached() {
    let mut feed = feed();
    let moved = Change::Update {
        old_key: Some(row("a - -")),
        new: row("b ~ 1"),
    };
    feed.receive(transaction(100, vec![moved], Some(20))).unwrap();
    let Some(FeedStep::Fetch {
        keys,
        same_snapshot: false,
    }) = feed.poll(false)
    else {
        panic!()
    };
    assert_eq!(keys.len(), 1);
    // The first snapshot does not see the change yet: the same rows are asked for again.
    let again = feed.fetched("100:101:100".parse().unwrap(), vec![None], Lsn(25));
    assert!(matches!(
        again,
        Some(FeedStep::Fetch {
            same_snapshot: false,
            ..
        })
    ));
    let step = feed.fetched(
        "101:103:".parse().unwrap(),
        vec![Some(row("b future 9"))],
        Lsn(60),
    );
    let first = piece(step);
    assert_eq!((first.applied, first.fetched), (None, true));
    assert_eq!(first.puts[0].row, row("b future 9"));
    feed.piece_applied();
    feed.receive(transaction(101, vec![update("b ~ 2")], Some(40)))
        .unwrap();
    assert_eq!(piece(feed.poll(false)).applied, None);
    feed.piece_applied();
    feed.receive(transaction(102, vec![update("b future 9")], Some(60)))
        .unwrap();
    assert_eq!(piece(feed.poll(false)).applied, Some(Lsn(60)));
}

/// Under steady writes a batch that drew in more would fetch more, from later, and never end.
#[test]
fn a_batch_draws_in_nothing_from_behind_its_fetched_rows() {
    let moved = |key: &str| Change::Update {
        old_key: Some(row("a - -")),
        new: row(&format!("{key} ~ 1")),
    };
    let mut feed = feed();
    feed.receive(transaction(100, vec![moved("b")], Some(20)))
        .unwrap();
    assert!(matches!(feed.poll(false), Some(FeedStep::Fetch { .. })));
    let seen = "102:102:";
    let step = feed.fetched(seen.parse().unwrap(), vec![Some(row("b x 9"))], Lsn(45));
    assert_eq!(piece(step).applied, None);
    feed.piece_applied();
    feed.receive(transaction(101, vec![moved("c")], Some(40)))
        .unwrap();
    feed.receive(transaction(102, vec![moved("d")], Some(50)))
        .unwrap();
    let Some(FeedStep::Fetch { keys, same_snapshot }) = feed.poll(false) else {
        panic!()
    };
    assert_eq!(
        (keys.len(), same_snapshot),
        (1, true),
        "of what was committed before 45"
    );
    // Of the same snapshot, however late its position is read again.
    let step = feed.fetched(seen.parse().unwrap(), vec![Some(row("c x 9"))], Lsn(90));
    assert_eq!(
        piece(step).applied,
        Some(Lsn(40)),
        "nothing was committed from there to 45"
    );
    feed.piece_applied();
    assert!(matches!(
        feed.poll(false),
        Some(FeedStep::Fetch {
            same_snapshot: false,
            ..
        })
    ));
}

fn keys_to_fetch(step: Option<FeedStep>) -> (usize, bool) {
    let Some(FeedStep::Fetch { keys, same_snapshot }) = step else {
        panic!("{step:?}")
    };
    (keys.len(), same_snapshot)
}

/// The rows that are there are a piece, the others a further one of the same batch, whose end is theirs.
#[test]
fn a_fetch_that_is_answered_in_part_goes_on_where_it_stopped() {
    let moved = |from: &str, to: &str| Change::Update {
        old_key: Some(row(&format!("{from} - -"))),
        new: row(&format!("{to} ~ 1")),
    };
    let mut feed = feed();
    let changes = vec![moved("a", "k"), moved("b", "l"), moved("c", "m"), insert("d x 1")];
    feed.receive(transaction(100, changes, Some(20))).unwrap();
    feed.receive(transaction(101, vec![insert("e x 1")], Some(30)))
        .unwrap();
    assert_eq!(keys_to_fetch(feed.poll(true)), (3, false));
    let seen = || "102:102:".parse().unwrap();
    let first = piece(feed.fetched(seen(), vec![Some(row("k x 1"))], Lsn(30)));
    assert_eq!((first.applied, first.deletes.len()), (None, 3));
    let put = |piece: &Piece| piece.puts.iter().map(|put| put.row.clone()).collect::<Vec<_>>();
    assert_eq!(put(&first), [row("k x 1"), row("d x 1"), row("e x 1")]);
    feed.piece_applied();
    assert_eq!(keys_to_fetch(feed.poll(true)), (2, true));
    let second = piece(feed.fetched(seen(), vec![None, Some(row("m x 1"))], Lsn(50)));
    assert_eq!(
        (second.applied, put(&second)),
        (Some(Lsn(30)), vec![row("m x 1")])
    );
    assert_eq!(second.deletes, [key("l")]);
    feed.piece_applied();
    assert_eq!((feed.applied(), feed.is_at_boundary()), (Lsn(30), true));
    assert_eq!((feed.counts().applied, feed.counts().fetched), (5, 3));
}

/// As many rows as fit into a piece; how much they weigh is learnt from those that came.
#[test]
fn no_more_rows_are_fetched_at_once_than_are_expected_to_fit() {
    let limits = FeedLimits {
        piece_bytes_max: 4 * FETCHED_ROW_BYTES,
        ..FeedLimits::default()
    };
    let mut feed = feed_of(Equality::Bytes, true, limits);
    let moved = |number: usize| Change::Update {
        old_key: Some(row(&format!("old{number} - -"))),
        new: row(&format!("new{number} ~ 1")),
    };
    feed.receive(transaction(100, (0..40).map(moved).collect(), Some(20)))
        .unwrap();
    let mut asked = 4;
    assert_eq!(keys_to_fetch(feed.poll(true)), (asked, false));
    for size in [1, 1, 3 * FETCHED_ROW_BYTES, 1] {
        let rows = (0..asked).map(|_| Some(row(&format!("x {} 1", "y".repeat(size)))));
        let step = feed.fetched("101:101:".parse().unwrap(), rows.collect(), Lsn(20));
        assert_eq!(piece(step).puts.len(), asked);
        feed.piece_applied();
        let (next, same_snapshot) = keys_to_fetch(feed.poll(true));
        assert!(same_snapshot);
        let heavy = size > 1;
        assert!(
            if heavy { next == 1 } else { next == 2 * asked },
            "{asked}, then {next}"
        );
        asked = next;
    }
}

/// What it holds may be all there is, and be known to be so only later.
#[test]
fn a_batch_that_holds_everything_ends_with_a_piece_of_nothing() {
    let mut feed = feed();
    let moved = Change::Update {
        old_key: Some(row("a - -")),
        new: row("b ~ 1"),
    };
    feed.receive(transaction(100, vec![moved], Some(20))).unwrap();
    assert!(matches!(feed.poll(false), Some(FeedStep::Fetch { .. })));
    let step = feed.fetched("102:102:".parse().unwrap(), vec![Some(row("b x 9"))], Lsn(45));
    assert_eq!(piece(step).applied, None);
    feed.piece_applied();
    assert_eq!(feed.poll(false), None, "more may come");
    feed.receive(transaction(102, vec![insert("d x 1")], Some(50)))
        .unwrap();
    let end = piece(feed.poll(false));
    assert_eq!(
        (end.puts.len(), end.first, end.applied),
        (0, false, Some(Lsn(20)))
    );
    feed.piece_applied();
    assert_eq!(piece(feed.poll(false)).applied, Some(Lsn(50)));
}

#[test]
fn a_row_gone_at_its_fetch_takes_later_keeps_with_it() {
    let mut feed = feed();
    let moved = Change::Update {
        old_key: Some(row("a - -")),
        new: row("b ~ 1"),
    };
    feed.receive(transaction(100, vec![moved], Some(20))).unwrap();
    assert!(matches!(feed.poll(false), Some(FeedStep::Fetch { .. })));
    let first = piece(feed.fetched("101:104:".parse().unwrap(), vec![None], Lsn(60)));
    assert_eq!((first.deletes.len(), first.puts.len()), (2, 0));
    feed.piece_applied();
    feed.receive(transaction(101, vec![update("b ~ 2")], Some(40)))
        .unwrap();
    let second = piece(feed.poll(false));
    assert!(
        second.puts.is_empty(),
        "there is no row whose value could be kept"
    );
}

#[test]
fn a_row_that_a_later_fetch_finds_is_there_again() {
    let mut feed = feed();
    let moved = |old: &str, new: &str| Change::Update {
        old_key: Some(row(old)),
        new: row(new),
    };
    feed.receive(transaction(100, vec![moved("a - -", "b ~ 1")], Some(20)))
        .unwrap();
    assert!(matches!(feed.poll(false), Some(FeedStep::Fetch { .. })));
    piece(feed.fetched("101:101:".parse().unwrap(), vec![None], Lsn(60)));
    feed.piece_applied();
    feed.receive(transaction(101, vec![moved("c - -", "b ~ 2")], Some(30)))
        .unwrap();
    assert!(matches!(
        feed.poll(false),
        Some(FeedStep::Fetch {
            same_snapshot: false,
            ..
        })
    ));
    let found = vec![Some(row("b big 2"))];
    piece(feed.fetched("102:102:".parse().unwrap(), found, Lsn(60)));
    feed.piece_applied();
    feed.receive(transaction(102, vec![update("b ~ 3")], Some(60)))
        .unwrap();
    assert_eq!(piece(feed.poll(false)).puts, [Put { row: row("b ~ 3") }]);
}

#[test]
fn keys_that_only_the_server_can_compare_are_classified() {
    let mut feed = feed_of(Equality::Server, true, FeedLimits::default());
    feed.receive(transaction(
        100,
        vec![insert("1.0 x 1"), update("1.00 ~ 2")],
        Some(20),
    ))
    .unwrap();
    let Some(FeedStep::Classify(keys)) = feed.poll(false) else {
        panic!()
    };
    assert_eq!(keys.len(), 2);
    let piece = piece(feed.classified(vec![1, 1]));
    assert_eq!(piece.puts, [Put { row: row("1.00 x 2") }]);
}

#[test]
fn a_table_without_a_key_is_followed_in_order_until_its_first_update() {
    let mut feed = feed_of(Equality::Bytes, false, FeedLimits::default());
    feed.receive(transaction(100, vec![insert("a x 1"), insert("a x 1")], Some(20)))
        .unwrap();
    assert_eq!(piece(feed.poll(false)).puts.len(), 2, "equal rows are two rows");
    let refused = feed.receive(transaction(101, vec![update("a x 2")], Some(30)));
    assert_eq!(refused, Err(FeedError::NotAppendOnly { what: "updated" }));
}

#[test]
fn a_marker_is_passed_when_its_batch_is_committed() {
    let mut feed = feed();
    let content = Bytes::from_static(b"fence t 1");
    let part = TransactionPart {
        xid: 100,
        final_lsn: Lsn(0),
        first: true,
        changes: vec![],
        tables: Vec::new(),
        messages: vec![content.clone()],
        commit_lsn: Some(Lsn(70)),
    };
    feed.receive(StreamItem::Transaction(part)).unwrap();
    piece(feed.poll(true));
    assert_eq!(feed.passed_marker(&content), None);
    feed.piece_applied();
    assert_eq!(feed.passed_marker(&content), Some(Lsn(70)));
}

#[test]
fn a_change_beyond_the_copied_chunks_is_dropped_and_remembered_until_it_is_proven() {
    let mut feed = chunked(Equality::Bytes);
    feed.receive(transaction(101, vec![insert("m x 1"), insert("a x 1")], Some(20)))
        .unwrap();
    let piece = piece(feed.poll(false));
    assert_eq!(piece.puts, [Put { row: row("a x 1") }]);
    assert_eq!(piece.ledger.drops, [Xid(101)], "written with the position");
    feed.piece_applied();
    let opening = feed.open_chunk(10).unwrap();
    assert_eq!(opening.lower, Some(key("g")));
    let early = feed.register_chunk(opening.id, None, "101:103:101".parse().unwrap());
    assert!(early.is_err(), "it would neither be copied nor applied");
    feed.chunk_released(opening.id);
    let opening = feed.open_chunk(10).unwrap();
    feed.register_chunk(opening.id, None, "102:103:".parse().unwrap())
        .unwrap();
}

#[test]
fn what_comes_while_a_snapshot_is_taken_waits_until_it_is_registered() {
    let mut feed = chunked(Equality::Bytes);
    let opening = feed.open_chunk(10).unwrap();
    for xid in [102, 103] {
        feed.receive(transaction(xid, vec![insert("m x 1")], Some(u64::from(xid))))
            .unwrap();
    }
    assert_eq!(feed.poll(true), None, "the snapshot may be from before it");
    feed.register_chunk(opening.id, Some(key("q")), "103:103:".parse().unwrap())
        .unwrap();
    let first = piece(feed.poll(true));
    assert_eq!((first.puts.len(), first.applied), (0, Some(Lsn(102))));
    feed.piece_applied();
    assert_eq!(feed.poll(true), None, "the copy does not see it");
    feed.chunk_recorded(opening.id);
    assert_eq!(piece(feed.poll(true)).puts.len(), 1);
}

#[test]
fn a_batch_ends_before_the_transaction_that_must_wait_for_its_chunk() {
    let mut feed = chunked(Equality::Bytes);
    let opening = feed.open_chunk(10).unwrap();
    feed.register_chunk(opening.id, Some(key("q")), "102:102:".parse().unwrap())
        .unwrap();
    feed.receive(transaction(102, vec![insert("a x 1")], Some(20)))
        .unwrap();
    feed.receive(transaction(103, vec![insert("b x 1"), insert("m x 1")], Some(30)))
        .unwrap();
    let first = piece(feed.poll(true));
    assert_eq!((first.puts.len(), first.applied), (1, Some(Lsn(20))));
    feed.piece_applied();
    assert_eq!(feed.poll(true), None, "the other half of it is not copied yet");
    feed.chunk_recorded(opening.id);
    let second = piece(feed.poll(true));
    assert_eq!((second.puts.len(), second.applied), (2, Some(Lsn(30))));
}

#[test]
fn a_chunk_that_failed_is_to_be_read_under_a_snapshot_that_sees_what_waited_for_it() {
    let mut feed = chunked(Equality::Bytes);
    let opening = feed.open_chunk(10).unwrap();
    feed.register_chunk(opening.id, Some(key("q")), "102:102:".parse().unwrap())
        .unwrap();
    feed.receive(transaction(103, vec![insert("m x 1")], Some(30)))
        .unwrap();
    assert_eq!(feed.poll(true), None);
    feed.chunk_failed(opening.id);
    assert_eq!(piece(feed.poll(true)).ledger.drops, [Xid(103)]);
    feed.piece_applied();
    let again = feed.open_chunk(10).unwrap();
    assert_eq!((again.id, again.limit), (opening.id, Some(key("q"))));
    let early = feed.register_chunk(again.id, Some(key("q")), "103:104:103".parse().unwrap());
    assert!(early.is_err());
}

#[test]
fn a_changed_key_is_judged_in_both_chunks() {
    let mut feed = chunked(Equality::Bytes);
    let moved = |old: &str, new: &str| Change::Update {
        old_key: Some(row(old)),
        new: row(new),
    };
    feed.receive(transaction(101, vec![moved("a - -", "m x 1")], Some(20)))
        .unwrap();
    let out = piece(feed.poll(false));
    assert_eq!((out.deletes, out.puts.len()), (vec![key("a")], 0));
    feed.piece_applied();
    feed.receive(transaction(102, vec![moved("n - -", "b ~ 1")], Some(30)))
        .unwrap();
    let Some(FeedStep::Fetch { keys, .. }) = feed.poll(false) else {
        panic!("nothing in the target has the value")
    };
    assert_eq!(keys.len(), 1);
}

#[test]
fn homes_that_only_the_server_knows_are_asked_for_and_nothing_is_registered_meanwhile() {
    let mut feed = chunked(Equality::Server);
    feed.receive(transaction(101, vec![insert("m x 1"), insert("a x 1")], Some(20)))
        .unwrap();
    let step = feed.poll(false);
    let expected = FeedStep::Route {
        keys: vec![key("m"), key("a")],
        bounds: vec![key("g")],
    };
    assert_eq!(step, Some(expected));
    assert!(!feed.may_register());
    let Some(FeedStep::Classify(keys)) = feed.routed(vec![1, 0]) else {
        panic!()
    };
    assert_eq!(keys, [key("a")], "of what is dropped nothing is asked");
}

#[test]
fn a_truncate_between_two_chunks_begins_the_copy_again() {
    let mut feed = chunked(Equality::Bytes);
    let gone = Change::Truncate {
        restart_identity: false,
    };
    let opening = feed.open_chunk(10).unwrap();
    feed.receive(transaction(103, vec![gone, insert("a x 1")], Some(30)))
        .unwrap();
    let piece = piece(feed.poll(false));
    assert!(piece.truncate && piece.ledger.restart && piece.puts.is_empty());
    assert_eq!(piece.ledger.drops, [Xid(103)]);
    assert!(feed.open_chunk(10).is_none());
    feed.piece_applied();
    let stale = feed.register_chunk(opening.id, None, "104:104:".parse().unwrap());
    assert!(stale.is_err(), "it was cut in the table that was emptied");
    feed.chunk_released(opening.id);
    let first = feed.open_chunk(10).unwrap();
    assert_eq!((first.id, first.lower), (ChunkId(0), None));
}

#[test]
fn a_truncate_waits_for_running_copies_and_none_begins_meanwhile() {
    let mut feed = chunked(Equality::Bytes);
    let gone = Change::Truncate {
        restart_identity: false,
    };
    let opening = feed.open_chunk(10).unwrap();
    feed.register_chunk(opening.id, Some(key("q")), "104:104:".parse().unwrap())
        .unwrap();
    feed.receive(transaction(103, vec![gone], Some(30))).unwrap();
    assert_eq!(feed.poll(false), None);
    assert!(feed.open_chunk(10).is_none());
    feed.chunk_recorded(opening.id);
    assert!(piece(feed.poll(false)).ledger.restart);
}

/// A feed whose source is a view over two tables.
fn of_view() -> Feed {
    let table = |name: &str| Part {
        name: TableName::new("public", name),
        shadow: TableName::new("crossfade_t", name),
        oid: 1,
        columns: vec![column("key", Equality::Bytes)],
        key: vec![0],
        row_key: vec![0],
        partitioned: false,
        definition: String::new(),
    };
    let source = Source {
        parts: vec![table("a"), table("b")],
        ..source(Equality::Bytes, true)
    };
    let ledger = Ledger::whole("100:100:".parse().unwrap());
    let limits = FeedLimits::default();
    Feed::new(&source, &[target()], ledger, Lsn(10), Xid(100), limits)
}

/// They write rows of two tables side by side, and no lock puts them in an order: a snapshot may see the second and not
/// yet the first (R33).
#[test]
fn a_row_of_a_view_is_read_under_a_snapshot_that_sees_all_its_writers() {
    let mut feed = of_view();
    feed.receive(transaction(100, vec![update("a ~ ~")], Some(20)))
        .unwrap();
    feed.receive(transaction(101, vec![update("a ~ ~")], Some(30)))
        .unwrap();
    let step = feed.poll(true);
    let Some(FeedStep::Fetch { keys, .. }) = step else {
        panic!("{step:?}")
    };
    assert_eq!(keys.len(), 1);
    let without_the_first = feed.fetched(
        "100:102:100".parse().unwrap(),
        vec![Some(row("a old new"))],
        Lsn(30),
    );
    assert!(matches!(without_the_first, Some(FeedStep::Fetch { .. })));
    assert_eq!(feed.unseen_by_fetch(), Some(Xid(100)));
    let all = feed.fetched("102:102:".parse().unwrap(), vec![Some(row("a new new"))], Lsn(30));
    let piece = piece(all);
    assert_eq!(
        (piece.puts[0].row.clone(), piece.applied),
        (row("a new new"), Some(Lsn(30)))
    );
}

/// Whether it is still there only the view knows, even if nothing but its key is in it.
#[test]
fn a_touched_row_of_a_view_is_always_read_and_goes_if_it_is_gone() {
    let mut feed = of_view();
    feed.receive(transaction(100, vec![update("a x 1")], Some(20)))
        .unwrap();
    assert!(matches!(feed.poll(true), Some(FeedStep::Fetch { .. })));
    let gone = piece(feed.fetched("101:101:".parse().unwrap(), vec![None], Lsn(20)));
    assert_eq!((gone.deletes, gone.puts.len()), (vec![key("a")], 0));
}

/// A statement writes the many rows of a part that are of one row of the view on end, and each says the same.
#[test]
fn what_is_said_of_a_row_of_a_view_again_takes_no_place() {
    let mut feed = of_view();
    let mut changes = vec![update("a ~ ~"); 3];
    changes.push(update("b ~ ~"));
    feed.receive(transaction(100, changes, Some(20))).unwrap();
    feed.receive(transaction(101, vec![update("b ~ ~")], Some(30)))
        .unwrap();
    assert_eq!(feed.waiting(), 3);
    assert_eq!(keys_to_fetch(feed.poll(true)), (2, false));
    piece(feed.fetched("102:102:".parse().unwrap(), vec![None, None], Lsn(30)));
    feed.piece_applied();
    assert_eq!(feed.counts().applied, 5);
}
