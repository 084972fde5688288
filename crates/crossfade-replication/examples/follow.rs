//! Prints the changes of one table as they are committed.
//!
//! ```text
//! cargo run -p crossfade-replication --example follow -- 'host=/tmp dbname=app' public orders my_publication
//! ```
//!
//! Makes a slot named `crossfade_follow`, follows it until Ctrl-C, and drops it. Values are shown by their size
//! only: a row's content belongs to its owner.

#![expect(clippy::print_stdout, reason = "an example shows something")]

use std::error::Error;

use crossfade_core::change::{Change, Row, StreamItem, TransactionPart};
use crossfade_core::name::TableName;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_replication::reader::{Reader, ReaderLimits, ReaderOptions};
use crossfade_replication::shape::{HandOut, Shape, ShapeColumn};
use crossfade_replication::slot;
use crossfade_replication::transport::Connection;

const SLOT: &str = "crossfade_follow";

/// The columns that the stream carries, and which of them are in the replica identity.
const COLUMNS: &str = "
    SELECT c.oid, c.relreplident = 'f', a.attname::text, a.atttypid, a.attnum = ANY (i.indkey)
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    LEFT JOIN pg_index i ON i.indrelid = c.oid
        AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary END
    WHERE c.oid = format('%I.%I', $1::text, $2::text)::regclass
    ORDER BY a.attnum";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [connection, schema, table, publication] = &arguments[..] else {
        return Err("usage: follow CONNECTION SCHEMA TABLE PUBLICATION".into());
    };
    let connect = ConnectConfig::parse(connection)?;
    let shape = shape(connection, TableName::new(schema, table)).await?;
    let mut admin = Connection::open(&connect).await?;
    let created = slot::create(&mut admin, SLOT).await?;
    println!("following from {}", created.consistent_point);

    let (reader, mut batches) = Reader::start(ReaderOptions {
        connect,
        slot: SLOT.to_owned(),
        publication: publication.clone(),
        shapes: vec![shape],
        binary: false,
        start: created.consistent_point,
        history: None,
        limits: ReaderLimits::default(),
    });
    loop {
        tokio::select! {
            batch = batches.recv() => match batch {
                Some(batch) => batch.iter().for_each(|item| reader.acknowledge(show(item))),
                None => break,
            },
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                reader.stop();
                break;
            }
        }
    }
    let ended = reader.join().await;
    slot::drop(&mut admin, SLOT).await?;
    Ok(ended?)
}

async fn shape(connection: &str, table: TableName) -> Result<Shape, Box<dyn Error>> {
    let (client, session) = tokio_postgres::connect(connection, tokio_postgres::NoTls).await?;
    tokio::spawn(session);
    let rows = client.query(COLUMNS, &[&table.schema, &table.name]).await?;
    let first = rows.first().ok_or("the table has no columns")?;
    let in_key = |row: &tokio_postgres::Row| row.get::<_, Option<bool>>(4).unwrap_or(false);
    Ok(Shape {
        former_name: None,
        oid: first.get(0),
        table,
        columns: rows
            .iter()
            .map(|row| ShapeColumn {
                name: row.get(2),
                type_oid: row.get(3),
            })
            .collect(),
        key_columns: (0..rows.len()).filter(|&column| in_key(&rows[column])).collect(),
        full_identity: first.get(1),
        partitioned: false,
        hands_out: HandOut::Rows,
    })
}

/// Prints an item and returns the position that may be acknowledged after it: printed is applied here.
fn show(item: &StreamItem) -> crossfade_core::position::Lsn {
    match item {
        StreamItem::Keepalive { wal_end } => *wal_end,
        StreamItem::Transaction(part) => {
            part.changes.iter().for_each(|change| show_change(part, change));
            // Within a transaction nothing new may be acknowledged; going back is no harm.
            part.commit_lsn.unwrap_or_default()
        }
    }
}

fn show_change(part: &TransactionPart, change: &Change) {
    let row = |row: &Row| format!("{} columns, {} bytes", row.0.len(), row.size());
    let xid = part.xid;
    match change {
        Change::Insert { new } => println!("{xid} insert: {}", row(new)),
        Change::Update { old_key: None, new } => println!("{xid} update: {}", row(new)),
        Change::Update {
            old_key: Some(_),
            new,
        } => println!("{xid} update of the key: {}", row(new)),
        Change::Delete { .. } => println!("{xid} delete"),
        Change::Truncate { .. } => println!("{xid} truncate"),
    }
}
