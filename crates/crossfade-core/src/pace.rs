//! The one gate for pace: whether anything that can wait may begin, and why not.
//!
//! ```text
//!  standbys' lag ──────┐
//!  the user's query ───┤
//!  WAL of our slot ────┼─► open, or closed because … ─► ranges, chunks, index builds, pairs and slices
//!  a chunk has ended ──┘
//! ```
//!
//! Changes never ask it: their backlog would only grow. Nor does a cutover, whose lock is bounded otherwise.
//!
//! Invariants:
//! - an input that is wanted and was never read, or could not be read, keeps the gate closed;
//! - what has closed it by a limit opens it again only well below that limit (three quarters of it);
//! - retained WAL closes it only while changes are applied: where they wait for the copy itself, waiting retains more.

use std::time::{Duration, Instant};

use crate::limits::Limits;

/// A limit that was exceeded counts as this part of it until it is met again.
const REOPEN_SHARE: (u64, u64) = (3, 4);

/// What was seen of the servers, told about every second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The physical standbys that are connected.
    Standbys(Reading<Vec<Standby>>),
    /// The answer of [`Limits::pace_query`], rounded up; of a boolean 1 or 0.
    Query(Reading<i64>),
}

/// One look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// What was found.
    Known(T),
    /// Our role may not see it: it counts for nothing, and whoever runs the change was told.
    Hidden,
    /// It could not be read, in words.
    Failed(String),
}

/// A physical standby, as the server that we copy on knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Its `application_name`.
    pub name: String,
    /// WAL that it has not replayed yet, in bytes.
    pub bytes: u64,
    /// How long ago that was written which it replayed last; `None` where the server does not say.
    pub time: Option<Duration>,
}

/// Why nothing is begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// An input has not been read yet.
    #[error("{input} has not been read yet")]
    NotRead {
        /// Which.
        input: &'static str,
    },
    /// An input could not be read.
    #[error("{input} cannot be read: {why}")]
    Failed {
        /// Which.
        input: &'static str,
        /// Why.
        why: String,
    },
    /// A standby is too far behind in time.
    #[error("standby {standby} is {} ms behind (replica_lag_max is {} ms)", .behind.as_millis(), .max.as_millis())]
    LagTime {
        /// Which.
        standby: String,
        /// How far.
        behind: Duration,
        /// See [`Limits::replica_lag_max_ms`].
        max: Duration,
    },
    /// A standby is too far behind in bytes.
    #[error("standby {standby} is {behind} bytes of WAL behind (replica_lag_bytes_max is {max})")]
    LagBytes {
        /// Which.
        standby: String,
        /// How far.
        behind: u64,
        /// See [`Limits::replica_lag_bytes_max`].
        max: u64,
    },
    /// The user's query says no.
    #[error("pace_query says {answer} (pace_query_max is {max})")]
    Query {
        /// Its answer.
        answer: i64,
        /// See [`Limits::pace_query_max`].
        max: i64,
    },
    /// Our slot retains much.
    #[error("our slot retains {retained} bytes of WAL (retained_wal_pace is {max})")]
    RetainedWal {
        /// How much.
        retained: u64,
        /// See [`Limits::retained_wal_pace_bytes`].
        max: u64,
    },
    /// The pause between two ranges or chunks.
    #[error("chunk_delay has not passed yet")]
    Resting,
}

/// A measured value against its limit, with hysteresis.
#[derive(Debug)]
struct Gauge {
    max: Option<u64>,
    exceeded: bool,
}

impl Gauge {
    fn new(max: Option<u64>) -> Self {
        let exceeded = false;
        Gauge { max, exceeded }
    }

