//! From values to places, with the values that are worth a line; and numbers short enough for a plot.

/// An axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    min: f64,
    max: f64,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    /// From zero to at least `max`, between two places.
    pub(super) fn linear(max: f64, from: f64, to: f64) -> Scale {
        let max = if max > 0.0 { max } else { 1.0 };
        Scale {
            min: 0.0,
            max,
            from,
            to,
            logarithmic: false,
        }
    }

    /// Over whole powers of ten around these values.
    pub(super) fn logarithmic(least: f64, most: f64, from: f64, to: f64) -> Scale {
        const LEAST: f64 = 1e-3;
        let min = 10_f64.powf(least.max(LEAST).log10().floor());
        let max = 10_f64.powf(most.max(LEAST).log10().ceil()).max(min * 10.0);
        Scale {
            min,
            max,
            from,
            to,
            logarithmic: true,
        }
    }

    /// Where a value is; one beyond an end is at the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.min) / self.min).log10() / (self.max / self.min).log10()
        } else {
            (value - self.min) / (self.max - self.min)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Values to draw a line at.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let powers = (self.max / self.min).log10().round() as i32;
            return (0..=powers).map(|power| self.min * 10_f64.powi(power)).collect();
        }
        let step = step(self.max);
        let count = (self.max / step + 1e-9).floor() as u32;
        (0..=count).map(|number| f64::from(number) * step).collect()
    }
}

/// One, two or five times a power of ten, of which four to nine are in the range.
fn step(range: f64) -> f64 {
    let power = 10_f64.powf((range / 4.0).log10().floor());
    let factors = [5.0, 2.0, 1.0];
    let fitting = factors.into_iter().find(|factor| range / (factor * power) >= 4.0);
    fitting.unwrap_or(1.0) * power
}

/// Three digits and a letter: `1.23M`, `45.6k`, `789`, `0.12`.
pub(super) fn short(value: f64) -> String {
    let (scaled, letter) = match value.abs() {
        large if large >= 999_500.0 => (value / 1e6, "M"),
        middle if middle >= 999.5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        large if large >= 99.95 => 0,
        middle if middle >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{scaled:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(
            Scale::linear(230.0, 0.0, 1.0).ticks(),
            [0.0, 50.0, 100.0, 150.0, 200.0]
        );
        assert_eq!(Scale::linear(1.0, 0.0, 1.0).ticks().len(), 6);
        assert_eq!(Scale::logarithmic(0.3, 80.0, 0.0, 1.0).ticks().len(), 4);
        assert_eq!(Scale::linear(0.0, 0.0, 1.0).place(0.0), 0.0);
    }

    #[test]
    fn places_are_between_the_ends() {
        let linear = Scale::linear(10.0, 100.0, 200.0);
        assert_eq!(
            [0.0, 5.0, 10.0, 99.0].map(|value| linear.place(value)),
            [100.0, 150.0, 200.0, 200.0]
        );
        let logarithmic = Scale::logarithmic(1.0, 100.0, 200.0, 0.0);
        assert_eq!(
            [0.0, 1.0, 10.0, 100.0].map(|value| logarithmic.place(value)),
            [200.0, 200.0, 100.0, 0.0]
        );
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.124, 9.999, 45.61, 999.9, 12_340.0, 1_234_567.0, 20.0].map(short);
        assert_eq!(shown, ["0", "0.12", "10", "45.6", "1k", "12.3k", "1.23M", "20"]);
    }
}
