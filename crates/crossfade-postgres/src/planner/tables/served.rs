//! What a further table may not be: what a text brought along, what would not be there after the swap as it is here, and
//! names that are taken.

use crossfade_core::code::RefusalCode;
use tokio_postgres::types::ToSql;

use super::Planning;
use crate::catalog::{Definition, Owned};
use crate::planner::PlanError;
use crate::session::SqlError;

/// Whether a default of the table `$1` draws from an identity sequence of the table `$2`.
const DRAWS_FROM_IDENTITY: &str = "\
SELECT EXISTS (SELECT FROM pg_attrdef f
   JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
   JOIN pg_depend i ON i.classid = 'pg_class'::regclass AND i.objid = d.refobjid AND i.deptype = 'i'
  WHERE f.adrelid = $1::oid AND i.refclassid = 'pg_class'::regclass AND i.refobjid = $2::oid)";

const WITH_OPTIONS: &str = "\
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1::text AND c.relispartition AND c.relkind = 'r'
    AND (c.reloptions IS NOT NULL OR c.reltablespace <> 0))";

const PUBLISHED: &str = "\
SELECT EXISTS (SELECT FROM pg_publication_namespace p JOIN pg_namespace n ON n.oid = p.pnnspid
  WHERE n.nspname = $1::text)";

/// Types of a schema that are no table's row.
const TYPES_NAMED: &str = "\
SELECT t.typname::text FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_type e ON e.oid = t.typelem
 WHERE n.nspname = $1::text AND t.typrelid = 0 AND coalesce(e.typrelid, 0) = 0 AND t.typname = ANY ($2::text[])";

/// How many tables of a schema are partitioned.
const PARTITIONED: &str = "\
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1::text AND c.relkind = 'p'";

const NAMED: &str = "\
SELECT c.relname::text, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1::text AND c.relname = ANY ($2::text[]) ORDER BY 1";

const OF_SCHEMA: &str = "\
SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p', 'i', 'I', 'S') ORDER BY 1";

const SCHEMA: &str = "\
SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE') FROM pg_namespace
 WHERE nspname = $1::text";

/// Code, message and remedy.
type Objection = (RefusalCode, &'static str, &'static str);