    /// The limit, if `value` is too much.
    fn exceeded_by(&mut self, value: u64) -> Option<u64> {
        let max = self.max?;
        let (part, whole) = REOPEN_SHARE;
        let limit = if self.exceeded { max / whole * part } else { max };
        self.exceeded = value > limit;
        self.exceeded.then_some(max)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pace {
    lag_time: Gauge,
    lag_bytes: Gauge,
    query_max: i64,
    retained_wal: Gauge,
    chunk_delay: Duration,
    standbys: Option<Closed>,
    query: Option<Closed>,
    retained: Option<Closed>,
    rests_until: Option<Instant>,
}

const STANDBYS: &str = "the standbys' lag";
const QUERY: &str = "pace_query";

impl Pace {
    /// Closed until every input that the limits want was read.
    pub fn new(limits: &Limits) -> Self {
        let not_read = |input| Closed::NotRead { input };
        Pace {
            lag_time: Gauge::new(limits.replica_lag_max_ms),
            lag_bytes: Gauge::new(limits.replica_lag_bytes_max),
            query_max: limits.pace_query_max,
            retained_wal: Gauge::new(limits.retained_wal_pace()),
            chunk_delay: limits.chunk_delay(),
            standbys: limits.wants_standbys().then(|| not_read(STANDBYS)),
            query: limits.pace_query.is_some().then(|| not_read(QUERY)),
            retained: None,
            rests_until: None,
        }
    }

    /// Takes what was seen.
    pub fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Standbys(reading) => {
                self.standbys = judged(STANDBYS, reading, |found| self.lagging(&found));
            }
            Observation::Query(reading) => {
                let max = self.query_max;
                let says_no = |answer: i64| (answer > max).then_some(Closed::Query { answer, max });
                self.query = judged(QUERY, reading, says_no);
            }
        }
    }

    /// Takes how much WAL our slot retains.
    pub fn retained(&mut self, retained: u64) {
        let exceeded = self.retained_wal.exceeded_by(retained);
        self.retained = exceeded.map(|max| Closed::RetainedWal { retained, max });
    }

    /// A range or chunk has ended: the next one begins after the delay.
    pub fn rest(&mut self, now: Instant) {
        if !self.chunk_delay.is_zero() {
            self.rests_until = Some(now + self.chunk_delay);
        }
    }

    /// When [`Pace::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.rests_until.take_if(|moment| *moment <= now);
    }

    /// Why nothing may begin; `None`: the gate is open. `applying`: changes are applied meanwhile, so that waiting lets
    /// the slot go on.
    pub fn closed(&self, applying: bool) -> Option<Closed> {
        let retained = self.retained.as_ref().filter(|_| applying);
        let resting = self.rests_until.map(|_| Closed::Resting);
        let seen = [self.standbys.as_ref(), self.query.as_ref(), retained];
        seen.into_iter().flatten().next().cloned().or(resting)
    }

    fn lagging(&mut self, standbys: &[Standby]) -> Option<Closed> {
        let by_time = standbys.iter().max_by_key(|standby| standby.time);
        let by_bytes = standbys.iter().max_by_key(|standby| standby.bytes);
        let behind = by_time.and_then(|standby| standby.time).unwrap_or_default();
        let ms = u64::try_from(behind.as_millis()).unwrap_or(u64::MAX);
        let too_long = self.lag_time.exceeded_by(ms).map(Duration::from_millis);
        let bytes = by_bytes.map_or(0, |standby| standby.bytes);
        let too_many = self.lag_bytes.exceeded_by(bytes);
        let time = by_time.zip(too_long).map(|(standby, max)| Closed::LagTime {
            standby: standby.name.clone(),
            behind,
            max,
        });
        let bytes = by_bytes.zip(too_many).map(|(standby, max)| Closed::LagBytes {
            standby: standby.name.clone(),
            behind: standby.bytes,
            max,
        });
        time.or(bytes)
    }
}

