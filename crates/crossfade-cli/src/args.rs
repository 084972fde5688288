//! What was typed. Nothing is looked up or opened here; [`crate::meaning`] does that.

mod bench;
mod moves;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use crossfade_core::cutover::OldSnapshots;
use crossfade_core::name::MigrationName;
use crossfade_postgres::change::CopyRequest;

pub(crate) use self::bench::{Bench, BenchAll, BenchApply, BenchCopy, BenchResults, BenchStall, BenchWhat};
pub(crate) use self::moves::{Move, OtherServer, SchemaFrom, Selected, TypedHooks};
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  See it work, with nothing but this program:
    crossfade demo

  Look first; nothing is changed:
    crossfade plan --url postgres://app@db/shop --table orders \\
        --alter 'ALTER COLUMN id TYPE bigint'

  Do it, and swap when ready:
    crossfade run --url postgres://app@db/shop --table orders \\
        --alter 'ALTER COLUMN id TYPE bigint' --cutover auto

  From another terminal or machine:
    crossfade status orders
    crossfade cutover orders";

/// Changes a live PostgreSQL table without stopping the application.
#[derive(Debug, Parser)]
#[command(
    name = "crossfade",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "`crossfade --help` shows examples and exit codes.",
    after_long_help = format!("{EXAMPLES}\n\n{}", Exit::help())
)]
pub(crate) struct Arguments {
    /// The server: a URL or a libpq keyword string. Without it DATABASE_URL counts, and PG* variables and
    /// ~/.pgpass for whatever is left open
    #[arg(long, global = true, value_name = "URL", help_heading = "Everywhere")]
    pub(crate) url: Option<String>,

    /// End with one JSON object on one line of stdout
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,

    /// When to use colours; NO_COLOR counts too
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Everywhere"
    )]
    pub(crate) color: Color,

    /// Say more, on stderr; twice and three times for even more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Everywhere")]
    pub(crate) verbose: u8,

    /// Log filter, such as `crossfade_replication=debug`; overrides -v
    #[arg(
        long,
        global = true,
        env = "CROSSFADE_LOG",
        value_name = "FILTER",
        help_heading = "Everywhere"
    )]
    pub(crate) log: Option<String>,

    /// Print results and errors only
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub(crate) quiet: bool,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented change file to start from
    #[command(after_help = "Example:\n  crossfade init --table public.orders")]
    Init(Init),
    /// Look for everything that stands in the way of a change or a move; changes nothing
    #[command(
        after_help = "Examples:\n  crossfade check\n  crossfade check --change change.toml --json\n  crossfade check \
                      --from postgres://mover@old/shop --to postgres://mover@new/shop --all\n\nEnds with 10 if something \
                      stands in the way."
    )]
    Check(Check),
    /// Print the SQL that gives a role what a change or a move takes; changes nothing
    #[command(
        after_help = "Examples:\n  crossfade grants --url postgres://postgres@db/shop --table orders --to crossfade\n  \
                      crossfade grants --change change.toml --to crossfade | psql shop\n  crossfade grants --from \
                      postgres://postgres@old/shop --to postgres://postgres@new/shop --role mover"
    )]
    Grants(Grants),
    /// Show every statement that would run, or every reason why not; changes nothing
    #[command(
        after_help = "Examples:\n  crossfade plan --change change.toml\n  crossfade plan --table orders \
                      --alter 'ALTER COLUMN id TYPE bigint' --out plan.json"
    )]
    Plan(Plan),
    /// Copy, follow, and swap when asked
    #[command(
        after_help = "Examples:\n  crossfade run --change change.toml\n  crossfade run --plan plan.json --yes \
                      --cutover auto\n\nWithout --cutover auto the new table follows until `crossfade cutover \
                      NAME`.\nStopped by Ctrl-C or SIGTERM it goes on with `crossfade continue NAME`."
    )]
    Run(Run),
    /// Move tables to another server, follow, hand over when asked, and back
    #[command(
        after_help = "Examples:\n  crossfade move --from postgres://app@old/shop --to postgres://app@new/shop --all\n  \
                      crossfade cutover shop --url postgres://app@new/shop\n  crossfade rollback shop --url \
                      postgres://app@new/shop\n\nThe same command again goes on with a move that was interrupted. \
                      The state is on the target: status, cutover,\nrollback, pause and verify take the target's --url. \
                      Around a hand-over the hooks are run by `sh -c` with\nCROSSFADE_MOVE, CROSSFADE_HOOK, \
                      CROSSFADE_DIRECTION, CROSSFADE_LEADER and CROSSFADE_LEFT in their environment."
    )]
    Move(Box<Move>),
    /// Show migrations and how far they are
    #[command(after_help = "Examples:\n  crossfade status\n  crossfade status orders --json")]
    Status(Status),
    /// Start no more copying, index builds or cutover; changes go on being applied
    Pause(Named),
    /// End a pause, or go on here with a migration that no engine works on
    #[command(
        after_help = "Examples:\n  crossfade continue orders\n  crossfade continue orders --cutover auto\n  crossfade \
                      continue shop --url postgres://app@new/shop --from postgres://app@old/shop\n\nWithout an engine this \
                      process becomes it. A move takes --from for that, and its hooks."
    )]
    Continue(Continue),
    /// Compare every row of the new table with the old one's, while both are written to
    #[command(
        after_help = "Examples:\n  crossfade verify orders --json\n  crossfade verify orders --repair\n\nThe running \
                      engine compares as soon as it is ready, and once before it lets itself be cut over. A \
                      difference\nends it with exit code 21, and nothing is swapped before a verification finds \
                      none. `crossfade continue NAME\n--verify repair` starts an engine again that repairs what \
                      differs."
    )]
    Verify(VerifyNow),
    /// Ask the running engine to swap the tables as soon as it is ready
    Cutover(Named),
    /// Swap back: the old table has every write that was made since; here, if no engine works on the migration
    #[command(
        after_help = "Examples:\n  crossfade rollback orders\n  crossfade rollback shop --url postgres://app@new/shop \
                      --from postgres://app@old/shop"
    )]
    Rollback(Continue),
    /// Give up before the swap: remove slot, publication and new table; the audit trail stays
    Abort(Abort),
    /// End a migration whose tables have been swapped
    #[command(after_help = "Example:\n  crossfade complete orders --drop")]
    Complete(Complete),
    /// Say of a code what its cause is and what to do about it, or list all codes
    #[command(after_help = "Examples:\n  crossfade explain no_usable_key\n  crossfade explain --json")]
    Explain(Explain),
    /// Measure the engine's parts against baselines, on a throwaway server or with --url
    Bench(Bench),
    /// Retype a busy table on a throwaway server, and prove that nothing was lost
    #[command(after_help = "Examples:\n  crossfade demo\n  crossfade demo --rows 100000 --writers 8 --json")]
    Demo(Demo),
}

