//! The `[limits]` of a change as people write them: `"2s"`, `"10 min"`, `"20 GB"`, `"none"`, a query.
//!
//! One table of names, units and meanings: the change file, its template and the command line all read it, so
//! that a limit cannot exist in one of them alone. Sizes count in powers of 1024, as the server's settings do.

use std::time::Duration;

use crossfade_core::limits::Limits;

/// One limit.
pub struct LimitSpec {
    /// Its name in `[limits]`.
    pub name: &'static str,
    /// What it bounds, as a sentence.
    pub meaning: &'static str,
    field: Field,
}

/// Where the value lives, which says what it may be.
enum Field {
    /// More than zero.
    Duration(fn(&mut Limits) -> &mut u64),
    /// Zero is a value: no pause.
    Pause(fn(&mut Limits) -> &mut u64),
    /// `none` is a value: no bound.
    DurationOrNone(fn(&mut Limits) -> &mut Option<u64>),
    /// `none` is a value: no bound.
    SizeOrNone(fn(&mut Limits) -> &mut Option<u64>),
    /// Any whole number.
    Number(fn(&mut Limits) -> &mut i64),
    /// `none` is a value: nothing is asked.
    QueryOrNone(fn(&mut Limits) -> &mut Option<String>),
}

/// All limits, in the order in which they are shown.
pub const LIMITS: [LimitSpec; 16] = [
    LimitSpec {
        name: "execution_max",
        meaning: "The longest a run may take before it stops, resumable.",
        field: Field::DurationOrNone(|limits| &mut limits.execution_max_ms),
    },
    LimitSpec {
        name: "lock_timeout",
        meaning: "One attempt to get the cutover's locks: how long others may queue behind our request.",
        field: Field::Duration(|limits| &mut limits.lock_timeout_ms),
    },
    LimitSpec {
        name: "hold_budget",
        meaning: "The longest the exclusive lock is held before it is given back.",
        field: Field::Duration(|limits| &mut limits.hold_budget_ms),
    },
    LimitSpec {
        name: "cutover_max",
        meaning: "All cutover attempts together, waits included; then the run stops, resumable.",
        field: Field::Duration(|limits| &mut limits.cutover_max_ms),
    },
    LimitSpec {
        name: "chunk_time",
        meaning: "The time that copying one range should take.",
        field: Field::Duration(|limits| &mut limits.chunk_time_ms),
    },
    LimitSpec {
        name: "chunk_time_max",
        meaning: "The time after which copying a chunk is canceled; it is copied again in smaller ones.",
        field: Field::Duration(|limits| &mut limits.chunk_time_max_ms),
    },
    LimitSpec {
        name: "chunk_delay",
        meaning: "The pause between two ranges or chunks of the copy.",
        field: Field::Pause(|limits| &mut limits.chunk_delay_ms),
    },
    LimitSpec {
        name: "verify_time",
        meaning: "The time after which one pair of snapshots of the verification is let go for another.",
        field: Field::Duration(|limits| &mut limits.verify_time_ms),
    },
    LimitSpec {
        name: "replica_lag_max",
        meaning: "How long the physical standby that is farthest behind may lag before nothing more is begun; changes \
                  go on. A standby that is delayed on purpose counts too: look at the others with pace_query.",
        field: Field::DurationOrNone(|limits| &mut limits.replica_lag_max_ms),
    },
    LimitSpec {
        name: "replica_lag_bytes_max",
        meaning: "The same in WAL that it has not replayed.",
        field: Field::SizeOrNone(|limits| &mut limits.replica_lag_bytes_max),
    },
    LimitSpec {
        name: "pace_query",
        meaning: "A query of yours, asked every second: nothing more is begun while it says true, or a number above \
                  pace_query_max, or fails.",
        field: Field::QueryOrNone(|limits| &mut limits.pace_query),
    },
    LimitSpec {
        name: "pace_query_max",
        meaning: "See pace_query.",
        field: Field::Number(|limits| &mut limits.pace_query_max),
    },
    LimitSpec {
        name: "retained_wal_pace",
        meaning: "WAL that our slot may retain before nothing more is begun until it is less; none is half of \
                  retained_wal_max.",
        field: Field::SizeOrNone(|limits| &mut limits.retained_wal_pace_bytes),
    },
    LimitSpec {
        name: "proof_wait",
        meaning: "The time after which a commit that is not visible yet (a standby does not answer) is named.",
        field: Field::Duration(|limits| &mut limits.proof_wait_ms),
    },
    LimitSpec {
        name: "retained_wal_max",
        meaning: "WAL that our slot may retain before the engine stops and drops its slot.",
        field: Field::SizeOrNone(|limits| &mut limits.retained_wal_max_bytes),
    },
    LimitSpec {
        name: "disk_budget",
        meaning: "Disk that the new table, its indexes and retained WAL may take, by estimate.",
        field: Field::SizeOrNone(|limits| &mut limits.disk_budget_bytes),
    },
];

