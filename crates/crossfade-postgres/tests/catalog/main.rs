//! The catalogs and the statements made from them, against a real server, as a role without superuser.

#![expect(clippy::unwrap_used, reason = "a failed test ends there")]

mod compared;
mod refused;
mod statements;
mod swapped;

use crossfade_core::plan::Statement;
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use crossfade_postgres::catalog::{self, Definition};
use crossfade_postgres::ddl::{self, DdlContext, NewTable, Way};
use tokio_postgres::Client;

/// A server with the fixture in its database `postgres`.
async fn server_with(fixture: &str) -> Server {
    let server = Server::start(ServerOptions::default()).await.unwrap();
    server.announce();
    let superuser = server.connect(SUPERUSER, "postgres").await.unwrap();
    let fixture = match server.installation().major {
        14 => without_what_15_brought(fixture),
        _ => fixture.to_owned(),
    };
    superuser.batch_execute(&fixture).await.unwrap();
    server
}

fn without_what_15_brought(fixture: &str) -> String {
    fixture
        .replace(" nulls not distinct", "")
        .replace("on delete set null (parent_id)", "on delete set null")
        .replace("for table s.t (id,name) where (id>0)", "for table s.t")
        .replace("create publication pub_s for tables in schema s;", "")
}

/// A server with the table that has everything attached that is carried over, by this server's version.
async fn server_with_carried() -> Server {
    let server = server_with(include_str!("../fixtures/carried.sql")).await;
    let superuser = server.connect(SUPERUSER, "postgres").await.unwrap();
    let version = superuser
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .await;
    if version.unwrap().get::<_, i32>(0) >= 180_000 {
        let fixture = include_str!("../fixtures/carried_18.sql");
        superuser.batch_execute(fixture).await.unwrap();
    }
    server
}

async fn oid_of(client: &Client, table: &str) -> u32 {
    let row = client
        .query_one("SELECT $1::text::regclass::oid", &[&table])
        .await;
    row.unwrap().get(0)
}

async fn describe(client: &Client, table: &str) -> Definition {
    let oid = oid_of(client, table).await;
    catalog::describe(client, oid).await.unwrap()
}

async fn run(client: &Client, statements: &[Statement]) {
    for statement in statements {
        let done = client.batch_execute(&statement.sql).await;
        done.unwrap_or_else(|error| panic!("{}: {error:?}", statement.sql));
    }
}

fn context() -> DdlContext {
    DdlContext {
        way: Way::There,
        shadow_schema: "crossfade_m".to_owned(),
        retired_schema: "crossfade_m_retired".to_owned(),
        role: "engine".to_owned(),
        hold_budget_ms: 5_000,
    }
}

/// The successor of the source, with that key.
fn successor<'a>(definition: &'a Definition, key: &[&str]) -> NewTable<'a> {
    NewTable {
        definition,
        row_key: key.iter().map(|&column| column.to_owned()).collect(),
        source_key: None,
        successor: true,
        number: 0,
    }
}

/// What the change makes of the table, tried on an empty clone in a transaction that is rolled back.
async fn desired(client: &Client, source: &Definition, alter: Option<&str>) -> Definition {
    client.batch_execute("BEGIN").await.unwrap();
    for sql in ddl::probe_clone(source, "crossfade_probe") {
        let done = client.batch_execute(&sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let clone = format!("crossfade_probe.\"{}\"", source.name.name);
    if let Some(actions) = alter {
        let sql = format!("ALTER TABLE {clone} {actions}");
        client.batch_execute(&sql).await.unwrap();
    }
    let probe = describe(client, &clone).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    catalog::desired(source, &probe).unwrap()
}

fn differences(expected: &Definition, actual: &Definition) -> Vec<String> {
    let differences = catalog::compare(expected, actual);
    differences.iter().map(ToString::to_string).collect()
}
