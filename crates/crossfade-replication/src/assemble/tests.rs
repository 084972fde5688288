//! Sequences of messages, each through its bytes, and what is handed out after them.

use bytes::BytesMut;
use crossfade_core::change::{Cell, StreamItem};
use crossfade_core::name::TableName;
use pgoutput::message::{Column, Delete, Insert, OldTuple, ReplicaIdentity, Type, Update};
use pgoutput::tuple::{self, Tuple};
use pgoutput::{Decoder, Timestamp};

use super::*;
use crate::shape::{HandOut, ShapeColumn, SourceChange};

const OID: u32 = 77;

/// A stream of one table `s.t (id, note)`: messages go through their bytes, as on the wire.
struct Stream {
    assembler: Assembler,
    batch: Batch,
    decoder: Decoder,
}

impl Stream {
    fn new(start: u64, changes_max: usize, full_identity: bool) -> Self {
        let columns = ["id", "note"].map(|name| ShapeColumn {
            name: name.to_owned(),
            type_oid: 25,
        });
        let shape = Shape {
            former_name: None,
            oid: OID,
            table: TableName::new("s", "t"),
            columns: columns.into(),
            key_columns: vec![0],
            full_identity,
            partitioned: false,
            hands_out: HandOut::Rows,
        };
        let limits = PartLimits {
            changes_max,
            bytes_max: 1 << 20,
        };
        Stream {
            assembler: Assembler::new(vec![shape], limits, Lsn(start)),
            batch: Batch::default(),
            decoder: Decoder::new(),
        }
    }

    fn try_send(&mut self, message: Message) -> Result<(), AssembleError> {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes).unwrap();
        let message = self.decoder.decode(bytes.freeze()).unwrap();
        self.assembler.message(message, &mut self.batch)
    }

    fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> &mut Self {
        for message in messages {
            self.try_send(message).unwrap();
        }
        self
    }

    fn keepalive(&mut self, wal_end: u64) -> &mut Self {
        self.assembler.keepalive(Lsn(wal_end), &mut self.batch);
        self
    }

    fn items(&mut self) -> Vec<StreamItem> {
        self.batch.take()
    }

    /// The one change of a transaction made of `message`.
    fn change(&mut self, message: Message) -> Change {
        let at = self.assembler.position().0;
        self.send([begin(at), message, commit(at)]);
        match self.items().remove(0) {
            StreamItem::Transaction(mut part) => part.changes.remove(0),
            StreamItem::Keepalive { .. } => panic!("nothing came"),
        }
    }
}

/// A commit record of ten bytes.
fn begin(at: u64) -> Message {
    Message::Begin(Begin {
        final_lsn: pgoutput::Lsn(at),
        committed_at: Timestamp(0),
        xid: at as u32,
    })
}

fn commit(at: u64) -> Message {
    Message::Commit(Commit {
        commit_lsn: pgoutput::Lsn(at),
        end_lsn: pgoutput::Lsn(at + 10),
        committed_at: Timestamp(0),
    })
}

fn relation_of(columns: &[(&str, bool)], replica_identity: ReplicaIdentity) -> Message {
    let columns = columns.iter().map(|(name, in_identity)| Column {
        in_identity: *in_identity,
        name: (*name).to_owned(),
        type_oid: 25,
        type_modifier: -1,
    });
    Message::Relation(Relation {
        xid: None,
        oid: OID,
        schema: "s".to_owned(),
        name: "t".to_owned(),
        replica_identity,
        columns: columns.collect(),
    })
}

fn relation() -> Message {
    relation_of(&[("id", true), ("note", false)], ReplicaIdentity::Default)
}

fn full_relation() -> Message {
    relation_of(&[("id", true), ("note", true)], ReplicaIdentity::Full)
}

