//! Every way in which bytes are no message names the field and its offset; an error leaves the decoder as it was.

use bytes::{Bytes, BytesMut};
use pgoutput::Decoder;
use pgoutput::error::{DecodeErrorKind, EncodeError};
use pgoutput::message::{Message, Origin};
use pgoutput::tuple::{Cell, Tuple};

const STREAM_START: &[u8] = b"S\0\0\0\x01\x01";

/// The error's text for a message outside a stream block.
fn failure(payload: &'static [u8]) -> String {
    Decoder::new()
        .decode(Bytes::from_static(payload))
        .expect_err("no message")
        .to_string()
}

fn failure_in_stream_block(payload: &'static [u8]) -> String {
    let mut decoder = Decoder::new();
    decoder
        .decode(Bytes::from_static(STREAM_START))
        .expect("a StreamStart");
    let error = decoder
        .decode(Bytes::from_static(payload))
        .expect_err("no message here");
    assert!(decoder.in_stream_block());
    error.to_string()
}

#[test]
fn cut_short() {
    assert_eq!(failure(b""), "decode message at byte 0: 1 bytes needed, 0 left");
    assert_eq!(
        failure(b"B\0\0\0"),
        "decode Begin final position at byte 1: 8 bytes needed, 3 left"
    );
    assert_eq!(
        failure(b"I\0\0\0\x01N\0\x02n"),
        "decode tuple cell at byte 9: 1 bytes needed, 0 left"
    );
    assert_eq!(
        failure(b"I\0\0\0\x01N\0\x01t\0\0\0\x05four"),
        "decode cell value at byte 13: 5 bytes needed, 4 left"
    );
    assert_eq!(
        failure(b"T\x7F\xFF\xFF\xFF\0\0\0\0\x01"),
        "decode Truncate relation at byte 10: 4 bytes needed, 0 left"
    );
    assert_eq!(
        failure(b"O\0\0\0\0\0\0\0\0name"),
        "decode Origin name at byte 9: the string has no end"
    );
}

#[test]
fn unknown() {
    assert_eq!(failure(b"b"), "decode message at byte 0: unknown tag 'b' (0x62)");
    assert_eq!(
        failure(b"\n"),
        r"decode message at byte 0: unknown tag '\n' (0x0A)"
    );
    assert_eq!(
        failure(b"I\0\0\0\x01K"),
        "decode Insert tuple at byte 5: unknown tag 'K' (0x4B)"
    );
    assert_eq!(
        failure(b"U\0\0\0\x01X"),
        "decode Update tuple at byte 5: unknown tag 'X' (0x58)"
    );
    assert_eq!(
        failure(b"U\0\0\0\x01K\0\0K"),
        "decode Update new tuple at byte 8: unknown tag 'K' (0x4B)"
    );
    assert_eq!(
        failure(b"D\0\0\0\x01N"),
        "decode Delete tuple at byte 5: unknown tag 'N' (0x4E)"
    );
    assert_eq!(
        failure(b"I\0\0\0\x01N\0\x01z"),
        "decode tuple cell at byte 8: unknown tag 'z' (0x7A)"
    );
    assert_eq!(
        failure(b"T\0\0\0\0\x04"),
        "decode Truncate flags at byte 5: unknown flags 0x04"
    );
    assert_eq!(
        failure(b"C\x01"),
        "decode Commit flags at byte 1: unknown flags 0x01"
    );
    assert_eq!(
        failure(b"R\0\0\0\x01s\0t\0x"),
        "decode Relation replica identity at byte 9: unknown tag 'x' (0x78)"
    );
}

#[test]
fn impossible_values() {
    assert_eq!(
        failure(b"I\0\0\0\x01N\xFF\xFF"),
        "decode tuple columns at byte 6: negative length -1"
    );
    assert_eq!(
        failure(b"I\0\0\0\x01N\0\x01b\xFF\xFF\xFF\xFE"),
        "decode cell length at byte 9: negative length -2"
    );
    assert_eq!(
        failure(b"Y\0\0\0\x01\xFF\0t\0"),
        "decode Type schema at byte 5: the string is not UTF-8"
    );
    assert_eq!(
        failure(b"D\0\0\0\x01K\0\x01n!!"),
        "decode Delete at byte 9: 2 bytes too many"
    );
}

#[test]
fn out_of_place() {
    assert_eq!(
        failure(b"E"),
        "decode StreamStop at byte 0: not allowed outside a stream block"
    );
    assert_eq!(
        failure_in_stream_block(b"B"),
        "decode Begin at byte 0: not allowed inside a stream block"
    );
    assert_eq!(
        failure_in_stream_block(STREAM_START),
        "decode StreamStart at byte 0: not allowed inside a stream block"
    );
    assert_eq!(
        failure_in_stream_block(b"E!"),
        "decode StreamStop at byte 1: 1 bytes too many"
    );
}

#[test]
fn the_source_of_a_bad_name_is_kept() {
    let error = Decoder::new()
        .decode(Bytes::from_static(b"Y\0\0\0\x01\xFF\0t\0"))
        .unwrap_err();
    assert!(matches!(error.kind, DecodeErrorKind::NotUtf8(_)));
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn what_cannot_be_written() {
    let name = "zero\0byte".to_owned();
    let commit_lsn = pgoutput::Lsn(1);
    let encoded = Message::Origin(Origin { commit_lsn, name }).encode(&mut BytesMut::new());
    assert_eq!(encoded, Err(EncodeError::ZeroByte { what: "Origin name" }));

    let what = "tuple columns";
    let length = 32_768;
    assert_eq!(
        Tuple::new(&vec![Cell::Null; length]),
        Err(EncodeError::TooLong { what, length })
    );
    assert!(Tuple::new(&vec![Cell::Null; length - 1]).is_ok());
}
