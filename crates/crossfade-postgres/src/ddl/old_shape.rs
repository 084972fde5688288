//! The view of the old shape: what it reads, and what a write through it does to the new tables (`INSTEAD OF`).
//!
//! A write through it makes the rows of the new tables by the expressions that copied them, over the row that is written.
//! A view has no row to lock: the server reads it, computes the new row, and calls the trigger, and meanwhile another
//! transaction may have changed what was read. So the trigger locks the rows of the new tables, reads the row again, and
//! refuses to write over what it would undo.

use std::collections::BTreeSet;

use crossfade_core::name::TableName;
use crossfade_core::plan::{Source, Target};

use crate::catalog::{Definition, Owned};
use crate::ddl::render::{self, GrantTarget};
use crate::ddl::shadow::given_by;
use crate::derive;
use crate::ident::{self, Ident, literal};

/// What the view is made from.
#[derive(Clone, Copy, Debug)]
pub struct OldShape<'a> {
    /// Its name.
    pub view: &'a TableName,
    /// Its query, over the new tables in their places.
    pub query: &'a str,
    /// Its columns.
    pub columns: &'a [String],
    /// Those that are the key.
    pub key: &'a [String],
    /// The table as the plan knows it.
    pub source: &'a Source,
    /// The same, in full.
    pub today: &'a Definition,
    /// The new tables.
    pub targets: &'a [Target],
    /// The same, in full and in the same order.
    pub desired: &'a [Definition],
    /// Where the user's texts look up names.
    pub search_path: &'a str,
}

/// The function that carries writes out; beside the view, and named after it.
pub fn function(view: &TableName) -> TableName {
    TableName::new(view.schema.as_str(), format!("{}_instead", view.name))
}

/// Drops the view and its function.
pub fn drop_view(view: &TableName) -> Vec<String> {
    vec![
        format!("DROP VIEW IF EXISTS {}", ident::table(view)),
        format!("DROP FUNCTION IF EXISTS {}()", ident::table(&function(view))),
    ]
}

