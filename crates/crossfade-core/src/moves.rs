//! Of a move: one stream for many tables, and one position that stands for all of them.
//!
//! Each table has a machine, a feed and an applied LSN of its own. Invariants:
//! - a table gets of a transaction what is its own, in the same order, and its end; the other tables get a position at
//!   which nothing of theirs is open, and never one within a transaction of which they have a part;
//! - what ended at or before a table's applied LSN it does not get again (the stream begins at the least of these);
//! - the slot is acknowledged at the least applied LSN of all tables (R22);
//! - behind a transaction with the last message ([`Dealer::end_behind`]) nothing is dealt out: all tables end with the
//!   same commit.

mod precedence;

use bytes::Bytes;

pub use self::precedence::Precedence;
use crate::change::{StreamItem, TransactionPart};
use crate::position::Lsn;

/// Deals a stream out to the tables.
#[derive(Debug)]
pub struct Dealer {
    tables: Vec<Table>,
    /// Everything committed at or before it was dealt out.
    position: Lsn,
    end: End,
    precedence: Precedence,
}

/// Whether the stream goes on without end.
#[derive(Debug)]
enum End {
    Open,
    Behind(Bytes),
    /// The transaction that is open is the last one.
    Within,
    Reached,
}

#[derive(Debug)]
struct Table {
    /// Everything that ended at or before it is applied.
    from: Lsn,
    /// It has a part of the transaction that is open.
    inside: bool,
    /// The last position that it got.
    told: Lsn,
}

/// What each table gets: its number, and the item.
pub type Dealt = Vec<(usize, StreamItem)>;

impl Dealer {
    /// For tables that have applied everything up to these positions.
    pub fn new(applied: impl IntoIterator<Item = Lsn>) -> Self {
        let table = |from| Table {
            from,
            inside: false,
            told: from,
        };
        Dealer {
            tables: applied.into_iter().map(table).collect(),
            position: Lsn(0),
            end: End::Open,
            precedence: Precedence::default(),
        }
    }

    /// In which order transactions were seen to write to the tables.
    pub fn precedence(&self) -> &Precedence {
        &self.precedence
    }

    /// The transaction with that message will be the last one; say so before it is sent.
    pub fn end_behind(&mut self, content: Bytes) {
        self.end = End::Behind(content);
    }

    /// Where the stream begins.
    pub fn start(&self) -> Lsn {
        self.tables
            .iter()
            .map(|table| table.from)
            .min()
            .unwrap_or_default()
    }

    /// Deals out what the stream delivered at once. Positions are told at its end.
    pub fn deal(&mut self, items: Vec<StreamItem>) -> Dealt {
        let mut dealt = Vec::new();
        for item in items {
            if matches!(self.end, End::Reached) {
                return dealt;
            }
            match item {
                StreamItem::Transaction(part) => {
                    let last = self.is_last(&part);
                    self.part(part, &mut dealt);
                    if last {
                        self.tell_position(&mut dealt);
                        self.end = End::Reached;
                    }
                }
                StreamItem::Keepalive { wal_end } => self.position = self.position.max(wal_end),
            }
        }
        self.tell_position(&mut dealt);
        dealt
    }

    /// Whether everything ends with this part.
    fn is_last(&mut self, part: &TransactionPart) -> bool {
        if let End::Behind(content) = &self.end
            && part.messages.contains(content)
        {
            self.end = End::Within;
        }
        matches!(self.end, End::Within) && part.commit_lsn.is_some()
    }

    fn part(&mut self, part: TransactionPart, dealt: &mut Dealt) {
        self.precedence.see(&part.tables, part.commit_lsn.is_some());
        let mut of_table: Vec<Vec<_>> = self.tables.iter().map(|_| Vec::new()).collect();
        let mut numbers = part.tables.iter();
        for change in part.changes {
            let number = numbers.next().map_or(0, |number| *number as usize);
            of_table[number].push(change);
        }
        for (number, (table, changes)) in self.tables.iter_mut().zip(of_table).enumerate() {
            // Only the start of the commit record is known: it lies before the position, or nothing of it does.
            let skipped = part.final_lsn < table.from;
            let concerned = !changes.is_empty() || !part.messages.is_empty() || table.inside;
            if skipped || !concerned {
                continue;
            }
            table.inside = part.commit_lsn.is_none();
            table.told = part.commit_lsn.unwrap_or(table.told);
            let own = TransactionPart {
                xid: part.xid,
                final_lsn: part.final_lsn,
                first: part.first,
                changes,
                tables: Vec::new(),
                messages: part.messages.clone(),
                commit_lsn: part.commit_lsn,
            };
            dealt.push((number, StreamItem::Transaction(own)));
        }
        self.position = part.commit_lsn.unwrap_or(self.position);
    }

