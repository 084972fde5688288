//! A table with everything that is carried over, swapped: the new one must be described as the old one was, and
//! after a change as a plain `ALTER TABLE` leaves it.

use crossfade_core::plan::{Stage, Statement};
use crossfade_lab::server::{SUPERUSER, Server};
use crossfade_postgres::catalog::{self, Definition};
use crossfade_postgres::ddl::{self, DdlContext, Leaving, Way};
use tokio_postgres::Client;

use crate::{context, describe, desired, differences, run, server_with, server_with_carried, successor};

const TABLE: &str = "s.\"Order\"";

/// Runs all statements, with the copy of the rows by `columns`, and compares in the swap as the cutover does.
async fn swap(client: &Client, source: &Definition, desired: &Definition, columns: &str, key: &[&str]) {
    let context = context();
    let new = [successor(desired, key)];
    run(client, &ddl::shadow(&context, &new)).await;
    let copy = format!(
        "INSERT INTO crossfade_m.\"Order\" ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM ONLY {TABLE}"
    );
    client.batch_execute(&copy).await.unwrap();
    run(client, &ddl::key_index(&context, &new[0])).await;
    run(client, &ddl::indexes(&context, &new[0])).await;
    run(client, &ddl::analyze(&context, &new[0])).await;
    client.batch_execute("BEGIN").await.unwrap();
    run(client, &ddl::locks(&context, Leaving::alone(&[source]), &new)).await;
    let before = describe(client, TABLE).await;
    assert_eq!(differences(source, &before), [""; 0]);
    run(client, &ddl::swap(&context, Leaving::alone(&[source]), &new)).await;
    let swapped = describe(client, TABLE).await;
    assert_eq!(differences(&desired.with_fks_unvalidated(), &swapped), [""; 0]);
    client.batch_execute("COMMIT").await.unwrap();
    let after = ddl::after_swap(&new);
    assert!(after.iter().all(|statement| statement.stage == Stage::AfterSwap));
    run(client, &after).await;
    run(client, &ddl::complete(&context)).await;
    assert_eq!(differences(desired, &describe(client, TABLE).await), [""; 0]);
}

async fn columns_of(client: &Client) -> String {
    let sql = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute \
               WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";
    client.query_one(sql, &[&TABLE]).await.unwrap().get(0)
}

