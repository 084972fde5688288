//! How many changes a second one applier writes: pieces of 5,000 updates, each with new keys' share of inserts and
//! deletes, to a table of a million rows with nothing but its key index, on a throwaway server.
//!
//! `cargo run --release -p crossfade-applier --example apply_rate [-- ROWS]`

#![expect(clippy::print_stdout, reason = "an example tells its result")]

use std::error::Error;
use std::time::Instant;

use bytes::Bytes;
use crossfade_applier::{Applier, Outcome};
use crossfade_core::change::{Cell, Row};
use crossfade_core::name::TableName;
use crossfade_core::piece::{KeyCells, LedgerNote, Piece, Put};
use crossfade_core::plan::{
    CopyMode, CopyStep, Equality, Estimate, Expression, Key, Order, Source, SourceColumn, Target,
    TargetColumn,
};
use crossfade_core::position::Lsn;
use crossfade_core::way_back::{Direction, WayBack};
use crossfade_lab::server::{Server, ServerOptions};
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_postgres::state::{self, Generation};

const COLUMNS: [(&str, &str); 4] = [
    ("id", "integer"),
    ("n", "bigint"),
    ("at", "timestamptz"),
    ("note", "text"),
];
const PIECE: u32 = 5_000;
const PIECES: u32 = 60;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rows: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let server = Server::start(ServerOptions::default()).await?;
    let config = ConnectConfig::parse(&server.superuser())?;
    let session = Session::open(&config, &SessionOptions::default()).await?;
    let definition = format!(
        "CREATE TABLE public.t (id int PRIMARY KEY, n bigint, at timestamptz, note text); CREATE SCHEMA shadow; \
         CREATE TABLE shadow.t (id bigint, n bigint, at timestamptz, note text); \
         INSERT INTO shadow.t SELECT i, i, now(), repeat('x', 60) FROM generate_series(1, {rows}) AS i; \
         ALTER TABLE shadow.t ADD PRIMARY KEY (id)"
    );
    session.batch_execute(&definition).await?;
    state::ensure(&session).await?;
    session
        .batch_execute("INSERT INTO crossfade.generation VALUES ('m', 1)")
        .await?;
    state::start_position(&session, "m", Direction::Forward, Lsn(1)).await?;
    let mut applier =
        Applier::prepare(session, &step(), &"m".parse()?, Direction::Forward, Generation(1)).await?;
    for (what, inserts, deletes) in [
        ("updates", 0, 0),
        ("mixed: a fifth inserts, a fifth deletes", 5, 5),
    ] {
        let pieces: Vec<Piece> = (0..PIECES)
            .map(|number| piece(number, rows, inserts, deletes))
            .collect();
        let start = Instant::now();
        for piece in &pieces {
            match applier.apply(piece).await {
                Outcome::Applied { .. } | Outcome::Pending => {}
                Outcome::NotApplied(error) | Outcome::Unknown(error) => return Err(error.into()),
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{what}: {:.0} changes/s", f64::from(PIECES * PIECE) / seconds);
    }
    Ok(())
}

/// Every `inserts`-th change is of a new key, every `deletes`-th other one removes a row; the rest update.
fn piece(number: u32, rows: u32, inserts: u32, deletes: u32) -> Piece {
    let mut piece = Piece {
        first: true,
        truncate: false,
        removes: Vec::new(),
        deletes: Vec::new(),
        puts: Vec::new(),
        applied: Some(Lsn(2)),
        aligned: None,
        fetched: false,
        ledger: LedgerNote::default(),
    };
    for change in 0..PIECE {
        let ordinal = number * PIECE + change;
        // A stride that is no divisor of the table's size spreads the keys over it.
        let spread = (u64::from(ordinal) * 7_919 % u64::from(rows)) as u32 + 1;
        if deletes != 0 && change % deletes == 1 {
            piece.deletes.push(KeyCells([int(spread)].into()));
        } else {
            let id = if inserts != 0 && change % inserts == 0 {
                rows + 1 + ordinal
            } else {
                spread
            };
            piece.puts.push(Put { row: row(id) });
        }
    }
    piece
}

fn int(value: u32) -> Cell {
    Cell::Binary(Bytes::copy_from_slice(&value.to_be_bytes()))
}

fn row(id: u32) -> Row {
    let n = Cell::Binary(Bytes::copy_from_slice(&u64::from(id).to_be_bytes()));
    let at = Cell::Binary(Bytes::from_static(&[0; 8]));
    let note = Cell::Binary(Bytes::from_static(&[b'y'; 60]));
    Row([int(id), n, at, note].into())
}

fn step() -> CopyStep {
    let source_column = |(name, kind): (&str, &str)| SourceColumn {
        name: name.to_owned(),
        type_oid: 0,
        type_name: kind.to_owned(),
        equality: Equality::Bytes,
        order: Order::Server,
    };
    let target_column = |(position, (name, kind)): (usize, (&str, &str))| TargetColumn {
        name: name.to_owned(),
        type_name: kind.to_owned(),
        value: Expression {
            sql: name.to_owned(),
            reads: vec![position],
        },
    };
    CopyStep {
        source: Source {
            name: TableName::new("public", "t"),
            oid: 0,
            columns: COLUMNS.into_iter().map(source_column).collect(),
            key: Some(Key { columns: vec![0] }),
            identity_to_restore: None,
            full_identity: false,
            binary: true,
            never_missing: Vec::new(),
            each_row_once: false,
            parts: Vec::new(),
            definition: String::new(),
        },
        keeps_source: false,
        targets: vec![Target {
            shadow: TableName::new("shadow", "t"),
            name: TableName::new("public", "t"),
            columns: COLUMNS.into_iter().enumerate().map(target_column).collect(),
            key: Some(vec![0]),
            filter: None,
            derived: None,
            partitioned: false,
            definition: String::new(),
        }],
        copy_mode: CopyMode::Snapshot,
        copy_mode_reason: String::new(),
        estimate: Estimate::default(),
        statements: Vec::new(),
        view: None,
        way_back: WayBack::default(),
        back: None,
    }
}
