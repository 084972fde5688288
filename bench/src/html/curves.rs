//! A line chart: several curves over one axis, and phases behind them.

use super::scale::{Scale, short};
use super::svg::{Anchor, Canvas, WIDTH};

const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 330.0;
const HEIGHT: f64 = 380.0;
/// A phase that is narrower has its name beside it.
const NAME_FITS: f64 = 60.0;

/// A curve.
pub(super) struct Curve<'a> {
    pub(super) label: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Something that went on for a while.
pub(super) struct Band<'a> {
    pub(super) label: &'a str,
    pub(super) begin: f64,
    pub(super) end: f64,
}

/// What is drawn.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// With its unit.
    pub(super) x_axis: &'a str,
    /// With its unit.
    pub(super) y_axis: &'a str,
    pub(super) logarithmic: bool,
    /// Only whole numbers are worth a line.
    pub(super) whole_x: bool,
    pub(super) curves: Vec<Curve<'a>>,
    pub(super) bands: Vec<Band<'a>>,
}

impl Chart<'_> {
    /// Draws it.
    pub(super) fn draw(&self) -> String {
        let mut canvas = Canvas::new(HEIGHT, self.title);
        let (x, y) = self.scales();
        self.draw_bands(&mut canvas, &x);
        for tick in y.ticks() {
            let place = y.place(tick);
            canvas.line((LEFT, place), (RIGHT, place), "grid");
            canvas.text((LEFT - 8.0, place + 4.0), "tick", Anchor::End, &short(tick));
        }
        for tick in x.ticks() {
            if !self.whole_x || tick.fract() == 0.0 {
                canvas.text(
                    (x.place(tick), BOTTOM + 18.0),
                    "tick",
                    Anchor::Middle,
                    &short(tick),
                );
            }
        }
        canvas.line((LEFT, BOTTOM), (RIGHT, BOTTOM), "grid");
        let middle = f64::midpoint(LEFT, RIGHT);
        canvas.text((middle, BOTTOM + 40.0), "axis", Anchor::Middle, self.x_axis);
        canvas.text_up((16.0, f64::midpoint(TOP, BOTTOM)), "axis", self.y_axis);
        let mut place = LEFT;
        for (number, curve) in self.curves.iter().enumerate() {
            let points: Vec<(f64, f64)> = curve
                .points
                .iter()
                .map(|(at, value)| (x.place(*at), y.place(*value)))
                .collect();
            canvas.path(&points, number);
            canvas.rect((place, 30.0), (18.0, 4.0), &format!("bar{number}"));
            canvas.text((place + 24.0, 36.0), "legend", Anchor::Start, curve.label);
            place += 50.0 + 7.5 * curve.label.chars().count() as f64;
        }
        canvas.finish(&format!("{}. {} over {}", self.title, self.y_axis, self.x_axis))
    }

    fn scales(&self) -> (Scale, Scale) {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let most_x = points()
            .map(|(x, _)| *x)
            .chain(self.bands.iter().map(|band| band.end));
        let most_y = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let x = Scale::linear(most_x.fold(0.0, f64::max), LEFT, RIGHT);
        let y = if self.logarithmic {
            let least = points().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
            Scale::logarithmic(least, most_y, BOTTOM, TOP)
        } else {
            Scale::linear(most_y, BOTTOM, TOP)
        };
        (x, y)
    }

    /// Every other one is shaded. The name of a narrow one would run into its neighbours': it is put a line higher.
    fn draw_bands(&self, canvas: &mut Canvas, x: &Scale) {
        for (number, band) in self.bands.iter().enumerate() {
            let (from, to) = (x.place(band.begin), x.place(band.end));
            if number % 2 == 1 {
                canvas.rect((from, TOP), ((to - from).max(1.0), BOTTOM - TOP), "band");
            }
            if number > 0 {
                canvas.line((from, TOP), (from, BOTTOM), "mark");
            }
            let raised = if to - from < NAME_FITS { 12.0 } else { 0.0 };
            let place = (f64::midpoint(from, to), TOP - 3.0 - raised);
            canvas.text(place, "phase", Anchor::Middle, band.label);
        }
    }
}
