//! What the server made of a query: the rule of a view over it.

use crossfade_core::name::TableName;
use crossfade_core::refusal::Refusal;

use super::expression::{self, Dependence};
use super::node_tree;
use crate::ident;
use crate::session::{Session, SqlError};

const RULE: &str = "\
SELECT r.oid, r.ev_action::text FROM pg_rewrite r WHERE r.ev_class = $1::text::regclass";

/// The tables, but for those of the names `$2` and its own view, that the rule `$1` reads.
const READS_BUT: &str = "\
SELECT DISTINCT refobjid::regclass::text
  FROM pg_depend JOIN pg_rewrite r ON r.oid = objid
 WHERE classid = 'pg_rewrite'::regclass AND objid = $1 AND refclassid = 'pg_class'::regclass
   AND refobjid <> r.ev_class AND refobjid <> ALL ($2::text[]::regclass[]) ORDER BY 1";

/// Nodes that do nothing but hold a query's parts together.
const QUERY_TAGS: &[&str] = &[
    "ALIAS",
    "COLDEF",
    "FROMEXPR",
    "JOINEXPR",
    "QUERY",
    "RANGETBLENTRY",
    "RANGETBLFUNCTION",
    "RANGETBLREF",
    "RTE",
    "RTEPERMISSIONINFO",
    "TARGETENTRY",
];

/// A view's rule.
pub(super) struct Rule {
    /// Of `pg_rewrite`.
    pub(super) oid: u32,
    /// The tree of its query.
    pub(super) tree: String,
}

impl Rule {
    /// That of a view.
    pub(super) async fn of(session: &Session, view: &TableName) -> Result<Rule, SqlError> {
        let row = session.query_one(RULE, &[&ident::table(view)]).await?;
        Ok(Rule {
            oid: row.get(0),
            tree: row.get(1),
        })
    }

    /// Other tables than `tables` that it reads.
    pub(super) async fn reads_but(
        &self,
        session: &Session,
        tables: impl IntoIterator<Item = &TableName>,
    ) -> Result<Vec<String>, SqlError> {
        let tables: Vec<String> = tables.into_iter().map(ident::table).collect();
        let others = session.query(READS_BUT, &[&self.oid, &tables]).await?;
        Ok(others.iter().map(|row| row.get(0)).collect())
    }

    /// Judges what it calls; `more` are the tags of nodes that may be in it, besides those that every query has.
    pub(super) async fn judge(
        &self,
        session: &Session,
        more: &[&str],
        object: &str,
    ) -> Result<Result<Dependence, Vec<Refusal>>, SqlError> {
        let mut calls = node_tree::read(&self.tree);
        calls
            .unknown
            .retain(|tag| !QUERY_TAGS.contains(&tag.as_str()) && !more.contains(&tag.as_str()));
        expression::judge(session, &calls, object).await
    }
}
