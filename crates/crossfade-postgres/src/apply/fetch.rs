//! Reading rows of the source by key (R16), and asking the server which keys are equal (R12).
//!
//! A fetched row is read under a snapshot that the caller judges: it must see the change that asked for the row,
//! and the batch that contains it must reach the insert position read after it (R17).

use crossfade_core::change::{Cell, Row};
use crossfade_core::ledger::Span;
use crossfade_core::piece::KeyCells;
use crossfade_core::plan::Source;
use crossfade_core::position::Lsn;
use crossfade_core::snapshot::{ParseSnapshotError, Snapshot};

use tokio_postgres::types::{PgLsn, ToSql};

use super::decode::{self, DecodeError};
use super::encode::{self, EncodeError};
use super::statements::format_of;
use crate::copy;
use crate::copy::chunk::{LOWER, UPPER};
use crate::ident::{self, Ident, literal};
use crate::session::{Session, SqlError};
use crate::wal;

/// The rows of a fetch, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// In the order of the keys, `None` where the row is gone; of the first keys only, if all rows weigh too much.
    pub rows: Vec<Option<Row>>,
    /// What the rows were read under.
    pub snapshot: Snapshot,
    /// The WAL insert position read after the snapshot.
    pub insert_lsn: Lsn,
}

/// Why rows could not be fetched or keys not be compared.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A statement failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The keys cannot be sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The rows cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] ParseSnapshotError),
    /// The source has no key.
    #[error("read rows by key: the table has none")]
    NoKey,
    /// The answer names a key that was not asked for.
    #[error("match the rows that were read to the keys that were asked for")]
    Unasked,
    /// A view has several rows of one key.
    #[error("read one row of a key: the query of the old shape gives several")]
    Twice,
}

impl FetchError {
    /// Whether it is about what is in a row: the same fetch fails again until that is mended.
    pub fn lies_in_a_row(&self) -> bool {
        match self {
            FetchError::Sql(error) => error.lies_in_a_row(),
            FetchError::Twice => true,
            FetchError::Encode(_)
            | FetchError::Decode(_)
            | FetchError::Snapshot(_)
            | FetchError::NoKey
            | FetchError::Unasked => false,
        }
    }
}

/// The statements of fetching from one source, rendered once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchStatements {
    /// Makes the staging table, outside a transaction.
    pub create_staging: String,
    /// Empties it.
    pub clear_staging: String,
    /// `COPY` of numbered keys into it.
    pub copy_keys: String,
    /// Keys as texts into it: one `text[]` a column.
    pub stage_named: String,
    /// `COPY` of the rows out, each after its key's number.
    pub copy_rows: String,
    /// The number of each key's class of equals, in the order of the keys.
    pub classify: String,
    /// For each key the number of bounds below it, in the order of the keys; bounds have negative numbers.
    pub route: String,
    /// The key's columns, quoted.
    pub keys: Vec<String>,
    number: String,
    /// How rows travel: `binary` or `text`.
    pub(crate) format: &'static str,
}

const SNAPSHOT_AND_POSITION: &str =
    "SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.pg_current_wal_insert_lsn()";

/// So many bytes of rows are held of one answer, and a row more.
const ANSWER_BYTES_MAX: usize = 8 << 20;

const STAGING: &str = "\"pg_temp\".\"crossfade_fetch\"";

impl FetchStatements {
    /// `None` for a source without a key.
    pub fn render(source: &Source) -> Option<Self> {
        let key = source.key.as_ref()?;
        let names: Vec<&str> = key
            .columns
            .iter()
            .map(|position| source.columns[*position].name.as_str())
            .collect();
        let mut number = "crossfade_number".to_owned();
        while names.contains(&number.as_str()) {
            number.push('_');
        }
        let number = Ident(&number);
        let keys = ident::list(names.iter().copied());
        let same = |name: &&str| format!("s.{name} = f.{name}", name = Ident(name));
        let same_key = names.iter().map(same).collect::<Vec<_>>().join(" AND ");
        let columns: Vec<String> = source
            .columns
            .iter()
            .map(|column| format!("s.{}", Ident(&column.name)))
            .collect();
        let types: Vec<&str> = key
            .columns
            .iter()
            .map(|position| source.columns[*position].type_name.as_str())
            .collect();
        let (table, format) = (ident::table(&source.name), format_of(source));
        // The key of a view's row reaches into the view only as a value from outside.
        let rows = match source.parts.is_empty() {
            true => format!("JOIN ONLY {table} AS s ON {same_key}"),
            false => {
                format!("CROSS JOIN LATERAL (SELECT s.* FROM {table} AS s WHERE {same_key} OFFSET 0) AS s")
            }
        };
        Some(FetchStatements {
            create_staging: format!(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {STAGING} ON COMMIT DELETE ROWS AS\n\
                 SELECT NULL::pg_catalog.int4 AS {number}, {keys} FROM ONLY {table} WITH NO DATA"
            ),
            clear_staging: format!("DELETE FROM {STAGING}"),
            copy_keys: format!("COPY {STAGING} ({number}, {keys}) FROM STDIN (FORMAT {format})"),
            stage_named: stage_named(&number, &keys, &types),
            copy_rows: format!(
                "COPY (SELECT f.{number}, {columns}\n  FROM {STAGING} AS f\n  {rows}\n ORDER BY f.{number}) \
                 TO STDOUT (FORMAT {format})",
                columns = columns.join(", "),
            ),
            classify: format!(
                "SELECT (pg_catalog.dense_rank() OVER (ORDER BY {keys}))::int4\n  FROM {STAGING} ORDER BY {number}"
            ),
            // A key that equals a bound is not above it, so it comes before it.
            route: format!(
                "SELECT below\n  FROM (SELECT {number} AS number,\n               \
                 (count(*) FILTER (WHERE {number} < 0) OVER (ORDER BY {keys}, {number} < 0\n                 \
                 ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW))::int4 AS below\n          FROM {STAGING}) AS each\n \
                 WHERE number >= 0 ORDER BY number"
            ),
            keys: names.iter().map(|name| Ident(name).to_string()).collect(),
            number: number.to_string(),
            format,
        })
    }

