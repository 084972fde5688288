//! Reading rows of the source by key (R16), and asking the server which keys are equal (R12).
//!
//! A fetched row is read under a snapshot that the caller judges: it must see the change that asked for the row,
//! and the batch that contains it must reach the insert position read after it (R17).

use crossfade_core::change::{Cell, Row};
use crossfade_core::piece::KeyCells;
use crossfade_core::plan::Source;
use crossfade_core::position::Lsn;
use crossfade_core::snapshot::{ParseSnapshotError, Snapshot};

use super::decode::{self, DecodeError};
use super::encode::{self, EncodeError};
use super::statements::format_of;
use crate::copy;
use crate::ident::{self, Ident, literal};
use crate::session::{Session, SqlError};
use crate::wal;

/// The rows of a fetch, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// In the order of the keys; `None` where the row is gone.
    pub rows: Vec<Option<Row>>,
    /// What the rows were read under.
    pub snapshot: Snapshot,
    /// The WAL insert position read after the snapshot, durable.
    pub reach: Lsn,
    /// The source's file at that time: another one than at the start means a rewrite (R4).
    pub filenode: Option<u32>,
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
    /// `COPY` of the rows out, each after its key's number.
    pub copy_rows: String,
    /// The number of each key's class of equals, in the order of the keys.
    pub classify: String,
}

impl FetchStatements {
    /// `None` for a source without a key.
    pub fn render(source: &Source) -> Option<Self> {
        const STAGING: &str = "\"pg_temp\".\"crossfade_fetch\"";
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
        let (table, format) = (ident::table(&source.name), format_of(source));
        Some(FetchStatements {
            create_staging: format!(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {STAGING} ON COMMIT DELETE ROWS AS\n\
                 SELECT NULL::pg_catalog.int4 AS {number}, {keys} FROM ONLY {table} WITH NO DATA"
            ),
            clear_staging: format!("DELETE FROM {STAGING}"),
            copy_keys: format!("COPY {STAGING} ({number}, {keys}) FROM STDIN (FORMAT {format})"),
            copy_rows: format!(
                "COPY (SELECT f.{number}, {columns}\n  FROM {STAGING} AS f\n  JOIN ONLY {table} AS s ON {same_key}) \
                 TO STDOUT (FORMAT {format})",
                columns = columns.join(", "),
            ),
            classify: format!(
                "SELECT (pg_catalog.dense_rank() OVER (ORDER BY {keys}))::int4\n  FROM {STAGING} ORDER BY {number}"
            ),
        })
    }
}

/// Fetches from one source, through a session of its own.
pub struct Fetcher {
    session: Session,
    /// Makes positions durable while the fetching transaction is open.
    witness: Session,
    source: Source,
    statements: FetchStatements,
    /// A transaction with the last fetch's snapshot is open.
    open: bool,
}

impl Fetcher {
    /// Prepares a session of the source's server to fetch through: settings and a staging table. Neither session is
    /// in a transaction.
    ///
    /// # Errors
    /// When there is no key, or the server refuses.
    pub async fn new(session: Session, witness: Session, source: &Source) -> Result<Self, FetchError> {
        let statements = FetchStatements::render(source).ok_or(FetchError::NoKey)?;
        session.batch_execute(super::APPLIER_SETTINGS).await?;
        session.batch_execute(super::CLIENT_ENCODING).await?;
        session.batch_execute(&statements.create_staging).await?;
        let source = source.clone();
        Ok(Fetcher {
            session,
            witness,
            source,
            statements,
            open: false,
        })
    }

    /// Reads rows under one snapshot: a new one, or that of the last fetch, whose transaction stays open for this
    /// until [`Fetcher::end`].
    ///
    /// # Errors
    /// When something fails; the fetcher is then of no more use.
    pub async fn fetch(&mut self, keys: &[KeyCells], same_snapshot: bool) -> Result<Fetched, FetchError> {
        if !(same_snapshot && self.open) {
            self.end().await?;
            self.session
                .batch_execute(&copy::begin_reading(&self.source))
                .await?;
            self.open = true;
        }
        let read = read(&self.session, &self.source, &self.statements, keys).await?;
        let reach = wal::durable_insert_position(&self.witness).await?;
        Ok(Fetched { reach, ..read })
    }

