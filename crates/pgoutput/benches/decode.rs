//! Messages per second of an 8-column row: decoded only, decoded with every cell cut out, and with the `CopyData`
//! payload around it.
//!
//! `cargo bench -p pgoutput`

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgoutput::message::{Insert, Message, OldTuple, Update};
use pgoutput::stream::{ServerMessage, XLogData};
use pgoutput::tuple::{Cell, Tuple};
use pgoutput::{Decoder, Lsn, Timestamp};

fn text(value: &'static str) -> Cell {
    Cell::Text(Bytes::from_static(value.as_bytes()))
}

/// An order: id, customer, amount, status, document, two times, and a TOASTed text.
fn row(id: &'static str, note: Cell) -> Tuple {
    Tuple::new(&[
        text(id),
        text("830017"),
        text("1249.90"),
        text("shipped"),
        text(r#"{"items": [{"sku": "A-17", "count": 2}]}"#),
        text("2024-05-01 12:00:00+00"),
        Cell::Null,
        note,
    ])
    .expect("a row of 8 short cells fits")
}

fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out).expect("the message has no string");
    out.freeze()
}

fn insert() -> Bytes {
    encode(&Message::Insert(Insert {
        xid: None,
        relation: 16_384,
        new: row("1000001", text("no remark")),
    }))
}

fn update() -> Bytes {
    encode(&Message::Update(Update {
        xid: None,
        relation: 16_384,
        old: None,
        new: row("1000001", Cell::Unchanged),
    }))
}

fn key_update() -> Bytes {
    encode(&Message::Update(Update {
        xid: None,
        relation: 16_384,
        old: Some(OldTuple::Key(row("1000001", Cell::Null))),
        new: row("2000001", Cell::Unchanged),
    }))
}

/// The cells of the new row, as a consumer takes them.
fn cells(message: Message) -> Vec<Cell> {
    match message {
        Message::Insert(insert) => insert.new.cells().collect(),
        Message::Update(update) => update.new.cells().collect(),
        other => panic!("the benchmark has inserts and updates only: {other:?}"),
    }
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    for (name, payload) in [
        ("insert", insert()),
        ("update", update()),
        ("key update", key_update()),
    ] {
        let mut decoder = Decoder::new();
        group.bench_function(format!("{name}, message"), |bencher| {
            bencher.iter(|| decoder.decode(black_box(payload.clone())));
        });
        group.bench_function(format!("{name}, message and cells"), |bencher| {
            bencher.iter(|| decoder.decode(black_box(payload.clone())).map(cells));
        });
    }

    let mut copy_data = BytesMut::new();
    let data = XLogData {
        start: Lsn(1),
        end: Lsn(1),
        sent_at: Timestamp(0),
        payload: insert(),
    };
    data.encode(&mut copy_data);
    let copy_data = copy_data.freeze();
    let mut decoder = Decoder::new();
    group.bench_function("insert, CopyData payload to cells", |bencher| {
        bencher.iter(|| match ServerMessage::decode(black_box(copy_data.clone())) {
            Ok(ServerMessage::XLogData(data)) => decoder.decode(data.payload).map(cells),
            other => panic!("XLogData was encoded, {other:?} came"),
        });
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
