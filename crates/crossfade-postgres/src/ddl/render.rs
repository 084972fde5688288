//! Parts of statements: columns, options, grants, comments, indexes, foreign keys.

use crossfade_core::name::TableName;

use crate::catalog::{
    Column, Constraint, ConstraintKind, Definition, ForeignKey, Grant, Identity, Index, Owned, Partition,
    Sequence, Storage,
};
use crate::ident::{self, Ident};

/// `CREATE TABLE` without indexes and foreign keys; `checks` are the constraints to write into it.
pub(super) fn create_table(schema: &str, definition: &Definition, checks: &[&Constraint]) -> String {
    let columns = definition
        .columns
        .iter()
        .map(|column| self::column(schema, definition, column));
    let checks = checks
        .iter()
        .map(|check| format!("CONSTRAINT {} {}", Ident(&check.name), check.definition));
    let parts: Vec<String> = columns.chain(checks).collect();
    let table = &definition.table;
    let mut sql = format!(
        "CREATE TABLE {} (\n  {}\n)",
        ident::qualified(schema, &definition.name.name),
        parts.join(",\n  ")
    );
    if let Some(key) = &table.partition_key {
        sql += &format!(" PARTITION BY {key}");
    }
    if let Some(method) = &table.access_method {
        sql += &format!(" USING {}", Ident(method));
    }
    let options = table.options.iter().map(|text| option("", text));
    let toast = table.toast_options.iter().map(|text| option("toast.", text));
    let options: Vec<String> = options.chain(toast).collect();
    if !options.is_empty() {
        sql += &format!(" WITH ({})", options.join(", "));
    }
    if let Some(tablespace) = &table.tablespace {
        sql += &format!(" TABLESPACE {}", Ident(tablespace));
    }
    sql
}

fn column(schema: &str, definition: &Definition, column: &Column) -> String {
    let mut sql = format!("{} {}", Ident(&column.name), column.type_name);
    if let Some(collation) = &column.collation {
        sql += &format!(" COLLATE {collation}");
    }
    if let Some(default) = &column.default {
        sql += &format!(" DEFAULT {default}");
    }
    if let Some(generated) = &column.generated {
        let kind = if generated.stored { "STORED" } else { "VIRTUAL" };
        sql += &format!(" GENERATED ALWAYS AS ({}) {kind}", generated.expression);
    }
    sql += &not_null(definition, column);
    if let Some(identity) = column.identity {
        sql += &self::identity(schema, definition, column, identity);
    }
    sql
}

/// From 18 on `NOT NULL` is a constraint with a name; one that is not valid yet comes later.
fn not_null(definition: &Definition, column: &Column) -> String {
    let named = definition.constraints.iter().find(|constraint| {
        constraint.kind == ConstraintKind::NotNull && constraint.columns.first() == Some(&column.name)
    });
    match named {
        Some(constraint) if constraint.validated => {
            let inherit = if constraint.no_inherit { " NO INHERIT" } else { "" };
            format!(" CONSTRAINT {} NOT NULL{inherit}", Ident(&constraint.name))
        }
        Some(_) => String::new(),
        None if column.not_null => " NOT NULL".to_owned(),
        None => String::new(),
    }
}

fn identity(schema: &str, definition: &Definition, column: &Column, identity: Identity) -> String {
    let kind = match identity {
        Identity::Always => "ALWAYS",
        Identity::ByDefault => "BY DEFAULT",
    };
    let sequence = definition
        .sequences
        .iter()
        .find(|sequence| sequence.owned == Owned::Identity && sequence.column == column.name);
    let options = sequence.map(|sequence| format!(" ({})", sequence_options(schema, sequence)));
    format!(" GENERATED {kind} AS IDENTITY{}", options.unwrap_or_default())
}

fn sequence_options(schema: &str, sequence: &Sequence) -> String {
    let cycle = if sequence.cycle { "CYCLE" } else { "NO CYCLE" };
    format!(
        "SEQUENCE NAME {} INCREMENT BY {} MINVALUE {} MAXVALUE {} START WITH {} CACHE {} {cycle}",
        ident::qualified(schema, &sequence.name),
        sequence.increment,
        sequence.min,
        sequence.max,
        sequence.start,
        sequence.cache,
    )
}

/// `name=value` of a catalog as SQL: the value is always a literal.
fn option(prefix: &str, text: &str) -> String {
    let (name, value) = text.split_once('=').unwrap_or((text, "true"));
    format!("{prefix}{} = {}", Ident(name), ident::literal(value))
}

