//! MVCC snapshots, as `pg_current_snapshot()` prints them, and the one question asked of them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::position::Xid;

/// What a transaction sees: everything below `xmin`, nothing from `xmax` on, and between them whatever was not
/// in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Snapshot {
    xmin: Xid,
    xmax: Xid,
    in_progress: BTreeSet<Xid>,
}

impl Snapshot {
    /// Builds a snapshot; `in_progress` are the top-level ids between `xmin` and `xmax` that are not visible.
    pub fn new(xmin: Xid, xmax: Xid, in_progress: impl IntoIterator<Item = Xid>) -> Self {
        Snapshot {
            xmin,
            xmax,
            in_progress: in_progress.into_iter().collect(),
        }
    }

    /// Whether a committed top-level transaction is visible. For one that has not committed the answer has no
    /// meaning.
    pub fn sees(&self, xid: Xid) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.in_progress.contains(&xid))
    }

    /// A transaction that `earlier` sees and this one does not, if there is one.
    pub fn misses(&self, earlier: &Snapshot) -> Option<Xid> {
        let running = self.in_progress.iter().copied();
        let beyond = (earlier.xmax > self.xmax).then_some(Xid(earlier.xmax.0.saturating_sub(1)));
        running.chain(beyond).find(|xid| earlier.sees(*xid))
    }

    /// The ids below `xmax` that are not visible.
    pub fn in_progress(&self) -> impl Iterator<Item = Xid> {
        self.in_progress.iter().copied()
    }

    /// The first id not yet given out: the reference for [`Xid::widen`].
    pub fn xmax(&self) -> Xid {
        self.xmax
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (position, xid) in self.in_progress.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

/// Text that is no snapshot.
#[derive(Debug, thiserror::Error)]
#[error("read `{text}` as a snapshot such as 10:20:10,14")]
pub struct ParseSnapshotError {
    /// What was given.
    pub text: String,
}

impl FromStr for Snapshot {
    type Err = ParseSnapshotError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || -> Option<Snapshot> {
            let mut fields = text.split(':');
            let xid = |text: &str| text.parse().ok().map(Xid);
            let (xmin, xmax, list) = (xid(fields.next()?)?, xid(fields.next()?)?, fields.next()?);
            let ids = list.split(',').filter(|id| !id.is_empty());
            let in_progress = ids.map(xid).collect::<Option<BTreeSet<Xid>>>()?;
            // A slot's exported snapshot may come with xmin beyond xmax, when the ids between had ended before they
            // were decoded. The server asks xmin first, so all below it are seen: the same as an xmax of xmin.
            fields.next().is_none().then_some(Snapshot {
                xmin,
                xmax: xmax.max(xmin),
                in_progress,
            })
        };
        parse().ok_or_else(|| ParseSnapshotError {
            text: text.to_owned(),
        })
    }
}

impl From<Snapshot> for String {
    fn from(snapshot: Snapshot) -> Self {
        snapshot.to_string()
    }
}

impl TryFrom<String> for Snapshot {
    type Error = ParseSnapshotError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_bad_text_is_refused() {
        for text in ["10:10:", "10:20:10,14", "8589934592:8589934599:8589934593"] {
            assert_eq!(text.parse::<Snapshot>().unwrap().to_string(), text);
        }
        for text in ["", "10", "10:20", "10:20:x", "10:20::"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
    }

    #[test]
    fn in_an_exported_snapshot_xmin_may_be_beyond_xmax() {
        let snapshot: Snapshot = "6613:6602:".parse().unwrap();
        let seen = [6601, 6602, 6612, 6613].map(|id| snapshot.sees(Xid(id)));
        assert_eq!(seen, [true, true, true, false]);
        assert_eq!(snapshot.to_string(), "6613:6613:");
    }

    #[test]
    fn a_snapshot_may_miss_what_an_earlier_one_sees() {
        let misses = |later: &str, earlier: &str| {
            let (later, earlier): (Snapshot, Snapshot) = (later.parse().unwrap(), earlier.parse().unwrap());
            later.misses(&earlier)
        };
        assert_eq!(misses("10:20:12", "10:20:12,15"), None);
        assert_eq!(misses("12:25:22", "10:20:12"), None);
        assert_eq!(misses("12:25:12", "10:20:15"), Some(Xid(12)));
        assert_eq!(misses("10:18:", "10:20:"), Some(Xid(19)));
    }

    #[test]
    fn visibility_follows_the_list_and_not_the_order() {
        let snapshot: Snapshot = "10:20:12,15".parse().unwrap();
        let seen: Vec<u64> = (8..22).filter(|id| snapshot.sees(Xid(*id))).collect();
        assert_eq!(seen, [8, 9, 10, 11, 13, 14, 16, 17, 18, 19]);
    }
}