    /// Ends the fetching transaction, if one is open, and with it the snapshot.
    ///
    /// # Errors
    /// As the server says.
    pub async fn end(&mut self) -> Result<(), SqlError> {
        if std::mem::take(&mut self.open) {
            self.session.batch_execute("COMMIT").await?;
        }
        Ok(())
    }

    /// Reads rows in the transaction that this session has open: the cutover's own, READ COMMITTED and with the
    /// source locked, so that nothing can follow and the position need not be durable.
    ///
    /// # Errors
    /// When something fails; then the transaction is broken.
    pub async fn fetch_locked(
        session: &Session,
        source: &Source,
        keys: &[KeyCells],
    ) -> Result<Fetched, FetchError> {
        let statements = FetchStatements::render(source).ok_or(FetchError::NoKey)?;
        session.batch_execute(super::CLIENT_ENCODING).await?;
        session.batch_execute(&statements.create_staging).await?;
        session.batch_execute(super::JOIN_BY_INDEX).await?;
        let read = read(session, source, &statements, keys).await?;
        session.batch_execute(super::JOIN_FREELY).await?;
        let reach = wal::insert_position(session).await?;
        Ok(Fetched { reach, ..read })
    }

    /// For each key the number of its class: equal numbers for keys that the server holds to be equal. Numbers of
    /// two calls have nothing to do with each other.
    ///
    /// # Errors
    /// When something fails; the fetcher is then of no more use.
    pub async fn classify(&mut self, keys: &[KeyCells]) -> Result<Vec<u32>, FetchError> {
        if !self.open {
            self.session.batch_execute("BEGIN").await?;
        }
        stage(&self.session, &self.source, &self.statements, keys).await?;
        let classes = self.session.query(&self.statements.classify, &[]).await?;
        if !self.open {
            self.session.batch_execute("COMMIT").await?;
        }
        Ok(classes
            .iter()
            .map(|row| row.get::<_, i32>(0).cast_unsigned())
            .collect())
    }
}

/// Puts the keys, and nothing else, into the staging table.
async fn stage(
    session: &Session,
    source: &Source,
    statements: &FetchStatements,
    keys: &[KeyCells],
) -> Result<(), FetchError> {
    let encoded = encode::numbered_keys(source, keys)?;
    session.batch_execute(&statements.clear_staging).await?;
    session.copy_in(&statements.copy_keys, [encoded]).await?;
    Ok(())
}

async fn read(
    session: &Session,
    source: &Source,
    statements: &FetchStatements,
    keys: &[KeyCells],
) -> Result<Fetched, FetchError> {
    stage(session, source, statements, keys).await?;
    let query = format!(
        "SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.pg_relation_filenode({}::regclass)",
        literal(&ident::table(&source.name))
    );
    let seen = session.query_one(&query, &[]).await?;
    let messages = session.copy_out(&statements.copy_rows).await?;
    let mut rows: Vec<Option<Row>> = vec![None; keys.len()];
    for cells in decode::rows(source.binary, messages)? {
        let (number, row) = numbered(cells).ok_or(FetchError::Unasked)?;
        *rows.get_mut(number).ok_or(FetchError::Unasked)? = Some(row);
    }
    Ok(Fetched {
        rows,
        snapshot: seen.get::<_, &str>(0).parse()?,
        reach: Lsn::default(),
        filenode: seen.get(1),
    })
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
            all.copy_rows,
            all.classify,
            all.clear_staging,
        ];
        insta::assert_snapshot!(shown.join(";\n\n"));
        let (source, _) = fixture::orders_without_key();
        assert_eq!(FetchStatements::render(&source), None);
    }
}
