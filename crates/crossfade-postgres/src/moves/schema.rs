//! The schema of a move: dumped from the source by `pg_dump`, restored on the target; or there already, and compared.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use crossfade_core::name::TableName;
use tokio::process::Command;

use crate::connect::ConnectConfig;
use crate::ident;
use crate::session::{Session, SqlError};

/// Why there is no dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It is not there, or does not start.
    #[error("run {}: {source}", program.display())]
    Spawn {
        /// Which.
        program: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A name or a text of the schema is not in UTF-8; a database in `SQL_ASCII` may have such.
    #[error("read what {} says of the schema: it is not in UTF-8", program.display())]
    NotUnicode {
        /// Which.
        program: PathBuf,
    },
    /// It ended with an error.
    #[error("run {}: {stderr}", program.display())]
    Failed {
        /// Which.
        program: PathBuf,
        /// What it said.
        stderr: String,
    },
}

/// What of a schema is made before the rows come, and what afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Types, functions, tables, sequences, views: everything that rows need, and no index.
    pub before: String,
    /// What the move does not make itself: policies, statistics, comments, event triggers.
    pub after: String,
    /// Views that hold rows, to be filled when the target leads.
    pub refresh: String,
}

/// Entries of the second half that a move makes in its own order, or not at all.
const OWN: &[&str] = &[
    "INDEX",
    "INDEX ATTACH",
    "CONSTRAINT",
    "FK CONSTRAINT",
    "CHECK CONSTRAINT",
    "TRIGGER",
    "RULE",
    "PUBLICATION",
    "PUBLICATION TABLE",
    "PUBLICATION TABLES IN SCHEMA",
    "SUBSCRIPTION",
];

/// Dumps the schema of these tables, or of the whole database. `pg_dump` has to be at least as new as the source.
///
/// # Errors
/// See [`DumpError`].
///
/// # Cancel safety
/// The program is killed with the future.
pub async fn dump(
    config: &ConnectConfig,
    program: &std::path::Path,
    tables: Option<&[TableName]>,
) -> Result<Dump, DumpError> {
    let before = run(config, program, "pre-data", tables).await?;
    let after = for_the_server(&run(config, program, "post-data", tables).await?);
    let rest = entries(&after)
        .into_iter()
        .filter(|(kind, _)| !OWN.contains(kind));
    Ok(Dump {
        before: schemas_may_be_there(&for_the_server(&before)),
        after: rest.map(|(_, text)| text).collect(),
        refresh: String::new(),
    })
}

/// The version of the program, as `17` of `pg_dump (PostgreSQL) 17.2`.
///
/// # Errors
/// See [`DumpError`].
pub async fn version(program: &std::path::Path) -> Result<Option<u32>, DumpError> {
    let mut command = Command::new(program);
    command.arg("--version");
    Ok(major(&answer(command, program).await?))
}

fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let end = number
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(number.len());
    number[..end].parse().ok()
}

/// Indexes of views that hold rows, and what fills those that are filled.
const VIEWS: &str = "\
SELECT c.oid::regclass::text, c.relispopulated,
       ARRAY (SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = c.oid ORDER BY i.indexrelid)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'm' AND n.nspname !~ '^pg_' AND n.nspname !~ '^crossfade(_|$)'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY c.oid";

/// Adds to the dump of a whole database what a dump of tables alone does not make of views that hold rows.
///
/// # Errors
/// As the server says.
pub async fn add_views(session: &Session, dump: &mut Dump) -> Result<(), SqlError> {
    for row in session.query(VIEWS, &[]).await? {
        let (view, filled, indexes): (String, bool, Vec<String>) = (row.get(0), row.get(1), row.get(2));
        for index in indexes {
            dump.after.push_str(&format!("{index};\n"));
        }
        if filled {
            dump.refresh
                .push_str(&format!("REFRESH MATERIALIZED VIEW {view};\n"));
        }
    }
    Ok(())
}

async fn run(
    config: &ConnectConfig,
    program: &std::path::Path,
    section: &str,
    tables: Option<&[TableName]>,
) -> Result<String, DumpError> {
    let mut command = Command::new(program);
    command
        .args(["--schema-only", "--no-publications", "--no-subscriptions"])
        // Whatever the database is in, it is read here as it is sent to the target.
        .arg("--encoding=UTF8")
        .arg(format!("--section={section}"))
        .args(["--exclude-schema", "crossfade", "--exclude-schema", "crossfade_*"]);
    for table in tables.into_iter().flatten() {
        command.arg(format!("--table={}", ident::table(table)));
    }
    command.envs(config.libpq_environment());
    answer(command, program).await
}

async fn answer(mut command: Command, program: &std::path::Path) -> Result<String, DumpError> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| DumpError::Spawn {
            program: program.to_owned(),
            source,
        })?;
    if output.status.success() {
        return String::from_utf8(output.stdout).map_err(|_| DumpError::NotUnicode {
            program: program.to_owned(),
        });
    }
    Err(DumpError::Failed {
        program: program.to_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
    })
}

