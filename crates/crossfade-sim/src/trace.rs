//! What a trace says of commands and events, so that people can read it: rows by their cells, and no more than is needed.

use crossfade_core::change::{Cell, Row, StreamItem};
use crossfade_core::migration::{Command, Event};
use crossfade_core::piece::{KeyCells, Piece};

pub(crate) fn command(command: &Command) -> String {
    match command {
        Command::Apply(piece) => describe_piece(piece),
        Command::Fetch { keys, .. } => {
            let keys = keys.iter().map(|fetch| key(&fetch.key));
            format!("fetch {}", join(keys))
        }
        Command::Classify(keys) => format!("classify {}", join(keys.iter().map(key))),
        Command::Route { keys, bounds } => format!(
            "route {} between {}",
            join(keys.iter().map(key)),
            join(bounds.iter().map(key))
        ),
        other => format!("{other:?}"),
    }
}

pub(crate) fn event(event: &Event) -> String {
    match event {
        Event::Fetched {
            snapshot,
            rows,
            reach,
        } => {
            let rows = rows
                .iter()
                .map(|found| found.as_ref().map_or("nothing".to_owned(), row));
            format!("fetched under {snapshot}, reaching {reach}: {}", join(rows))
        }
        Event::Stream(item) => describe_item(item),
        other => format!("{other:?}"),
    }
}

fn describe_item(item: &StreamItem) -> String {
    match item {
        StreamItem::Transaction(part) => format!(
            "stream: xid {} {}{} changes{}{}",
            part.xid,
            if part.first { "" } else { "… " },
            part.changes.len(),
            join(part.messages.iter().map(|message| format!(", says {message:?}"))),
            part.commit_lsn
                .map_or(String::new(), |lsn| format!(", committed at {lsn}")),
        ),
        StreamItem::Keepalive { wal_end } => format!("stream: nothing up to {wal_end}"),
    }
}

fn describe_piece(piece: &Piece) -> String {
    let mut parts = vec!["apply".to_owned()];
    if piece.truncate {
        parts.push("empty".to_owned());
    }
    if !piece.deletes.is_empty() {
        parts.push(format!("delete {}", join(piece.deletes.iter().map(key))));
    }
    if !piece.puts.is_empty() {
        parts.push(format!(
            "put {}",
            join(piece.puts.iter().map(|put| row(&put.row)))
        ));
    }
    if let Some(end) = piece.applied {
        parts.push(format!("up to {end}"));
    }
    if let Some(snapshot) = &piece.aligned {
        parts.push(format!("aligned with {snapshot}"));
    }
    if !piece.ledger.is_empty() {
        parts.push(format!("{:?}", piece.ledger));
    }
    parts.join(", ")
}

fn key(key: &KeyCells) -> String {
    key.0.iter().map(cell).collect::<Vec<_>>().join("/")
}

fn row(row: &Row) -> String {
    let cells = row.0.iter().map(cell).collect::<Vec<_>>();
    format!("({})", cells.join(" "))
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Unchanged => "kept".to_owned(),
        Cell::Text(bytes) | Cell::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" ")
}