fn judged<T>(
    input: &'static str,
    reading: Reading<T>,
    judge: impl FnOnce(T) -> Option<Closed>,
) -> Option<Closed> {
    match reading {
        Reading::Known(found) => judge(found),
        Reading::Hidden => None,
        Reading::Failed(why) => Some(Closed::Failed { input, why }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(set: impl FnOnce(&mut Limits)) -> Pace {
        let mut limits = Limits::default();
        set(&mut limits);
        Pace::new(&limits)
    }

    fn standbys(lags: &[(&str, u64, Option<u64>)]) -> Observation {
        let standby = |(name, bytes, ms): &(&str, u64, Option<u64>)| Standby {
            name: (*name).to_owned(),
            bytes: *bytes,
            time: ms.map(Duration::from_millis),
        };
        Observation::Standbys(Reading::Known(lags.iter().map(standby).collect()))
    }

    fn is_open(pace: &Pace) -> bool {
        pace.closed(true).is_none()
    }

    #[test]
    fn without_limits_it_is_open_whatever_is_seen() {
        let mut pace = pace(|_| {});
        assert!(is_open(&pace));
        pace.observe(standbys(&[("a", u64::MAX, Some(u64::MAX))]));
        pace.retained(u64::MAX);
        assert!(is_open(&pace));
    }

    #[test]
    fn what_is_wanted_and_not_read_keeps_it_closed() {
        let mut pace = pace(|limits| {
            limits.replica_lag_max_ms = Some(1_000);
            limits.pace_query = Some("SELECT 0".to_owned());
        });
        assert_eq!(pace.closed(true), Some(Closed::NotRead { input: STANDBYS }));
        pace.observe(standbys(&[]));
        assert_eq!(pace.closed(true), Some(Closed::NotRead { input: QUERY }));
        pace.observe(Observation::Query(Reading::Known(0)));
        assert!(is_open(&pace));
        pace.observe(Observation::Query(Reading::Failed("no such table".to_owned())));
        assert!(!is_open(&pace), "an error closes it");
        pace.observe(Observation::Query(Reading::Known(1)));
        assert_eq!(pace.closed(true), Some(Closed::Query { answer: 1, max: 0 }));
    }

    #[test]
    fn the_standby_that_is_farthest_behind_counts_and_is_named() {
        let mut pace = pace(|limits| limits.replica_lag_bytes_max = Some(1_000));
        pace.observe(standbys(&[("a", 10, None), ("b", 2_000, None), ("c", 30, None)]));
        let (standby, behind, max) = ("b".to_owned(), 2_000, 1_000);
        assert_eq!(
            pace.closed(false),
            Some(Closed::LagBytes { standby, behind, max })
        );
        pace.observe(Observation::Standbys(Reading::Hidden));
        assert!(is_open(&pace), "what may not be seen counts for nothing");
    }

    #[test]
    fn it_opens_again_only_well_below_the_limit() {
        let mut pace = pace(|limits| limits.replica_lag_max_ms = Some(1_000));
        for (ms, open) in [
            (1_000, true),
            (1_001, false),
            (900, false),
            (750, true),
            (1_000, true),
        ] {
            pace.observe(standbys(&[("a", 0, Some(ms))]));
            assert_eq!(is_open(&pace), open, "{ms} ms");
        }
        pace.observe(standbys(&[("a", 0, Some(5_000))]));
        pace.observe(standbys(&[]));
        assert!(is_open(&pace), "the standby is gone");
    }

    #[test]
    fn retained_wal_closes_it_before_the_hard_stop_and_only_where_waiting_helps() {
        let mut pace = pace(|limits| limits.retained_wal_max_bytes = Some(1_000));
        pace.retained(500);
        assert!(is_open(&pace));
        pace.retained(501);
        assert!(!is_open(&pace));
        assert_eq!(pace.closed(false), None, "where changes wait for the copy");
        pace.retained(375);
        assert!(is_open(&pace));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test has to begin at some moment")]
    fn after_a_chunk_it_rests() {
        let mut pace = pace(|limits| limits.chunk_delay_ms = 50);
        let now = Instant::now();
        pace.rest(now);
        assert_eq!(pace.closed(true), Some(Closed::Resting));
        let due = pace.poll_timeout().unwrap();
        pace.handle_timeout(due - Duration::from_millis(1));
        assert!(!is_open(&pace));
        pace.handle_timeout(due);
        assert!(is_open(&pace));
    }
}