/// `crossfade init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The table, quoted as in SQL
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: String,
    /// Where to write it; `-` is stdout
    #[arg(long, value_name = "FILE", default_value = "change.toml")]
    pub(crate) out: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// `crossfade check`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("selected").args(["tables", "schema", "all"]).requires("from"),
    group = ArgGroup::new("of_change").args(["change", "table"]).conflicts_with("from")
)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) change: Change,
    /// Of a move: the server that the tables come from
    #[arg(long, value_name = "URL", requires = "to", help_heading = "Moves")]
    pub(crate) from: Option<String>,
    /// Of a move: the server that they move to
    #[arg(long, value_name = "URL", requires = "from", help_heading = "Moves")]
    pub(crate) to: Option<String>,
    #[command(flatten, next_help_heading = "Moves")]
    pub(crate) selected: Selected,
    /// The program that dumps the source's schema; at least as new as the source
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "pg_dump",
        help_heading = "Moves"
    )]
    pub(crate) pg_dump: PathBuf,
}

/// `crossfade grants`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").args(["change", "table", "from"]).required(true),
    group = ArgGroup::new("of_move").args(["tables", "schema", "role"]).multiple(true).conflicts_with_all(["change", "table"]),
    group = ArgGroup::new("selected").args(["tables", "schema", "all"]),
    mut_arg("all", |all| all.help("Print what the role has already, too; of a move: all tables of the database, as without a selection"))
)]
pub(crate) struct Grants {
    /// A change file, as `crossfade init` writes
    #[arg(long, value_name = "FILE")]
    pub(crate) change: Option<PathBuf>,
    /// The table, quoted as in SQL
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// The role that runs the change, by default the one that connects; with --from the server that the tables move to
    #[arg(long, value_name = "ROLE|URL")]
    pub(crate) to: Option<String>,
    /// Of a move: the server that the tables come from
    #[arg(long, value_name = "URL", requires = "to", help_heading = "Moves")]
    pub(crate) from: Option<String>,
    /// The role that runs the move, by default the one that connects to each server
    #[arg(long, value_name = "ROLE", help_heading = "Moves")]
    pub(crate) role: Option<String>,
    #[command(flatten, next_help_heading = "Moves")]
    pub(crate) selected: Selected,
}

