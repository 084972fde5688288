//! The ledger's one question, asked for each change while a table is copied in chunks: applied, dropped or held. A
//! thousand chunks of a bigint key, changes of transactions before and behind the chunks' snapshots.
//!
//! `cargo bench -p crossfade-bench --bench judge`

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossfade_core::change::Cell;
use crossfade_core::ledger::{ChunkId, CopiedChunk, Ledger, Span};
use crossfade_core::order::KeyOrder;
use crossfade_core::piece::KeyCells;
use crossfade_core::plan::{Equality, Key, Order, SourceColumn};
use crossfade_core::position::Xid;
use crossfade_core::snapshot::Snapshot;

const CHUNKS: u64 = 1_000;
const CHANGES: u64 = 1_000;
const FIRST_XID: u64 = 1_000_000;

/// A bigint as the stream carries it in binary.
fn key(id: u64) -> KeyCells {
    KeyCells([Cell::Binary(Bytes::copy_from_slice(&id.to_be_bytes()))].into())
}

fn ledger() -> Ledger {
    let column = SourceColumn {
        name: "id".to_owned(),
        type_oid: 20,
        type_name: "bigint".to_owned(),
        equality: Equality::Bytes,
        order: Order::Signed,
    };
    let order = KeyOrder::new(&Key { columns: vec![0] }, &[column]);
    let copied = (0..CHUNKS).map(|number| {
        let xmin = Xid(FIRST_XID + number * 10);
        let xmax = Xid(FIRST_XID + number * 10 + 8);
        let span = Span {
            lower: (number > 0).then(|| key(number * 1_000)),
            upper: Some(key((number + 1) * 1_000)),
        };
        CopiedChunk {
            id: ChunkId(number),
            span,
            snapshot: Snapshot::new(xmin, xmax, [Xid(xmin.0 + 2), Xid(xmin.0 + 5)]),
        }
    });
    let slot = Snapshot::new(Xid(FIRST_XID), Xid(FIRST_XID), []);
    Ledger::chunked(order, slot, copied.collect(), [])
}

fn benchmark(criterion: &mut Criterion) {
    let mut ledger = ledger();
    let changes: Vec<(KeyCells, Xid)> = (0..CHANGES)
        .map(|number| {
            let id = number * 7_919 % (CHUNKS * 1_000) + 1;
            (key(id), Xid(FIRST_XID + number * 7_907 % (CHUNKS * 10)))
        })
        .collect();
    let mut group = criterion.benchmark_group("judge");
    group.throughput(Throughput::Elements(CHANGES));
    group.bench_function("1000 changes at home in 1000 chunks", |bencher| {
        bencher.iter(|| {
            for (key, xid) in &changes {
                let home = ledger
                    .home(black_box(key))
                    .expect("the order of the key is known");
                black_box(ledger.judge(home, *xid, Some(key)));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
