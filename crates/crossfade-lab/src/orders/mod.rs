//! The demo's table: what a row of `orders` holds, and how its values look as text.
//!
//! A row is kept as the few numbers that its values are made from ([`Order`], 56 bytes), so that a ledger of
//! millions fits in memory: the text of a TOASTed note is a function of its seed. The initial rows are a function
//! of their key alone, the same here ([`Order::initial`]) and in SQL ([`schema`]).

mod instant;
pub mod schema;

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha512};

pub use self::instant::Timestamp;

/// The labels of `status`, as text before the change and as the enum `order_status` after it.
pub const STATUSES: [&str; 5] = ["new", "paid", "packed", "shipped", "returned"];

/// Long notes are cut from one random text of so many pieces of 88 bytes.
const POOL_PIECES: i64 = 256;
/// Where in that text a note may begin.
const POOL_OFFSETS: i64 = 10_007;
/// The shortest long note, in bytes, and by how much they differ.
const LONG_MIN: i64 = 8_000;
const LONG_SPREAD: i64 = 4_000;
/// Initial rows with long notes and with items come in runs of neighbours, so that each of several writers, which
/// own the ids of one remainder, has some.
const RUN: i64 = 16;
/// One run of so many has long notes.
const LONG_RUNS: i64 = 100;
/// One run of so many has items.
const ITEM_RUNS: i64 = 4;

/// A row as text, column by column, as the server renders it under UTC and ISO dates; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// How large the initial table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows of `orders`; their ids are 1 to this.
    pub orders: i64,
}

impl Size {
    /// Rows of `customers`; their ids are 1 to this.
    pub fn customers(self) -> i64 {
        (self.orders / 100).max(10)
    }

    /// Whether this initial row has a TOASTed note.
    pub fn has_long_note(id: i64) -> bool {
        id / RUN % LONG_RUNS == 0
    }

    /// Whether `order_items` refers to this initial row. Never one with a long note.
    pub fn has_item(id: i64) -> bool {
        id / RUN % ITEM_RUNS == 1
    }

    /// The runs of ids that have long notes: the first id of run `number`, if it is in the table.
    pub(crate) fn long_run(self, number: i64) -> std::ops::Range<i64> {
        let first = number * RUN * LONG_RUNS;
        first.max(1)..(first + RUN).min(self.orders + 1)
    }

    /// How many such runs begin in the table.
    pub(crate) fn long_runs(self) -> i64 {
        self.orders / (RUN * LONG_RUNS) + 1
    }
}

/// A column of `orders`, in the table's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// `id integer`, the key.
    Id,
    /// `customer_id integer`.
    Customer,
    /// `amount numeric(12,2)`.
    Amount,
    /// `status text`.
    Status,
    /// `details jsonb`.
    Details,
    /// `note text`.
    Note,
    /// `created_at timestamptz`.
    Created,
    /// `updated_at timestamptz`.
    Updated,
}

impl Column {
    /// All, in the table's order.
    pub const ALL: [Column; 8] = [
        Column::Id,
        Column::Customer,
        Column::Amount,
        Column::Status,
        Column::Details,
        Column::Note,
        Column::Created,
        Column::Updated,
    ];

    /// Its name; it needs no quotes.
    pub fn name(self) -> &'static str {
        match self {
            Column::Id => "id",
            Column::Customer => "customer_id",
            Column::Amount => "amount",
            Column::Status => "status",
            Column::Details => "details",
            Column::Note => "note",
            Column::Created => "created_at",
            Column::Updated => "updated_at",
        }
    }
}

/// The note of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// NULL.
    None,
    /// A few words.
    Short(i64),
    /// 8 to 12 kB that do not compress, so that the server moves them out of line.
    Long(i64),
}

impl Note {
    fn text(self) -> Option<String> {
        match self {
            Note::None => None,
            Note::Short(seed) => Some(format!("note {seed}")),
            Note::Long(seed) => {
                let (offset, length) = (seed % POOL_OFFSETS, LONG_MIN + seed % LONG_SPREAD);
                // The pool is ASCII and longer than the last note in it, so the cut is never empty.
                let cut = usize::try_from(offset)
                    .ok()
                    .zip(usize::try_from(offset + length).ok());
                let cut = cut.and_then(|(from, to)| POOL.get(from..to)).unwrap_or_default();
                Some(format!("{seed}:{cut}"))
            }
        }
    }
}

/// Random text in base64, which the server cannot compress.
static POOL: LazyLock<String> = LazyLock::new(|| {
    (0..POOL_PIECES)
        .map(|piece| BASE64_STANDARD.encode(Sha512::digest(format!("pool {piece}"))))
        .collect()
});

