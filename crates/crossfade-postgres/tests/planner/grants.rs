//! What a role is told to be granted is enough, and nothing of it is too much.

use crossfade_postgres::planner::{Grant, Grants, PlanError, grants};

use crate::World;

const ROLE: &str = "fresh \"role\"";
/// What a membership says since that is told apart.
const OF_16: &str = " WITH INHERIT TRUE, SET TRUE";
const ALTER: [&str; 1] = ["ADD COLUMN added int"];

async fn needed(world: &World) -> Grants {
    let session = world.session("postgres").await;
    let table = "shop.orders".parse().unwrap();
    grants(&session, &table, None, Some(ROLE)).await.unwrap()
}

/// What takes a privilege away again.
fn inverse(grant: &Grant) -> String {
    let statement = grant.statement.trim_end_matches(OF_16);
    match statement.strip_prefix("GRANT ") {
        Some(rest) => {
            let (what, role) = rest.rsplit_once(" TO ").unwrap();
            format!("REVOKE {what} FROM {role} CASCADE")
        }
        None => statement.replace(" REPLICATION", " NOREPLICATION"),
    }
}

#[tokio::test]
async fn each_grant_is_needed_and_all_are_enough() {
    let world = World::create().await;
    // Owners of their own at each end, and nothing that a role has because it is a member of one.
    world
        .sql(
            "CREATE ROLE parents; ALTER TABLE shop.customers OWNER TO parents; CREATE ROLE children; ALTER TABLE shop.items \
             OWNER TO children; ALTER SCHEMA shop OWNER TO postgres; GRANT USAGE ON SCHEMA shop TO app, children; \
             REVOKE CREATE ON DATABASE postgres FROM app",
        )
        .await;
    let all = needed(&world).await;
    let memberships = all.grants.iter().filter(|grant| grant.statement.ends_with(OF_16));
    let expected = if world.server.installation().major >= 16 {
        2
    } else {
        0
    };
    assert_eq!(memberships.count(), expected);
    let shown = all.grants.iter().map(|grant| {
        let statement = grant.statement.trim_end_matches(OF_16);
        format!("{statement}; -- {}\n", grant.why)
    });
    insta::assert_snapshot!(shown.collect::<String>());
    for grant in &all.grants {
        assert!(!grant.held, "{grant:?}");
        world.sql(&grant.statement).await;
    }
    let held = needed(&world).await;
    assert!(held.grants.iter().all(|grant| grant.held), "{held:?}");
    let planned = world.try_plan(ROLE, "shop.orders", &ALTER).await;
    planned.unwrap_or_else(|error| panic!("{error:?}"));
    for grant in all
        .grants
        .iter()
        .filter(|grant| !grant.statement.starts_with("CREATE ROLE"))
    {
        world.sql(&inverse(grant)).await;
        let planned = world.try_plan(ROLE, "shop.orders", &ALTER).await;
        let still_missing = needed(&world).await;
        let missing: Vec<&str> = still_missing
            .grants
            .iter()
            .filter(|grant| !grant.held)
            .map(|grant| grant.statement.as_str())
            .collect();
        assert!(
            missing.contains(&grant.statement.as_str()),
            "{}: {missing:?}",
            grant.statement
        );
        match planned {
            Ok(_) => assert!(grant.optional, "not needed: {}", grant.statement),
            Err(PlanError::Refused(refusals)) => {
                assert!(!grant.optional, "{}: {refusals:#?}", grant.statement);
                let named = refusals.iter().any(|refusal| names(&refusal.remedy, grant));
                assert!(named, "{}: {refusals:#?}", grant.statement);
            }
            Err(error) => panic!("{}: {error:?}", grant.statement),
        }
        world.sql(&grant.statement).await;
    }
}

/// Whether a remedy says to give it: the object is in it, and a privilege.
fn names(remedy: &str, grant: &Grant) -> bool {
    let words = grant.statement.trim_end_matches(OF_16);
    let what = words.split(" TO ").next().unwrap();
    let object = what.rsplit(' ').next().unwrap();
    object
        .split('.')
        .all(|part| remedy.contains(part.trim_matches('"')))
}
