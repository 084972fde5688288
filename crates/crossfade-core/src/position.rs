//! Positions in the write-ahead log, and 64-bit transaction ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A position in the write-ahead log, in bytes. Of a commit it is always the **end** of the commit record
/// (`end_lsn`), never its start: of 138,016 commits 4,422 began exactly where another ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// Text that is no log position.
#[derive(Debug, thiserror::Error)]
#[error("read `{text}` as a log position such as 0/16B3748")]
pub struct ParseLsnError {
    /// What was given.
    pub text: String,
}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |half: &str| u32::from_str_radix(half, 16).ok();
        text.split_once('/')
            .and_then(|(high, low)| Some(Lsn(u64::from(parse(high)?) << 32 | u64::from(parse(low)?))))
            .ok_or_else(|| ParseLsnError {
                text: text.to_owned(),
            })
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

impl TryFrom<String> for Lsn {
    type Error = ParseLsnError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A 64-bit transaction id, as `pg_snapshot` and `xid8` show it. Ids are names, not times: commit order is not
/// id order, so nothing in the engine compares two of them with `<` to decide about visibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Xid(pub u64);

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Xid {
    /// Widens the 32 bits of the stream to 64 by the signed distance to `reference`, the `xmax` of the newest
    /// snapshot of this server's life (never a persisted one). Exact while the two are within 2^31 ids.
    pub fn widen(xid: u32, reference: Xid) -> Xid {
        let distance = xid.wrapping_sub(reference.0 as u32) as i32;
        Xid(reference.0.wrapping_add_signed(i64::from(distance)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_text_round_trips() {
        for text in ["0/0", "0/16B3748", "FF/1", "16/B374D848"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        for text in ["", "1", "1/", "x/1", "1/2/3", "1/123456789"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn widening_crosses_the_epoch_both_ways() {
        let reference = Xid((7 << 32) + 5);
        assert_eq!(Xid::widen(9, reference), Xid((7 << 32) + 9));
        assert_eq!(Xid::widen(u32::MAX, reference), Xid((7 << 32) - 1));
        assert_eq!(Xid::widen(3, Xid((7 << 32) - 2)), Xid((7 << 32) + 3));
    }
}