    fn tell_position(&mut self, dealt: &mut Dealt) {
        for (number, table) in self.tables.iter_mut().enumerate() {
            if !table.inside && table.told < self.position {
                table.told = self.position;
                let wal_end = self.position;
                dealt.push((number, StreamItem::Keepalive { wal_end }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::change::{Change, Row};

    fn part(tables: &[u32], messages: &[&'static str], commit: Option<u64>) -> StreamItem {
        let change = |_: &u32| Change::Insert {
            new: Row(Box::default()),
        };
        StreamItem::Transaction(TransactionPart {
            xid: 7,
            final_lsn: Lsn(100),
            first: true,
            changes: tables.iter().map(change).collect(),
            tables: tables.to_vec(),
            messages: messages
                .iter()
                .map(|text| Bytes::from_static(text.as_bytes()))
                .collect(),
            commit_lsn: commit.map(Lsn),
        })
    }

    /// `table:changes+messages@commit`, or `table=position`.
    fn shown(dealt: &Dealt) -> Vec<String> {
        let show = |(number, item): &(usize, StreamItem)| match item {
            StreamItem::Keepalive { wal_end } => format!("{number}={}", wal_end.0),
            StreamItem::Transaction(part) => {
                let commit = part.commit_lsn.map_or(String::new(), |lsn| format!("@{}", lsn.0));
                format!("{number}:{}+{}{commit}", part.changes.len(), part.messages.len())
            }
        };
        dealt.iter().map(show).collect()
    }

    fn dealer(applied: &[u64]) -> Dealer {
        Dealer::new(applied.iter().copied().map(Lsn))
    }

    #[test]
    fn each_table_gets_its_own_and_the_others_a_position() {
        let mut dealer = dealer(&[50, 50, 50]);
        let dealt = dealer.deal(vec![part(&[0, 2, 0], &[], Some(110))]);
        assert_eq!(shown(&dealt), ["0:2+0@110", "2:1+0@110", "1=110"]);
        assert_eq!(
            shown(&dealer.deal(vec![part(&[1], &[], Some(120))])),
            ["1:1+0@120", "0=120", "2=120"]
        );
    }

    #[test]
    fn a_part_without_an_end_is_followed_by_no_position_and_by_its_end() {
        let mut dealer = dealer(&[50, 50]);
        let keepalive = StreamItem::Keepalive { wal_end: Lsn(60) };
        let dealt = dealer.deal(vec![keepalive, part(&[1], &[], None)]);
        assert_eq!(shown(&dealt), ["1:1+0", "0=60"]);
        let dealt = dealer.deal(vec![part(&[0], &[], Some(110))]);
        assert_eq!(shown(&dealt), ["0:1+0@110", "1:0+0@110"]);
    }

    #[test]
    fn a_message_is_for_everybody() {
        let mut dealer = dealer(&[50, 50]);
        let dealt = dealer.deal(vec![part(&[], &["fence m 1"], Some(110))]);
        assert_eq!(shown(&dealt), ["0:0+1@110", "1:0+1@110"]);
    }

    #[test]
    fn behind_the_last_message_nothing_is_dealt_out() {
        let mut dealer = dealer(&[50, 50]);
        dealer.end_behind(Bytes::from_static(b"fence m 1"));
        let keepalive = StreamItem::Keepalive { wal_end: Lsn(200) };
        let dealt = dealer.deal(vec![
            part(&[0], &[], Some(110)),
            part(&[], &["fence m 1"], None),
            part(&[], &[], Some(120)),
            part(&[1], &[], Some(130)),
            keepalive,
        ]);
        assert_eq!(
            shown(&dealt),
            ["0:1+0@110", "0:0+1", "1:0+1", "0:0+0@120", "1:0+0@120"]
        );
        assert_eq!(dealer.deal(vec![part(&[0], &[], Some(140))]), []);
    }

    #[test]
    fn what_a_table_has_applied_it_does_not_get_again() {
        let mut dealer = dealer(&[50, 110]);
        assert_eq!(dealer.start(), Lsn(50));
        let dealt = dealer.deal(vec![part(&[0, 1], &[], Some(110))]);
        assert_eq!(shown(&dealt), ["0:1+0@110"]);
        let keepalive = StreamItem::Keepalive { wal_end: Lsn(130) };
        assert_eq!(shown(&dealer.deal(vec![keepalive])), ["0=130", "1=130"]);
    }
}
