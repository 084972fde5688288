//! Numbers as people read them.

use std::time::Duration;

const KIB: f64 = 1024.0;

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.5 MB`; powers of 1024, as the server's settings count.
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if value < KIB {
            break;
        }
        value /= KIB;
        unit = next;
    }
    if unit == "B" || value >= 100.0 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// `0.4 ms`, `37 ms`, `2.3 s`, `1 min 5 s`.
pub(crate) fn millis(number: f64) -> String {
    if number < 10.0 {
        format!("{number:.1} ms")
    } else if number < 1_000.0 {
        format!("{number:.0} ms")
    } else if number < 60_000.0 {
        format!("{:.1} s", number / 1_000.0)
    } else {
        duration(Duration::from_millis(number as u64))
    }
}

/// `8 s`, `1 min 5 s`, `2 h 3 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// `1 slice`, `2 slices`.
pub(crate) fn counted(number: impl TryInto<u64>, word: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {word}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([0, 1023, 1024].map(bytes), ["0 B", "1023 B", "1.0 kB"]);
        assert_eq!([200 << 20, 5 << 30].map(bytes), ["200 MB", "5.0 GB"]);
        assert_eq!(
            [0.44, 37.2, 2_300.0, 65_000.0].map(millis),
            ["0.4 ms", "37 ms", "2.3 s", "1 min 5 s"]
        );
        assert_eq!(duration(Duration::from_secs(7380)), "2 h 3 min");
    }
}
