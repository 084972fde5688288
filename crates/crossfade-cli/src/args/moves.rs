//! `crossfade move`, as it is typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use crossfade_coordinator::moves::Hooks;
use crossfade_core::name::MigrationName;
use crossfade_core::plan::SchemaSource;

use super::{Cutover, HowToCopy, Verify};

/// Which tables move, and how they get to the target.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Selected {
    /// Tables, as `schema.table` with `*` and `?`; several
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub(crate) tables: Vec<String>,
    /// All tables of a schema; several
    #[arg(long, value_name = "SCHEMA", num_args = 1..)]
    pub(crate) schema: Vec<String>,
    /// All tables of the database
    #[arg(long)]
    pub(crate) all: bool,
    /// Where the target's tables come from
    #[arg(long, value_enum, value_name = "WHERE", default_value_t)]
    pub(crate) schema_from: SchemaFrom,
}

/// `crossfade move`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("selected").args(["tables", "schema", "all"]))]
pub(crate) struct Move {
    /// The server that the tables come from: a URL or a libpq keyword string
    #[arg(long, value_name = "URL")]
    pub(crate) from: String,
    /// The server that they move to, which also has the state
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) selected: Selected,
    /// Nobody is handed over: end with a copy of one moment that stands on its own
    #[arg(long, conflicts_with_all = ["until_cutover", "hook_pause", "hook_switch", "hook_resume"])]
    pub(crate) copy_only: bool,
    /// Of a copy: a file that says what fills columns in place of their values, to mask them
    #[arg(long, value_name = "FILE", requires = "copy_only")]
    pub(crate) change: Option<PathBuf>,
    /// The move's name: a-z, 0-9 and _; by default the source database's
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<MigrationName>,
    /// The program that dumps the source's schema; at least as new as the source
    #[arg(long, value_name = "PROGRAM", default_value = "pg_dump")]
    pub(crate) pg_dump: PathBuf,
    /// Show the plan, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Hand over to the target when ready, or wait for `crossfade cutover NAME`; a copy ends when ready
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        default_value_if("copy_only", "true", "auto")
    )]
    pub(crate) cutover: Cutover,
    /// End with the first hand-over; another engine carries the way back: give the same command again
    #[arg(long)]
    pub(crate) until_cutover: bool,
    /// Compare every row before each hand-over
    #[arg(long, value_enum, value_name = "WHETHER", default_value_t)]
    pub(crate) verify: Verify,
    /// How rows get into the target's tables; a table without a key always under a snapshot
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) copy: Option<HowToCopy>,
    /// Ranges, or chunks, that are copied at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) copiers: u8,
    /// A limit as `[limits]` of a change file has it, such as `hold_budget=10s`; those that bound a move
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) limit: Vec<String>,
    /// How long to try to get back to a server that is away
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) reconnect_max: Duration,
    #[command(flatten)]
    pub(crate) hooks: TypedHooks,
}

/// Commands around a hand-over.
#[derive(Clone, Debug, Args)]
#[group(skip)]
#[command(next_help_heading = "Hooks")]
pub(crate) struct TypedHooks {
    /// Run before writers are shut out: PAUSE of a pooler
    #[arg(long, value_name = "COMMAND", requires = "from")]
    pub(crate) hook_pause: Option<String>,
    /// Run when the other server leads: DNS, configuration, a pooler's target
    #[arg(long, value_name = "COMMAND", requires = "from")]
    pub(crate) hook_switch: Option<String>,
    /// Run at the end, whether it was handed over or not: RESUME
    #[arg(long, value_name = "COMMAND", requires = "from")]
    pub(crate) hook_resume: Option<String>,
    /// How long each hook may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) hook_timeout: Duration,
}

impl From<TypedHooks> for Hooks {
    fn from(typed: TypedHooks) -> Hooks {
        Hooks {
            pause: typed.hook_pause,
            switch: typed.hook_switch,
            resume: typed.hook_resume,
            timeout: typed.hook_timeout,
        }
    }
}

/// Where the target's tables come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaFrom {
    /// From a dump of the source's schema, without indexes; these are built behind the rows
    #[default]
    Dump,
    /// They are there, empty and alike
    Existing,
}

impl From<SchemaFrom> for SchemaSource {
    fn from(typed: SchemaFrom) -> SchemaSource {
        match typed {
            SchemaFrom::Dump => SchemaSource::Dump,
            SchemaFrom::Existing => SchemaSource::Existing,
        }
    }
}

/// Of a move: the server that the tables came from.
#[derive(Debug, Args)]
pub(crate) struct OtherServer {
    /// Of a move: the server that the tables come from
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
}