/// Without what is meant for psql: newer programs shut its own commands out with a word of their choice, and let them in
/// again. Whatever a function's body has stays.
fn for_the_server(dump: &str) -> String {
    const SHUT: &str = "\n\\restrict ";
    let Some((_, rest)) = dump.split_once(SHUT) else {
        return dump.to_owned();
    };
    let word = rest.split('\n').next().unwrap_or_default();
    let without = dump.replacen(&format!("{SHUT}{word}\n"), "\n", 1);
    without.replacen(&format!("\n\\unrestrict {word}\n"), "\n", 1)
}

/// A schema that the target has already is used; its owner becomes the source's.
fn schemas_may_be_there(dump: &str) -> String {
    const CREATE: &str = "\nCREATE SCHEMA ";
    let mut text = dump.to_owned();
    for (_, entry) in entries(dump).iter().filter(|(kind, _)| *kind == "SCHEMA") {
        text = text.replacen(
            entry,
            &entry.replacen(CREATE, &format!("{CREATE}IF NOT EXISTS "), 1),
            1,
        );
    }
    text
}

/// The entries of a dump with what each is, as the comment before it says.
fn entries(dump: &str) -> Vec<(&str, &str)> {
    const HEAD: &str = "-- Name: ";
    let mut starts: Vec<usize> = dump
        .match_indices(HEAD)
        .filter(|(at, _)| *at == 0 || dump[..*at].ends_with("--\n"))
        .map(|(at, _)| at)
        .collect();
    starts.push(dump.len());
    let entry = |pair: &[usize]| {
        let text = &dump[pair[0]..pair[1]];
        let head = text.lines().next().unwrap_or_default();
        let kind = head.split("; Type: ").nth(1)?.split(';').next()?;
        Some((kind, text))
    };
    starts.windows(2).filter_map(entry).collect()
}

/// What of a table has to be alike on both servers: each column that is written, with its type.
pub type Columns = BTreeMap<TableName, Vec<(String, String)>>;

const COLUMNS: &str = "\
SELECT n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 WHERE c.relkind IN ('r', 'p')
   AND n.nspname::text || '.' || c.relname::text = ANY ($1::text[])
 ORDER BY c.oid, a.attname";

/// The columns of those of these tables that are there.
///
/// # Errors
/// As the server says.
pub async fn columns(session: &Session, tables: &[TableName]) -> Result<Columns, SqlError> {
    let names: Vec<String> = tables.iter().map(TableName::to_string).collect();
    let mut columns = Columns::new();
    for row in session.query(COLUMNS, &[&names]).await? {
        let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        columns.entry(table).or_default().push((row.get(2), row.get(3)));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read() {
        assert_eq!(major("pg_dump (PostgreSQL) 17.2 (Debian 17.2-1)\n"), Some(17));
        assert_eq!(major("pg_dump (PostgreSQL) 19devel\n"), Some(19));
        assert_eq!(major("pg_dump of somebody else"), None);
    }

    #[test]
    fn entries_are_told_by_their_comments() {
        let dump = "--\n-- PostgreSQL database dump\n--\n\nSET x = 0;\n\n--\n-- Name: a; Type: INDEX; Schema: s; Owner: o\n--\n\n\
                    CREATE INDEX a ON s.t USING btree (x);\n\n\n--\n-- Name: t p; Type: POLICY; Schema: s; Owner: o\n--\n\n\
                    CREATE POLICY p ON s.t;\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n";
        let found = entries(dump);
        assert_eq!(
            found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
            ["INDEX", "POLICY"]
        );
        assert!(found[1].1.contains("CREATE POLICY p ON s.t;"));
    }

    #[test]
    fn what_is_meant_for_psql_is_left_out_and_nothing_else() {
        let dump = "--\n\n\\restrict Word\n\nAS $$\r\n\\d\n\\unrestrict Other\n$$;\n\n\\unrestrict Word\n\n";
        let left = "--\n\n\nAS $$\r\n\\d\n\\unrestrict Other\n$$;\n\n\n";
        assert_eq!(for_the_server(dump), left);
        assert_eq!(for_the_server(left), left);
    }

    #[test]
    fn a_schema_may_be_there() {
        let dump = "--\n-- Name: s; Type: SCHEMA; Schema: -; Owner: o\n--\n\nCREATE SCHEMA s;\n\n\nALTER SCHEMA s OWNER TO o;\n\n\
                    --\n-- Name: f(); Type: FUNCTION; Schema: s; Owner: o\n--\n\nCREATE FUNCTION s.f() AS '\nCREATE SCHEMA t;\n';\n";
        let tolerant = schemas_may_be_there(dump);
        assert_eq!(
            tolerant,
            dump.replace("CREATE SCHEMA s;", "CREATE SCHEMA IF NOT EXISTS s;")
        );
    }
}
