//! What the state schemas of both servers hold of a move: which of them leads, and how far each table is.
//!
//! A table of a move is known by the move's name and its number (`MigrationName::of_table`), and has its position, its
//! ledger row and its statements under that, on the server where it follows.

use std::collections::BTreeMap;

use crossfade_core::name::MigrationName;
use crossfade_core::phase::Phase;
use crossfade_core::position::Lsn;

use super::StateError;
use super::engine::Generation;
use crate::session::Session;

/// What is written down of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// From this leg on the tables here follow; in the transaction that shuts writers out.
    Left,
    /// From this leg on the tables here lead; in the transaction that lets writers in.
    Entered,
    /// On the target: before the hook that pauses applications; taken back behind the one that lets them go on.
    Paused,
    /// On the target: the hook has led applications over.
    Switched,
}

impl Mark {
    fn as_str(self) -> &'static str {
        match self {
            Mark::Left => "left",
            Mark::Entered => "entered",
            Mark::Paused => "paused",
            Mark::Switched => "switched",
        }
    }
}

/// Writes it down, of the hand-over with which that leg begins.
///
/// # Errors
/// As the server says.
pub async fn mark(session: &Session, name: &str, leg: i32, mark: Mark) -> Result<(), StateError> {
    let insert =
        "INSERT INTO crossfade.hand_over (migration, leg, side) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    session.execute(insert, &[&name, &leg, &mark.as_str()]).await?;
    Ok(())
}

/// Up to where the other server had everything when that leg began here.
///
/// # Errors
/// As the server says.
pub async fn mark_left(session: &Session, name: &str, leg: i32, drained: Lsn) -> Result<(), StateError> {
    let insert = "INSERT INTO crossfade.hand_over (migration, leg, side, drained) VALUES ($1, $2, 'left', $3::text::pg_lsn)";
    session
        .execute(insert, &[&name, &leg, &drained.to_string()])
        .await?;
    Ok(())
}

/// Whether everything that `left` says is in these tables, whose server is to be entered: it may have been restored, or
/// a standby of it promoted.
///
/// # Errors
/// As the server says.
pub async fn has_everything(
    left: &Session,
    entered: &Session,
    name: &str,
    leg: i32,
    tables: &[String],
) -> Result<bool, StateError> {
    let query =
        "SELECT drained::text FROM crossfade.hand_over WHERE migration = $1 AND leg = $2 AND side = 'left'";
    let row = left.query_opt(query, &[&name, &leg]).await?;
    let Some(drained) = row.and_then(|row| row.get::<_, Option<String>>(0)) else {
        return Ok(false);
    };
    let query = "SELECT count(*) FROM crossfade.position
                  WHERE migration = ANY ($1::text[]) AND direction = 'forward' AND applied_lsn > $2::text::pg_lsn";
    let count: i64 = entered.query_one(query, &[&tables, &drained]).await?.get(0);
    Ok(usize::try_from(count) == Ok(tables.len()))
}

/// Takes it back.
///
/// # Errors
/// As the server says.
pub async fn unmark(session: &Session, name: &str, mark: Mark) -> Result<(), StateError> {
    let delete = "DELETE FROM crossfade.hand_over WHERE migration = $1 AND side = $2";
    session.execute(delete, &[&name, &mark.as_str()]).await?;
    Ok(())
}

/// The last leg of which it is written down, if there is one.
///
/// # Errors
/// As the server says.
pub async fn marked(session: &Session, name: &str, mark: Mark) -> Result<Option<i32>, StateError> {
    let query = "SELECT max(leg) FROM crossfade.hand_over WHERE migration = $1 AND side = $2";
    Ok(session.query_one(query, &[&name, &mark.as_str()]).await?.get(0))
}

/// The generation of every table is that of its move: their writing transactions are guarded one by one (R24).
///
/// # Errors
/// As the server says.
pub async fn raise_generation_of_tables(
    session: &Session,
    name: &MigrationName,
    tables: usize,
    generation: Generation,
) -> Result<(), StateError> {
    let names: Vec<String> = (0..tables)
        .map(|number| name.of_table(number).to_string())
        .collect();
    let raise = "\
INSERT INTO crossfade.generation AS g (migration, generation) SELECT name, $2 FROM unnest($1::text[]) AS name ORDER BY name
    ON CONFLICT (migration) DO UPDATE SET generation = excluded.generation";
    session.execute(raise, &[&names, &generation.0]).await?;
    Ok(())
}

/// How far the table of that name has come.
///
/// # Errors
/// As the server says.
pub async fn set_table_phase(session: &Session, name: &str, phase: Phase) -> Result<(), StateError> {
    let upsert = "\
INSERT INTO crossfade.moved_table (migration, phase) VALUES ($1, $2)
    ON CONFLICT (migration) DO UPDATE SET phase = excluded.phase";
    session.execute(upsert, &[&name, &phase.as_str()]).await?;
    Ok(())
}

