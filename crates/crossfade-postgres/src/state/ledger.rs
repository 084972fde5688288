//! The ledger as it is stored: where the copy began, its chunks, and the drops that a later copy must have seen.

use bytes::Bytes;
use crossfade_core::change::Cell;
use crossfade_core::ledger::Span;
use crossfade_core::name::MigrationName;
use crossfade_core::piece::{KeyCells, LedgerNote};
use crossfade_core::position::Xid;
use crossfade_core::snapshot::Snapshot;

use super::StateError;
use crate::ident::literal;
use crate::session::Session;

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number.
    pub number: u64,
    /// Its keys; without bounds where the whole table is one chunk.
    pub span: Span,
    /// Under which it was read.
    pub snapshot: Snapshot,
    /// How many rows it had.
    pub rows: u64,
}

/// Records a chunk; in the transaction that makes its rows visible, or after the last of several (R11).
///
/// # Errors
/// As the server says; a chunk that is recorded already is a unique violation.
pub async fn record_chunk(session: &Session, name: &str, chunk: &Chunk) -> Result<(), StateError> {
    let insert = "INSERT INTO crossfade.chunk (migration, chunk, snapshot, lower, upper, rows)
                  VALUES ($1, $2, $3, $4, $5, $6)";
    let number = i64::try_from(chunk.number).unwrap_or(i64::MAX);
    let rows = i64::try_from(chunk.rows).unwrap_or(i64::MAX);
    let bound = |key: &Option<KeyCells>| key.as_ref().map(encode);
    let (lower, upper) = (bound(&chunk.span.lower), bound(&chunk.span.upper));
    let snapshot = chunk.snapshot.to_string();
    session
        .execute(insert, &[&name, &number, &snapshot, &lower, &upper, &rows])
        .await?;
    Ok(())
}

/// The chunks that are recorded, in the order of their numbers.
///
/// # Errors
/// As the server says, or a row cannot be understood.
pub async fn chunks(session: &Session, name: &str) -> Result<Vec<Chunk>, StateError> {
    let select =
        "SELECT chunk, snapshot, lower, upper, rows FROM crossfade.chunk WHERE migration = $1 ORDER BY chunk";
    let rows = session.query(select, &[&name]).await?;
    rows.iter()
        .map(|row| {
            let bound = |column| {
                let stored: Option<&[u8]> = row.get(column);
                let key = stored.map(|bytes| decode(bytes).ok_or("a chunk's bound"));
                key.transpose().map_err(|what| unreadable(name, what.to_owned()))
            };
            Ok(Chunk {
                number: row.get::<_, i64>(0).cast_unsigned(),
                snapshot: snapshot(name, row.get(1))?,
                span: Span {
                    lower: bound(2)?,
                    upper: bound(3)?,
                },
                rows: row.get::<_, i64>(4).try_into().unwrap_or(0),
            })
        })
        .collect()
}

/// Writes the snapshot of the slot's consistent point down, beside the position where the copy's stream starts.
///
/// # Errors
/// As the server says.
pub async fn record_slot_snapshot(session: &Session, name: &str, slot: &Snapshot) -> Result<(), StateError> {
    let update =
        "UPDATE crossfade.position SET slot_snapshot = $2 WHERE migration = $1 AND direction = 'forward'";
    session.execute(update, &[&name, &slot.to_string()]).await?;
    Ok(())
}

/// The snapshot of the slot's consistent point, if the copy needs it.
///
/// # Errors
/// As the server says, or it cannot be understood.
pub async fn slot_snapshot(session: &Session, name: &str) -> Result<Option<Snapshot>, StateError> {
    let select =
        "SELECT slot_snapshot FROM crossfade.position WHERE migration = $1 AND direction = 'forward'";
    let row = session.query_opt(select, &[&name]).await?;
    let text: Option<String> = row.and_then(|row| row.get(0));
    text.map(|text| snapshot(name, &text)).transpose()
}

/// Transactions of which a change was dropped for a chunk that was still to be read (R6).
///
/// # Errors
/// As the server says.
pub async fn unproven_drops(session: &Session, name: &str) -> Result<Vec<Xid>, StateError> {
    let select = "SELECT xid::text FROM crossfade.unproven_drop WHERE migration = $1";
    let rows = session.query(select, &[&name]).await?;
    let xids = rows.iter().map(|row| {
        let text: &str = row.get(0);
        let xid = text.parse().map(Xid);
        xid.map_err(|_| unreadable(name, format!("transaction {text}")))
    });
    xids.collect()
}

