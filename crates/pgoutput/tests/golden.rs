//! What a real PostgreSQL server sent, decoded. `fixtures/capture.sh` made the bytes, `fixtures/server.txt` names
//! the server.
//!
//! Each fixture is decoded, read in a snapshot, and encoded again to exactly the same bytes.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use pgoutput::message::Message;
use pgoutput::tuple::Cell;
use pgoutput::{Decoder, Lsn};

const TEXT: &str = include_str!("fixtures/text.hex");
const BINARY: &str = include_str!("fixtures/binary.hex");
const STREAMED: &str = include_str!("fixtures/streamed.hex");

fn unhex(line: &str) -> Bytes {
    let digit = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("a fixture is hexadecimal");
    (0..line.len()).step_by(2).map(digit).collect()
}

fn decode(fixture: &str) -> Vec<Message> {
    let mut decoder = Decoder::new();
    let messages = fixture
        .lines()
        .map(|line| {
            let bytes = unhex(line);
            let message = decoder.decode(bytes.clone()).expect("a server sent it");
            let mut encoded = BytesMut::new();
            message.encode(&mut encoded).expect("it was decoded");
            assert_eq!(encoded, bytes, "{message:?}");
            message
        })
        .collect();
    assert!(!decoder.in_stream_block());
    messages
}

/// One message a line. Of a long run of inserts of one transaction only the first and the last are shown.
fn listing(messages: &[Message]) -> String {
    let xid = |message: &Message| match message {
        Message::Insert(insert) => Some(insert.xid),
        _ => None,
    };
    let mut lines = Vec::new();
    for run in messages.chunk_by(|one, next| xid(one).is_some() && xid(one) == xid(next)) {
        match run {
            [first, between @ .., last] if between.len() > 1 => {
                lines.push(format!("{first:?}\n… {} more\n{last:?}", between.len()));
            }
            few => lines.extend(few.iter().map(|message| format!("{message:?}"))),
        }
    }
    let text = lines.join("\n");
    text.replace(&"x".repeat(3000), "x × 3000")
}

#[test]
fn text() {
    insta::assert_snapshot!(listing(&decode(TEXT)));
}

#[test]
fn binary() {
    insta::assert_snapshot!(listing(&decode(BINARY)));
}

#[test]
fn streamed() {
    insta::assert_snapshot!(listing(&decode(STREAMED)));
}

#[test]
fn streamed_messages_tell_what_an_abort_takes_back() {
    let messages = decode(STREAMED);
    let (mut inserted, mut aborted, mut commit_end) = (Vec::new(), BTreeSet::new(), Lsn(0));
    for message in &messages {
        match message {
            Message::Insert(insert) => inserted.push(insert.xid),
            Message::StreamAbort(abort) => drop(aborted.insert(abort.subxid)),
            Message::StreamCommit(commit) => commit_end = commit.end_lsn,
            _ => {}
        }
    }
    let kept = inserted.iter().flatten().filter(|xid| !aborted.contains(xid));
    assert_eq!(
        kept.count(),
        600 + 600,
        "the rows of streamed.sql that were committed in blocks"
    );
    assert_eq!(
        inserted.iter().filter(|xid| xid.is_none()).count(),
        1,
        "the small transaction"
    );
    assert!(commit_end > Lsn(0));
}

#[test]
fn cells_share_the_messages_buffer() {
    let line = TEXT.lines().find(|line| line.starts_with("49")).unwrap();
    let buffer = unhex(line);
    let within = buffer.as_ptr_range();
    let Message::Insert(insert) = Decoder::new().decode(buffer.clone()).unwrap() else {
        panic!("the line begins with the tag of an Insert");
    };
    for cell in &insert.new {
        if let Cell::Text(value) = cell {
            assert!(within.contains(&value.as_ptr()));
        }
    }
}
