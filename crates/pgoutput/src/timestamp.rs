//! [`Timestamp`]: the server's clock as the protocol carries it.

/// 2000-01-01 00:00:00 UTC, in microseconds since 1970-01-01 00:00:00 UTC.
const POSTGRES_EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

/// A moment, in **microseconds since 2000-01-01 00:00:00 UTC**, PostgreSQL's own epoch.
///
/// ```
/// use pgoutput::Timestamp;
///
/// assert_eq!(Timestamp(0).unix_micros(), 946_684_800_000_000);
/// assert_eq!(Timestamp::from_unix_micros(946_684_800_000_001), Timestamp(1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment that lies this many microseconds after 1970-01-01 00:00:00 UTC (saturating).
    pub fn from_unix_micros(micros: i64) -> Self {
        Timestamp(micros.saturating_sub(POSTGRES_EPOCH_UNIX_MICROS))
    }

    /// Microseconds since 1970-01-01 00:00:00 UTC (saturating).
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(POSTGRES_EPOCH_UNIX_MICROS)
    }
}