/// A row of `orders` but for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// A key of `customers`.
    pub customer: i64,
    /// The amount in cents.
    pub cents: i64,
    /// An index into [`STATUSES`].
    pub status: usize,
    /// What the details are made from.
    pub details: Option<i64>,
    /// The note.
    pub note: Note,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last touched.
    pub updated: Option<Timestamp>,
}

impl Order {
    /// The initial content of row `id`. [`schema`] computes the same in SQL.
    pub fn initial(id: i64, size: Size) -> Order {
        let created = Timestamp::from_seconds(id);
        let note = if Size::has_long_note(id) {
            Note::Long(id)
        } else if id % 3 == 0 {
            Note::None
        } else {
            Note::Short(id)
        };
        Order {
            customer: 1 + id % size.customers(),
            cents: id * 7919 % 10_000_000,
            status: status_of(id),
            details: (id % 11 != 0).then_some(id),
            note,
            created,
            updated: (id % 2 == 1).then_some(created),
        }
    }

    /// The value of `column`, in the row with key `id`, as the server renders it.
    pub fn value(&self, id: i64, column: Column) -> Option<String> {
        match column {
            Column::Id => Some(id.to_string()),
            Column::Customer => Some(self.customer.to_string()),
            Column::Amount => Some(format!("{}.{:02}", self.cents / 100, self.cents % 100)),
            Column::Status => Some(STATUSES[self.status].to_owned()),
            Column::Details => self
                .details
                .map(|seed| format!(r#"{{"source": "s{}", "priority": {}}}"#, seed % 50, seed % 7)),
            Column::Note => self.note.text(),
            Column::Created => Some(self.created.to_string()),
            Column::Updated => self.updated.map(|updated| updated.to_string()),
        }
    }

    /// The whole row.
    pub fn row(&self, id: i64) -> Row {
        Column::ALL
            .into_iter()
            .map(|column| self.value(id, column))
            .collect()
    }

    /// The columns, without the key, in which the two differ.
    pub fn differences(&self, other: &Order) -> Vec<Column> {
        let differs = |column: &Column| match column {
            Column::Id => false,
            Column::Customer => self.customer != other.customer,
            Column::Amount => self.cents != other.cents,
            Column::Status => self.status != other.status,
            Column::Details => self.details != other.details,
            Column::Note => self.note != other.note,
            Column::Created => self.created != other.created,
            Column::Updated => self.updated != other.updated,
        };
        Column::ALL.into_iter().filter(differs).collect()
    }
}

/// The status made from any number that is not negative.
pub(crate) fn status_of(seed: i64) -> usize {
    usize::try_from(seed).map_or(0, |seed| seed % STATUSES.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { orders: 1000 };

    #[test]
    fn a_row_reads_as_the_server_renders_it() {
        let row = Order::initial(101, SIZE).row(101);
        let row: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap()).collect();
        assert_eq!(
            row,
            [
                "101",
                "2",
                "7998.19",
                "paid",
                r#"{"source": "s1", "priority": 3}"#,
                "note 101",
                "2024-01-01 00:01:41+00",
                "2024-01-01 00:01:41+00"
            ]
        );
    }

    #[test]
    fn long_notes_are_long_and_rare_and_never_have_items() {
        let length = |seed| i64::try_from(Note::Long(seed).text().unwrap().len()).unwrap();
        assert_eq!(length(5), 2 + LONG_MIN + 5);
        let last = POOL_OFFSETS * LONG_SPREAD - 1;
        assert_eq!(length(last), 9 + LONG_MIN + LONG_SPREAD - 1);
        let long = (1..=160_000).filter(|id| Size::has_long_note(*id)).count();
        assert_eq!(long, 1600);
        assert!((0..10_000).all(|id| !(Size::has_long_note(id) && Size::has_item(id))));
        let size = Size { orders: 1605 };
        let in_runs: Vec<i64> = (0..size.long_runs())
            .flat_map(|number| size.long_run(number))
            .collect();
        let all: Vec<i64> = (1..=1605).filter(|id| Size::has_long_note(*id)).collect();
        assert_eq!(in_runs, all);
    }

    #[test]
    fn differences_name_the_columns() {
        let one = Order::initial(7, SIZE);
        let other = Order {
            cents: one.cents + 1,
            note: Note::None,
            ..one
        };
        assert_eq!(one.differences(&other), [Column::Amount, Column::Note]);
    }
}