/// A change: from a file, or said here.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// A change file, as `crossfade init` writes
    #[arg(long, value_name = "FILE", conflicts_with = "alter")]
    pub(crate) change: Option<PathBuf>,
    /// The table, quoted as in SQL
    #[arg(long, value_name = "TABLE", requires = "alter")]
    pub(crate) table: Option<String>,
    /// What to change, as `ALTER TABLE` takes it; several in order
    #[arg(long, value_name = "SQL", requires = "table")]
    pub(crate) alter: Vec<String>,
    #[command(flatten)]
    pub(crate) over: Over,
}

/// What is said over the change file, or instead of one.
#[derive(Debug, Default, Args)]
pub(crate) struct Over {
    /// How the rows get into the new table; over what the change file says
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) copy: Option<HowToCopy>,
    /// A limit as `[limits]` of a change file has it, such as `chunk_delay=1s`; over what that says
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) limit: Vec<String>,
    /// After the swap the old table follows the new one where it can, until `complete` or `rollback`; `none` ends
    /// with the swap
    #[arg(long, value_enum, value_name = "WHETHER")]
    pub(crate) way_back: Option<WayBackWanted>,
    /// What fills a column of the old table on the way back, over a row of the new one
    #[arg(long, value_name = "COLUMN=SQL")]
    pub(crate) back: Vec<String>,
}

/// Whether the old table shall follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WayBackWanted {
    /// Where it can
    Auto,
    /// No
    None,
}

/// How the rows get into the new table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HowToCopy {
    /// As fits the table's size and the limits
    Auto,
    /// Under one snapshot: the fastest, for tables whose copy fits in minutes
    Snapshot,
    /// In chunks, each under a snapshot of its own, while changes are applied: for large and busy tables
    Incremental,
}

impl From<HowToCopy> for CopyRequest {
    fn from(typed: HowToCopy) -> CopyRequest {
        match typed {
            HowToCopy::Auto => CopyRequest::Auto,
            HowToCopy::Snapshot => CopyRequest::Snapshot,
            HowToCopy::Incremental => CopyRequest::Incremental,
        }
    }
}

/// `crossfade plan`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["change", "table"]).required(true))]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) change: Change,
    /// The migration's name: a-z, 0-9 and _; by default the table's
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<MigrationName>,
    /// Write the plan to this file, for `crossfade run --plan`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// A change, or a plan made before.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["change", "table", "plan"]).required(true))]
pub(crate) struct ChangeOrPlan {
    #[command(flatten)]
    pub(crate) change: Change,
    /// A plan that `crossfade plan --out` wrote; refused if the table is no longer the one that was planned
    #[arg(long, value_name = "FILE", conflicts_with_all = ["alter", "copy", "limit", "way_back", "back"])]
    pub(crate) plan: Option<PathBuf>,
}

/// `crossfade run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) what: ChangeOrPlan,
    /// The migration's name: a-z, 0-9 and _; by default the table's
    #[arg(long, value_name = "NAME", conflicts_with = "plan")]
    pub(crate) name: Option<MigrationName>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) engine: Engine,
}

/// How an engine works in this process.
#[derive(Debug, Args)]
pub(crate) struct Engine {
    /// Swap the tables when ready, or wait for `crossfade cutover NAME`
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) cutover: Cutover,
    /// Transactions that began before the swap and have not read the table yet would find it incomplete: wait
    /// for them, or accept it as a rewriting ALTER TABLE does
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub(crate) old_snapshots: OnOldSnapshots,
    /// Compare every row before the new table is ready to be swapped in; off leaves it to `crossfade verify NAME`
    #[arg(long, value_enum, value_name = "WHETHER", default_value_t)]
    pub(crate) verify: Verify,
    /// Sessions that copy at the same time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) copiers: u8,
    /// How long to try to get back to a server that is away
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) reconnect_max: Duration,
}

/// When to swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cutover {
    /// As soon as the new table is ready
    Auto,
    /// On `crossfade cutover NAME`
    #[default]
    Manual,
}

/// Whether to compare every row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verify {
    /// Before the new table is ready
    #[default]
    On,
    /// Only on request, or if rows differed before
    Off,
    /// As on; rows that differ are written anew from the table that leads, then all are compared once more
    Repair,
}

/// What to do about transactions that took their snapshot before the last apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnOldSnapshots {
    /// Wait for them within the hold budget, else give the lock back
    #[default]
    Wait,
    /// Swap all the same
    Accept,
}

