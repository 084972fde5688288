//! Items on their way to the owner, gathered so that the channel is crossed once for many.

use crossfade_core::change::{StreamItem, TransactionPart};
use crossfade_core::position::Lsn;

/// Items that have not been sent yet.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    items: Vec<StreamItem>,
    bytes: usize,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What the items take in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything gathered; the batch is empty afterwards.
    pub(crate) fn take(&mut self) -> Vec<StreamItem> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }

    pub(crate) fn push_part(&mut self, part: TransactionPart, bytes: usize) {
        self.bytes += size_of::<StreamItem>() + bytes;
        self.items.push(StreamItem::Transaction(part));
    }

    /// Of keepalives in a row only the last one says anything.
    pub(crate) fn push_keepalive(&mut self, wal_end: Lsn) {
        let item = StreamItem::Keepalive { wal_end };
        match self.items.last_mut() {
            Some(last @ StreamItem::Keepalive { .. }) => *last = item,
            _ => {
                self.bytes += size_of::<StreamItem>();
                self.items.push(item);
            }
        }
    }
}
