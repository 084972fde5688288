//! What rows that differed are to become: what the source has in their place, under the snapshot of an alignment.
//!
//! A suspect is a key of the target. Its counterpart is looked for in the slice where the suspect was found, by the image
//! of its key, so no transform has to be inverted. A suspect without one is to be removed.

use std::collections::BTreeMap;

use crossfade_core::piece::TargetKey;
use crossfade_core::verify::{Repair, Suspects};
use tokio_postgres::types::ToSql;

use super::{Pair, Verifier, of_source};
use crate::apply::fetch::{FetchError, Fetcher};
use crate::session::{Session, SqlError};

impl Verifier {
    /// Reads what the source has, in the transaction that the session has open.
    ///
    /// # Errors
    /// When something fails; then the transaction is broken.
    pub async fn reread(
        &self,
        session: &Session,
        fetcher: &Fetcher,
        suspects: &[Suspects],
    ) -> Result<Repair, FetchError> {
        let mut repair = Repair::default();
        let mut named = Vec::new();
        for found in suspects {
            for (number, pair) in self.pairs.iter().enumerate() {
                let mine: Vec<&TargetKey> = found.keys.iter().filter(|key| key.target == number).collect();
                let mut counterparts = pair.counterparts(session, found, &mine).await?;
                for suspect in mine {
                    match counterparts.remove(&suspect.key) {
                        Some(key) => named.push(key),
                        None => repair.removes.push(suspect.clone()),
                    }
                }
            }
        }
        // Several rows of a target may come of one.
        named.sort_unstable();
        named.dedup();
        // Of one snapshot: a row that has just been named is there.
        let fetched = fetcher.fetch_named(session, &named).await?;
        repair.rows.extend(fetched.rows.into_iter().flatten());
        Ok(repair)
    }
}

impl Pair {
    /// The source's keys by the target's.
    async fn counterparts(
        &self,
        session: &Session,
        found: &Suspects,
        suspects: &[&TargetKey],
    ) -> Result<BTreeMap<Vec<String>, Vec<String>>, SqlError> {
        let (Some(statement), Some(first)) = (&self.statements.counterparts, suspects.first()) else {
            return Ok(BTreeMap::new());
        };
        let column = |position: usize| {
            suspects
                .iter()
                .map(|suspect| suspect.key[position].as_str())
                .collect()
        };
        let columns: Vec<Vec<&str>> = (0..first.key.len()).map(column).collect();
        let [lower, upper] = of_source(&found.slice);
        let ends: [&(dyn ToSql + Sync); 2] = [&lower, &upper];
        let columns = columns.iter().map(|column| column as &(dyn ToSql + Sync));
        let parameters: Vec<&(dyn ToSql + Sync)> = ends.into_iter().chain(columns).collect();
        let rows = session.query(statement, &parameters).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}
