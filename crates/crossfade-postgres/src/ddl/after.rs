//! After the swap, and instead of it.

use crossfade_core::plan::{Stage, Statement};

use crate::catalog::Definition;
use crate::ddl::{DdlContext, NewTable, lock, private, render};
use crate::ident::{self, Ident};

/// Stage `AfterSwap`: validation of the foreign keys that were valid.
pub fn after_swap(new: &[NewTable<'_>]) -> Vec<Statement> {
    let definitions = new.iter().map(|new| new.definition);
    let keys = definitions.flat_map(|table| {
        let keys = table.foreign_keys.iter().chain(&table.incoming);
        keys.map(move |key| (table, key))
    });
    keys.filter(|(_, key)| key.validated)
        .map(|(table, key)| {
            let (child, parent) = render::ends(table, key);
            Statement {
                stage: Stage::AfterSwap,
                sql: format!(
                    "ALTER TABLE {} VALIDATE CONSTRAINT {}",
                    ident::table(child),
                    Ident(&key.name)
                ),
                locks: vec![lock("SHARE UPDATE EXCLUSIVE", child), lock("ROW SHARE", parent)],
                held: "while the rows are checked; readers and writers go on".to_owned(),
            }
        })
        .collect()
}

/// Stage `Complete`: the schema that held the shadow goes.
pub fn complete(context: &DdlContext) -> Vec<Statement> {
    let sql = format!("DROP SCHEMA IF EXISTS {}", Ident(&context.shadow_schema));
    vec![private(Stage::Complete, sql)]
}

/// Stage `Drop`: the retired tables and their schema, which goes on `Complete` if there are none. Without `CASCADE`: whatever
/// came to depend on them stays.
pub fn drop(context: &DdlContext, retired: &[&Definition]) -> Vec<Statement> {
    let stage = match retired {
        [] => Stage::Complete,
        [..] => Stage::Drop,
    };
    let tables = retired.iter().map(|table| {
        let table = context.retired(table);
        private(Stage::Drop, format!("DROP TABLE IF EXISTS {table}"))
    });
    let schema = format!("DROP SCHEMA IF EXISTS {}", Ident(&context.retired_schema));
    tables.chain([private(stage, schema)]).collect()
}

/// Stage `Abort`: whatever of the shadow there is. The schema of retired tables is empty before the swap.
pub fn abort(context: &DdlContext) -> Vec<Statement> {
    vec![
        private(
            Stage::Abort,
            format!("DROP SCHEMA IF EXISTS {} CASCADE", Ident(&context.shadow_schema)),
        ),
        private(
            Stage::Abort,
            format!("DROP SCHEMA IF EXISTS {}", Ident(&context.retired_schema)),
        ),
    ]
}