impl OldShape<'_> {
    /// The view alone, for nobody but the engine.
    pub fn create(&self) -> String {
        format!("CREATE VIEW {} AS\n{}", ident::table(self.view), self.query)
    }

    /// The view, as it takes the place of a table: it belongs to the table's owner, has its defaults and privileges, and
    /// can be written to.
    pub fn create_writable(&self) -> Vec<String> {
        let view = ident::table(self.view);
        let function = ident::table(&function(self.view));
        let owner = Ident(&self.today.table.owner);
        let mut all = vec![self.create(), self.create_function()];
        all.extend([
            format!(
                "CREATE TRIGGER \"instead\" INSTEAD OF INSERT OR UPDATE OR DELETE ON {view} FOR EACH ROW \
                 EXECUTE FUNCTION {function}()"
            ),
            format!("REVOKE ALL ON FUNCTION {function}() FROM PUBLIC"),
            format!("ALTER FUNCTION {function}() OWNER TO {owner}"),
            format!("ALTER VIEW {view} OWNER TO {owner}"),
        ]);
        all.extend(self.defaults());
        all.extend(self.grants());
        all
    }

    fn defaults(&self) -> Vec<String> {
        let view = ident::table(self.view);
        let columns = self.today.columns.iter();
        let columns = columns.filter(|column| self.columns.contains(&column.name));
        columns
            .filter_map(|column| {
                let default = match (&column.default, column.identity) {
                    (Some(default), _) if column.generated.is_none() => default.clone(),
                    (_, Some(_)) => self.next_value(&column.name)?,
                    (_, _) => return None,
                };
                Some(format!(
                    "ALTER VIEW {view} ALTER COLUMN {} SET DEFAULT {default}",
                    Ident(&column.name)
                ))
            })
            .collect()
    }

    /// Of the identity column of that name in a new table.
    fn next_value(&self, column: &str) -> Option<String> {
        let of = |table: &&Definition| {
            let mut sequences = table.sequences.iter();
            let sequence =
                sequences.find(|sequence| sequence.owned == Owned::Identity && sequence.column == column)?;
            Some(ident::qualified(&table.name.schema, &sequence.name))
        };
        let sequence = self.desired.iter().find_map(|table| of(&table))?;
        Some(format!("pg_catalog.nextval({})", literal(&sequence)))
    }

    fn grants(&self) -> Vec<String> {
        let owner = &self.today.table.owner;
        let columns = self.today.columns.iter();
        let of_columns = columns
            .filter(|column| self.columns.contains(&column.name))
            .map(|column| (Some(column.name.as_str()), &column.grants));
        let all = std::iter::once((None, &self.today.table.grants)).chain(of_columns);
        let name = ident::table(self.view);
        all.flat_map(|(column, grants)| {
            let target = GrantTarget {
                class: "TABLE",
                name: &name,
                column,
            };
            render::grants(&target, owner, &given_by(owner, grants, true))
        })
        .collect()
    }

    fn create_function(&self) -> String {
        let body = self.body();
        let mut tag = "crossfade".to_owned();
        while body.contains(&format!("${tag}$")) {
            tag.push('_');
        }
        let path = match self.search_path.trim() {
            "" => String::new(),
            path => format!("{path}, "),
        };
        format!(
            "CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER\n  \
             SET search_path = {path}pg_temp\nAS ${tag}$\n{body}${tag}$",
            ident::table(&function(self.view))
        )
    }

    fn body(&self) -> String {
        let view = ident::table(self.view);
        let of_old = self.same_key("s", "OLD");
        let of_new = self.same_key("s", "NEW");
        let lock: Vec<String> = self
            .targets
            .iter()
            .map(|target| {
                format!(
                    "    PERFORM FROM {} AS t WHERE {} FOR UPDATE;\n",
                    place(target),
                    self.belongs(target, "OLD")
                )
            })
            .collect();
        let delete: Vec<String> = self
            .targets
            .iter()
            .rev()
            .map(|target| {
                format!(
                    "    DELETE FROM {} AS t WHERE {};\n",
                    place(target),
                    self.belongs(target, "OLD")
                )
            })
            .collect();
        let rename: Vec<String> = self.targets.iter().map(|target| self.rename(target)).collect();
        let update: Vec<String> = self.targets.iter().map(|target| self.update(target)).collect();
        let insert: Vec<String> = self
            .targets
            .iter()
            .map(|target| format!("    {};\n", self.insert(target)))
            .collect();
        let table = &self.view.name;
        format!(
            "#variable_conflict use_column
DECLARE
  \"crossfade now\" record;
BEGIN
  IF TG_OP <> 'INSERT' THEN
    -- Nobody else changes the row from here on; and if somebody has since it was read, this would undo it.
{lock}    SELECT s.* INTO \"crossfade now\" FROM {view} AS s WHERE {of_old};
    IF NOT FOUND THEN
      RETURN NULL;
    END IF;
    IF \"crossfade now\"::text IS DISTINCT FROM OLD::text THEN
      RAISE EXCEPTION 'could not write to view {name}: another transaction has changed the row'
        USING ERRCODE = 'serialization_failure', HINT = 'Try the transaction again.';
    END IF;
  END IF;
  IF TG_OP = 'DELETE' THEN
{delete}    RETURN OLD;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF {new_key} IS DISTINCT FROM {old_key} THEN
{unique}{rename}    END IF;
{update}  ELSE
{unique}{insert}  END IF;
  IF NOT EXISTS (SELECT FROM {view} AS s WHERE {of_new}) THEN
    RAISE EXCEPTION 'new row of view {name} is in none of the new tables'
      USING ERRCODE = 'with_check_option_violation';
  END IF;
  RETURN NEW;
END
",
            lock = lock.concat(),
            delete = delete.concat(),
            rename = rename.concat(),
            update = update.concat(),
            insert = insert.concat(),
            unique = self.unique(&view, &of_new),
            new_key = self.key_of("NEW"),
            old_key = self.key_of("OLD"),
            name = quoted_in_text(table),
        )
    }

    /// No two rows of one key, though they would be in different tables.
    fn unique(&self, view: &str, of_new: &str) -> String {
        // Of a table without a filter its own key is enough.
        let apart = self.targets.iter().all(|target| target.filter.is_some());
        let alone = match apart {
            true => format!(
                "    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended({} || {}::text, 0));\n",
                literal(&format!("{} ", self.view)),
                self.key_of("NEW")
            ),
            false => String::new(),
        };
        format!(
            "{alone}    IF EXISTS (SELECT FROM {view} AS s WHERE {of_new}) THEN
      RAISE EXCEPTION 'duplicate key value violates the key of view {}'
        USING ERRCODE = 'unique_violation';
    END IF;\n",
            quoted_in_text(&self.view.name)
        )
    }

    /// The rows of the old key are those of the new one; what the expressions do not fill stays as it is.
    fn rename(&self, target: &Target) -> String {
        let columns = self.key_columns(target);
        let sets = columns.iter().zip(self.key);
        let sets: Vec<String> = sets
            .map(|(column, key)| format!("{} = NEW.{}", Ident(column), Ident(key)))
            .collect();
        format!(
            "      UPDATE {} AS t SET {} WHERE {};\n",
            place(target),
            sets.join(", "),
            self.belongs(target, "OLD")
        )
    }

    /// Where something that the table's rows are made of is another: those that come of the row no more go, the others
    /// are written over.
    fn update(&self, target: &Target) -> String {
        let reads: BTreeSet<&str> = target
            .reads()
            .into_iter()
            .map(|place| self.source.columns[place].name.as_str())
            .collect();
        let row = |of: &str| {
            let cells: Vec<String> = reads.iter().map(|name| format!("{of}.{}", Ident(name))).collect();
            format!("ROW({})::text", cells.join(", "))
        };
        let gone = match target.derived {
            None => String::new(),
            Some(_) => {
                let row_key: Vec<String> = row_key(target)
                    .iter()
                    .map(|name| format!("made.{name} = t.{name}", name = Ident(name)))
                    .collect();
                format!(
                    "      DELETE FROM {} AS t WHERE {} AND NOT EXISTS (SELECT FROM ({}) AS made WHERE {});\n",
                    place(target),
                    self.belongs(target, "NEW"),
                    self.made(target),
                    row_key.join(" AND ")
                )
            }
        };
        let row_key = row_key(target);
        let written: Vec<String> = target
            .columns
            .iter()
            .filter(|column| !row_key.contains(&column.name))
            .map(|column| format!("{name} = EXCLUDED.{name}", name = Ident(&column.name)))
            .collect();
        let conflict = match written.is_empty() {
            true => "DO NOTHING".to_owned(),
            false => format!("DO UPDATE SET {}", written.join(", ")),
        };
        format!(
            "    IF {} IS DISTINCT FROM {} THEN\n{gone}      {}\n        ON CONFLICT ({}) {conflict};\n    END IF;\n",
            row("NEW"),
            row("OLD"),
            self.insert(target),
            ident::list(row_key.iter().map(String::as_str)),
        )
    }

    fn insert(&self, target: &Target) -> String {
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE {}",
            place(target),
            ident::list(target.columns.iter().map(|column| column.name.as_str())),
            self.made(target)
        )
    }

    /// The rows of a table that come of the row which is written.
    fn made(&self, target: &Target) -> String {
        let values = target
            .columns
            .iter()
            .map(|column| format!("({}) AS {}", column.value.sql, Ident(&column.name)));
        let row = self
            .columns
            .iter()
            .map(|name| format!("NEW.{} AS {}", Ident(name), Ident(name)));
        format!(
            "SELECT {} FROM (SELECT {}) AS {}{} WHERE true{}",
            values.collect::<Vec<_>>().join(", "),
            row.collect::<Vec<_>>().join(", "),
            Ident(&self.source.name.name),
            derive::beside(target),
            derive::filtered(target)
        )
    }

    /// The columns of a table that hold the old table's key, in its order.
    fn key_columns(&self, target: &Target) -> Vec<String> {
        let key = target.key.iter().flatten();
        key.map(|place| target.columns[*place].name.clone()).collect()
    }

    fn belongs(&self, target: &Target, row: &str) -> String {
        let columns = self.key_columns(target);
        let pairs = columns.iter().zip(self.key);
        let pairs: Vec<String> = pairs
            .map(|(column, key)| format!("t.{} = {row}.{}", Ident(column), Ident(key)))
            .collect();
        pairs.join(" AND ")
    }

    fn same_key(&self, alias: &str, row: &str) -> String {
        let pairs = self.key.iter().map(|key| Ident(key));
        let pairs: Vec<String> = pairs.map(|key| format!("{alias}.{key} = {row}.{key}")).collect();
        pairs.join(" AND ")
    }

    fn key_of(&self, row: &str) -> String {
        let cells = self.key.iter().map(|key| Ident(key));
        let cells: Vec<String> = cells.map(|key| format!("{row}.{key}")).collect();
        format!("ROW({})", cells.join(", "))
    }
}

/// Where a new table is.
fn place(target: &Target) -> String {
    ident::table(&target.name)
}

fn row_key(target: &Target) -> Vec<String> {
    let key = target.row_key().into_iter().flatten();
    key.map(|place| target.columns[*place].name.clone()).collect()
}

/// A name within a message of `RAISE`, whose percent signs stand for parameters.
fn quoted_in_text(name: &str) -> String {
    format!("\"{}\"", name.replace('\'', "''").replace('%', "%%"))
}