/// One `ALTER TABLE` with everything that `CREATE TABLE` cannot say of columns; `None` if there is nothing.
pub(super) fn column_attributes(table: &str, columns: &[Column]) -> Option<String> {
    let parts: Vec<String> = columns.iter().flat_map(attributes).collect();
    (!parts.is_empty()).then(|| format!("ALTER TABLE {table}\n  {}", parts.join(",\n  ")))
}

fn attributes(column: &Column) -> Vec<String> {
    let storage = column.storage.map(|storage| match storage {
        Storage::Plain => "SET STORAGE PLAIN".to_owned(),
        Storage::External => "SET STORAGE EXTERNAL".to_owned(),
        Storage::Extended => "SET STORAGE EXTENDED".to_owned(),
        Storage::Main => "SET STORAGE MAIN".to_owned(),
    });
    let compression = column
        .compression
        .as_ref()
        .map(|method| format!("SET COMPRESSION {}", Ident(method)));
    let statistics = column.statistics.map(|target| format!("SET STATISTICS {target}"));
    let options: Vec<String> = column.options.iter().map(|text| option("", text)).collect();
    let options = (!options.is_empty()).then(|| format!("SET ({})", options.join(", ")));
    [storage, compression, statistics, options]
        .into_iter()
        .flatten()
        .map(|action| format!("ALTER COLUMN {} {action}", Ident(&column.name)))
        .collect()
}

/// `COMMENT ON`, if there is a comment.
pub(super) fn comment(object: &str, comment: Option<&String>) -> Option<String> {
    comment.map(|text| format!("COMMENT ON {object} IS {}", ident::literal(text)))
}

/// What a list of grants is on: `TABLE x`, `SEQUENCE x`, or columns of a table.
pub(super) struct GrantTarget<'a> {
    /// `TABLE` or `SEQUENCE`.
    pub(super) class: &'a str,
    /// Quoted.
    pub(super) name: &'a str,
    /// The column alone.
    pub(super) column: Option<&'a str>,
}

/// `GRANT` statements, one for each grantor, grantee and grant option, in an order in which a grantor has
/// what it gives. What others than the owner gave is given as them.
pub(super) fn grants(target: &GrantTarget<'_>, owner: &str, grants: &[&Grant]) -> Vec<String> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for grant in grants {
        let group = (grant.grantor.as_str(), grant.grantee.as_deref(), grant.grantable);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let groups = passed_on(owner, groups);
    let in_group = |group: &Group<'_>| {
        let (grantor, grantee, grantable) = *group;
        let mine = |grant: &&&Grant| {
            grant.grantor == grantor && grant.grantee.as_deref() == grantee && grant.grantable == grantable
        };
        let privileges: Vec<String> = grants
            .iter()
            .filter(mine)
            .map(|grant| privilege(target, grant))
            .collect();
        let grantee = grantee.map_or_else(|| "PUBLIC".to_owned(), |role| Ident(role).to_string());
        let option = if grantable { " WITH GRANT OPTION" } else { "" };
        let privileges = privileges.join(", ");
        let sql = format!(
            "GRANT {privileges} ON {} {} TO {grantee}{option}",
            target.class, target.name
        );
        if grantor == owner {
            sql
        } else {
            format!("SET ROLE {}; {sql}; RESET ROLE", Ident(grantor))
        }
    };
    groups.iter().map(in_group).collect()
}

type Group<'a> = (&'a str, Option<&'a str>, bool);

/// In the given order, but for grants of roles that are first granted theirs.
fn passed_on<'a>(owner: &str, mut groups: Vec<Group<'a>>) -> Vec<Group<'a>> {
    let mut ordered: Vec<Group<'a>> = Vec::new();
    while !groups.is_empty() {
        let waits = |grantor: &str| {
            let gives =
                |(by, to, grantable): &Group<'_>| *grantable && *by != grantor && *to == Some(grantor);
            grantor != owner && groups.iter().any(gives)
        };
        // A cycle cannot be, as the server refuses it; the first would break one.
        let next = groups
            .iter()
            .position(|(grantor, _, _)| !waits(grantor))
            .unwrap_or(0);
        ordered.push(groups.remove(next));
    }
    ordered
}

fn privilege(target: &GrantTarget<'_>, grant: &Grant) -> String {
    match target.column {
        Some(column) => format!("{} ({})", grant.privilege, Ident(column)),
        None => grant.privilege.clone(),
    }
}

