//! Savepoints of applications: a subtransaction takes an id of its own when it first writes, and what is rolled back
//! to a savepoint is never delivered, though its locks stay until the transaction ends.

use crossfade_core::position::Xid;

use super::World;
use crate::dice::Dice;
use crate::row::SourceChange;
use crate::script::Step;

/// Where a transaction may go back to.
#[derive(Debug)]
pub(super) struct Savepoint {
    /// How many changes there were.
    changes: usize,
    /// The id of the subtransaction that began there, once it has written. No snapshot lists it.
    xid: Option<Xid>,
}

impl World {
    /// A savepoint, or back to one.
    pub(super) fn step_in_subtransactions(&mut self, dice: &mut Dice, xid: Xid) {
        let savepoints = self.active.get(&xid).map_or(0, |open| open.savepoints.len());
        if savepoints == 0 || dice.chance(60) {
            self.save(xid);
        } else {
            self.roll_back_to(xid, dice.index(savepoints));
        }
    }

    fn save(&mut self, xid: Xid) {
        if let Some(transaction) = self.active.get_mut(&xid) {
            transaction.savepoints.push(Savepoint {
                changes: transaction.changes.len(),
                xid: None,
            });
            self.tell(Step::Save(xid));
        }
    }

    /// The outermost first, as the server does it.
    pub(super) fn give_subtransactions_xids(&mut self, xid: Xid) {
        let Some(mut transaction) = self.active.remove(&xid) else {
            return;
        };
        for savepoint in transaction
            .savepoints
            .iter_mut()
            .filter(|open| open.xid.is_none())
        {
            let given = self.give_xid();
            savepoint.xid = Some(given);
            transaction.latest_xid = given;
        }
        self.active.insert(xid, transaction);
    }

    /// To the savepoint of that number, which stays.
    fn roll_back_to(&mut self, xid: Xid, number: usize) {
        let Some(transaction) = self.active.get_mut(&xid) else {
            return;
        };
        let ended = transaction.savepoints.split_off(number);
        let changes = ended[0].changes;
        transaction.savepoints.push(Savepoint { changes, xid: None });
        for change in transaction.changes.split_off(changes).into_iter().rev() {
            self.take_back(change);
        }
        for xid in ended.into_iter().filter_map(|savepoint| savepoint.xid) {
            self.complete(xid);
        }
        self.tell(Step::RollBackTo {
            xid,
            savepoint: number,
        });
    }

    fn take_back(&mut self, change: SourceChange) {
        match change {
            SourceChange::Insert(new) => self.heap.take_back_insert(new.key.number),
            SourceChange::Update { old_key, new, .. } => {
                self.heap.take_back_insert(new.key.number);
                self.heap
                    .take_back_delete(old_key.map_or(new.key.number, |key| key.number));
            }
            SourceChange::Delete(key) => self.heap.take_back_delete(key.number),
            // The first change of its transaction: before every savepoint.
            SourceChange::Truncate => {}
        }
    }
}
