//! What is not carried over is refused by name.

use crossfade_lab::server::SUPERUSER;
use crossfade_postgres::catalog;

use crate::{describe, server_with};

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
    insta::assert_snapshot!("refused", refusals.join("\n"));
}
