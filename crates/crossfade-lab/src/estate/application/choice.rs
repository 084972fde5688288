//! What a writer draws: numbers, keys that nobody else has, and rows that may be there.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many writers keys are made for.
pub const WRITERS_MAX: u32 = 16;

/// Keys that writers make begin here, above the initial ones.
const OWN_KEYS: i64 = 1_000_000;
/// Keys that one transaction may make.
const KEYS_MAX: i64 = 16;

/// The randomness of one writer, in the transaction with number `number`.
pub(super) struct Choice {
    rng: ChaCha8Rng,
    rows: i64,
    first: i64,
    keys: i64,
    /// Which writer.
    pub(super) writer: i32,
    /// The number of the transaction at hand.
    pub(super) number: i64,
}

impl Choice {
    /// That of `writer`, whose last number was `number`, on an estate with so many rows in a big table.
    pub(super) fn new(seed: u64, writer: i32, number: i64, rows: i64) -> Choice {
        // Another start of the same application is not to repeat itself.
        let seed = [seed, u64::from(writer.unsigned_abs()), number.unsigned_abs()]
            .into_iter()
            .fold(0_u64, |sum, part| sum.wrapping_mul(1_000_003).wrapping_add(part));
        Choice {
            rng: ChaCha8Rng::seed_from_u64(seed),
            rows,
            first: number,
            keys: 0,
            writer,
            number,
        }
    }

    /// Goes on to the next transaction.
    pub(super) fn next(&mut self) {
        self.number += 1;
        self.keys = 0;
    }

    /// A number from 0 on and below `limit`.
    pub(super) fn below(&mut self, limit: i64) -> i64 {
        self.rng.random_range(0..limit.max(1))
    }

    /// Whether something happens that does so in so many of a hundred cases.
    pub(super) fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub(super) fn one_of(&mut self, values: &[&'static str]) -> &'static str {
        let index = self.rng.random_range(0..values.len());
        values[index]
    }

    /// The id of an initial row of a big table.
    pub(super) fn initial(&mut self) -> i64 {
        1 + self.below(self.rows)
    }

    /// A key that no row has and had, of 32 bits.
    pub(super) fn key(&mut self) -> i64 {
        self.keys = (self.keys + 1) % KEYS_MAX;
        self.key_of(self.number, self.keys)
    }

    /// A UUID that no row has.
    pub(super) fn uuid(&mut self) -> String {
        let key = self.key();
        self.uuid_of(key)
    }

    /// A subquery for the key of a row that is there, initial or new; at the end of the table it finds none.
    pub(super) fn near(&mut self, table: &str, column: &str) -> String {
        self.near_as(table, column, |position| position.to_string())
    }

    /// As [`Choice::near`], where `value` makes a key in SQL of a position.
    pub(super) fn near_as(&mut self, table: &str, column: &str, value: impl Fn(i64) -> String) -> String {
        let position = self.position();
        near(table, column, &value(position))
    }

    /// As [`Choice::near`], for UUIDs.
    pub(super) fn near_uuid(&mut self, table: &str, column: &str) -> String {
        let uuid = self.uuid_of(0);
        near(table, column, &format!("'{uuid}'"))
    }

    /// As [`Choice::near`], where keys come of a sequence.
    pub(super) fn near_in_sequence(&mut self, table: &str, column: &str) -> String {
        let position = self.below(self.rows + self.rows / 5);
        near(table, column, &position.to_string())
    }

    /// Where a key may be: among the initial ones, or among those this writer made.
    fn position(&mut self) -> i64 {
        if self.chance(50) {
            return self.initial();
        }
        let number = self.first + self.below(self.number - self.first + 1);
        self.key_of(number, 0)
    }

    fn key_of(&self, number: i64, key: i64) -> i64 {
        OWN_KEYS + (number * KEYS_MAX + key) * i64::from(WRITERS_MAX) + i64::from(self.writer)
    }

    fn uuid_of(&mut self, key: i64) -> String {
        let random: u32 = self.rng.random();
        format!("{random:08x}-0000-4000-8000-{key:012x}")
    }
}

fn near(table: &str, column: &str, value: &str) -> String {
    format!("(SELECT {column} FROM {table} WHERE {column} >= {value} ORDER BY {column} LIMIT 1)")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_keys_are_the_same_and_none_is_an_initial_one() {
        let mut seen = HashSet::new();
        for writer in 0..16 {
            let mut choice = Choice::new(1, writer, 5, 2000);
            for _ in 0..100 {
                choice.next();
                assert!((1..KEYS_MAX).all(|_| seen.insert(choice.key())));
            }
        }
        let range = OWN_KEYS..i64::from(i32::MAX);
        assert!(seen.iter().all(|key| range.contains(key)));
    }
}
