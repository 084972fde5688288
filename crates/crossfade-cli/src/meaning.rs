//! What is meant by what was typed: connections, changes, names, engines.

use std::path::Path;

use anyhow::Context as _;
use crossfade_coordinator::run::RunOptions;
use crossfade_core::limits::Limits;
use crossfade_core::name::MigrationName;
use crossfade_core::plan::{PLAN_VERSION, Plan};
use crossfade_postgres::change::{ChangeRequest, CopyRequest, ValuesRequest, limits};
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::moves::plan::MoveRequest;
use crossfade_postgres::moves::relations::Selection;

use crate::args::{Change, Cutover, Engine, Selected, Verify, WayBackWanted};
use crate::failure::Failure;

/// Where to connect: `--url`, else `DATABASE_URL`, and `PG*` for the rest.
pub(crate) fn connection(url: Option<&str>) -> Result<ConnectConfig, Failure> {
    let of_environment = || std::env::var("DATABASE_URL").ok().filter(|text| !text.is_empty());
    let text = url.map(str::to_owned).or_else(of_environment);
    Ok(ConnectConfig::parse(text.as_deref().unwrap_or_default())?)
}

/// The change that was asked for.
pub(crate) fn change(change: &Change) -> Result<ChangeRequest, Failure> {
    let mut request = change_itself(change)?;
    let over = &change.over;
    match over.way_back {
        None => {}
        Some(WayBackWanted::Auto) => request.way_back.off = false,
        Some(WayBackWanted::None) => request.way_back.off = true,
    }
    if let Some(copy) = over.copy {
        request.copy = copy.into();
    }
    for text in &over.limit {
        let (name, value) = halves(text, "NAME=VALUE")?;
        limits::set(&mut request.limits, name, value).map_err(Failure::usage)?;
    }
    for text in &over.back {
        let (column, sql) = halves(text, "COLUMN=SQL")?;
        request.way_back.columns.insert(column.to_owned(), sql.to_owned());
    }
    Ok(request)
}

pub(crate) fn halves<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), Failure> {
    let (left, right) = text
        .split_once('=')
        .ok_or_else(|| Failure::usage(anyhow::anyhow!("read `{text}`: it is {form}")))?;
    Ok((left.trim(), right.trim()))
}

fn change_itself(change: &Change) -> Result<ChangeRequest, Failure> {
    match (&change.change, &change.table) {
        (Some(file), _) => change_file(file),
        (None, Some(table)) => ChangeRequest::from_arguments(table, &change.alter).map_err(Failure::usage),
        (None, None) => Err(Failure::usage(anyhow::anyhow!("find out what to change"))
            .next("Give --change FILE, or --table T --alter SQL.")),
    }
}

/// The change that a file describes.
pub(crate) fn change_file(file: &Path) -> Result<ChangeRequest, Failure> {
    let text = read(file)?;
    ChangeRequest::from_toml(&file.display().to_string(), &text).map_err(Failure::usage)
}

/// What a move changes on the way.
pub(crate) fn values_file(file: &Path) -> Result<ValuesRequest, Failure> {
    let text = read(file)?;
    ValuesRequest::from_toml(&file.display().to_string(), &text).map_err(Failure::usage)
}

/// A plan that was written before.
pub(crate) fn plan_file(file: &Path) -> Result<Plan, Failure> {
    let text = read(file)?;
    let plan: Plan = serde_json::from_str(&text)
        .with_context(|| format!("read {} as a plan", file.display()))
        .map_err(|error| Failure::usage(error).next("Make it again with `crossfade plan --out`."))?;
    if plan.version != PLAN_VERSION {
        let found = plan.version;
        let error = anyhow::anyhow!("read {}: a plan of version {found}", file.display());
        return Err(Failure::usage(error).next(format!(
            "This release runs version {PLAN_VERSION}: make the plan again with `crossfade plan --out`."
        )));
    }
    Ok(plan)
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .with_context(|| format!("read {}", file.display()))
        .map_err(Failure::usage)
}

/// The name that was given, or one made from the table's.
pub(crate) fn migration_name(
    given: Option<MigrationName>,
    request: &ChangeRequest,
) -> Result<MigrationName, Failure> {
    match given {
        Some(name) => Ok(name),
        None => name_of_table(&request.table.name)
            .parse()
            .map_err(|error| Failure::usage(anyhow::Error::new(error)).next("Give one with --name.")),
    }
}

