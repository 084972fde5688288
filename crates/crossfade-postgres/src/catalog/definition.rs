//! The types of a [`Definition`]: plain data, in the shape in which `describe.sql` builds it as one JSON
//! document, and in which a plan stores it. Lists are sorted by name, but for columns, options and grants;
//! absent is `None` or empty.

use crossfade_core::name::TableName;
use crossfade_core::plan::ReplicaIdentity;
use serde::{Deserialize, Serialize};

/// A table and everything attached to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Schema and name.
    pub name: TableName,
    /// The table itself.
    pub table: Table,
    /// Its row type.
    pub row_type: RowType,
    /// In table order.
    pub columns: Vec<Column>,
    /// All but foreign keys: primary key, unique, check, exclusion, and from 18 on not-null constraints.
    pub constraints: Vec<Constraint>,
    /// Its own foreign keys (those that refer to itself included).
    pub foreign_keys: Vec<ForeignKey>,
    /// Foreign keys of other tables that refer to it.
    #[serde(default)]
    pub incoming: Vec<ForeignKey>,
    /// All indexes, those of constraints included.
    pub indexes: Vec<Index>,
    /// User triggers.
    pub triggers: Vec<Trigger>,
    /// Rewrite rules.
    pub rules: Vec<Rule>,
    /// Row security policies.
    pub policies: Vec<Policy>,
    /// Sequences owned by a column: of `serial` and of identity columns.
    pub sequences: Vec<Sequence>,
    /// Publications that send it, whichever way they name it.
    pub publications: Vec<Publication>,
    /// Subscriptions that write to it.
    pub subscriptions: Vec<String>,
    /// Every edge of `pg_depend` at the table, its columns, indexes, constraints, defaults, triggers, row type
    /// and identity sequences: the net under all classes that have no list of their own.
    pub depend: Vec<Edge>,
    /// Circumstances that are no part of a comparison.
    pub outside: Outside,
}

/// `pg_class` of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// `relkind`: `r` table, `p` partitioned, `f` foreign, `v`, `m`, …
    pub kind: String,
    /// `relpersistence`: `p` permanent, `u` unlogged, `t` temporary.
    pub persistence: String,
    /// Access method.
    pub access_method: Option<String>,
    /// Tablespace, if not the database's.
    pub tablespace: Option<String>,
    /// Owner.
    pub owner: String,
    /// Privileges on the table; the owner's implicit ones are spelled out.
    pub grants: Vec<Grant>,
    /// Storage parameters as `name=value`.
    pub options: Vec<String>,
    /// Storage parameters of its TOAST table, without the `toast.`.
    pub toast_options: Vec<String>,
    /// `REPLICA IDENTITY`.
    pub replica_identity: ReplicaIdentity,
    /// The index of `CLUSTER ON`.
    pub clustered_index: Option<String>,
    /// Row security is enabled.
    pub row_security: bool,
    /// Row security binds the owner too.
    pub force_row_security: bool,
    /// `OF type`.
    pub of_type: Option<String>,
    /// Its parents, in order of inheritance.
    pub parents: Vec<String>,
    /// Its children or partitions.
    pub children: Vec<String>,
    /// The bound, if it is a partition.
    pub partition_bound: Option<String>,
    /// How it is partitioned: what follows `PARTITION BY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Its partitions, in its own schema; those elsewhere are in `children` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<Partition>,
    /// Its comment.
    pub comment: Option<String>,
    /// Security labels of table and columns, as `object provider=label`.
    pub security_labels: Vec<String>,
}

/// A partition in the schema of its table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// `FOR VALUES …` or `DEFAULT`, deparsed.
    pub bound: String,
}

/// The composite type that comes with the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowType {
    /// Privileges beyond the default (usage for everyone).
    pub grants: Vec<Grant>,
    /// Its comment.
    pub comment: Option<String>,
}

