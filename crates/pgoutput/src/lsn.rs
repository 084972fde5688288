//! [`Lsn`]: a position in the write-ahead log.

use std::fmt;

/// A position in the write-ahead log, in bytes from its beginning.
///
/// Shown as PostgreSQL shows it, two halves in hexadecimal:
///
/// ```
/// assert_eq!(pgoutput::Lsn(0x16_B374_D848).to_string(), "16/B374D848");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
