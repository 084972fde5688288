//! The query of the old shape: tried in a view over the tables that were made to plan the targets, and judged by what the
//! server made of it.

use crossfade_core::code::RefusalCode;
use crossfade_core::name::TableName;
use crossfade_core::refusal::Refusal;

use super::{Found, Pieces, VIEW, over_tables};
use crate::ident;
use crate::planner::rule::Rule;
use crate::planner::source::TableColumn;
use crate::planner::{node_tree, source, table_oid, tables};
use crate::preflight::refusal;
use crate::session::SqlError;

/// Those of the aggregates `$1` whose result depends on the order of their input.
const ORDERED_AGGREGATES: &str = "\
SELECT proname::text FROM pg_proc WHERE oid = ANY ($1)
   AND proname IN ('array_agg', 'string_agg', 'json_agg', 'jsonb_agg', 'xmlagg', 'json_object_agg') ORDER BY 1";

/// Nodes that may be in it, besides those of every query: they call nothing but what their fields name.
const MORE_TAGS: &[&str] = &[
    "AGGREF",
    "COMMONTABLEEXPR",
    "PARAM",
    "SETOPERATIONSTMT",
    "SORTGROUPCLAUSE",
    "SUBLINK",
];

impl Pieces<'_> {
    /// The columns of the query, in a view over the probes.
    pub(super) async fn understand(&self) -> Found<Vec<TableColumn>> {
        let tables: Vec<&TableName> = self.probes.iter().map(|probe| &probe.name).collect();
        let view = TableName::new(self.probes[0].name.schema.as_str(), VIEW);
        let sql = format!(
            "CREATE VIEW {} AS\n{}",
            ident::table(&view),
            over_tables(&self.step.targets, &tables, &self.request.query.text)
        );
        if let Err(message) = tables::try_as_the_user(self.session, &self.path(), &sql).await? {
            return Ok(Err(vec![refusal(
                RefusalCode::OldShapeNotUnderstood,
                self.object(),
                format!("The server says: {message}."),
                "Write one SELECT over the new tables, by their names without a schema.",
            )]));
        }
        let rule = Rule::of(self.session, &view).await?;
        let refusals = self.judge(&rule).await?;
        if !refusals.is_empty() {
            return Ok(Err(refusals));
        }
        let oid = table_oid(self.session, &view).await?.unwrap_or_default();
        Ok(Ok(source::columns(self.session, oid).await?))
    }

    /// It reads nothing but the new tables, and always makes the same of them.
    async fn judge(&self, rule: &Rule) -> Result<Vec<Refusal>, SqlError> {
        let object = self.object();
        let probes = self.probes.iter().map(|probe| &probe.name);
        let others = rule.reads_but(self.session, probes).await?.into_iter();
        let other = |other: String| {
            refusal(
                RefusalCode::OldShapeReadsOthers,
                object.clone(),
                format!("It reads {other}, whose changes nobody would notice."),
                "Read nothing but the new tables.",
            )
        };
        let mut refusals: Vec<Refusal> = others.map(other).collect();
        let judged = rule.judge(self.session, MORE_TAGS, &object).await?;
        refusals.extend(judged.err().unwrap_or_default());
        if node_tree::chooses_without_order(&rule.tree) {
            refusals.push(refusal(
                RefusalCode::OldShapeWithoutOrder,
                object.clone(),
                "Which rows DISTINCT ON, LIMIT or OFFSET leave depends on an order that nothing gives them."
                    .to_owned(),
                "Write an ORDER BY beside it that leaves no two rows in the same place.",
            ));
        }
        let unordered: Vec<u32> = node_tree::unordered_aggregates(&rule.tree).into_iter().collect();
        for row in self.session.query(ORDERED_AGGREGATES, &[&unordered]).await? {
            let name: String = row.get(0);
            refusals.push(refusal(
                RefusalCode::OldShapeWithoutOrder,
                object.clone(),
                format!("What {name} makes of rows depends on an order that nothing gives them."),
                "Write the order into the call: `array_agg(x ORDER BY position)`.",
            ));
        }
        Ok(refusals)
    }
}
