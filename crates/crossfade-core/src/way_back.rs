//! The way back: what is known of it before the run (R32), and where it begins after the swap (R31).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::change::StreamItem;
use crate::name::MigrationName;
use crate::phase::Phase;
use crate::position::Lsn;

/// Which way rows are carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the source to the new table, until the swap.
    #[default]
    Forward,
    /// From the new table to the retired one, after it.
    Back,
}

impl Direction {
    /// Reads such a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Direction::Forward, Direction::Back]
            .into_iter()
            .find(|direction| direction.as_str() == word)
    }

    /// Which way rows are carried in that phase, by a migration with or without a way back.
    pub fn at(phase: Phase, has_way_back: bool) -> Direction {
        match phase {
            Phase::Swapped | Phase::RolledBack if has_way_back => Direction::Back,
            Phase::Planned
            | Phase::Prepared
            | Phase::Copying
            | Phase::Copied
            | Phase::Following
            | Phase::Ready
            | Phase::Swapped
            | Phase::RolledBack
            | Phase::Completed
            | Phase::Aborted => Direction::Forward,
        }
    }

    /// The word that the state schema stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Back => "back",
        }
    }
}

/// What a plan says of the way back of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WayBack {
    /// Whether there is one.
    pub class: WayBackClass,
    /// Which values break it, or why there is none; by column of the old table where it is about one.
    pub caveats: Vec<Caveat>,
    /// What breaks nothing and is not carried back, by column of the old table.
    pub lost: Vec<Caveat>,
    /// Existing rows that were carried there and back to see whether they stay the same.
    pub tried: Option<RoundTrip>,
}

/// Whether rows of the new table have their place in the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayBackClass {
    /// The change does not want it.
    #[default]
    Off,
    /// Every row has.
    Exact,
    /// Rows have, but for the values that the caveats name.
    Conditional,
    /// They have not.
    Impossible,
}

/// Something that stands in the way back, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caveat {
    /// A column of the old table; `None` for the table itself.
    pub column: Option<String>,
    /// What breaks it, as a sentence.
    pub what: String,
}

/// A trial on existing rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// So many rows were tried.
    pub rows: u64,
    /// They were all that the table has.
    pub all: bool,
}

/// What the transaction of a swap says in the stream: the reverse stream begins at its end.
pub fn swap_message(name: &MigrationName) -> Bytes {
    Bytes::from(format!("swap {name}"))
}

/// What every transaction that carries changes back says first: on the retired table there is no other (R31).
pub fn carried_back_message(name: &MigrationName) -> Bytes {
    Bytes::from(format!("carried back {name}"))
}

/// Skips the stream up to the end of the swap's commit record (R31). Our own last drain lies between the fence
/// and the swap: a stream that began earlier would carry it back over what the source had by then.
#[derive(Clone, Debug)]
pub struct Threshold {
    message: Bytes,
    /// The transaction whose parts are arriving is the swap.
    within: bool,
}

impl Threshold {
    /// The swap's transaction is known by this message.
    pub fn new(message: Bytes) -> Self {
        Threshold {
            message,
            within: false,
        }
    }

    /// Looks at the next item; the position at which the reverse stream begins, once it has come by.
    pub fn pass(&mut self, item: &StreamItem) -> Option<Lsn> {
        let StreamItem::Transaction(part) = item else {
            return None;
        };
        self.within = (self.within && !part.first) || part.messages.contains(&self.message);
        part.commit_lsn.filter(|_| self.within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::TransactionPart;

    fn part(first: bool, messages: &[&str], commit_lsn: Option<u64>) -> StreamItem {
        StreamItem::Transaction(TransactionPart {
            xid: 7,
            final_lsn: Lsn(1),
            first,
            changes: Vec::new(),
            tables: Vec::new(),
            messages: messages
                .iter()
                .map(|text| Bytes::copy_from_slice(text.as_bytes()))
                .collect(),
            commit_lsn: commit_lsn.map(Lsn),
        })
    }

    #[test]
    fn the_threshold_is_the_end_of_the_transaction_with_the_message() {
        let name: MigrationName = "orders".parse().unwrap();
        let mut threshold = Threshold::new(swap_message(&name));
        assert_eq!(threshold.pass(&part(true, &["fence orders 1"], Some(10))), None);
        assert_eq!(threshold.pass(&StreamItem::Keepalive { wal_end: Lsn(15) }), None);
        assert_eq!(threshold.pass(&part(true, &["swap orders_2"], Some(20))), None);
        assert_eq!(threshold.pass(&part(true, &["swap orders"], None)), None);
        assert_eq!(threshold.pass(&part(false, &[], Some(30))), Some(Lsn(30)));
    }
}
