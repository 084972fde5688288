//! A piece as `COPY … FROM STDIN` wants it: 5,000 rows to write, a twentieth of which keep a TOASTed text, and 1,000 keys
//! to remove.
//!
//! `cargo bench -p crossfade-bench --bench encode`

mod items;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossfade_core::change::Cell;
use crossfade_core::piece::{KeyCells, Put};
use crossfade_postgres::apply::encode;

use self::items::{row, source};

const PUTS: u32 = 5_000;
const DELETES: u32 = 1_000;

fn put(id: u32) -> Put {
    let document = if id.is_multiple_of(20) {
        Cell::Unchanged
    } else {
        Cell::Null
    };
    Put {
        row: row(id, document),
    }
}

fn key(id: u32) -> KeyCells {
    KeyCells([Cell::Binary(Bytes::copy_from_slice(&id.to_be_bytes()))].into())
}

fn benchmark(criterion: &mut Criterion) {
    let source = source();
    let puts: Vec<Put> = (0..PUTS).map(put).collect();
    let deletes: Vec<KeyCells> = (0..DELETES).map(key).collect();
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(PUTS.into()));
    group.bench_function("5000 rows", |bencher| {
        bencher.iter(|| encode::puts(&source, black_box(&puts)).expect("the rows fit the source"));
    });
    group.throughput(Throughput::Elements(DELETES.into()));
    group.bench_function("1000 keys", |bencher| {
        bencher.iter(|| encode::keys(&source, black_box(&deletes)).expect("the keys fit the source"));
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
