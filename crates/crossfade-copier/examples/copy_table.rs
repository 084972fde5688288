//! Copies a table into another one of the same columns, in ranges, by two copiers on one snapshot.
//!
//! `cargo run --release -p crossfade-copier --example copy_table [-- ROWS]`

#![expect(clippy::print_stdout, reason = "an example tells its result")]

use std::error::Error;
use std::time::Instant;

use crossfade_copier::{Copier, Outcome, SnapshotKeeper};
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{
    CopyMode, CopyStep, Equality, Estimate, Expression, Order, Source, SourceColumn, Target, TargetColumn,
};
use crossfade_core::way_back::WayBack;
use crossfade_lab::server::{Server, ServerOptions};
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::copy::ranges;
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_postgres::state::{self, Generation};

const COLUMNS: [(&str, &str); 2] = [("id", "integer"), ("note", "text")];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rows: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let server = Server::start(ServerOptions::default()).await?;
    let config = ConnectConfig::parse(&server.superuser())?;
    let options = SessionOptions::default();
    let session = Session::open(&config, &options).await?;
    let definition = format!(
        "CREATE TABLE public.t (id int, note text); CREATE SCHEMA shadow; \
         CREATE TABLE shadow.t (id bigint, note text); \
         INSERT INTO public.t SELECT i, repeat('x', 90) FROM generate_series(1, {rows}) AS i"
    );
    session.batch_execute(&definition).await?;
    state::ensure(&session).await?;
    session
        .batch_execute("INSERT INTO crossfade.generation VALUES ('m', 1)")
        .await?;
    let oid = session
        .query_one("SELECT 'public.t'::regclass::oid", &[])
        .await?
        .get(0);
    let (step, name): (CopyStep, MigrationName) = (step(oid), "m".parse()?);

    let start = Instant::now();
    let keeper = SnapshotKeeper::lock(session, &step.source)
        .await?
        .import(None)
        .await?;
    let kept = keeper.kept();
    let ranges = ranges(kept.heap_pages, kept.total_bytes, 8 << 20);
    let half = ranges.len() / 2;
    let copier = async |ranges: &[_]| -> Result<u64, Box<dyn Error>> {
        let session = Session::open(&config, &options).await?;
        let copier = Copier::prepare(session, &step, &name, Generation(1)).await?;
        let mut rows = 0;
        for range in ranges {
            match copier.copy_range(*range, kept).await {
                Outcome::Done(copied) => rows += copied.rows,
                Outcome::NotDone(error) | Outcome::Unknown(error) => return Err(error.into()),
            }
        }
        Ok(rows)
    };
    let (left, right) = tokio::try_join!(copier(&ranges[..half]), copier(&ranges[half..]))?;
    let copied = left + right;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{copied} rows in {} ranges, {:.0} rows/s",
        ranges.len(),
        copied as f64 / seconds
    );
    keeper.release().await?;
    Ok(())
}

fn step(oid: u32) -> CopyStep {
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
            oid,
            columns: COLUMNS.into_iter().map(source_column).collect(),
            key: None,
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
            key: None,
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
