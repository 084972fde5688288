//! The feed against hand-written streams; the simulator covers their combinations.

use super::*;
use crate::name::TableName;
use crate::plan::{Equality, Expression, Key, SourceColumn, TargetColumn};

fn column(name: &str, equality: Equality) -> SourceColumn {
    SourceColumn {
        name: name.into(),
        type_oid: 25,
        type_name: "text".into(),
        equality,
    }
}

fn source(equality: Equality, keyed: bool) -> Source {
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
        definition: String::new(),
    }
}

fn target() -> Target {
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
        definition: String::new(),
    }
}

/// A feed after a copy under `100:100:`, so that transactions from 100 on are applied.
fn feed_of(equality: Equality, keyed: bool, limits: FeedLimits) -> Feed {
    let mut ledger = Ledger::new(1, []);
    ledger.restore(WHOLE_TABLE, "100:100:".parse().unwrap());
    Feed::new(
        &source(equality, keyed),
        &[target()],
        ledger,
        Lsn(10),
        Xid(100),
        limits,
    )
}

fn feed() -> Feed {
    feed_of(Equality::Bytes, true, FeedLimits::default())
}

fn row(text: &str) -> Row {
    let cell = |text: &str| match text {
        "~" => Cell::Unchanged,
        value => Cell::Text(Bytes::copy_from_slice(value.as_bytes())),
    };
    Row(text.split(' ').map(cell).collect())
}

fn insert(text: &str) -> Change {
    Change::Insert { new: row(text) }
}

fn update(text: &str) -> Change {
    Change::Update {
        old_key: None,
        new: row(text),
    }
}

fn transaction(xid: u32, changes: Vec<Change>, commit: Option<u64>) -> StreamItem {
    StreamItem::Transaction(TransactionPart {
        xid,
        final_lsn: Lsn(0),
        first: true,
        changes,
        messages: vec![],
        commit_lsn: commit.map(Lsn),
    })
}

fn piece(step: Option<FeedStep>) -> Piece {
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
        messages: vec![content.clone()],
        commit_lsn: Some(Lsn(70)),
    };
    feed.receive(StreamItem::Transaction(part)).unwrap();
    piece(feed.poll(true));
    assert_eq!(feed.passed_marker(&content), None);
    feed.piece_applied();
    assert_eq!(feed.passed_marker(&content), Some(Lsn(70)));
}