async fn rows(client: &Client, table: &str) -> String {
    let sql = format!("SELECT count(*)::text || md5(string_agg(t::text, '/' ORDER BY id)) FROM {table} t");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

/// `nextval` of each sequence that the table owns.
async fn next_values(client: &Client) -> Vec<i64> {
    let mut values = Vec::new();
    for column in ["id", "Always", "ser"] {
        let sql = "SELECT nextval(pg_get_serial_sequence($1, $2))";
        values.push(client.query_one(sql, &[&TABLE, &column]).await.unwrap().get(0));
    }
    values
}

async fn engine(server: &Server) -> Client {
    server.connect("engine", "postgres").await.unwrap()
}

#[tokio::test]
async fn without_a_change_nothing_changes() {
    let server = server_with_carried().await;
    let client = engine(&server).await;
    let source = describe(&client, TABLE).await;
    assert_eq!(catalog::refuse(&source, &[]), []);
    let desired = desired(&client, &source, None).await;
    assert_eq!(differences(&source, &desired), [""; 0]);
    let rows_before = rows(&client, TABLE).await;
    swap(
        &client,
        &source,
        &desired,
        &columns_of(&client).await,
        &["the name", "id"],
    )
    .await;
    assert_eq!(rows(&client, TABLE).await, rows_before);
    // Of the identity the fixture drew one more than there are rows.
    assert_eq!(next_values(&client).await, [311, 102, 102]);
    retired_table_is_at_rest(&client, &server).await;
}

/// No foreign key, trigger or late check is left on the retired table, and nobody may write to it (R30).
async fn retired_table_is_at_rest(client: &Client, server: &Server) {
    let superuser = server.connect(SUPERUSER, "postgres").await.unwrap();
    let retired = describe(&superuser, "crossfade_m_retired.\"Order\"").await;
    assert_eq!(retired.foreign_keys, []);
    assert_eq!(retired.incoming, []);
    assert_eq!(retired.triggers, []);
    assert!(retired.constraints.iter().all(|constraint| constraint.validated));
    let writes = ["INSERT", "UPDATE", "DELETE", "TRUNCATE"];
    let columns = retired.columns.iter().flat_map(|column| &column.grants);
    let mut grants = retired.table.grants.iter().chain(columns);
    assert!(grants.all(|grant| !writes.contains(&grant.privilege.as_str())));
    let delete = client
        .batch_execute("DELETE FROM crossfade_m_retired.\"Order\"")
        .await;
    assert_eq!(delete.unwrap_err().code().unwrap().code(), "42501");
    let context = context();
    run(client, &ddl::drop(&context, &[&retired])).await;
}

#[tokio::test]
async fn a_change_leaves_what_plain_alter_table_leaves() {
    let alter = "ALTER COLUMN id TYPE bigint, ALTER COLUMN doc TYPE bytea USING convert_to(doc, 'UTF8'), \
                 ALTER COLUMN small DROP DEFAULT, ADD COLUMN added text NOT NULL DEFAULT 'new', \
                 DROP COLUMN tags, DROP COLUMN parent_id, ALTER COLUMN mood TYPE text, \
                 ADD CONSTRAINT extra UNIQUE (added, id), SET (fillfactor = 60)";
    let server = server_with_carried().await;
    let superuser = server.connect(SUPERUSER, "template1").await.unwrap();
    superuser
        .batch_execute("CREATE DATABASE oracle TEMPLATE postgres")
        .await
        .unwrap();
    let client = engine(&server).await;
    let source = describe(&client, TABLE).await;
    let desired = desired(&client, &source, Some(alter)).await;
    let common = "id, \"Always\", ser, \"the name\", amount, small, attributes, at, period, boss, sum";
    swap(&client, &source, &desired, common, &["id"]).await;

    let oracle = server.connect(SUPERUSER, "oracle").await.unwrap();
    oracle
        .batch_execute(&format!("ALTER TABLE {TABLE} {alter}"))
        .await
        .unwrap();
    let expected = describe(&oracle, TABLE).await;
    let in_place = describe(&client, TABLE).await;
    assert_eq!(differences(&expected, &in_place), [""; 0]);
}

#[tokio::test]
async fn a_key_without_an_index_gets_our_own_until_the_swap() {
    let server = server_with_carried().await;
    let client = engine(&server).await;
    let source = describe(&client, TABLE).await;
    let desired = desired(&client, &source, None).await;
    swap(
        &client,
        &source,
        &desired,
        &columns_of(&client).await,
        &["amount", "id"],
    )
    .await;
}

#[tokio::test]
async fn describing_leaves_the_search_path_alone_and_says_so_of_a_missing_table() {
    let server = server_with("CREATE SCHEMA s; CREATE TABLE s.t (id int)").await;
    let client = server.connect(SUPERUSER, "postgres").await.unwrap();
    let path = "SELECT current_setting('search_path')";
    for sql in [
        "SET search_path = s, public",
        "BEGIN",
        "SET LOCAL search_path = s",
    ] {
        client.batch_execute(sql).await.unwrap();
        let before: String = client.query_one(path, &[]).await.unwrap().get(0);
        let prepared = catalog::Describe::prepare(&client, describe(&client, "s.t").await.outside.oid).await;
        let again = prepared.unwrap().run(&client).await.unwrap();
        assert_eq!(differences(&describe(&client, "s.t").await, &again), [""; 0]);
        let missing = catalog::describe(&client, 1).await;
        assert!(matches!(missing, Err(catalog::CatalogError::Missing { oid: 1 })));
        let after: String = client.query_one(path, &[]).await.unwrap().get(0);
        assert_eq!(after, before);
    }
}

#[tokio::test]
async fn abort_leaves_nothing_whatever_has_been_done() {
    let server = server_with_carried().await;
    let client = engine(&server).await;
    let source = describe(&client, TABLE).await;
    let desired = desired(&client, &source, None).await;
    let context = context();
    let new = [successor(&desired, &["id"])];
    let statements = [
        ddl::shadow(&context, &new),
        ddl::key_index(&context, &new[0]),
        ddl::indexes(&context, &new[0]),
        ddl::analyze(&context, &new[0]),
    ];
    let statements = statements.concat();
    for done in [0, 1, 2, statements.len() / 2, statements.len()] {
        run(&client, &statements[..done]).await;
        run(&client, &ddl::abort(&context)).await;
        let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'crossfade%'";
        assert_eq!(client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
        assert_eq!(differences(&source, &describe(&client, TABLE).await), [""; 0]);
    }
}

/// Swaps there with a way back, and back, and compares with what was there before.
async fn there_and_back(alter: Option<&str>, columns: &str) {
    let server = server_with_carried().await;
    let client = engine(&server).await;
    let source = describe(&client, TABLE).await;
    let desired = desired(&client, &source, alter).await;
    let there = DdlContext {
        way: Way::ThereWithWayBack,
        ..context()
    };
    let new = [successor(&desired, &["id"])];
    let old = [successor(&source, &["id"])];
    run(&client, &ddl::shadow(&there, &new)).await;
    let copy = format!(
        "INSERT INTO crossfade_m.\"Order\" ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM ONLY {TABLE}"
    );
    client.batch_execute(&copy).await.unwrap();
    run(&client, &ddl::key_index(&there, &new[0])).await;
    run(&client, &ddl::indexes(&there, &new[0])).await;
    run(&client, &ddl::analyze(&there, &new[0])).await;
    in_one_transaction(&client, &ddl::swap(&there, Leaving::alone(&[&source]), &new)).await;
    run(&client, &ddl::after_swap(&new)).await;
    let follow = "UPDATE crossfade_m_retired.\"Order\" SET id = id, \"Always\" = \"Always\"";
    client.batch_execute(follow).await.unwrap();

    let back = DdlContext {
        way: Way::Back,
        shadow_schema: there.retired_schema.clone(),
        retired_schema: there.shadow_schema.clone(),
        ..there
    };
    in_one_transaction(&client, &ddl::swap(&back, Leaving::alone(&[&desired]), &old)).await;
    run(&client, &ddl::after_swap(&old)).await;
    assert_eq!(differences(&source, &describe(&client, TABLE).await), [""; 0]);
    let superuser = server.connect(SUPERUSER, "postgres").await.unwrap();
    let left = describe(&superuser, "crossfade_m.\"Order\"").await;
    assert_eq!((left.foreign_keys.len(), left.triggers.len()), (0, 0));
    run(&client, &ddl::complete(&back)).await;
    run(&client, &ddl::drop(&back, &[&desired])).await;
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'crossfade%'";
    assert_eq!(client.query_one(schemas, &[]).await.unwrap().get::<_, i64>(0), 0);
}

async fn in_one_transaction(client: &Client, statements: &[Statement]) {
    client.batch_execute("BEGIN").await.unwrap();
    run(client, statements).await;
    client.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn there_and_back_everything_is_as_it_was() {
    let server = server_with_carried().await;
    let columns = columns_of(&engine(&server).await).await;
    there_and_back(None, &columns).await;
}

#[tokio::test]
async fn there_and_back_of_a_change_everything_is_as_it_was() {
    let alter = "ALTER COLUMN id TYPE bigint, ALTER COLUMN small DROP DEFAULT, DROP COLUMN tags, \
                 DROP COLUMN ser, ADD COLUMN added text NOT NULL DEFAULT 'new', ALTER COLUMN mood TYPE text";
    let common = "id, \"Always\", \"the name\", amount, small, attributes, at, period, boss";
    there_and_back(Some(alter), common).await;
}