/// A limit that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No such limit.
    #[error("know a limit `{name}`: there are {}", names())]
    Unknown {
        /// What was given.
        name: String,
    },
    /// Not a value of that limit.
    #[error("read `{value}` as {name}: give {expected}")]
    Value {
        /// The limit.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// Sets the limit of that name.
///
/// # Errors
/// When there is no such limit, or the text is no value of it.
pub fn set(limits: &mut Limits, name: &str, value: &str) -> Result<(), LimitError> {
    let spec = LIMITS.iter().find(|spec| spec.name == name);
    let spec = spec.ok_or_else(|| LimitError::Unknown {
        name: name.to_owned(),
    })?;
    spec.set(limits, value).ok_or_else(|| LimitError::Value {
        name: spec.name,
        value: value.to_owned(),
        expected: spec.expected(),
    })
}

impl LimitSpec {
    fn set(&self, limits: &mut Limits, value: &str) -> Option<()> {
        let is_none = value.trim().eq_ignore_ascii_case("none");
        match self.field {
            Field::Duration(field) => *field(limits) = milliseconds(value).filter(|ms| *ms > 0)?,
            Field::Pause(field) => *field(limits) = milliseconds(value)?,
            Field::DurationOrNone(field) if is_none => *field(limits) = None,
            Field::DurationOrNone(field) => {
                *field(limits) = Some(milliseconds(value).filter(|ms| *ms > 0)?);
            }
            Field::SizeOrNone(field) if is_none => *field(limits) = None,
            Field::SizeOrNone(field) => *field(limits) = Some(bytes(value).filter(|bytes| *bytes > 0)?),
            Field::Number(field) => *field(limits) = value.trim().parse().ok()?,
            Field::QueryOrNone(field) if is_none => *field(limits) = None,
            Field::QueryOrNone(_) if value.trim().is_empty() => return None,
            Field::QueryOrNone(field) => *field(limits) = Some(value.to_owned()),
        }
        Some(())
    }

    fn expected(&self) -> &'static str {
        match self.field {
            Field::Duration(_) => "a time above zero, such as \"2s\" or \"10min\"",
            Field::Pause(_) => "a time, such as \"100ms\" or \"0s\"",
            Field::DurationOrNone(_) => "a time above zero, such as \"6h\", or \"none\"",
            Field::SizeOrNone(_) => "a size above zero, such as \"20 GB\", or \"none\"",
            Field::Number(_) => "a whole number, such as \"0\"",
            Field::QueryOrNone(_) => "a query that answers with a boolean or a number, or \"none\"",
        }
    }

    /// The value in `limits`, in a form that [`set`] reads.
    pub fn show(&self, limits: &Limits) -> String {
        let mut limits = limits.clone();
        match self.field {
            Field::Duration(field) | Field::Pause(field) => show_milliseconds(*field(&mut limits)),
            Field::DurationOrNone(field) => field(&mut limits).map_or("none".to_owned(), show_milliseconds),
            Field::SizeOrNone(field) => field(&mut limits).map_or("none".to_owned(), show_bytes),
            Field::Number(field) => field(&mut limits).to_string(),
            Field::QueryOrNone(field) => field(&mut limits).take().unwrap_or("none".to_owned()),
        }
    }
}

fn names() -> String {
    LIMITS.map(|spec| spec.name).join(", ")
}

fn milliseconds(text: &str) -> Option<u64> {
    let duration = humantime::parse_duration(text).ok()?;
    u64::try_from(duration.as_millis()).ok()
}

/// `2s`, `10m`.
pub fn show_milliseconds(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

const UNITS: [(&str, u32); 5] = [("b", 0), ("kb", 10), ("mb", 20), ("gb", 30), ("tb", 40)];

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = (text[..unit_at].trim(), &text[unit_at..]);
    let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    let part = (fraction.parse::<u64>().ok()? << shift) / 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_add(part)
}

/// `20 GB`, in the largest unit that needs no fraction; exact, so that it can be read back.
pub fn show_bytes(bytes: u64) -> String {
    let fits = |shift: u32| bytes >> shift << shift == bytes && bytes >> shift > 0;
    let names = ["B", "kB", "MB", "GB", "TB"];
    let largest = UNITS.iter().zip(names).rev().find(|((_, shift), _)| fits(*shift));
    match largest {
        Some(((_, shift), name)) => format!("{} {name}", bytes >> shift),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_shown() {
        let mut limits = Limits::default();
        for (name, value, shown) in [
            ("execution_max", "6h", "6h"),
            ("execution_max", "none", "none"),
            ("lock_timeout", "500ms", "500ms"),
            ("hold_budget", "3s", "3s"),
            ("cutover_max", "10 min", "10m"),
            ("chunk_time", "1m 30s", "1m 30s"),
            ("chunk_delay", "0s", "0s"),
            ("retained_wal_max", "20 GB", "20 GB"),
            ("retained_wal_max", "1.5gb", "1536 MB"),
            ("disk_budget", "1 TB", "1 TB"),
            ("disk_budget", "None", "none"),
            ("disk_budget", "7B", "7 B"),
            ("replica_lag_max", "1500ms", "1s 500ms"),
            ("replica_lag_bytes_max", "64 MB", "64 MB"),
            ("pace_query", "SELECT 1", "SELECT 1"),
            ("pace_query", "none", "none"),
            ("pace_query_max", "-3", "-3"),
        ] {
            set(&mut limits, name, value).unwrap();
            let spec = LIMITS.iter().find(|spec| spec.name == name).unwrap();
            assert_eq!(spec.show(&limits), shown, "{name} = {value}");
            set(&mut limits, name, shown).unwrap();
        }
        assert_eq!(limits.cutover_max_ms, 600_000);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let mut limits = Limits::default();
        for (name, value) in [
            ("lock_timeout", "0s"),
            ("lock_timeout", "none"),
            ("lock_timeout", "2"),
            ("lock_timeout", "2 parsecs"),
            ("execution_max", ""),
            ("disk_budget", "20"),
            ("disk_budget", "20 GiBs"),
            ("disk_budget", "-1 GB"),
            ("disk_budget", "1.2345 GB"),
            ("disk_budget", "99999999999999999999 TB"),
            ("disk_budget", "20000000 TB"),
            ("pace_query", " "),
            ("pace_query_max", "0.5"),
        ] {
            assert!(set(&mut limits, name, value).is_err(), "{name} = {value}");
        }
        assert!(set(&mut limits, "lock_timout", "2s").is_err());
        assert_eq!(limits, Limits::default());
    }
}
