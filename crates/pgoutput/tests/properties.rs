//! Properties over generated messages and arbitrary bytes: nothing panics, what is written is read back, and what
//! can be read is written back to the same bytes.

use bytes::{Bytes, BytesMut};
use pgoutput::error::DecodeErrorKind;
use pgoutput::message::{
    Begin, Column, Commit, Delete, Insert, Logical, Message, OldTuple, Origin, Relation, ReplicaIdentity,
    StreamAbort, StreamCommit, StreamStart, Truncate, Type, Update,
};
use pgoutput::stream::{ClientMessage, HotStandbyFeedback, ServerMessage, StandbyStatusUpdate, XLogData};
use pgoutput::tuple::{Cell, Tuple};
use pgoutput::{Decoder, Lsn, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn name() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

fn value() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn lsn() -> impl Strategy<Value = Lsn> {
    any::<u64>().prop_map(Lsn)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

fn cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        Just(Cell::Null),
        Just(Cell::Unchanged),
        value().prop_map(Cell::Text),
        value().prop_map(Cell::Binary),
    ]
}

fn tuple() -> impl Strategy<Value = Tuple> {
    vec(cell(), 0..9).prop_map(|cells| Tuple::new(&cells).expect("few, short cells"))
}

fn old_tuple() -> impl Strategy<Value = OldTuple> {
    prop_oneof![tuple().prop_map(OldTuple::Key), tuple().prop_map(OldTuple::Full)]
}

fn column() -> impl Strategy<Value = Column> {
    (any::<bool>(), name(), any::<u32>(), any::<i32>()).prop_map(
        |(in_identity, name, type_oid, type_modifier)| Column {
            in_identity,
            name,
            type_oid,
            type_modifier,
        },
    )
}

fn relation(xid: Option<u32>) -> impl Strategy<Value = Message> {
    use ReplicaIdentity::{Default, Full, Index, Nothing};
    let identity = select(vec![Default, Nothing, Full, Index]);
    (any::<u32>(), name(), name(), identity, vec(column(), 0..9)).prop_map(
        move |(oid, schema, name, replica_identity, columns)| {
            Message::Relation(Relation {
                xid,
                oid,
                schema,
                name,
                replica_identity,
                columns,
            })
        },
    )
}

/// The messages that may come in either place; within a stream block they carry an xid.
fn change(xid: Option<u32>) -> impl Strategy<Value = Message> {
    prop_oneof![
        relation(xid),
        (any::<u32>(), name(), name()).prop_map(move |(oid, schema, name)| Message::Type(Type {
            xid,
            oid,
            schema,
            name
        })),
        (any::<u32>(), tuple()).prop_map(move |(relation, new)| Message::Insert(Insert {
            xid,
            relation,
            new
        })),
        (any::<u32>(), option::of(old_tuple()), tuple()).prop_map(move |(relation, old, new)| {
            Message::Update(Update {
                xid,
                relation,
                old,
                new,
            })
        }),
        (any::<u32>(), old_tuple()).prop_map(move |(relation, old)| Message::Delete(Delete {
            xid,
            relation,
            old
        })),
        (any::<bool>(), any::<bool>(), vec(any::<u32>(), 0..5)).prop_map(
            move |(cascade, restart_identity, relations)| Message::Truncate(Truncate {
                xid,
                cascade,
                restart_identity,
                relations
            })
        ),
        (any::<bool>(), lsn(), name(), value()).prop_map(move |(transactional, lsn, prefix, content)| {
            Message::Logical(Logical {
                xid,
                transactional,
                lsn,
                prefix,
                content,
            })
        }),
        (lsn(), name()).prop_map(|(commit_lsn, name)| Message::Origin(Origin { commit_lsn, name })),
    ]
}

/// The messages that may come only outside a stream block.
fn boundary() -> impl Strategy<Value = Message> {
    prop_oneof![
        (lsn(), timestamp(), any::<u32>()).prop_map(|(final_lsn, committed_at, xid)| {
            Message::Begin(Begin {
                final_lsn,
                committed_at,
                xid,
            })
        }),
        (lsn(), lsn(), timestamp()).prop_map(|(commit_lsn, end_lsn, committed_at)| {
            Message::Commit(Commit {
                commit_lsn,
                end_lsn,
                committed_at,
            })
        }),
        (any::<u32>(), lsn(), lsn(), timestamp()).prop_map(|(xid, commit_lsn, end_lsn, committed_at)| {
            Message::StreamCommit(StreamCommit {
                xid,
                commit_lsn,
                end_lsn,
                committed_at,
            })
        }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(xid, subxid)| Message::StreamAbort(StreamAbort { xid, subxid })),
    ]
}

fn stream_block() -> impl Strategy<Value = Vec<Message>> {
    let changes = vec(any::<u32>().prop_flat_map(|xid| change(Some(xid))), 0..5);
    (any::<u32>(), any::<bool>(), changes).prop_map(|(xid, first, changes)| {
        let start = Message::StreamStart(StreamStart { xid, first });
        [vec![start], changes, vec![Message::StreamStop]].concat()
    })
}