    /// The key's columns of the table of that alias.
    pub(crate) fn key_of(&self, alias: &str) -> String {
        let columns = self.keys.iter().map(|key| format!("{alias}.{key}"));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// A cell of the staged key of that number, as a value.
    pub(crate) fn staged_cell(&self, key: &str, number: u32) -> String {
        format!(
            "(SELECT f.{key} FROM {STAGING} AS f WHERE f.{} = {number})",
            self.number
        )
    }
}

fn stage_named(number: &Ident<'_>, keys: &str, types: &[&str]) -> String {
    let columns = (1..=types.len()).map(|column| format!("c{column}"));
    let columns: Vec<String> = columns.collect();
    let values = columns.iter().zip(types);
    let values: Vec<String> = values
        .map(|(column, type_name)| format!("CAST(n.{column} AS {type_name})"))
        .collect();
    let arrays = (1..=types.len()).map(|parameter| format!("${parameter}::text[]"));
    let arrays: Vec<String> = arrays.collect();
    format!(
        "INSERT INTO {STAGING} ({number}, {keys})\nSELECT (n.number - 1)::int4, {}\n  \
         FROM unnest({}) WITH ORDINALITY AS n ({}, number)",
        values.join(", "),
        arrays.join(", "),
        columns.join(", "),
    )
}

/// Fetches from one source, through a session that it was prepared on.
#[derive(Clone, Debug)]
pub struct Fetcher {
    source: Source,
    statements: FetchStatements,
}

impl Fetcher {
    /// Prepares a session of the source's server to fetch through. It is not in a transaction.
    ///
    /// # Errors
    /// When there is no key, or the server refuses.
    pub async fn prepare(session: &Session, source: &Source) -> Result<Self, FetchError> {
        let statements = FetchStatements::render(source).ok_or(FetchError::NoKey)?;
        session.batch_execute(super::CLIENT_ENCODING).await?;
        session.batch_execute(&statements.create_staging).await?;
        let source = source.clone();
        Ok(Fetcher { source, statements })
    }

    /// Reads rows in a transaction of its own, under one snapshot; the insert position is durable.
    ///
    /// # Errors
    /// When something fails; the session is then without a transaction, or lost.
    pub async fn fetch(&self, session: &Session, keys: &[KeyCells]) -> Result<Fetched, FetchError> {
        session.batch_execute(&copy::begin_reading(&self.source)).await?;
        let fetched = ended(session, self.fetch_here(session, keys).await).await?;
        wal::make_durable(session).await?;
        Ok(fetched)
    }

    /// Reads rows in the transaction that the session has open: one that keeps its snapshot for further fetches,
    /// begun with [`copy::begin_reading`], or the cutover's own, READ COMMITTED and with the source locked. The
    /// insert position is not durable: that takes a commit, here or in another session.
    ///
    /// # Errors
    /// When something fails; then the transaction is broken.
    pub async fn fetch_here(&self, session: &Session, keys: &[KeyCells]) -> Result<Fetched, FetchError> {
        let seen = Seen::now(session).await?;
        self.stage(session, keys).await?;
        let fetched = self
            .read_staged(session, keys.len(), &seen, ANSWER_BYTES_MAX)
            .await?;
        if !fetched.rows.is_empty() || keys.is_empty() {
            return Ok(fetched);
        }
        self.stage(session, &keys[..1]).await?;
        self.read_staged(session, 1, &seen, usize::MAX).await
    }