/// `"-"` is NULL and `"~"` an unchanged value.
fn tuple(cells: &[&'static str]) -> Tuple {
    let cells = cells.iter().map(|text| match *text {
        "-" => tuple::Cell::Null,
        "~" => tuple::Cell::Unchanged,
        text => tuple::Cell::Text(Bytes::from_static(text.as_bytes())),
    });
    Tuple::new(&cells.collect::<Vec<_>>()).unwrap()
}

fn row(cells: &[&'static str]) -> Row {
    let cells = cells.iter().map(|text| match *text {
        "-" => Cell::Null,
        "~" => Cell::Unchanged,
        text => Cell::Text(Bytes::from_static(text.as_bytes())),
    });
    Row(cells.collect())
}

fn insert(cells: &[&'static str]) -> Message {
    Message::Insert(Insert {
        xid: None,
        relation: OID,
        new: tuple(cells),
    })
}

fn update(old: Option<OldTuple>, new: &[&'static str]) -> Message {
    Message::Update(Update {
        xid: None,
        relation: OID,
        old,
        new: tuple(new),
    })
}

fn delete(old: OldTuple) -> Message {
    Message::Delete(Delete {
        xid: None,
        relation: OID,
        old,
    })
}

fn note(prefix: &str, transactional: bool) -> Message {
    Message::Logical(Logical {
        xid: None,
        transactional,
        lsn: pgoutput::Lsn(1),
        prefix: prefix.to_owned(),
        content: Bytes::from_static(b"fence"),
    })
}

fn part(item: &StreamItem) -> &TransactionPart {
    match item {
        StreamItem::Transaction(part) => part,
        StreamItem::Keepalive { .. } => panic!("a keepalive"),
    }
}

#[test]
fn a_small_transaction_comes_whole() {
    let mut stream = Stream::new(100, 10, false);
    let messages = [
        begin(100),
        relation(),
        insert(&["1", "a"]),
        insert(&["2", "-"]),
        commit(100),
    ];
    let items = stream.send(messages).items();
    let expected = TransactionPart {
        xid: 100,
        final_lsn: Lsn(100),
        first: true,
        changes: vec![
            Change::Insert {
                new: row(&["1", "a"]),
            },
            Change::Insert {
                new: row(&["2", "-"]),
            },
        ],
        tables: Vec::new(),
        messages: vec![],
        commit_lsn: Some(Lsn(110)),
    };
    assert_eq!(items, [StreamItem::Transaction(expected)]);
    assert_eq!(stream.assembler.position(), Lsn(110));
}

#[test]
fn a_large_transaction_comes_in_parts_and_its_commit_with_the_last() {
    let mut stream = Stream::new(0, 2, false);
    stream.send([begin(100), relation()]);
    stream.send((0..4).map(|_| insert(&["1", "a"])));
    assert_eq!(stream.assembler.position(), Lsn(0));
    let items = stream.send([commit(100)]).items();
    let seen = items
        .iter()
        .map(|item| (part(item).first, part(item).changes.len(), part(item).commit_lsn));
    let expected = [(true, 2, None), (false, 2, None), (false, 0, Some(Lsn(110)))];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
}

#[test]
fn only_a_commit_record_that_starts_before_the_start_is_skipped() {
    let mut stream = Stream::new(110, 10, false);
    // Ends exactly at the start: applied.
    stream.send([
        begin(100),
        relation(),
        insert(&["1", "a"]),
        note("crossfade", true),
        commit(100),
    ]);
    assert_eq!(stream.items(), []);
    // Begins exactly there, as 4,422 of 138,016 did: not applied. The relation is not announced again.
    let items = stream
        .send([begin(110), insert(&["2", "b"]), commit(110)])
        .items();
    assert_eq!(part(&items[0]).commit_lsn, Some(Lsn(120)));
}

#[test]
fn a_start_within_a_commit_record_is_not_guessed_about() {
    let mut stream = Stream::new(105, 10, false);
    stream.send([begin(100)]);
    let error = stream.try_send(commit(100)).unwrap_err();
    assert!(matches!(error, AssembleError::StartWithinCommit { .. }));
}

#[test]
fn transactions_without_anything_of_ours_leave_their_position() {
    let mut stream = Stream::new(0, 10, false);
    stream.send([begin(100), note("other", true), commit(100)]);
    stream.send([note("crossfade", false), begin(110), commit(110)]);
    assert_eq!(stream.items(), [StreamItem::Keepalive { wal_end: Lsn(120) }]);
    stream
        .keepalive(130)
        .send([begin(130), relation(), insert(&["1", "a"])])
        .keepalive(139);
    stream
        .send([commit(130)])
        .keepalive(50)
        .keepalive(140)
        .keepalive(150);
    let items = stream.items();
    assert_eq!(items.len(), 3);
    assert_eq!(items[0], StreamItem::Keepalive { wal_end: Lsn(130) });
    assert_eq!(part(&items[1]).commit_lsn, Some(Lsn(140)));
    assert_eq!(items[2], StreamItem::Keepalive { wal_end: Lsn(150) });
}

#[test]
fn a_transaction_of_one_message_of_ours_is_delivered() {
    let mut stream = Stream::new(0, 10, false);
    let items = stream
        .send([begin(100), note("crossfade", true), commit(100)])
        .items();
    assert_eq!(part(&items[0]).messages, [Bytes::from_static(b"fence")]);
    assert_eq!(part(&items[0]).commit_lsn, Some(Lsn(110)));
}

#[test]
fn an_update_has_its_old_key_only_if_that_changed() {
    let mut stream = Stream::new(0, 10, false);
    stream.send([begin(0), relation(), commit(0)]).items();
    assert_eq!(
        stream.change(update(None, &["1", "~"])),
        Change::Update {
            old_key: None,
            new: row(&["1", "~"])
        }
    );
    // What a key tuple carries outside the key means nothing, and never fills the new row.
    assert_eq!(
        stream.change(update(Some(OldTuple::Key(tuple(&["1", "x"]))), &["2", "~"])),
        Change::Update {
            old_key: Some(row(&["1", "-"])),
            new: row(&["2", "~"])
        }
    );
    // A key stored out of line: sent as old key, though it did not change.
    assert_eq!(
        stream.change(update(Some(OldTuple::Key(tuple(&["long", "-"]))), &["~", "b"])),
        Change::Update {
            old_key: None,
            new: row(&["long", "b"])
        }
    );
    assert_eq!(
        stream.change(delete(OldTuple::Key(tuple(&["2", "-"])))),
        Change::Delete {
            old_key: row(&["2", "-"])
        }
    );
}

#[test]
fn under_full_identity_the_old_row_fills_the_new_one() {
    let mut stream = Stream::new(0, 10, true);
    stream.send([begin(0), full_relation(), commit(0)]).items();
    let old = || Some(OldTuple::Full(tuple(&["1", "toast"])));
    assert_eq!(
        stream.change(update(old(), &["1", "~"])),
        Change::Update {
            old_key: None,
            new: row(&["1", "toast"])
        }
    );
    assert_eq!(
        stream.change(update(old(), &["2", "~"])),
        Change::Update {
            old_key: Some(row(&["1", "toast"])),
            new: row(&["2", "toast"])
        }
    );
}

#[test]
fn without_a_key_the_old_row_is_always_given() {
    let mut stream = Stream::new(0, 10, true);
    stream.assembler.shapes[0].key_columns.clear();
    stream.send([begin(0), full_relation(), commit(0)]).items();
    assert_eq!(
        stream.change(update(Some(OldTuple::Full(tuple(&["1", "a"]))), &["1", "a"])),
        Change::Update {
            old_key: Some(row(&["1", "a"])),
            new: row(&["1", "a"])
        }
    );
}

#[test]
fn tuples_follow_the_announced_order() {
    let mut stream = Stream::new(0, 10, false);
    let swapped = relation_of(&[("note", false), ("id", true)], ReplicaIdentity::Index);
    stream.send([begin(0), swapped, commit(0)]).items();
    assert_eq!(
        stream.change(insert(&["a", "1"])),
        Change::Insert {
            new: row(&["1", "a"])
        }
    );
}

#[test]
fn a_truncate_is_a_change_of_ours() {
    let mut stream = Stream::new(0, 10, false);
    stream.send([begin(0), relation(), commit(0)]).items();
    let truncate = |relations: Vec<u32>| {
        Message::Truncate(Truncate {
            xid: None,
            cascade: true,
            restart_identity: true,
            relations,
        })
    };
    assert_eq!(
        stream.change(truncate(vec![OID])),
        Change::Truncate {
            restart_identity: true
        }
    );
    stream.send([begin(100)]);
    let error = stream.try_send(truncate(vec![OID, 1])).unwrap_err();
    assert!(matches!(error, AssembleError::UnknownRelation { oid: 1 }));
}

/// Rows of a view with three columns, whose key is the last one: the table has it first.
#[test]
fn of_a_table_of_a_view_only_the_keys_of_old_and_new_rows_come() {
    let mut stream = Stream::new(0, 10, false);
    stream.assembler.shapes[0].hands_out = HandOut::Keys {
        width: 3,
        columns: vec![(2, 0)],
    };
    stream.assembler.shapes[0].partitioned = true;
    let mut part = match relation() {
        Message::Relation(relation) => relation,
        _ => unreachable!(),
    };
    part.oid = OID + 1;
    // A partition is announced beside its table.
    stream.send([begin(0), relation(), Message::Relation(part)]);
    let moved = update(Some(OldTuple::Key(tuple(&["2", "-"]))), &["3", "~"]);
    stream.send([
        insert(&["1", "a"]),
        moved,
        delete(OldTuple::Key(tuple(&["4", "-"]))),
        commit(0),
    ]);
    let items = stream.items();
    let touched = ["1", "2", "3", "4"].map(|key| Change::Update {
        old_key: None,
        new: row(&["~", "~", key]),
    });
    assert_eq!(part_of(&items).changes, touched);
    stream.send([begin(100)]);
    let truncate = Message::Truncate(Truncate {
        xid: None,
        cascade: false,
        restart_identity: false,
        relations: vec![OID],
    });
    let AssembleError::SourceChanged { what } = stream.try_send(truncate).unwrap_err() else {
        panic!("it cannot be carried");
    };
    assert!(matches!(what, SourceChange::Truncated { .. }));
}

fn part_of(items: &[StreamItem]) -> &TransactionPart {
    assert_eq!(items.len(), 1);
    part(&items[0])
}

#[test]
fn a_changed_source_stops_the_stream_before_a_row_is_misread() {
    let mut stream = Stream::new(0, 10, false);
    stream.send([begin(0), relation(), insert(&["1", "a"]), commit(0), begin(10)]);
    let added = relation_of(
        &[("id", true), ("note", false), ("new", false)],
        ReplicaIdentity::Default,
    );
    let error = stream.try_send(added).unwrap_err();
    let AssembleError::SourceChanged { what } = error else {
        panic!("{error}");
    };
    assert_eq!(
        what,
        SourceChange::ColumnAdded {
            column: "new".to_owned()
        }
    );
    // And what was whole before it is still there to be handed out.
    assert_eq!(stream.items().len(), 1);
}

#[test]
fn messages_that_make_no_sense_together_are_errors() {
    let type_name = || {
        Message::Type(Type {
            xid: None,
            oid: 1,
            schema: "s".to_owned(),
            name: "n".to_owned(),
        })
    };
    type Case = (Vec<Message>, Message, fn(&AssembleError) -> bool);
    let cases: Vec<Case> = vec![
        (vec![], commit(0), |e| matches!(e, AssembleError::NoTransaction)),
        (vec![begin(0)], begin(20), |e| {
            matches!(e, AssembleError::BeginWithinTransaction)
        }),
        (vec![begin(0)], commit(20), |e| {
            matches!(e, AssembleError::OtherCommit { .. })
        }),
        (vec![begin(50), commit(50)], begin(40), |e| {
            matches!(e, AssembleError::OutOfOrder { .. })
        }),
        (vec![begin(0)], insert(&["1", "a"]), |e| {
            matches!(e, AssembleError::UnknownRelation { .. })
        }),
        (vec![relation(), type_name()], insert(&["1", "a"]), |e| {
            matches!(e, AssembleError::NoTransaction)
        }),
        (vec![begin(0), relation()], insert(&["1"]), |e| {
            matches!(e, AssembleError::TupleWidth { .. })
        }),
        (vec![begin(0), relation()], update(None, &["~", "a"]), |e| {
            matches!(e, AssembleError::KeyMissing)
        }),
    ];
    for (before, message, expected) in cases {
        let mut stream = Stream::new(0, 10, false);
        stream.send(before);
        let error = stream.try_send(message).unwrap_err();
        assert!(expected(&error), "{error}");
    }
}

#[test]
fn a_lost_connection_begins_after_what_was_handed_out() {
    let mut stream = Stream::new(0, 2, false);
    stream.send([begin(100), relation(), insert(&["1", "a"]), commit(100)]);
    stream.send([begin(110), insert(&["2", "b"])]);
    assert!(stream.assembler.restart());
    // The server sends both again; it is asked for 110, but may begin earlier.
    stream.send([begin(100), relation(), insert(&["1", "a"]), commit(100)]);
    stream.send([begin(110), insert(&["2", "b"]), commit(110)]);
    let items = stream.items();
    let commits = items.iter().map(|item| part(item).commit_lsn);
    assert_eq!(commits.collect::<Vec<_>>(), [Some(Lsn(110)), Some(Lsn(120))]);
    // With a part of an unfinished transaction out, there is nothing to go on from.
    stream.send([begin(120), insert(&["3", "c"]), insert(&["4", "d"])]);
    assert!(!stream.assembler.restart());
}
