//! Whether the foreign keys can still be made between the types that the change leaves at their two ends.
//!
//! They are made in the swap, where a failure would come too late, and where it would come every time. So each
//! is tried beforehand between the clone and an empty twin of the other table, which locks nothing of the user's.

use std::collections::BTreeMap;

use crossfade_core::code::RefusalCode;
use crossfade_core::name::TableName;
use crossfade_core::refusal::Refusal;

use crate::catalog::{Definition, ForeignKey};
use crate::ident::{self, Ident};
use crate::preflight::refusal;
use crate::session::{Session, SqlError};

/// Where the foreign keys are tried.
pub(super) struct Trial<'a> {
    pub(super) session: &'a Session,
    pub(super) today: &'a Definition,
    pub(super) desired: &'a Definition,
    /// The altered clone, in the open transaction.
    pub(super) clone: &'a TableName,
}

/// An end of a foreign key that is not the clone.
struct Twin {
    table: TableName,
    columns: String,
}

const COLUMN_TYPES: &str = "\
SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped";

impl Trial<'_> {
    /// Tries all whose columns change their type.
    pub(super) async fn refusals(&self) -> Result<Vec<Refusal>, SqlError> {
        let mut refusals = Vec::new();
        let own = self
            .desired
            .foreign_keys
            .iter()
            .filter(|key| self.retypes(&key.columns) || self.touches_itself(key));
        for key in own {
            refusals.extend(self.try_own(key).await?);
        }
        for key in self
            .desired
            .incoming
            .iter()
            .filter(|key| self.retypes(&key.referenced_columns))
        {
            refusals.extend(self.try_incoming(key).await?);
        }
        Ok(refusals)
    }

    fn touches_itself(&self, key: &ForeignKey) -> bool {
        key.referenced.is_none() && self.retypes(&key.referenced_columns)
    }

    fn retypes(&self, columns: &[String]) -> bool {
        let type_of = |definition: &Definition, name: &str| {
            definition.column(name).map(|column| column.type_name.clone())
        };
        columns
            .iter()
            .any(|name| type_of(self.today, name) != type_of(self.desired, name))
    }

    async fn try_own(&self, key: &ForeignKey) -> Result<Option<Refusal>, SqlError> {
        let (create, other) = match &key.referenced {
            None => (None, self.clone.clone()),
            Some(table) => {
                let twin = self.twin(table, &key.referenced_columns).await?;
                let unique = ident::list(key.referenced_columns.iter().map(String::as_str));
                let create = format!(
                    "CREATE TABLE {} ({}, UNIQUE ({unique}))",
                    ident::table(&twin.table),
                    twin.columns
                );
                (Some(create), twin.table)
            }
        };
        let add = add_foreign_key(self.clone, key, &other);
        self.attempt(key, &self.today.name, create.into_iter().chain([add]))
            .await
    }

    async fn try_incoming(&self, key: &ForeignKey) -> Result<Option<Refusal>, SqlError> {
        let Some(table) = &key.referencing else {
            return Ok(None);
        };
        let twin = self.twin(table, &key.columns).await?;
        let create = format!("CREATE TABLE {} ({})", ident::table(&twin.table), twin.columns);
        let add = add_foreign_key(&twin.table, key, self.clone);
        self.attempt(key, table, [create, add]).await
    }

    async fn twin(&self, table: &TableName, columns: &[String]) -> Result<Twin, SqlError> {
        let rows = self.session.query(COLUMN_TYPES, &[&ident::table(table)]).await?;
        let types: BTreeMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let column = |name: &String| {
            types
                .get(name)
                .map(|type_name| format!("{} {type_name}", Ident(name)))
        };
        let columns: Vec<String> = columns.iter().filter_map(column).collect();
        Ok(Twin {
            table: TableName::new(self.clone.schema.as_str(), format!("{} twin", self.session.pid())),
            columns: columns.join(", "),
        })
    }

    async fn attempt(
        &self,
        key: &ForeignKey,
        table: &TableName,
        statements: impl IntoIterator<Item = String>,
    ) -> Result<Option<Refusal>, SqlError> {
        self.session.batch_execute("SAVEPOINT crossfade").await?;
        let mut refused = None;
        for statement in statements {
            let answer = self.session.client().batch_execute(&statement).await;
            let Err(error) = answer else { continue };
            let told = error
                .as_db_error()
                .ok_or_else(|| SqlError::new(&statement, &error))?;
            let detail = told
                .detail()
                .map(|detail| format!(" {detail}"))
                .unwrap_or_default();
            refused = Some(refusal(
                RefusalCode::ForeignKeyImpossible,
                format!("foreign key {} on {table}", key.name),
                format!(
                    "It cannot be made between the new types: {}.{detail}",
                    told.message()
                ),
                "Drop the foreign key first, or change both tables to types that can be compared.",
            ));
            break;
        }
        self.session
            .batch_execute("ROLLBACK TO SAVEPOINT crossfade")
            .await?;
        Ok(refused)
    }
}

fn add_foreign_key(from: &TableName, key: &ForeignKey, to: &TableName) -> String {
    format!(
        "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({})",
        ident::table(from),
        Ident(&key.name),
        ident::list(key.columns.iter().map(String::as_str)),
        ident::table(to),
        ident::list(key.referenced_columns.iter().map(String::as_str)),
    )
}
