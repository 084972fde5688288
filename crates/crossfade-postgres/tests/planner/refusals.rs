//! What stands in the way is said all at once.

use crossfade_core::code::RefusalCode;
use crossfade_lab::server::ServerOptions;
use crossfade_postgres::change::ChangeRequest;
use crossfade_postgres::planner;

use crate::{World, shown};

#[tokio::test]
async fn many_at_once() {
    let options = ServerOptions::default().setting("max_prepared_transactions", "5");
    let options = options
        .setting("synchronous_standby_names", "")
        .setting("wal_level", "replica");
    let world = World::with(options).await;
    world
        .sql("CREATE SCHEMA crossfade_widen; CREATE PUBLICATION everything FOR ALL TABLES")
        .await;
    world.sql("SET synchronous_commit = local; BEGIN; LOCK shop.touched IN ACCESS SHARE MODE; PREPARE TRANSACTION 'left over'").await;
    world
        .sql("REVOKE CREATE ON DATABASE postgres FROM engine, app; ALTER ROLE engine NOREPLICATION")
        .await;
    world
        .sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
        .await;
    world.sql("SELECT pg_reload_conf()").await;
    let seen = "SELECT current_setting('synchronous_standby_names')";
    loop {
        let row = world.superuser.query_one(seen, &[]).await.unwrap();
        if row.get::<_, String>(0) == "ANY 1 (*)" {
            break;
        }
        tokio::task::yield_now().await;
    }
    let refusals = world
        .refusals_of("engine", "touched", &["ALTER id TYPE bigint, OWNER TO engine"])
        .await;
    insta::assert_snapshot!(shown(&refusals));
}

#[tokio::test]
async fn a_stranger_is_told_what_to_grant() {
    let world = World::create().await;
    let alter: &[&str] = &["ALTER id TYPE bigint"];
    let hidden = world.refusals_of("stranger", "shop.orders", alter).await;
    assert_eq!(hidden[0].code, RefusalCode::TableNotVisible);
    world.sql("GRANT USAGE ON SCHEMA shop TO stranger").await;
    let refusals = world.refusals_of("stranger", "shop.orders", alter).await;
    insta::assert_snapshot!(shown(&refusals));
}

#[tokio::test]
async fn the_change_itself() {
    let world = World::create().await;
    world.sql("GRANT UPDATE (note) ON shop.orders TO stranger").await;
    let cases: [(&str, &[&str]); 9] = [
        ("nowhere", &["ALTER id TYPE bigint"]),
        ("shop.nowhere", &["ALTER id TYPE bigint"]),
        ("orders", &["ALTER TABLE other.orders ALTER id TYPE bigint"]),
        ("orders", &["ADD COLUMN x int NOT NULL"]),
        ("orders", &["ADD COLUMN x int REFERENCES customers (id)"]),
        ("orders", &["ADD COLUMN x serial"]),
        ("orders", &["ALTER total DROP EXPRESSION"]),
        ("orders", &["RENAME customer_id TO customer"]),
        (
            "orders",
            &["ALTER id TYPE bigint,\n  ALTER status TYPE nope USING nope(status)"],
        ),
    ];
    let mut text = String::new();
    for (table, alters) in cases {
        text += &format!(
            "{table} {alters:?}\n{}\n",
            shown(&world.refusals_of("engine", table, alters).await)
        );
    }
    text += &shown(
        &world
            .refusals_of("engine", "orders", &["RENAME note TO remark"])
            .await,
    );
    text += &shown(
        &world
            .refusals_of("engine", "orders", &["DROP CONSTRAINT orders_customer_id_fkey"])
            .await,
    );
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn foreign_keys_must_fit_the_new_types() {
    let world = World::create().await;
    let own = ["ALTER customer_id TYPE text"];
    let incoming = ["ALTER id DROP DEFAULT, ALTER id TYPE text"];
    let both = world.refusals_of("engine", "orders", &own).await;
    let text = shown(&both) + &shown(&world.refusals_of("engine", "orders", &incoming).await);
    let _bound = world.by_version();
    insta::assert_snapshot!(text);

    world
        .sql("CREATE TABLE shop.tree (id int PRIMARY KEY, up int REFERENCES shop.tree)")
        .await;
    world.sql("ALTER TABLE shop.tree OWNER TO app").await;
    assert_eq!(
        world.codes("tree", &["ALTER up TYPE text"]).await,
        ["foreign_key_impossible"]
    );
    world
        .plan("tree", &["ALTER up TYPE text, ALTER id TYPE text"])
        .await;
    world.plan("tree", &["ALTER id TYPE bigint"]).await;
}

#[tokio::test]
async fn row_security_that_binds_us_is_seen() {
    let world = World::create().await;
    world.sql("ALTER TABLE shop.log ENABLE ROW LEVEL SECURITY").await;
    let alter: &[&str] = &["ALTER line TYPE varchar(9)"];
    assert_eq!(world.codes("log", alter).await, ["row_security"]);
    world.sql("ALTER TABLE shop.log FORCE ROW LEVEL SECURITY").await;
    assert_eq!(
        world.codes("log", alter).await,
        ["row_security_applies", "row_security"]
    );
}

#[tokio::test]
async fn a_refused_change_still_tells_what_would_be_carried() {
    let world = World::create().await;
    let request = ChangeRequest::from_arguments("orders", &["OWNER TO bob"]).unwrap();
    let carried = planner::carried(&world.session("engine").await, &request)
        .await
        .unwrap();
    assert!(
        carried
            .iter()
            .any(|item| item.class == "index" && item.object == "orders_status"),
        "{carried:?}"
    );
}