/// The name that was given, or one made from the source database's.
pub(crate) fn name_of_move(
    given: Option<MigrationName>,
    from: &ConnectConfig,
) -> Result<MigrationName, Failure> {
    match given {
        Some(name) => Ok(name),
        None => name_of_table(&from.database)
            .parse()
            .map_err(|error| Failure::usage(anyhow::Error::new(error)).next("Give one with --name.")),
    }
}

/// Which tables move, if it was said.
pub(crate) fn selection(typed: &Selected) -> Option<Selection> {
    match (typed.all, &typed.schema[..], &typed.tables[..]) {
        (true, ..) => Some(Selection::All),
        (_, [_, ..], _) => Some(Selection::Schemas(typed.schema.clone())),
        (.., [_, ..]) => Some(Selection::Tables(typed.tables.clone())),
        (false, [], []) => None,
    }
}

/// A move of these tables, within the usual limits.
pub(crate) fn move_request(selection: Selection, typed: &Selected, pg_dump: &Path) -> MoveRequest {
    MoveRequest {
        selection,
        schema: typed.schema_from.into(),
        pg_dump: pg_dump.to_owned(),
        limits: Limits::default(),
        values: None,
        copy_only: false,
        copy: CopyRequest::Auto,
    }
}

/// What is not allowed in a migration's name becomes `_`; what would end like a name of ours ends otherwise.
fn name_of_table(table: &str) -> String {
    let allowed = |char: char| match char.to_ascii_lowercase() {
        lower @ ('a'..='z' | '0'..='9') => lower,
        _ => '_',
    };
    let name: String = table.chars().map(allowed).collect();
    let name = if name.starts_with(|char: char| char.is_ascii_lowercase()) {
        name
    } else {
        format!("t{name}")
    };
    let name: String = name.chars().take(MigrationName::MAX_LEN).collect();
    if name.parse::<MigrationName>().is_ok() {
        return name;
    }
    let room = MigrationName::MAX_LEN - AS_A_TABLE.len();
    name.chars().take(room).collect::<String>() + AS_A_TABLE
}

const AS_A_TABLE: &str = "_table";

/// How the engine shall work.
pub(crate) fn run_options(engine: &Engine) -> RunOptions {
    RunOptions {
        copiers: engine.copiers.into(),
        cutover_when_ready: engine.cutover == Cutover::Auto,
        roll_back: false,
        verify: engine.verify != Verify::Off,
        repair: engine.verify == Verify::Repair,
        old_snapshots: engine.old_snapshots.into(),
        reconnect_max: engine.reconnect_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Over;

    fn with_limit(text: &str) -> Result<ChangeRequest, Failure> {
        change(&Change {
            change: None,
            table: Some("t".to_owned()),
            alter: vec!["ALTER COLUMN x TYPE bigint".to_owned()],
            over: Over {
                limit: vec![text.to_owned()],
                ..Over::default()
            },
        })
    }

    #[test]
    fn limits_can_be_typed() {
        let limits = with_limit("chunk_delay = 2s").unwrap().limits;
        assert_eq!(limits.chunk_delay_ms, 2000);
        let query = with_limit("pace_query=SELECT 1 = 2").unwrap().limits.pace_query;
        assert_eq!(query.as_deref(), Some("SELECT 1 = 2"));
        for wrong in ["chunk_delay", "chunk_delay=soon", "chunk_dealy=1s"] {
            with_limit(wrong).unwrap_err();
        }
    }

    #[test]
    fn every_table_gives_a_name() {
        assert_eq!(name_of_table("orders"), "orders");
        assert_eq!(name_of_table("Order Lines"), "order_lines");
        assert_eq!(name_of_table("1st"), "t1st");
        assert_eq!(name_of_table("_x"), "t_x");
        assert_eq!(name_of_table("orders_back"), "orders_back_table");
        let cut = format!("{}_retired", "x".repeat(32));
        for table in ["é", "\"", &cut, &"x".repeat(63), "2".repeat(63).as_str()] {
            name_of_table(table).parse::<MigrationName>().unwrap();
        }
    }
}
