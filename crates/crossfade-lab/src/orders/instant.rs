//! A `timestamptz` as the server renders it in UTC, counted from a fixed day so that rows need no clock.

use std::fmt;

/// 2024-01-01 as days since 1970-01-01.
const DAY_ZERO: i64 = 19_723;
const MICROS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Microseconds since 2024-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// So many microseconds after 2024 began.
    pub fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// So many seconds after 2024 began.
    pub fn from_seconds(seconds: i64) -> Self {
        Timestamp(seconds * MICROS)
    }
}

impl fmt::Display for Timestamp {
    /// `2024-01-01 00:01:41.5+00`, without the fraction's final zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0.div_euclid(MICROS), self.0.rem_euclid(MICROS));
        let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        let (year, month, day) = civil(days + DAY_ZERO);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
        )?;
        if micros != 0 {
            write!(f, ".{}", format!("{micros:06}").trim_end_matches('0'))?;
        }
        f.write_str("+00")
    }
}

/// Year, month and day of a number of days since 1970-01-01.
///
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_as_the_server_writes_them() {
        let text = |micros| Timestamp::from_micros(micros).to_string();
        assert_eq!(text(0), "2024-01-01 00:00:00+00");
        assert_eq!(text(1_500_000), "2024-01-01 00:00:01.5+00");
        assert_eq!(
            text(59 * DAY_SECONDS * MICROS + 1),
            "2024-02-29 00:00:00.000001+00"
        );
        assert_eq!(text(366 * DAY_SECONDS * MICROS), "2025-01-01 00:00:00+00");
        assert_eq!(text(-1), "2023-12-31 23:59:59.999999+00");
    }
}