/// Messages in an order in which each may stand where it stands.
fn stream() -> impl Strategy<Value = Vec<Message>> {
    let one = prop_oneof![
        change(None).prop_map(|message| vec![message]),
        boundary().prop_map(|message| vec![message]),
        stream_block(),
    ];
    vec(one, 0..8).prop_map(|parts| parts.concat())
}

fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out).expect("names without zero bytes");
    out.freeze()
}

/// A decoder in front of the last message of `messages`, and that message.
fn before_last(messages: &[Message]) -> Option<(Decoder, &Message)> {
    let (last, earlier) = messages.split_last()?;
    let mut decoder = Decoder::new();
    for message in earlier {
        decoder
            .decode(encode(message))
            .expect("what is written is read back");
    }
    Some((decoder, last))
}

/// Whatever can be read has one form only.
fn check_arbitrary(mut decoder: Decoder, bytes: Bytes) {
    if let Ok(message) = decoder.decode(bytes.clone()) {
        assert_eq!(encode(&message), bytes, "{message:?}");
    }
}

fn in_stream_block() -> Decoder {
    let mut decoder = Decoder::new();
    decoder
        .decode(Bytes::from_static(b"S\0\0\0\x01\0"))
        .expect("a StreamStart");
    decoder
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(messages in stream()) {
        let mut decoder = Decoder::new();
        for message in messages {
            prop_assert_eq!(decoder.decode(encode(&message)), Ok(message));
        }
    }

    #[test]
    fn cells_are_what_the_tuple_was_made_of(cells in vec(cell(), 0..40)) {
        let tuple = Tuple::new(&cells).unwrap();
        prop_assert_eq!(tuple.len(), cells.len());
        prop_assert_eq!(tuple.cells().len(), cells.len());
        prop_assert_eq!(tuple.cells().collect::<Vec<_>>(), cells);
    }

    #[test]
    fn a_message_cut_short_is_an_error(messages in stream(), at in any::<Index>()) {
        if let Some((mut decoder, last)) = before_last(&messages) {
            let bytes = encode(last);
            let error = decoder.decode(bytes.slice(..at.index(bytes.len()))).unwrap_err();
            prop_assert!(error.offset <= bytes.len());
        }
    }

    #[test]
    fn a_message_too_long_is_an_error(messages in stream(), more in vec(any::<u8>(), 1..9)) {
        if let Some((mut decoder, last)) = before_last(&messages) {
            let bytes = encode(last);
            let error = decoder.decode([&bytes[..], &more].concat().into()).unwrap_err();
            prop_assert_eq!(error.offset, bytes.len());
            prop_assert_eq!(error.kind, DecodeErrorKind::TrailingBytes { count: more.len() });
        }
    }

    #[test]
    fn a_damaged_message_never_panics(messages in stream(), damage in vec((any::<Index>(), any::<u8>()), 1..4)) {
        if let Some((decoder, last)) = before_last(&messages) {
            let mut bytes = encode(last).to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            check_arbitrary(decoder, bytes.into());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..80)) {
        let bytes = Bytes::from(bytes);
        check_arbitrary(Decoder::new(), bytes.clone());
        check_arbitrary(in_stream_block(), bytes.clone());
        if let Ok(message) = ServerMessage::decode(bytes.clone()) {
            let mut out = BytesMut::new();
            message.encode(&mut out);
            prop_assert_eq!(&out, &bytes);
        }
        if let Ok(message) = ClientMessage::decode(bytes.clone()) {
            let mut out = BytesMut::new();
            message.encode(&mut out);
            prop_assert_eq!(&out, &bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_after_a_known_tag_never_panic(
        tag in select(b"BCORYIUDTMSEcA".to_vec()),
        rest in vec(prop_oneof![0u8..3, select(b"NKOtbnu".to_vec()), any::<u8>()], 0..40),
    ) {
        let bytes = Bytes::from([vec![tag], rest].concat());
        check_arbitrary(Decoder::new(), bytes.clone());
        check_arbitrary(in_stream_block(), bytes);
    }

    #[test]
    fn stream_payloads_round_trip(
        (a, b, c) in (lsn(), lsn(), lsn()), sent_at in timestamp(), reply_requested in any::<bool>(),
        xids in any::<[u32; 4]>(), payload in value(),
    ) {
        let mut out = BytesMut::new();
        let data = XLogData { start: a, end: b, sent_at, payload };
        data.encode(&mut out);
        prop_assert_eq!(ServerMessage::decode(out.split().freeze()), Ok(ServerMessage::XLogData(data)));

        let status = StandbyStatusUpdate { written: a, flushed: b, applied: c, sent_at, reply_requested };
        status.encode(&mut out);
        prop_assert_eq!(ClientMessage::decode(out.split().freeze()), Ok(ClientMessage::StandbyStatusUpdate(status)));

        let [xmin, xmin_epoch, catalog_xmin, catalog_xmin_epoch] = xids;
        let feedback = HotStandbyFeedback { sent_at, xmin, xmin_epoch, catalog_xmin, catalog_xmin_epoch };
        feedback.encode(&mut out);
        prop_assert_eq!(ClientMessage::decode(out.freeze()), Ok(ClientMessage::HotStandbyFeedback(feedback)));
    }
}
