//! What is not carried over is refused by name.

use crossfade_lab::server::SUPERUSER;
use crossfade_postgres::catalog;

use crate::{describe, server_with, server_with_carried};

#[tokio::test]
async fn everything_that_is_not_carried_over_is_refused_by_name() {
    let server = server_with(include_str!("../fixtures/everything_attached.sql")).await;
    let client = server.connect(SUPERUSER, "postgres").await.unwrap();
    let definition = describe(&client, "s.t").await;
    let refusals = catalog::refuse(&definition, &["crossfade_m"]);
    let refusals: Vec<String> = refusals
        .iter()
        .map(|refusal| format!("{}: {}: {}", refusal.code, refusal.object, refusal.message))
        .collect();
    let mut settings = insta::Settings::clone_current();
    if server.installation().major == 14 {
        // It knows no publication of a schema.
        settings.set_snapshot_suffix("14");
    }
    settings.bind(|| insta::assert_snapshot!("refused", refusals.join("\n")));
}

#[tokio::test]
async fn roles_and_privileges_that_we_lack_are_refused() {
    let server = server_with_carried().await;
    server.create_role("stranger", "secret", "").await.unwrap();
    let client = server.connect("stranger", "postgres").await.unwrap();
    let refusals = catalog::refuse(&describe(&client, "s.\"Order\"").await, &[]);
    let refusals: Vec<String> = refusals
        .iter()
        .map(|refusal| format!("{}: {}", refusal.code, refusal.object))
        .collect();
    let expected = [
        "not_a_member: role App, the",
        "not_a_member: role child_owner",
        "not_a_member: role owner_of_it",
        "privilege_missing: CREATE on database postgres",
        "privilege_missing: CREATE on schema s",
        "privilege_missing: REFERENCES on s.\"Order\"",
        "privilege_missing: REFERENCES on s.parent",
        "privilege_missing: UPDATE on s.\"Order\"",
        "privilege_missing: UPDATE on s.parent",
    ];
    assert_eq!(refusals, expected);
}
