//! The `CopyData` payloads: bytes that PostgreSQL 15.18 sent to `START_REPLICATION`, and the client's own.

use bytes::{Bytes, BytesMut};
use pgoutput::error::{DecodeError, DecodeErrorKind};
use pgoutput::message::Message;
use pgoutput::stream::{
    ClientMessage, HotStandbyFeedback, PrimaryKeepalive, ServerMessage, StandbyStatusUpdate,
};
use pgoutput::{Decoder, Lsn, Timestamp};

const KEEPALIVE: &[u8] = b"k\x00\x00\x00\x00\x01R-\xb0\x00\x03\x03\xdd\xa2\x83\x81\xec\x00";
const COMMIT: &[u8] =
    b"w\x00\x00\x00\x00\x01R.\xc0\x00\x00\x00\x00\x01R.\xc0\x00\x03\x03\xdd\xa2\x83\x83\xc8\
    C\x00\x00\x00\x00\x00\x01R.\x90\x00\x00\x00\x00\x01R.\xc0\x00\x03\x03\xdd\xa2\x80\xc6\xf7";

fn encoded(message: &ServerMessage) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}

fn round_trip(message: ClientMessage) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    let bytes = out.freeze();
    assert_eq!(ClientMessage::decode(bytes.clone()), Ok(message));
    bytes
}

#[test]
fn a_servers_keepalive() {
    let keepalive = ServerMessage::PrimaryKeepalive(PrimaryKeepalive {
        wal_end: Lsn(0x152_2DB0),
        sent_at: Timestamp(0x0003_03DD_A283_81EC),
        reply_requested: false,
    });
    assert_eq!(
        ServerMessage::decode(Bytes::from_static(KEEPALIVE)),
        Ok(keepalive.clone())
    );
    assert_eq!(encoded(&keepalive), KEEPALIVE);
}

#[test]
fn a_servers_commit() {
    let message = ServerMessage::decode(Bytes::from_static(COMMIT)).unwrap();
    assert_eq!(encoded(&message), COMMIT);
    let ServerMessage::XLogData(data) = message else {
        panic!("the bytes begin with w");
    };
    assert_eq!((data.start, data.end), (Lsn(0x152_2EC0), Lsn(0x152_2EC0)));
    let Message::Commit(commit) = Decoder::new().decode(data.payload).unwrap() else {
        panic!("the payload begins with C");
    };
    assert_eq!(
        commit.end_lsn, data.start,
        "a commit comes at the end of its record"
    );
}

#[test]
fn what_a_client_answers() {
    let status = round_trip(ClientMessage::StandbyStatusUpdate(StandbyStatusUpdate {
        written: Lsn(3),
        flushed: Lsn(2),
        applied: Lsn(1),
        sent_at: Timestamp(-4),
        reply_requested: true,
    }));
    assert_eq!(
        status.as_ref(),
        b"r\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFC\x01"
    );
    let feedback = round_trip(ClientMessage::HotStandbyFeedback(HotStandbyFeedback {
        sent_at: Timestamp(5),
        xmin: 4,
        xmin_epoch: 3,
        catalog_xmin: 2,
        catalog_xmin_epoch: 1,
    }));
    assert_eq!(
        feedback.as_ref(),
        b"h\0\0\0\0\0\0\0\x05\0\0\0\x04\0\0\0\x03\0\0\0\x02\0\0\0\x01"
    );
}

#[test]
fn each_direction_refuses_the_other() {
    let error = |what| DecodeError {
        what,
        offset: 0,
        kind: DecodeErrorKind::UnknownTag(if what == "server message" { b'r' } else { b'w' }),
    };
    let decoded = ServerMessage::decode(Bytes::from_static(b"r"));
    assert_eq!(decoded, Err(error("server message")));
    assert_eq!(
        ClientMessage::decode(Bytes::from_static(COMMIT)),
        Err(error("client message"))
    );
}

#[test]
fn cut_or_long_payloads_are_errors() {
    for length in 0..KEEPALIVE.len() {
        assert!(
            ServerMessage::decode(Bytes::from_static(&KEEPALIVE[..length])).is_err(),
            "{length}"
        );
    }
    let long: Bytes = KEEPALIVE.iter().copied().chain([0]).collect();
    let error = DecodeError {
        what: "PrimaryKeepalive",
        offset: KEEPALIVE.len(),
        kind: DecodeErrorKind::TrailingBytes { count: 1 },
    };
    assert_eq!(ServerMessage::decode(long), Err(error));
}