/// `CREATE INDEX` under its final name.
pub(super) fn create_index(table: &str, index: &Index) -> String {
    let unique = if index.unique { "UNIQUE " } else { "" };
    let mut sql = format!(
        "CREATE {unique}INDEX {} ON {table} USING {}",
        Ident(&index.name),
        index.definition
    );
    if let Some(tablespace) = &index.tablespace {
        sql += &format!(" TABLESPACE {}", Ident(tablespace));
    }
    if let Some(predicate) = &index.predicate {
        sql += &format!(" WHERE {predicate}");
    }
    sql
}

/// Before a table's name, where no table below it is meant; a partitioned one is nothing without its partitions.
pub(super) fn only(definition: &Definition) -> &'static str {
    if definition.table.kind == "p" { "" } else { "ONLY " }
}

/// Its partitions, below the table that is there.
pub(super) fn create_partitions(schema: &str, definition: &Definition) -> Vec<String> {
    let table = ident::qualified(schema, &definition.name.name);
    let create = |partition: &Partition| {
        let name = ident::qualified(schema, &partition.name);
        format!("CREATE TABLE {name} PARTITION OF {table} {}", partition.bound)
    };
    definition.table.partitions.iter().map(create).collect()
}

/// The constraint of an index.
pub(super) fn constraint_of<'a>(definition: &'a Definition, index: &Index) -> Option<&'a Constraint> {
    definition
        .constraints
        .iter()
        .find(|constraint| index.constraint.as_ref() == Some(&constraint.name))
}

/// A constraint that builds its index itself: there is no `USING INDEX` for exclusion constraints, nor for keys
/// `WITHOUT OVERLAPS`, nor of a partitioned table.
pub(super) fn builds_its_index(definition: &Definition, constraint: &Constraint, index: &Index) -> bool {
    definition.table.kind == "p"
        || constraint.kind == ConstraintKind::Exclusion
        || !index.definition.starts_with("btree ")
}

/// `ADD CONSTRAINT … USING INDEX`.
pub(super) fn constraint_using_index(table: &str, constraint: &Constraint, index: &Index) -> String {
    let kind = match constraint.kind {
        ConstraintKind::PrimaryKey => "PRIMARY KEY",
        ConstraintKind::Unique
        | ConstraintKind::Check
        | ConstraintKind::Exclusion
        | ConstraintKind::NotNull => "UNIQUE",
    };
    let deferrable = match (constraint.deferrable, constraint.deferred) {
        (true, true) => " DEFERRABLE INITIALLY DEFERRED",
        (true, false) => " DEFERRABLE",
        (false, _) => "",
    };
    format!(
        "ALTER TABLE {table} ADD CONSTRAINT {} {kind} USING INDEX {}{deferrable}",
        Ident(&constraint.name),
        Ident(&index.name)
    )
}

/// `ADD CONSTRAINT` by its deparsed definition.
pub(super) fn add_constraint(table: &str, constraint: &Constraint) -> String {
    format!(
        "ALTER TABLE {table} ADD CONSTRAINT {} {}",
        Ident(&constraint.name),
        constraint.definition
    )
}

/// The table that has a foreign key, and the one that it refers to.
pub(super) fn ends<'a>(definition: &'a Definition, key: &'a ForeignKey) -> (&'a TableName, &'a TableName) {
    let or_this = |name: &'a Option<TableName>| name.as_ref().unwrap_or(&definition.name);
    (or_this(&key.referencing), or_this(&key.referenced))
}

/// `ADD CONSTRAINT … FOREIGN KEY … NOT VALID`.
pub(super) fn add_foreign_key(definition: &Definition, key: &ForeignKey) -> String {
    let (referencing, referenced) = ends(definition, key);
    let not_valid = if key.clauses.ends_with(" NOT ENFORCED") {
        ""
    } else {
        " NOT VALID"
    };
    format!(
        "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {}({}){}{not_valid}",
        ident::table(referencing),
        Ident(&key.name),
        key_columns(&key.columns, key.period),
        ident::table(referenced),
        key_columns(&key.referenced_columns, key.period),
        key.clauses,
    )
}

fn key_columns(columns: &[String], period: bool) -> String {
    let last = columns.len().saturating_sub(1);
    let shown = columns.iter().enumerate().map(|(position, column)| {
        let period = if period && position == last { "PERIOD " } else { "" };
        format!("{period}{}", Ident(column))
    });
    shown.collect::<Vec<_>>().join(", ")
}
