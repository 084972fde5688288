//! A backlog: changes that are committed while nobody reads, and where in the WAL each part of them lies.

use crossfade_postgres::session::Session;

use crate::BenchError;

/// Positions that are noted, so that a position can be told in changes.
const MARKS: u64 = 50;

const POSITION: &str = "SELECT (pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8";
const WRITE: &str = "SELECT write($1, $2)";

/// See the module.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Of the first change, among all that were ever made.
    pub(super) first: u64,
    /// How many.
    pub(super) changes: u64,
    /// Positions in the WAL, and how many changes are committed before them. The last one lies within the last
    /// transaction: who is beyond it has all.
    marks: Vec<(u64, u64)>,
}

impl Backlog {
    /// Makes so many changes, in transactions of so many.
    pub(super) async fn write(
        session: &Session,
        first: u64,
        changes: u64,
        transaction: u64,
    ) -> Result<Backlog, BenchError> {
        // Only the last commit is waited for: it flushes what came before.
        session.batch_execute("SET synchronous_commit = off").await?;
        let write = session.prepare(WRITE).await?;
        let mut marks = vec![(position(session).await?, 0)];
        let (mut done, mut changed) = (0, 0);
        let between_marks = (changes / MARKS).max(1);
        while done + transaction < changes {
            let from = first + done;
            let bounds = (from.cast_signed(), (from + transaction).cast_signed());
            let row = session.query_one(&write, &[&bounds.0, &bounds.1]).await?;
            changed += row.get::<_, i64>(0);
            let before = done / between_marks;
            done += transaction;
            if done / between_marks > before {
                marks.push((position(session).await?, done));
            }
        }
        session
            .batch_execute("SET synchronous_commit = local; BEGIN")
            .await?;
        let bounds = ((first + done).cast_signed(), (first + changes).cast_signed());
        let row = session.query_one(&write, &[&bounds.0, &bounds.1]).await?;
        changed += row.get::<_, i64>(0);
        marks.push((position(session).await?, done));
        session.batch_execute("COMMIT").await?;
        expect(changed, changes)?;
        Ok(Backlog {
            first,
            changes,
            marks,
        })
    }

    /// Everything is applied up to this position: how many changes is that?
    pub(super) fn changes_at(&self, position: u64) -> u64 {
        let behind = self.marks.partition_point(|(mark, _)| *mark < position);
        let Some(before) = behind.checked_sub(1) else {
            return 0;
        };
        let (from, done) = self.marks[before];
        match self.marks.get(behind) {
            None => self.changes,
            Some((to, then)) => {
                let share = (position - from) as f64 / (to - from).max(1) as f64;
                done + (share * (then - done) as f64) as u64
            }
        }
    }
}

async fn position(session: &Session) -> Result<u64, BenchError> {
    let row = session.query_one(POSITION, &[]).await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

fn expect(changed: i64, changes: u64) -> Result<(), BenchError> {
    if changed.cast_unsigned() == changes {
        return Ok(());
    }
    Err(BenchError::Wrong {
        what: "the rows that a backlog changed".to_owned(),
        found: changed.to_string(),
        expected: changes.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_told_in_changes() {
        let backlog = Backlog {
            first: 0,
            changes: 110,
            marks: vec![(1_000, 0), (2_000, 50), (3_000, 100)],
        };
        let told = [0, 1_000, 1_500, 2_000, 2_500, 3_000, 3_001].map(|position| backlog.changes_at(position));
        assert_eq!(told, [0, 0, 25, 50, 75, 100, 110]);
    }
}
