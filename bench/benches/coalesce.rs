//! The feed from what the stream delivers to a piece for the applier: ten transactions of a hundred changes, judged and
//! merged into one image for each key. A fifth of the updates fall on a hundred hot rows; some leave out a TOASTed text.
//!
//! `cargo bench -p crossfade-bench --bench coalesce`

mod items;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crossfade_core::change::{Cell, Change, Row, StreamItem, TransactionPart};
use crossfade_core::feed::{Feed, FeedLimits, FeedStep};
use crossfade_core::ledger::Ledger;
use crossfade_core::name::TableName;
use crossfade_core::plan::{Expression, Target, TargetColumn};
use crossfade_core::position::{Lsn, Xid};
use crossfade_core::snapshot::Snapshot;

use self::items::{row, source};

const TRANSACTIONS: u32 = 10;
const CHANGES: u32 = 100;
const FIRST_XID: u32 = 1_000;
const ROWS: u32 = 1_000_000;

fn target() -> Target {
    let column = |(position, name): (usize, String)| TargetColumn {
        value: Expression {
            sql: name.clone(),
            reads: vec![position],
        },
        name,
        type_name: String::new(),
    };
    let names = source().columns.into_iter().map(|column| column.name);
    Target {
        shadow: TableName::new("crossfade_items", "items"),
        name: TableName::new("public", "items"),
        columns: names.enumerate().map(column).collect(),
        key: Some(vec![0]),
        filter: None,
        derived: None,
        partitioned: false,
        definition: String::new(),
    }
}

fn feed() -> Feed {
    let first = Xid(FIRST_XID.into());
    let ledger = Ledger::whole(Snapshot::new(first, first, []));
    Feed::new(
        &source(),
        &[target()],
        ledger,
        Lsn(1),
        first,
        FeedLimits::default(),
    )
}

fn change(number: u32) -> Change {
    let spread = number * 7_919 % ROWS;
    match number * 19 % 100 {
        kind @ 0..60 => {
            let id = if kind < 12 { number % 100 } else { spread };
            let document = if kind % 20 == 0 {
                Cell::Unchanged
            } else {
                Cell::Null
            };
            Change::Update {
                old_key: None,
                new: row(id, document),
            }
        }
        60..80 => Change::Insert {
            new: row(ROWS + number, Cell::Null),
        },
        _ => Change::Delete {
            old_key: key_only(row(spread, Cell::Null)),
        },
    }
}

/// The stream carries nothing but the key of a row that is gone.
fn key_only(row: Row) -> Row {
    let cells = row.0.into_iter().enumerate();
    let kept = cells.map(|(position, cell)| if position == 0 { cell } else { Cell::Null });
    Row(kept.collect())
}

fn items() -> Vec<StreamItem> {
    let transaction = |number: u32| {
        let commit = Lsn(1_000 + u64::from(number));
        StreamItem::Transaction(TransactionPart {
            xid: FIRST_XID + number,
            final_lsn: commit,
            first: true,
            changes: (number * CHANGES..(number + 1) * CHANGES).map(change).collect(),
            tables: Vec::new(),
            messages: Vec::new(),
            commit_lsn: Some(commit),
        })
    };
    (0..TRANSACTIONS).map(transaction).collect()
}

/// To the piece, whose size is the proof that something was done.
fn run(mut feed: Feed, items: Vec<StreamItem>) -> usize {
    for item in items {
        feed.receive(item).expect("the table has a key");
    }
    match feed.poll(true) {
        Some(FeedStep::Apply(piece)) => piece.puts.len() + piece.deletes.len(),
        other => panic!("a piece was expected, not {other:?}"),
    }
}

fn benchmark(criterion: &mut Criterion) {
    let items = items();
    let mut group = criterion.benchmark_group("coalesce");
    group.throughput(Throughput::Elements((TRANSACTIONS * CHANGES).into()));
    group.bench_function("1000 changes to a piece", |bencher| {
        bencher.iter_batched(
            || (feed(), items.clone()),
            |(feed, items)| run(feed, items),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