/// How far each table of the move has come, by its name in the state schema.
///
/// # Errors
/// As the server says, or a row cannot be understood.
pub async fn table_phases(session: &Session, name: &str) -> Result<BTreeMap<String, Phase>, StateError> {
    let query = "SELECT migration, phase FROM crossfade.moved_table WHERE starts_with(migration, $1 || '.')";
    let rows = session.query(query, &[&name]).await?;
    rows.iter()
        .map(|row| {
            let (table, word): (String, &str) = (row.get(0), row.get(1));
            let phase = Phase::from_word(word).ok_or_else(|| StateError::Unreadable {
                name: table.clone(),
                what: format!("phase {word}"),
            })?;
            Ok((table, phase))
        })
        .collect()
}

/// From here on these tables follow from that position on, whole; in the transaction that shuts writers out.
/// `files`: those of the tables on the server that is to lead, one for one (R4).
///
/// # Errors
/// As the server says.
pub async fn start_tables(
    session: &Session,
    tables: &[String],
    files: &[Option<u32>],
    position: Lsn,
) -> Result<(), StateError> {
    let start = "\
WITH table_of_move AS (SELECT name FROM unnest($1::text[]) AS name),
     no_chunk AS (DELETE FROM crossfade.chunk WHERE migration = ANY ($1::text[])),
     no_drop AS (DELETE FROM crossfade.unproven_drop WHERE migration = ANY ($1::text[])),
     no_verification AS (DELETE FROM crossfade.verification WHERE migration = ANY ($1::text[])),
     phase AS (INSERT INTO crossfade.moved_table (migration, phase) SELECT name, 'ready' FROM table_of_move
                   ON CONFLICT (migration) DO UPDATE SET phase = excluded.phase),
     file AS (INSERT INTO crossfade.source_file (migration, direction, file)
              SELECT name, 'forward', file FROM unnest($1::text[], $3::oid[]) AS f (name, file)
                  ON CONFLICT (migration, direction) DO UPDATE SET file = excluded.file)
INSERT INTO crossfade.position (migration, direction, applied_lsn)
SELECT name, 'forward', $2::text::pg_lsn FROM table_of_move
    ON CONFLICT (migration, direction) DO UPDATE
       SET applied_lsn = excluded.applied_lsn, aligned_snapshot = NULL, slot_snapshot = NULL";
    session
        .execute(start, &[&tables, &position.to_string(), &files])
        .await?;
    Ok(())
}

/// Of these tables those whose file is not the one that was copied or compared last, by position; `files` are what they
/// have now.
///
/// # Errors
/// As the server says.
pub async fn other_files(
    session: &Session,
    tables: &[String],
    files: &[Option<u32>],
) -> Result<Vec<usize>, StateError> {
    let query = "\
SELECT (f.place - 1)::int4 FROM unnest($1::text[], $2::oid[]) WITH ORDINALITY AS f (name, file, place)
  LEFT JOIN crossfade.source_file AS s ON s.migration = f.name AND s.direction = 'forward'
 WHERE s.file IS DISTINCT FROM f.file ORDER BY f.place";
    let rows = session.query(query, &[&tables, &files]).await?;
    Ok(rows
        .iter()
        .filter_map(|row| usize::try_from(row.get::<_, i32>(0)).ok())
        .collect())
}

/// Keeps what of a dump is to be run later.
///
/// # Errors
/// As the server says.
pub async fn keep_dump(session: &Session, name: &str, after: &str, refresh: &str) -> Result<(), StateError> {
    let upsert = "\
INSERT INTO crossfade.moved_schema (migration, after_rows, refresh) VALUES ($1, $2, $3)
    ON CONFLICT (migration) DO UPDATE SET after_rows = excluded.after_rows, refresh = excluded.refresh";
    session.execute(upsert, &[&name, &after, &refresh]).await?;
    Ok(())
}

/// What was kept of a dump, if the schema is from one: what is run once the rows are there, and once the target leads.
///
/// # Errors
/// As the server says.
pub async fn kept_dump(session: &Session, name: &str) -> Result<Option<(String, String)>, StateError> {
    let query = "SELECT after_rows, refresh FROM crossfade.moved_schema WHERE migration = $1";
    let row = session.query_opt(query, &[&name]).await?;
    Ok(row.map(|row| (row.get(0), row.get(1))))
}

/// Forgets everything of a move.
pub(super) async fn forget(session: &Session, name: &str) -> Result<(), StateError> {
    let delete = "DELETE FROM crossfade.moved_schema WHERE migration = $1";
    session.execute(delete, &[&name]).await?;
    forget_tables(session, name).await
}

/// Forgets what there is of a move's tables, and of its hand-overs.
///
/// # Errors
/// As the server says.
pub async fn forget_tables(session: &Session, name: &str) -> Result<(), StateError> {
    let delete = "DELETE FROM crossfade.hand_over WHERE migration = $1";
    session.execute(delete, &[&name]).await?;
    for table in [
        "moved_table",
        "position",
        "source_file",
        "chunk",
        "unproven_drop",
        "statement_done",
        "verification",
    ] {
        let delete = format!("DELETE FROM crossfade.{table} WHERE starts_with(migration, $1 || '.')");
        session.execute(&delete, &[&name]).await?;
    }
    Ok(())
}