/// One privilege, as `aclexplode` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Who gave it.
    pub grantor: String,
    /// Who has it; `None` is `PUBLIC`.
    pub grantee: Option<String>,
    /// `SELECT`, `INSERT`, …
    pub privilege: String,
    /// With grant option.
    pub grantable: bool,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Its place among the columns that are not dropped, from 1.
    pub position: u32,
    /// Type with modifier, ready for SQL.
    pub type_name: String,
    /// Collation, ready for SQL, if not the type's default.
    pub collation: Option<String>,
    /// `NOT NULL`.
    pub not_null: bool,
    /// `DEFAULT`; `None` for generated columns.
    pub default: Option<String>,
    /// `GENERATED ALWAYS AS (…)`.
    pub generated: Option<Generated>,
    /// `GENERATED … AS IDENTITY`; its sequence is in [`Definition::sequences`].
    pub identity: Option<Identity>,
    /// `STORAGE`, if not the type's default.
    pub storage: Option<Storage>,
    /// `COMPRESSION`: `pglz` or `lz4`, if set.
    pub compression: Option<String>,
    /// `STATISTICS`, if set.
    pub statistics: Option<i32>,
    /// Attribute options as `name=value`.
    pub options: Vec<String>,
    /// Privileges on the column alone.
    pub grants: Vec<Grant>,
    /// Its comment.
    pub comment: Option<String>,
}

/// A generated column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// The expression, deparsed.
    pub expression: String,
    /// Computed when written; otherwise (from 18 on) when read.
    pub stored: bool,
}

/// How an identity column takes values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// `GENERATED ALWAYS`.
    Always,
    /// `GENERATED BY DEFAULT`.
    ByDefault,
}

/// `pg_attribute.attstorage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// Never out of line, never compressed.
    Plain,
    /// Out of line, not compressed.
    External,
    /// Compressed and out of line.
    Extended,
    /// Compressed, out of line as the last resort.
    Main,
}

/// The class of a [`Constraint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintKind {
    /// `PRIMARY KEY`.
    PrimaryKey,
    /// `UNIQUE`.
    Unique,
    /// `CHECK`.
    Check,
    /// `EXCLUDE`.
    Exclusion,
    /// `NOT NULL`, an object of its own from 18 on.
    NotNull,
}

/// A constraint that is no foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// Name.
    pub name: String,
    /// Class.
    pub kind: ConstraintKind,
    /// What follows `CONSTRAINT name`, deparsed, `NOT VALID` included.
    pub definition: String,
    /// Its columns, in order (of an expression's, all that it reads).
    pub columns: Vec<String>,
    /// Existing rows satisfy it.
    pub validated: bool,
    /// `DEFERRABLE`.
    pub deferrable: bool,
    /// `INITIALLY DEFERRED`.
    pub deferred: bool,
    /// `NO INHERIT`.
    pub no_inherit: bool,
    /// Its index.
    pub index: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
}

/// A foreign key, from either end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKey {
    /// Name.
    pub name: String,
    /// The table that has it; `None` is the described one.
    pub referencing: Option<TableName>,
    /// The table it refers to; `None` is the described one.
    pub referenced: Option<TableName>,
    /// `pg_class.relkind` of the referencing table.
    pub referencing_kind: String,
    /// `pg_class.relkind` of the referenced table.
    pub referenced_kind: String,
    /// Referencing columns, in order.
    pub columns: Vec<String>,
    /// Referenced columns, in order.
    pub referenced_columns: Vec<String>,
    /// The last column of either end is a period (from 18 on).
    pub period: bool,
    /// What stands after `REFERENCES schema.table(columns)`, deparsed: `MATCH`, actions, deferrability; without
    /// `NOT VALID`.
    pub clauses: String,
    /// Existing rows satisfy it.
    pub validated: bool,
    /// The unique index that it relies on.
    pub index: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// Internal triggers that are not in their default state; superusers can do that.
    pub triggers: Vec<RiTrigger>,
    /// It belongs to the foreign key of a partitioned table.
    pub inherited: Option<String>,
}

/// An internal trigger of a foreign key that does not fire as it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiTrigger {
    /// Its function, such as `RI_FKey_check_ins`.
    pub function: String,
    /// When it fires.
    pub fires: Fires,
}