impl From<OnOldSnapshots> for OldSnapshots {
    fn from(typed: OnOldSnapshots) -> OldSnapshots {
        match typed {
            OnOldSnapshots::Wait => OldSnapshots::Wait,
            OnOldSnapshots::Accept => OldSnapshots::Accept,
        }
    }
}

/// `crossfade status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The migration; all without it
    pub(crate) name: Option<MigrationName>,
}

/// A command on one migration.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The migration
    pub(crate) name: MigrationName,
}

/// `crossfade abort`.
#[derive(Debug, Args)]
pub(crate) struct Abort {
    /// The migration
    pub(crate) name: MigrationName,
    #[command(flatten)]
    pub(crate) other: OtherServer,
}

/// `crossfade verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyNow {
    /// The migration
    pub(crate) name: MigrationName,
    /// Write rows that differ anew from the table that leads, then compare all once more
    #[arg(long)]
    pub(crate) repair: bool,
}

/// `crossfade continue`.
#[derive(Debug, Args)]
pub(crate) struct Continue {
    /// The migration
    pub(crate) name: MigrationName,
    #[command(flatten)]
    pub(crate) engine: Engine,
    #[command(flatten)]
    pub(crate) other: OtherServer,
    /// Of a move that has not restored the schema yet: the program that dumps it
    #[arg(long, value_name = "PROGRAM", default_value = "pg_dump", requires = "from")]
    pub(crate) pg_dump: PathBuf,
    #[command(flatten)]
    pub(crate) hooks: TypedHooks,
}

/// `crossfade complete`.
#[derive(Debug, Args)]
pub(crate) struct Complete {
    /// The migration
    pub(crate) name: MigrationName,
    /// Drop the retired table
    #[arg(long)]
    pub(crate) drop: bool,
    #[command(flatten)]
    pub(crate) other: OtherServer,
}

/// `crossfade explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The code of a refusal, a notice or a failure, such as `no_usable_key`; all, if there is none
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
}

/// `crossfade demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Rows of the table
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub(crate) rows: u32,
    /// Connections that write as fast as they can
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) writers: u8,
    /// Sessions that copy at the same time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) copiers: u8,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Makes it so for everything that is printed from here on.
    pub(crate) fn apply(self) {
        match self {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    fn parses(line: &str) -> bool {
        Arguments::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn a_change_is_a_file_or_a_table_with_alters() {
        assert!(parses("crossfade plan --change c.toml"));
        assert!(parses("crossfade plan --table t --alter x --alter y"));
        assert!(!parses("crossfade plan"));
        assert!(!parses("crossfade plan --table t"));
        assert!(!parses("crossfade plan --alter x"));
        assert!(!parses("crossfade plan --change c.toml --alter x"));
        assert!(!parses("crossfade plan --change c.toml --table t --alter x"));
    }

    #[test]
    fn a_plan_is_run_as_it_is() {
        assert!(parses("crossfade run --plan plan.json"));
        assert!(!parses("crossfade run --plan plan.json --name other"));
        assert!(!parses("crossfade run --plan plan.json --change c.toml"));
        assert!(!parses("crossfade run --plan plan.json --alter x"));
        assert!(!parses("crossfade run --plan plan.json --copy auto"));
        assert!(!parses("crossfade run --plan plan.json --limit chunk_delay=1s"));
    }

    #[test]
    fn two_servers_or_one() {
        let both = "--from postgres://a/x --to postgres://b/x";
        assert!(parses("crossfade check"));
        assert!(parses(&format!("crossfade check {both} --schema a b")));
        assert!(!parses(&format!("crossfade check {both} --schema a --all")));
        assert!(!parses(&format!("crossfade check {both} --change c.toml")));
        assert!(!parses("crossfade check --from postgres://a/x"));
        assert!(!parses("crossfade check --all"));
        assert!(parses("crossfade grants --table t --to role --all"));
        assert!(parses(&format!(
            "crossfade grants {both} --role mover --tables t"
        )));
        assert!(!parses("crossfade grants --from postgres://a/x"));
        assert!(!parses("crossfade grants --table t --tables t"));
        assert!(!parses("crossfade grants --table t --role mover"));
    }

    #[test]
    fn numbers_have_bounds() {
        assert!(!parses("crossfade demo --writers 0"));
        assert!(!parses("crossfade run --plan p --copiers 65"));
        assert!(!parses("crossfade status Not-A-Name"));
    }
}