    /// As [`Fetcher::fetch_here`], whole, by keys as the server writes their columns.
    ///
    /// # Errors
    /// When something fails; then the transaction is broken.
    pub async fn fetch_named(&self, session: &Session, keys: &[Vec<String>]) -> Result<Fetched, FetchError> {
        let seen = Seen::now(session).await?;
        session.batch_execute(&self.statements.clear_staging).await?;
        let column = |position: usize| keys.iter().map(|key| key[position].as_str()).collect();
        let columns: Vec<Vec<&str>> = (0..self.statements.keys.len()).map(column).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| column as _).collect();
        session.execute(&self.statements.stage_named, &parameters).await?;
        self.read_staged(session, keys.len(), &seen, usize::MAX).await
    }

    async fn read_staged(
        &self,
        session: &Session,
        keys: usize,
        seen: &Seen,
        bytes_max: usize,
    ) -> Result<Fetched, FetchError> {
        session.batch_execute(super::JOIN_BY_INDEX).await?;
        let copy = &self.statements.copy_rows;
        let (messages, whole) = session.copy_out_upto(copy, bytes_max).await?;
        session.batch_execute(super::JOIN_FREELY).await?;
        let mut rows: Vec<Option<Row>> = vec![None; keys];
        let mut last = 0;
        for cells in decode::rows(self.source.binary, messages, whole)? {
            let (number, row) = numbered(cells).ok_or(FetchError::Unasked)?;
            let place = rows.get_mut(number).ok_or(FetchError::Unasked)?;
            if place.replace(row).is_some() {
                return Err(FetchError::Twice);
            }
            last = number;
        }
        if !whole {
            // They come in the order of the keys. Whether the last of them comes twice is not known.
            rows.truncate(last);
        }
        Ok(Fetched {
            rows,
            snapshot: seen.snapshot.clone(),
            insert_lsn: seen.insert_lsn,
        })
    }

    /// The first of `keys` whose row cannot be read for what is in it, as the server writes the key: `id = 7`. `None` if
    /// each can be. The session is in no transaction.
    ///
    /// # Errors
    /// When something else fails; the session is then without a transaction, or lost.
    pub async fn find_unreadable(
        &self,
        session: &Session,
        keys: &[KeyCells],
    ) -> Result<Option<String>, FetchError> {
        let (mut from, mut to) = (0, keys.len());
        if !self.is_unreadable(session, keys).await? {
            return Ok(None);
        }
        while to - from > 1 {
            let middle = from + (to - from) / 2;
            match self.is_unreadable(session, &keys[from..middle]).await? {
                true => to = middle,
                false => from = middle,
            }
        }
        session.batch_execute("BEGIN").await?;
        let shown = self.show(session, &keys[from..to]).await;
        session.batch_execute("ROLLBACK").await?;
        Ok(Some(shown?))
    }

