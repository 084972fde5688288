//! In which order transactions write to tables, learned from the stream.
//!
//! Whoever locks several tables at once is quickest in the order in which everybody else does it: then a transaction that
//! holds one of them never wants one that is locked already. In any other order both wait for each other until one gives up.

use std::collections::BTreeMap;

/// Counts, of two tables that a transaction writes to, which it begins with.
#[derive(Clone, Debug, Default)]
pub struct Precedence {
    /// By first and second table: transactions.
    counts: BTreeMap<(u32, u32), u32>,
    /// Tables of the transaction that is open, in the order of their first change.
    open: Vec<u32>,
}

/// Of a transaction that writes to more tables, so many count: it is a batch, and rare.
const TABLES_MAX: usize = 32;

impl Precedence {
    /// A part of a transaction: the tables of its changes, in order.
    pub(super) fn see(&mut self, tables: &[u32], ends: bool) {
        for table in tables {
            let known = self.open.last() == Some(table) || self.open.contains(table);
            if known || self.open.len() == TABLES_MAX {
                continue;
            }
            for before in &self.open {
                let count = self.counts.entry((*before, *table)).or_default();
                *count = count.saturating_add(1);
            }
            self.open.push(*table);
        }
        if ends {
            self.open.clear();
        }
    }

    /// These tables, each after those which more transactions write to before it than after it. What nothing is known of
    /// stays as it is given; a circle is broken where the fewest transactions are against it.
    pub fn order(&self, tables: &[usize]) -> Vec<usize> {
        let mut left = tables.to_vec();
        let mut behind: BTreeMap<usize, Vec<(usize, u32)>> = BTreeMap::new();
        let mut against: BTreeMap<usize, u64> = tables.iter().map(|table| (*table, 0)).collect();
        for (first, second, net) in self.net() {
            if let (true, Some(count)) = (tables.contains(&first), against.get_mut(&second)) {
                *count += u64::from(net);
                behind.entry(first).or_default().push((second, net));
            }
        }
        let mut ordered = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let least = (0..left.len()).min_by_key(|place| against[&left[*place]]);
            let table = left.remove(least.unwrap_or_default());
            for (second, net) in behind.remove(&table).unwrap_or_default() {
                against.entry(second).and_modify(|count| *count -= u64::from(net));
            }
            ordered.push(table);
        }
        ordered
    }

    /// First and second, and so many more transactions begin with the first than with the second.
    fn net(&self) -> impl Iterator<Item = (usize, usize, u32)> {
        self.counts.iter().filter_map(|((first, second), count)| {
            let against = self.counts.get(&(*second, *first)).copied().unwrap_or_default();
            let net = count.checked_sub(against).filter(|net| *net > 0)?;
            Some((usize::try_from(*first).ok()?, usize::try_from(*second).ok()?, net))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_come_in_the_order_of_most_transactions() {
        let mut seen = Precedence::default();
        // As pgbench has it, in two parts, and once the other way.
        for _ in 0..3 {
            seen.see(&[2, 2], false);
            seen.see(&[1, 0, 2], true);
        }
        seen.see(&[0, 2], true);
        assert_eq!(seen.order(&[0, 1, 2, 3]), [2, 1, 0, 3]);
        assert_eq!(seen.order(&[3, 0, 2, 1]), [3, 2, 1, 0]);
    }

    #[test]
    fn what_nothing_is_known_of_stays_and_a_circle_is_broken() {
        let mut seen = Precedence::default();
        assert_eq!(seen.order(&[5, 3, 4]), [5, 3, 4]);
        for pair in [[0, 1], [0, 1], [1, 2], [1, 2], [2, 0]] {
            seen.see(&pair, true);
        }
        assert_eq!(seen.order(&[0, 1, 2]), [0, 1, 2]);
    }
}
