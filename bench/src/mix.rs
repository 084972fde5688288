//! Changes by their number: which kind each is, and which row it touches, by arithmetic alone.
//!
//! Of each hundred changes on end every kind has its share, updates touch rows that are never deleted, and each insert and
//! each delete has a row of its own. So any part of the numbers can be written, by anyone, in any order that keeps a
//! delete behind the insert of its row, and what the table must hold afterwards is known.

use serde::{Deserialize, Serialize};

/// Rows that hot updates fall on.
const HOT_ROWS: u64 = 100;
/// Spreads updates over rows and kinds over a hundred; it divides neither.
const STRIDE: u64 = 7_919;

/// What changes are made of, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix {
    /// Updates of an indexed column.
    pub updates: u64,
    /// Inserts.
    pub inserts: u64,
    /// Deletes.
    pub deletes: u64,
    /// Of the updates, those that fall on a hundred hot rows.
    pub hot: u64,
}

impl Default for Mix {
    fn default() -> Self {
        Mix {
            updates: 60,
            inserts: 20,
            deletes: 20,
            hot: 20,
        }
    }
}

/// Changes that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// The shares are not shares.
    #[error(
        "mix changes of {updates} % updates, {inserts} % inserts and {deletes} % deletes: it must be 100 % together"
    )]
    Shares {
        /// Updates.
        updates: u64,
        /// Inserts.
        inserts: u64,
        /// Deletes.
        deletes: u64,
    },
    /// There would be nothing left to delete.
    #[error(
        "make {changes} changes on {rows} rows: at most half of the rows and what is inserted can be deleted; give more rows"
    )]
    TooFewRows {
        /// How many changes.
        changes: u64,
        /// Rows at the beginning.
        rows: u64,
    },
}

impl Mix {
    /// Whether so many changes can be made on a table of so many rows.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, rows: u64, changes: u64) -> Result<(), MixError> {
        let Mix {
            updates,
            inserts,
            deletes,
            hot,
        } = *self;
        if updates + inserts + deletes != 100 || hot > 100 {
            return Err(MixError::Shares {
                updates,
                inserts,
                deletes,
            });
        }
        let hundreds = changes.div_ceil(100);
        // Up to half of the rows may be deleted before the first insert.
        let spare = rows / 2;
        if hundreds * deletes > spare + hundreds.saturating_sub(1) * inserts || spare < HOT_ROWS {
            return Err(MixError::TooFewRows { changes, rows });
        }
        Ok(())
    }

    /// How many inserts and deletes are among these changes.
    pub fn inserts_and_deletes(&self, changes: std::ops::Range<u64>) -> (u64, u64) {
        let kinds = changes.map(|change| change * STRIDE % 100);
        let mut counts = (0, 0);
        for kind in kinds {
            if kind >= self.updates + self.inserts {
                counts.1 += 1;
            } else if kind >= self.updates {
                counts.0 += 1;
            }
        }
        counts
    }

    /// A function that makes the changes from `$1` on and before `$2`, and says how many rows it changed.
    pub(crate) fn function(&self, rows: u64, width: u64) -> String {
        let Mix {
            updates,
            inserts,
            deletes,
            hot,
        } = self;
        let half = rows / 2;
        let hot_below = updates * hot / 100;
        let values = crate::table::values(width, "NULL");
        format!(
            "CREATE FUNCTION {schema}.write(first bigint, behind bigint) RETURNS bigint LANGUAGE plpgsql AS $function$
DECLARE
    -- The loop's own variable is an integer, and what follows multiplies.
    number bigint;
    kind bigint;
    hundred bigint;
    touched bigint;
    changed bigint := 0;
BEGIN
    FOR step IN first .. behind - 1 LOOP
        number := step;
        kind := number * {STRIDE} % 100;
        hundred := number / 100;
        IF kind < {updates} THEN
            UPDATE items SET customer = (number % 100000)::int, updated = clock_timestamp()
             WHERE id = 1 + number * {STRIDE} % (CASE WHEN kind < {hot_below} THEN {HOT_ROWS} ELSE {half} END);
        ELSIF kind < {updates} + {inserts} THEN
            INSERT INTO items SELECT {values}
              FROM (SELECT {rows} + 1 + hundred * {inserts} + kind - {updates} AS id) AS new;
        ELSE
            DELETE FROM items WHERE id = {half} + 1 + hundred * {deletes} + kind - {updates} - {inserts};
        END IF;
        GET DIAGNOSTICS touched = ROW_COUNT;
        changed := changed + touched;
    END LOOP;
    RETURN changed;
END
$function$",
            schema = crate::SCHEMA,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hundred_has_every_kind() {
        let mix = Mix::default();
        assert_eq!(mix.inserts_and_deletes(0..100), (20, 20));
        assert_eq!(mix.inserts_and_deletes(500..1_500), (200, 200));
        let (first, second) = (mix.inserts_and_deletes(0..37), mix.inserts_and_deletes(37..100));
        assert_eq!((first.0 + second.0, first.1 + second.1), (20, 20));
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        let mix = Mix::default();
        assert_eq!(mix.check(1_000, 1_000_000), Ok(()));
        assert!(mix.check(100, 10).is_err(), "not enough rows for the hot ones");
        let deleting = Mix {
            updates: 0,
            inserts: 0,
            deletes: 100,
            hot: 0,
        };
        assert_eq!(deleting.check(1_000, 500), Ok(()));
        assert!(deleting.check(1_000, 501).is_err());
        let more = Mix { updates: 61, ..mix };
        assert!(matches!(more.check(1_000, 1), Err(MixError::Shares { .. })));
    }
}
