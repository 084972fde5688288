//! A stream of whole transactions from bytes to the cells of their rows, as the reader takes them: 60 updates, of which
//! some leave out a TOASTed text, 20 inserts and 20 deletes.
//!
//! `cargo bench -p crossfade-bench --bench decode`

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgoutput::message::{Begin, Commit, Delete, Insert, Message, OldTuple, Update};
use pgoutput::tuple::{Cell, Tuple};
use pgoutput::{Decoder, Lsn, Timestamp};

const RELATION: u32 = 16_384;
const CHANGES: u64 = 100;

fn text(value: impl Into<Bytes>) -> Cell {
    Cell::Text(value.into())
}

fn row(id: u64, document: Cell) -> Tuple {
    Tuple::new(&[
        text(id.to_string()),
        text((id % 100_000).to_string()),
        text("shipped"),
        text("1249.90"),
        text("d41d8cd98f00b204e9800998ecf8427e".repeat(3)),
        document,
        text("2024-05-01 12:00:00.123456+00"),
    ])
    .expect("a row of short cells fits")
}

/// The stream carries nothing but the key of a row that is gone.
fn key(id: u64) -> Tuple {
    let mut cells = vec![Cell::Null; 7];
    cells[0] = text(id.to_string());
    Tuple::new(&cells).expect("a row of short cells fits")
}

fn change(number: u64) -> Message {
    let (id, xid, relation) = (number * 7_919, None, RELATION);
    match number * 19 % 100 {
        kind @ 0..60 => {
            let document = if kind < 5 { Cell::Unchanged } else { Cell::Null };
            Message::Update(Update {
                xid,
                relation,
                old: None,
                new: row(id, document),
            })
        }
        60..80 => Message::Insert(Insert {
            xid,
            relation,
            new: row(id, Cell::Null),
        }),
        _ => Message::Delete(Delete {
            xid,
            relation,
            old: OldTuple::Key(key(id)),
        }),
    }
}

fn transaction() -> Vec<Bytes> {
    let begin = Message::Begin(Begin {
        final_lsn: Lsn(0x1000_0000),
        committed_at: Timestamp(0),
        xid: 4_711,
    });
    let commit = Message::Commit(Commit {
        commit_lsn: Lsn(0x1000_0000),
        end_lsn: Lsn(0x1000_0030),
        committed_at: Timestamp(0),
    });
    let messages = std::iter::once(begin)
        .chain((0..CHANGES).map(change))
        .chain([commit]);
    messages.map(|message| encode(&message)).collect()
}

fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out).expect("the message has no string");
    out.freeze()
}

/// How many cells a consumer gets.
fn cells(message: Message) -> usize {
    match message {
        Message::Insert(insert) => insert.new.cells().count(),
        Message::Update(update) => update.new.cells().count(),
        Message::Delete(delete) => match delete.old {
            OldTuple::Key(old) | OldTuple::Full(old) => old.cells().count(),
        },
        _other => 0,
    }
}

fn benchmark(criterion: &mut Criterion) {
    let payloads = transaction();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(CHANGES));
    let mut decoder = Decoder::new();
    group.bench_function("a transaction of 100 changes, to cells", |bencher| {
        bencher.iter(|| -> usize {
            let decoded = payloads
                .iter()
                .map(|payload| decoder.decode(black_box(payload.clone())));
            decoded.map(|message| message.map_or(0, cells)).sum()
        });
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