/// Forgets everything of a copy that begins again.
///
/// # Errors
/// As the server says.
pub async fn forget_copy(session: &Session, name: &str) -> Result<(), StateError> {
    for table in ["position", "chunk", "unproven_drop"] {
        session
            .execute(
                &format!("DELETE FROM crossfade.{table} WHERE migration = $1"),
                &[&name],
            )
            .await?;
    }
    Ok(())
}

/// What writes a note down, in the transaction that advances the applied LSN. Nothing for an empty note.
pub fn note_statements(name: &MigrationName, note: &LedgerNote) -> Vec<String> {
    let name = literal(name.as_str());
    let delete = |table: &str| format!("DELETE FROM crossfade.{table} WHERE migration = {name}");
    let xids = note
        .drops
        .iter()
        .map(Xid::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let insert = format!(
        "INSERT INTO crossfade.unproven_drop (migration, xid)\n\
         SELECT {name}, x FROM pg_catalog.unnest('{{{xids}}}'::xid8[]) AS x"
    );
    let statements = [
        note.restart.then(|| delete("chunk")),
        note.forget.then(|| delete("unproven_drop")),
        (!note.drops.is_empty()).then_some(insert),
    ];
    statements.into_iter().flatten().collect()
}

fn snapshot(name: &str, text: &str) -> Result<Snapshot, StateError> {
    text.parse()
        .map_err(|_| unreadable(name, format!("snapshot {text}")))
}

fn unreadable(name: &str, what: String) -> StateError {
    StateError::Unreadable {
        name: name.into(),
        what,
    }
}

const TEXT: u8 = b't';
const BINARY: u8 = b'b';

/// Each cell's form, length and bytes.
fn encode(key: &KeyCells) -> Vec<u8> {
    let mut out = Vec::new();
    for cell in &key.0 {
        let (form, bytes): (u8, &[u8]) = match cell {
            Cell::Text(bytes) => (TEXT, bytes),
            Cell::Binary(bytes) => (BINARY, bytes),
            // No column of a key is.
            Cell::Null | Cell::Unchanged => (BINARY, &[]),
        };
        out.push(form);
        out.extend((bytes.len() as u32).to_be_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

fn decode(mut stored: &[u8]) -> Option<KeyCells> {
    let mut cells = Vec::new();
    while let Some((form, rest)) = stored.split_first() {
        let (length, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let bytes = Bytes::copy_from_slice(bytes);
        cells.push(match *form {
            TEXT => Cell::Text(bytes),
            BINARY => Cell::Binary(bytes),
            _ => return None,
        });
        stored = rest;
    }
    Some(KeyCells(cells.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_round_trip_and_others_are_refused() {
        let text = |bytes: &'static [u8]| Cell::Text(Bytes::from_static(bytes));
        let binary = |bytes: &'static [u8]| Cell::Binary(Bytes::from_static(bytes));
        for cells in [
            vec![text(b"")],
            vec![binary(b"\0\x01"), text("é".as_bytes())],
            vec![],
        ] {
            let key = KeyCells(cells.into());
            assert_eq!(decode(&encode(&key)), Some(key));
        }
        for stored in [&b"t"[..], b"t\0\0\0\x02a", b"x\0\0\0\0"] {
            assert_eq!(decode(stored), None, "{stored:?}");
        }
    }

    #[test]
    fn a_note_is_written_with_as_many_statements_as_it_needs() {
        let name: MigrationName = "m".parse().unwrap();
        assert!(note_statements(&name, &LedgerNote::default()).is_empty());
        let note = LedgerNote {
            forget: true,
            drops: vec![Xid(7), Xid(1 << 33)],
            restart: true,
        };
        insta::assert_snapshot!(note_statements(&name, &note).join(";\n"), @r"
        DELETE FROM crossfade.chunk WHERE migration = 'm';
        DELETE FROM crossfade.unproven_drop WHERE migration = 'm';
        INSERT INTO crossfade.unproven_drop (migration, xid)
        SELECT 'm', x FROM pg_catalog.unnest('{7,8589934592}'::xid8[]) AS x
        ");
    }
}
