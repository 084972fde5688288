//! A bar chart: one bar for each cell, with the spread of its rounds, and a line where the baseline is.

use super::scale::{Scale, short};
use super::svg::{Anchor, Canvas, WIDTH};
use crate::stats::Spread;

const LEFT: f64 = 210.0;
const RIGHT: f64 = WIDTH - 130.0;
const TOP: f64 = 34.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;

/// One bar.
pub(super) struct Bar<'a> {
    pub(super) label: &'a str,
    pub(super) spread: Spread,
    pub(super) ratio: Option<f64>,
    pub(super) baseline: bool,
    /// Which colour.
    pub(super) number: usize,
}

/// Draws them.
pub(super) fn draw(title: &str, axis: &str, bars: &[Bar<'_>]) -> String {
    let bottom = TOP + ROW * bars.len() as f64;
    let mut canvas = Canvas::new(bottom + 44.0, title);
    let most = bars.iter().map(|bar| bar.spread.max).fold(0.0, f64::max);
    let scale = Scale::linear(most, LEFT, RIGHT);
    for tick in scale.ticks() {
        let x = scale.place(tick);
        canvas.line((x, TOP), (x, bottom), "grid");
        canvas.text((x, bottom + 16.0), "tick", Anchor::Middle, &short(tick));
    }
    canvas.text(
        (f64::midpoint(LEFT, RIGHT), bottom + 36.0),
        "axis",
        Anchor::Middle,
        axis,
    );
    for (number, bar) in bars.iter().enumerate() {
        row(&mut canvas, &scale, TOP + ROW * number as f64, bar);
    }
    if let Some(baseline) = bars.iter().find(|bar| bar.baseline) {
        let x = scale.place(baseline.spread.median);
        canvas.line((x, TOP), (x, bottom), "mark");
    }
    canvas.finish(&format!("{title}. {axis}"))
}

fn row(canvas: &mut Canvas, scale: &Scale, top: f64, bar: &Bar<'_>) {
    let (middle, Spread { median, min, max }) = (top + ROW / 2.0, bar.spread);
    canvas.text((LEFT - 10.0, middle + 4.5), "label", Anchor::End, bar.label);
    let length = scale.place(median) - LEFT;
    let class = format!("bar{}", bar.number);
    canvas.rect((LEFT, middle - BAR / 2.0), (length, BAR), &class);
    let (from, to) = (scale.place(min), scale.place(max));
    canvas.line((from, middle), (to, middle), "whisker");
    for x in [from, to] {
        canvas.line((x, middle - 4.0), (x, middle + 4.0), "whisker");
    }
    let beside = match (bar.baseline, bar.ratio) {
        (true, _) => format!("{} (baseline)", short(median)),
        (false, Some(ratio)) => format!("{} ({ratio:.2} ×)", short(median)),
        (false, None) => short(median),
    };
    canvas.text((RIGHT + 10.0, middle + 4.5), "value", Anchor::Start, &beside);
}
