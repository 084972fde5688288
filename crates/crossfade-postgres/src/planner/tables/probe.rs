//! The new table itself, made empty: what the server thinks of its columns, key, constraints and indexes.

use crossfade_core::code::RefusalCode;

use super::Planning;
use super::columns::Filled;
use crate::catalog::{self, Definition};
use crate::change::Placed;
use crate::ident::{self, Ident};
use crate::planner::{PlanError, table_oid};

impl Planning<'_> {
    /// The new table; `None` if the server would not have it.
    pub(super) async fn probe(&mut self, columns: &[Filled<'_>]) -> Result<Option<Definition>, PlanError> {
        let request = self.pieces.request;
        let table = ident::table(&self.probe);
        let parts = columns.iter().map(|column| {
            let not_null = if column.not_null { " NOT NULL" } else { "" };
            let default = column.request.default.as_ref();
            let default = default.map_or(String::new(), |default| format!(" DEFAULT (\n{default}\n)"));
            format!(
                "{} {}{default}{not_null}",
                Ident(&column.request.name.text),
                column.type_name
            )
        });
        let key = ident::list(request.key.iter().map(|name| name.text.as_str()));
        let parts: Vec<String> = parts.chain([format!("PRIMARY KEY ({key})")]).collect();
        let partitioned = request.partitioning.as_ref();
        let partitioned = partitioned.map_or(String::new(), |by| format!(" PARTITION BY\n{}\n", by.by));
        let create = format!("CREATE TABLE {table} ({}){partitioned}", parts.join(", "));
        if let Err(message) = self.try_as_the_user(&create).await? {
            let object = self.itself();
            let remedy = match request.partitioning {
                None => "Look at the types and defaults of its columns, and at its key.",
                Some(_) => {
                    "Look at the types and defaults of its columns, and at its key: of a partitioned table each key and \
                     each unique index has the columns of `partition_by` too."
                }
            };
            self.refuse(
                RefusalCode::TargetNotAccepted,
                object,
                format!("The server says: {message}."),
                remedy,
            );
            return Ok(None);
        }
        if let Some(partitioning) = &request.partitioning {
            self.partitions(partitioning, columns).await?;
        }
        for constraint in &request.constraints {
            let sql = format!("ALTER TABLE {table} ADD\n{constraint}\n");
            self.try_part(RefusalCode::ConstraintNotAccepted, "constraint", constraint, &sql)
                .await?;
        }
        for index in &request.indexes {
            let (unique, rest) = unique(&index.text);
            let sql = format!("CREATE {unique} INDEX ON {table}\n{rest}\n");
            self.try_part(RefusalCode::IndexNotAccepted, "index", index, &sql)
                .await?;
        }
        let oid = table_oid(self.pieces.session, &self.probe).await?;
        match oid {
            Some(oid) if self.refusals.is_empty() => {
                let definition = catalog::describe(self.pieces.session.client(), oid).await?;
                self.not_served(&definition).await?;
                self.fits(columns, &definition).await?;
                Ok(Some(definition))
            }
            _ => Ok(None),
        }
    }

    async fn try_part(
        &mut self,
        code: RefusalCode,
        what: &str,
        text: &Placed,
        sql: &str,
    ) -> Result<(), PlanError> {
        if let Err(message) = self.try_as_the_user(sql).await? {
            let object = self.object(what, text);
            self.refuse(
                code,
                object,
                format!("The server says: {message}."),
                "Write it as it follows `ADD` in ALTER TABLE, or `ON table` in CREATE INDEX.",
            );
        }
        Ok(())
    }

    /// Values are assigned to their columns as an INSERT does it.
    async fn fits(&mut self, columns: &[Filled<'_>], definition: &Definition) -> Result<(), PlanError> {
        let input = ident::table(&self.input);
        let probe = ident::table(&self.probe);
        for column in columns {
            let (Some(value), Some(text)) = (&column.value, &column.request.value) else {
                continue;
            };
            let name = &column.request.name.text;
            let generated = definition
                .column(name)
                .is_some_and(|column| column.generated.is_some());
            let sql = format!(
                "INSERT INTO {probe} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {input}",
                Ident(name),
                value.sql
            );
            let answer = match generated {
                true => Err("it is generated".to_owned()),
                false => self.try_as_the_user(&sql).await?,
            };
            if let Err(message) = answer {
                let object = self.object(&format!("column {name}"), text);
                self.refuse(
                    RefusalCode::ValueDoesNotFit,
                    object,
                    format!("The server says: {message}."),
                    "Cast the value to the column's type, or give the column the value's type.",
                );
            }
        }
        Ok(())
    }
}

/// `UNIQUE` belongs before the `INDEX`.
fn unique(text: &str) -> (&'static str, &str) {
    let text = text.trim_start();
    match text.get(..6) {
        Some(word) if word.eq_ignore_ascii_case("unique") => ("UNIQUE", &text[6..]),
        _ => ("", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_may_be_unique() {
        assert_eq!(unique(" unique (a, b)"), ("UNIQUE", " (a, b)"));
        assert_eq!(unique("(uniqueness)"), ("", "(uniqueness)"));
        assert_eq!(unique("é"), ("", "é"));
    }
}