    async fn is_unreadable(&self, session: &Session, keys: &[KeyCells]) -> Result<bool, FetchError> {
        match self.fetch(session, keys).await {
            Ok(_) => Ok(false),
            Err(error) if error.lies_in_a_row() => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn show(&self, session: &Session, key: &[KeyCells]) -> Result<String, FetchError> {
        self.stage(session, key).await?;
        let names = self.source.key.iter().flat_map(|key| &key.columns);
        let columns = names.map(|place| {
            let name = &self.source.columns[*place].name;
            let label = literal(&format!("{name} = "));
            format!("{label} || f.{}::text", Ident(name))
        });
        let columns: Vec<String> = columns.collect();
        let show = format!("SELECT {} FROM {STAGING} AS f", columns.join(" || ', ' || "));
        Ok(session.query_one(&show, &[]).await?.get(0))
    }

    /// For each key the number of its class: equal numbers for keys that the server holds to be equal. Numbers of
    /// two calls have nothing to do with each other. The session is in no transaction.
    ///
    /// # Errors
    /// When something fails; the session is then without a transaction, or lost.
    pub async fn classify(&self, session: &Session, keys: &[KeyCells]) -> Result<Vec<u32>, FetchError> {
        session.batch_execute("BEGIN").await?;
        ended(session, self.classify_here(session, keys).await).await
    }

    /// As [`Fetcher::classify`], in the transaction that the session has open.
    ///
    /// # Errors
    /// When something fails; then the transaction is broken.
    pub async fn classify_here(&self, session: &Session, keys: &[KeyCells]) -> Result<Vec<u32>, FetchError> {
        self.stage(session, keys).await?;
        let classes = session.query(&self.statements.classify, &[]).await?;
        Ok(classes
            .iter()
            .map(|row| row.get::<_, i32>(0).cast_unsigned())
            .collect())
    }

    /// For each key the number of `bounds` that are below it. The session is in no transaction.
    ///
    /// # Errors
    /// When something fails; the session is then without a transaction, or lost.
    pub async fn route(
        &self,
        session: &Session,
        keys: &[KeyCells],
        bounds: &[KeyCells],
    ) -> Result<Vec<u32>, FetchError> {
        session.batch_execute("BEGIN").await?;
        ended(session, self.route_here(session, keys, bounds).await).await
    }

    /// As [`Fetcher::route`], in the transaction that the session has open.
    ///
    /// # Errors
    /// When something fails; then the transaction is broken.
    pub async fn route_here(
        &self,
        session: &Session,
        keys: &[KeyCells],
        bounds: &[KeyCells],
    ) -> Result<Vec<u32>, FetchError> {
        self.stage(session, keys).await?;
        let bounds = encode::numbered_bounds(&self.source, bounds)?;
        session.copy_in(&self.statements.copy_keys, [bounds]).await?;
        let homes = session.query(&self.statements.route, &[]).await?;
        Ok(homes
            .iter()
            .map(|row| row.get::<_, i32>(0).cast_unsigned())
            .collect())
    }

    /// The bounds of a chunk, each under its number.
    ///
    /// # Errors
    /// When something fails; then the transaction is broken.
    pub async fn stage_span(&self, session: &Session, span: &Span) -> Result<(), FetchError> {
        session.batch_execute(&self.statements.clear_staging).await?;
        let numbered = [(LOWER, &span.lower), (UPPER, &span.upper)];
        for (number, key) in numbered {
            if let Some(key) = key {
                let encoded =
                    encode::keys_from(&self.source, number.cast_signed(), 1, std::slice::from_ref(key))?;
                session.copy_in(&self.statements.copy_keys, [encoded]).await?;
            }
        }
        Ok(())
    }

    /// The key that a statement of [`chunk_end`](crate::copy::chunk::chunk_end) finds.
    ///
    /// # Errors
    /// When something fails; then the transaction is broken.
    pub async fn read_key(&self, session: &Session, statement: &str) -> Result<Option<KeyCells>, FetchError> {
        let messages = session.copy_out(statement).await?;
        let mut rows = decode::rows(self.source.binary, messages, true)?.into_iter();
        let key = rows
            .next()
            .map(|cells| numbered(cells).ok_or(FetchError::Unasked));
        Ok(key.transpose()?.map(|(_, row)| KeyCells(row.0)))
    }

    /// Puts the keys, and nothing else, into the staging table.
    async fn stage(&self, session: &Session, keys: &[KeyCells]) -> Result<(), FetchError> {
        let encoded = encode::numbered_keys(&self.source, keys)?;
        session.batch_execute(&self.statements.clear_staging).await?;
        session.copy_in(&self.statements.copy_keys, [encoded]).await?;
        Ok(())
    }
}

/// What a transaction sees, and how far the WAL was then.
struct Seen {
    snapshot: Snapshot,
    insert_lsn: Lsn,
}

impl Seen {
    /// In one statement, and that before any other: the first one takes the transaction's snapshot. Whatever commits
    /// between it and the position is not seen, and must be waited for (R17): under steady writes a batch would always
    /// have to wait for something more.
    async fn now(session: &Session) -> Result<Seen, FetchError> {
        let row = session.query_one(SNAPSHOT_AND_POSITION, &[]).await?;
        Ok(Seen {
            snapshot: row.get::<_, &str>(0).parse()?,
            insert_lsn: Lsn(row.get::<_, PgLsn>(1).into()),
        })
    }
}

/// Ends the transaction as the outcome says, and hands the outcome on.
async fn ended<T>(session: &Session, outcome: Result<T, FetchError>) -> Result<T, FetchError> {
    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let end = session.batch_execute(end).await;
    let value = outcome?;
    end?;
    Ok(value)
}

fn numbered(cells: Vec<Cell>) -> Option<(usize, Row)> {
    let mut cells = cells.into_iter();
    let number = match cells.next()? {
        Cell::Binary(value) => u32::from_be_bytes(value.as_ref().try_into().ok()?),
        Cell::Text(value) => std::str::from_utf8(&value).ok()?.parse().ok()?,
        Cell::Null | Cell::Unchanged => return None,
    };
    Some((usize::try_from(number).ok()?, Row(cells.collect())))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn statements() {
        let (source, _) = fixture::orders_by_two();
        let all = FetchStatements::render(&source).unwrap();
        let shown = [
            all.create_staging,
            all.copy_keys,
            all.stage_named,
            all.copy_rows,
            all.classify,
            all.route,
            all.clear_staging,
        ];
        insta::assert_snapshot!(shown.join(";\n\n"));
        let (source, _) = fixture::orders_without_key();
        assert_eq!(FetchStatements::render(&source), None);
    }
}
