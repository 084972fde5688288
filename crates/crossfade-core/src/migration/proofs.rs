//! Proofs of visibility that are waited for (R7, R16, R26): a transaction that the stream has brought is not visible
//! before it has left the server's list of those that run, and with a synchronous standby that does not answer that may
//! take for ever. Chunks, fetches and pairs of snapshots wait for it alike: here is since when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::position::Xid;
use crate::snapshot::Snapshot;

/// A transaction that the stream has brought and that no snapshot has shown within
/// [`crate::limits::Limits::proof_wait_ms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transaction {xid} is in the stream and not visible yet")]
pub struct Invisible {
    /// Which.
    pub xid: Xid,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Proofs {
    /// See [`crate::limits::Limits::proof_wait_ms`].
    wait: Duration,
    missed: BTreeMap<Xid, Instant>,
}

impl Proofs {
    pub(crate) fn new(wait: Duration) -> Self {
        Proofs {
            wait,
            missed: BTreeMap::new(),
        }
    }

    /// A snapshot does not see it, and should.
    pub(crate) fn miss(&mut self, now: Instant, xid: Xid) {
        self.missed.entry(xid).or_insert(now);
    }

    /// What any snapshot has seen is waited for no more.
    pub(crate) fn observe(&mut self, snapshot: &Snapshot) {
        self.missed.retain(|xid, _| !snapshot.sees(*xid));
    }

    /// Those that were waited for long enough.
    pub(crate) fn late(&self, now: Instant) -> impl Iterator<Item = Xid> {
        let late = move |since: Instant| now.saturating_duration_since(since) >= self.wait;
        let missed = self.missed.iter();
        missed
            .filter(move |(_, since)| late(**since))
            .map(|(xid, _)| *xid)
    }

    /// The one that is waited for longest, if that is worth telling.
    pub(crate) fn latest(&self, now: Instant) -> Option<Invisible> {
        let longest = self.late(now).min_by_key(|xid| self.missed[xid]);
        longest.map(|xid| Invisible { xid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test has to begin at some moment")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_one_that_is_waited_for_longest_is_told_until_a_snapshot_sees_it() {
        let (start, second) = (start(), Duration::from_secs(1));
        let mut proofs = Proofs::new(2 * second);
        proofs.miss(start, Xid(15));
        proofs.miss(start + second, Xid(12));
        proofs.miss(start + second, Xid(15));
        assert_eq!(proofs.latest(start + second), None);
        let later = start + 3 * second;
        assert_eq!(proofs.latest(later), Some(Invisible { xid: Xid(15) }));
        assert_eq!(proofs.late(later).count(), 2);
        proofs.observe(&"10:20:12".parse().unwrap());
        assert_eq!(proofs.latest(later), Some(Invisible { xid: Xid(12) }));
        proofs.observe(&"20:20:".parse().unwrap());
        assert_eq!(proofs.latest(later), None);
    }
}
