//! Every refusal that text and catalogs can give before anything is touched, one check a file (R2).
//!
//! All checks run and all refusals are returned at once: a user who mends them one by one would have to plan
//! as often. Checks are pure functions of [`Facts`]; only [`facts::read`] asks the server.

mod disk;
pub mod facts;
mod lag;
mod names;
mod prepared;
mod publications;
mod role;
mod row_security;
pub mod server;
mod standby;
mod wal;

use crossfade_core::code::RefusalCode;
use crossfade_core::limits::Limits;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::Estimate;
use crossfade_core::refusal::{Notice, Refusal};

pub(crate) use self::disk::about;
pub use self::facts::{Facts, FactsError, Related, ServerFacts};
pub use self::standby::synchronous_as;

/// What the checks look at.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The server, our role and the table's surroundings.
    pub facts: &'a Facts,
    /// The source.
    pub table: &'a TableName,
    /// The migration.
    pub name: &'a MigrationName,
    /// The bounds of the run.
    pub limits: &'a Limits,
    /// Sizes.
    pub estimate: &'a Estimate,
    /// The retired table shall follow: that takes a second slot and stream.
    pub way_back: bool,
}

/// All refusals.
pub fn check(context: &Context<'_>) -> Vec<Refusal> {
    let checks = [
        wal::check,
        role::check,
        standby::check,
        prepared::check,
        names::check,
        publications::check,
        row_security::check,
        disk::check,
    ];
    checks.iter().flat_map(|check| check(context)).collect()
}

/// What does not stand in the way but should be known.
pub fn notices(context: &Context<'_>) -> Vec<Notice> {
    let mut notices = disk::notices(context);
    notices.extend(lag::notice(context));
    notices.extend(server::unseen_readers(&context.facts.server));
    notices
}

/// Shorthand for this crate's many refusals.
pub(crate) fn refusal(
    code: RefusalCode,
    object: impl Into<String>,
    message: String,
    remedy: &str,
) -> Refusal {
    Refusal {
        code,
        object: object.into(),
        message,
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(facts: &Facts, limits: &Limits, estimate: &Estimate) -> Vec<RefusalCode> {
        let context = Context {
            way_back: true,
            facts,
            table: &TableName::new("public", "orders"),
            name: &"widen".parse().unwrap(),
            limits,
            estimate,
        };
        check(&context).into_iter().map(|refusal| refusal.code).collect()
    }

    #[test]
    fn nothing_is_refused_where_all_is_well() {
        let refused = codes(&facts::fine(), &Limits::default(), &Estimate::default());
        assert_eq!(refused, []);
    }

    #[test]
    fn everything_is_refused_at_once() {
        let stranger = |referencing| Related {
            table: TableName::new("public", "other"),
            owned: false,
            referencing,
            lockable: false,
            may_reference: false,
        };
        let facts = Facts {
            server: ServerFacts {
                wal_level: "replica".to_owned(),
                slots_used: 10,
                senders_used: 10,
                synchronous_standby_names: "ANY 1 (*)".to_owned(),
                awaited_standbys: vec!["replica".to_owned()],
                may_replicate: false,
                may_create_schemas: false,
                publications_of_all: vec!["everything".to_owned()],
                ..facts::fine().server
            },
            owns_table: false,
            may_create_in_schema: false,
            row_security_applies: true,
            prepared: vec!["it's".to_owned()],
            taken: vec!["schema crossfade_widen".to_owned()],
            related: vec![stranger(true), stranger(false)],
            ..facts::fine()
        };
        let limits = Limits {
            disk_budget_bytes: Some(10 << 20),
            ..Limits::default()
        };
        let estimate = Estimate {
            disk_bytes: 8 << 20,
            wal_bytes: 3 << 20,
            ..Estimate::default()
        };
        let context = Context {
            facts: &facts,
            table: &TableName::new("public", "orders"),
            name: &"widen".parse().unwrap(),
            limits: &limits,
            way_back: true,
            estimate: &estimate,
        };
        insta::assert_debug_snapshot!(check(&context));
    }
}
