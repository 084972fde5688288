//! What the comparisons of the tables come to, as one.

use std::sync::Arc;

use crossfade_core::verify::Verified;
use crossfade_core::way_back::Direction;
use crossfade_postgres::state;

use super::{Engine, Heeded};
use crate::failure::Failure;
use crate::moves::shared::Shared;
use crate::report::Verification;

impl Engine {
    /// A table was compared. With the last one of all it is told, and written down if somebody waits for it.
    pub(super) fn compared(&mut self, number: usize, found: Verified, unverified: Vec<String>) {
        let member = &mut self.members[number];
        member.equal = found.is_equal();
        member.found = Some((found, unverified));
        if self.members.iter().any(|member| !member.equal) {
            return;
        }
        let (sum, unverified) = self.sum();
        let direction = self.shared.direction();
        self.report.verification = Some(Verification::new(direction, &sum, unverified.clone()));
        if let Some(since) = self.asked_to_compare.take() {
            let (shared, tell) = (Arc::clone(&self.shared), self.tell.clone());
            self.tasks.spawn(async move {
                if let Err(failure) = record(&shared, &since, &sum, &unverified).await {
                    let _ = tell.send((None, Err::<Heeded, _>(failure)));
                }
            });
        }
    }

    /// Of all tables that this engine has compared. (Of the others an earlier one of the same leg has found that they are
    /// equal.) Rows that differ are named with their table.
    pub(crate) fn sum(&self) -> (Verified, Vec<String>) {
        let mut sum = Verified {
            whole: true,
            ..Verified::default()
        };
        let mut all_unverified = Vec::new();
        for (member, plan) in self.members.iter().zip(self.plans.iter()) {
            let Some((found, unverified)) = &member.found else {
                continue;
            };
            let table = &crossfade_core::migration::copy_step(plan).source.name;
            sum.pairs += found.pairs;
            sum.slices += found.slices;
            sum.slices_different += found.slices_different;
            sum.rows += found.rows;
            sum.repaired += found.repaired;
            sum.aligned = sum.aligned.max(found.aligned);
            sum.whole &= found.whole;
            sum.more |= found.more;
            sum.differences
                .extend(found.differences.iter().cloned().map(|mut difference| {
                    difference.key = format!("{table}: {}", difference.key);
                    difference
                }));
            all_unverified.extend(unverified.iter().map(|column| format!("{table}.{column}")));
        }
        (sum, all_unverified)
    }

    /// Since when somebody waits for a comparison.
    pub(crate) fn asked_to_compare(&self) -> Option<&String> {
        self.asked_to_compare.as_ref()
    }
}

/// Under the move's own name, on the target.
pub(crate) async fn record(
    shared: &Shared,
    since: &str,
    found: &Verified,
    unverified: &[String],
) -> Result<(), Failure> {
    let (name, side) = (shared.name(), &shared.target);
    let direction: Direction = shared.direction();
    let home = side.session(name).await?;
    side.begin(&home, name).await?;
    state::record_verification(&home, name.as_str(), direction, since, found, unverified).await?;
    Ok(home.batch_execute("COMMIT").await?)
}