/// `tgenabled` and `ev_enabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fires {
    /// In origin and local mode: the default.
    Origin,
    /// Never.
    Disabled,
    /// In replica mode only.
    Replica,
    /// In every mode.
    Always,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Name.
    pub name: String,
    /// What stands between ` USING ` and ` WHERE `, deparsed.
    pub definition: String,
    /// The predicate, deparsed, of a partial index.
    pub predicate: Option<String>,
    /// Its key columns, in order; `None` in the place of an expression.
    pub columns: Vec<Option<String>>,
    /// `UNIQUE`.
    pub unique: bool,
    /// Usable by queries: not left over by a failed `CREATE INDEX CONCURRENTLY`.
    pub valid: bool,
    /// Checked at once: not the index of a deferrable constraint.
    pub immediate: bool,
    /// `CLUSTER ON`.
    pub clustered: bool,
    /// `REPLICA IDENTITY USING INDEX`.
    pub replica_identity: bool,
    /// The constraint that it belongs to.
    pub constraint: Option<String>,
    /// Statistics targets of its expressions, by the ordinal of the index column.
    pub statistics: Vec<(u32, i32)>,
    /// Tablespace, if not the database's. The server does not deparse it.
    pub tablespace: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
}

/// A user trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Name.
    pub name: String,
    /// `CREATE TRIGGER …`, deparsed; names the table as [`Definition::name`] does.
    pub definition: String,
    /// When it fires.
    pub fires: Fires,
    /// Its comment.
    pub comment: Option<String>,
}

/// A rewrite rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name.
    pub name: String,
    /// `CREATE RULE …`, deparsed.
    pub definition: String,
    /// When it fires.
    pub fires: Fires,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Name.
    pub name: String,
    /// Command, roles and expressions.
    pub definition: String,
}

/// How a column owns its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owned {
    /// `OWNED BY`, as `serial` makes it: the object can change hands.
    Serial,
    /// Identity: it lives and dies with its table.
    Identity,
}

/// A sequence in the table's schema, owned by one of its columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// Name, in the schema of the table.
    pub name: String,
    /// How it is owned.
    pub owned: Owned,
    /// The column that owns it.
    pub column: String,
    /// `smallint`, `integer` or `bigint`.
    pub type_name: String,
    /// `START`.
    pub start: i64,
    /// `INCREMENT`.
    pub increment: i64,
    /// `MINVALUE`.
    pub min: i64,
    /// `MAXVALUE`.
    pub max: i64,
    /// `CACHE`.
    pub cache: i64,
    /// `CYCLE`.
    pub cycle: bool,
    /// Owner.
    pub owner: String,
    /// Privileges.
    pub grants: Vec<Grant>,
    /// Its comment.
    pub comment: Option<String>,
    /// `relpersistence`.
    pub persistence: String,
}

/// What a publication names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishedBy {
    /// All tables of the database.
    AllTables,
    /// All tables of the schema.
    Schema,
    /// The table.
    Table,
}

/// A publication that sends the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// Name.
    pub name: String,
    /// How it comes to send the table.
    pub by: PublishedBy,
}

/// One edge of `pg_depend`. What belongs to the table is named without schema and table (`column id`, `index
/// orders_pkey`, `row type`); everything else by `pg_identify_object`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// What depends.
    pub dependent: String,
    /// The dependent belongs to the table.
    pub dependent_own: bool,
    /// `deptype`: `n` normal, `a` automatic, `i` internal, `e` extension member, `x` depends on extension,
    /// `P` and `S` partition.
    pub kind: String,
    /// What it depends on.
    pub referenced: String,
    /// What it depends on belongs to the table.
    pub referenced_own: bool,
}

/// What was seen beside the definition, at one moment, by one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// `pg_class.oid`.
    pub oid: u32,
    /// `pg_class.relfilenode`: changes when the table is rewritten or truncated.
    pub relfilenode: u32,
    /// `server_version_num`.
    pub version_num: u32,
    /// Roles as which we would have to act (owners, grantors) and of which we are no member.
    pub roles_not_ours: Vec<String>,
    /// Privileges that we lack: on the tables that its foreign keys refer to, the schema, the database; as
    /// `REFERENCES on s.t`.
    pub privileges_not_ours: Vec<String>,
    /// Roles to which `ALTER DEFAULT PRIVILEGES` gives something on tables and sequences that we create;
    /// `None` is `PUBLIC`.
    pub default_grantees: Vec<Option<String>>,
    /// Enabled event triggers.
    pub event_triggers: Vec<String>,
}