impl Planning<'_> {
    /// Whatever of it is not served.
    pub(super) async fn not_served(&mut self, definition: &Definition) -> Result<(), PlanError> {
        let object = self.itself();
        let seen = self.seen_by_the_server(definition).await?;
        for (code, message, remedy) in brought_along(definition).into_iter().chain(seen) {
            self.refuse(code, object.clone(), message.to_owned(), remedy);
        }
        for column in &definition.columns {
            let request = self.pieces.request.column(&column.name);
            let filled = request.is_some_and(|request| request.value.is_some());
            let by_server =
                column.default.is_some() || column.identity.is_some() || column.generated.is_some();
            if !filled && !by_server && column.not_null {
                self.refuse(
                    RefusalCode::AddedColumnHasNoValue,
                    format!("column {} of {object}", column.name),
                    "It is NOT NULL, and nothing fills it.".to_owned(),
                    "Give it a `value` or a `default`.",
                );
            }
        }
        Ok(())
    }

    /// What its definition does not say.
    async fn seen_by_the_server(&self, definition: &Definition) -> Result<Vec<Objection>, SqlError> {
        let session = self.pieces.session;
        let mut found = Vec::new();
        let tables: [&(dyn ToSql + Sync); 2] = [&definition.outside.oid, &self.pieces.source.oid];
        if session.query_one(DRAWS_FROM_IDENTITY, &tables).await?.get(0) {
            found.push((
                RefusalCode::DefaultDrawsFromIdentity,
                "A default draws from the sequence of an identity column of the source, which goes with the source.",
                "Create a sequence of your own, with a START beyond the source's, and draw from that.",
            ));
        }
        let probe: [&(dyn ToSql + Sync); 1] = [&self.probe.schema];
        let partitioned: i64 = session.query_one(PARTITIONED, &probe).await?.get(0);
        if partitioned > i64::from(definition.table.kind == "p") {
            found.push((
                RefusalCode::PartitionsOfPartitions,
                "A partition of it is partitioned again.",
                "Give each partition rows of its own.",
            ));
        }
        if session.query_one(WITH_OPTIONS, &probe).await?.get(0) {
            found.push((
                RefusalCode::PartitionWithOptions,
                "A partition has storage parameters or a tablespace of its own.",
                "Set them after the change.",
            ));
        }
        let publishes_schemas = session.version_num() >= 150_000;
        if publishes_schemas && session.query_one(PUBLISHED, &[&self.place.schema]).await?.get(0) {
            found.push((
                RefusalCode::Publication,
                "A publication sends all tables of its schema: its subscribers would be sent the new table.",
                "Choose another schema, or drop the publication before the change.",
            ));
        }
        Ok(found)
    }

    /// What has the names that the table and what belongs to it would have.
    pub(super) async fn taken_names(&mut self) -> Result<(), PlanError> {
        let session = self.pieces.session;
        let may_create = session.query_opt(SCHEMA, &[&self.place.schema]).await?;
        let object = self.itself();
        match may_create.map(|row| row.get::<_, bool>(0)) {
            Some(true) => {}
            Some(false) => {
                let message = format!("We may not create tables in schema {}.", self.place.schema);
                let remedy = "Run `GRANT USAGE, CREATE ON SCHEMA …` to the role that runs the change.";
                self.refuse(RefusalCode::SchemaNotWritable, object, message, remedy);
                return Ok(());
            }
            None => {
                let message = format!("There is no schema {}.", self.place.schema);
                self.refuse(RefusalCode::SchemaNotFound, object, message, "Create it first.");
                return Ok(());
            }
        }
        // Also those of the partitions and their indexes.
        let names = self.texts(OF_SCHEMA, &[&self.probe.schema]).await?;
        let mut taken = self.texts(NAMED, &[&self.place.schema, &names]).await?;
        taken.retain(|name| !self.goes_away(name));
        let types: Vec<String> = names
            .iter()
            .flat_map(|name| [name.clone(), format!("_{name}")])
            .collect();
        taken.extend(self.texts(TYPES_NAMED, &[&self.place.schema, &types]).await?);
        for name in taken {
            let message = format!("{}.{name} is there already.", self.place.schema);
            let remedy = "Choose another name for the table, or drop what is there.";
            self.refuse(RefusalCode::NameTaken, object.clone(), message, remedy);
        }
        Ok(())
    }

    /// The source, and what belongs to it, is out of the way when the new table comes.
    fn goes_away(&self, name: &str) -> bool {
        let source = &self.pieces.surroundings.definition;
        let belongs = source.name.name == name
            || source.indexes.iter().any(|index| index.name == name)
            || source
                .sequences
                .iter()
                .any(|sequence| sequence.owned == Owned::Identity && sequence.name == name);
        !self.pieces.source_stays && self.place.schema == source.name.schema && belongs
    }
}

fn brought_along(definition: &Definition) -> Vec<Objection> {
    let serial = |owned: Owned| owned == Owned::Serial;
    let all = [
        (
            !definition.foreign_keys.is_empty(),
            (
                RefusalCode::ForeignKeyOfTarget,
                "The new tables get no foreign keys yet.",
                "Add it after the change.",
            ),
        ),
        (
            definition.sequences.iter().any(|sequence| serial(sequence.owned)),
            (
                RefusalCode::SerialOfTarget,
                "A serial column's sequence is not carried into its place.",
                "Write `type = \"bigint GENERATED BY DEFAULT AS IDENTITY\"`.",
            ),
        ),
        (
            definition.table.row_security || !definition.table.parents.is_empty(),
            (
                RefusalCode::TargetNotPlain,
                "It has row security, or inherits from a table.",
                "Write constraints only into `constraints`.",
            ),
        ),
    ];
    let found = all.into_iter().filter(|(there, _)| *there);
    found.map(|(_, objection)| objection).collect()
}
