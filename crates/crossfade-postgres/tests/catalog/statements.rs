//! The statements for a rich table, as text.

use crossfade_core::plan::Statement;
use crossfade_postgres::catalog::{self, Definition};
use crossfade_postgres::ddl::{self, Leaving};

use crate::{context, describe, desired, server_with_carried, successor};

fn shown(statements: &[Statement]) -> String {
    let one = |statement: &Statement| {
        let locks = statement
            .locks
            .iter()
            .map(|lock| format!("\n    -- {lock}, {}", statement.held));
        format!(
            "{:?}: {};{}",
            statement.stage,
            statement.sql,
            locks.collect::<String>()
        )
    };
    statements.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// The documents as PostgreSQL 15 described them, so that the texts do not depend on the server at hand.
/// `CROSSFADE_UPDATE_FIXTURES=1 cargo test -p crossfade-postgres --test catalog` on a 15 makes them anew.
pub(crate) const SOURCE: &str = include_str!("../fixtures/carried_source.json");
const DESIRED: &str = include_str!("../fixtures/carried_desired.json");

#[tokio::test]
async fn documents_are_stored_and_read_again_unchanged() {
    let server = server_with_carried().await;
    let client = server.connect("engine", "postgres").await.unwrap();
    let source = describe(&client, "s.\"Order\"").await;
    let desired = desired(&client, &source, Some("ALTER COLUMN id TYPE bigint")).await;
    for (name, definition) in [("source", &source), ("desired", &desired)] {
        let document = serde_json::to_string_pretty(definition).unwrap();
        let again: Definition = serde_json::from_str(&document).unwrap();
        assert_eq!(again, *definition);
        if std::env::var_os("CROSSFADE_UPDATE_FIXTURES").is_some() {
            let path = format!(
                "{}/tests/fixtures/carried_{name}.json",
                env!("CARGO_MANIFEST_DIR")
            );
            std::fs::write(path, document + "\n").unwrap();
        }
    }
}

#[test]
fn rendered() {
    let source: Definition = serde_json::from_str(SOURCE).unwrap();
    let desired: Definition = serde_json::from_str(DESIRED).unwrap();
    let context = context();
    let new = [successor(&desired, &["the name", "id"])];
    insta::assert_snapshot!("probe", ddl::probe_clone(&source, "probe").join(";\n"));
    insta::assert_snapshot!("shadow", shown(&ddl::shadow(&context, &new)));
    let index_statements = [
        ddl::key_index(&context, &new[0]),
        ddl::indexes(&context, &new[0]),
        ddl::analyze(&context, &new[0]),
    ];
    insta::assert_snapshot!("indexes", shown(&index_statements.concat()));
    let cutover = [
        ddl::locks(&context, Leaving::alone(&[&source]), &new),
        ddl::swap(&context, Leaving::alone(&[&source]), &new),
    ];
    insta::assert_snapshot!("cutover", shown(&cutover.concat()));
    let after = [
        ddl::after_swap(&new),
        ddl::complete(&context),
        ddl::drop(&context, &[&source]),
        ddl::abort(&context),
    ];
    insta::assert_snapshot!("after", shown(&after.concat()));
    let carried = catalog::carried(&source);
    let carried: Vec<String> = carried
        .iter()
        .map(|item| format!("{}: {}", item.class, item.object))
        .collect();
    insta::assert_snapshot!("carried", carried.join("\n"));
}
