//! A canvas that becomes an `<svg>` element: what plots are drawn from.

use std::fmt::Write as _;

/// In the canvas's own units; the page scales it.
pub(super) const WIDTH: f64 = 860.0;

/// Which end of a text is at its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn word(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }
}

/// See the module. Everything is styled by class.
#[derive(Debug)]
pub(super) struct Canvas {
    height: f64,
    body: String,
}

impl Canvas {
    /// An empty one with a title at its top.
    pub(super) fn new(height: f64, title: &str) -> Canvas {
        let mut canvas = Canvas {
            height,
            body: String::new(),
        };
        canvas.text((0.0, 16.0), "title", Anchor::Start, title);
        canvas
    }

    /// Writing to a String cannot fail.
    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        self.body.write_fmt(element).ok();
        self.body.push('\n');
    }

    /// A text whose base line is at `y`.
    pub(super) fn text(&mut self, (x, y): (f64, f64), class: &str, anchor: Anchor, text: &str) {
        let (anchor, text) = (anchor.word(), escape(text));
        self.push(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" class="{class}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// A text that reads upwards, centred at its place.
    pub(super) fn text_up(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        let text = escape(text);
        self.push(format_args!(
            r#"<text transform="translate({x:.1} {y:.1}) rotate(-90)" class="{class}" text-anchor="middle">{text}</text>"#
        ));
    }

    /// A straight line.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#
        ));
    }

    /// A rectangle from its upper left corner.
    pub(super) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
        let (width, height) = (width.max(0.0), height.max(0.0));
        self.push(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" class="{class}"/>"#
        ));
    }

    /// A line through points, and a dot on each if there are few.
    pub(super) fn path(&mut self, points: &[(f64, f64)], number: usize) {
        const FEW: usize = 12;
        let list: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!(
            r#"<polyline points="{}" class="line{number}"/>"#,
            list.join(" ")
        ));
        for (x, y) in points.iter().filter(|_| points.len() <= FEW) {
            self.push(format_args!(
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" class="bar{number}"/>"#
            ));
        }
    }

    /// The element; `says` is for those who do not see it.
    pub(super) fn finish(self, says: &str) -> String {
        let Canvas { height, body } = self;
        let says = escape(says);
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{says}">
{body}</svg>
"#
        )
    }
}

/// Text within an element or an attribute.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_is_taken_for_markup() {
        let mut canvas = Canvas::new(100.0, "a < b & \"c\"");
        canvas.rect((1.0, 2.0), (-3.0, 4.0), "bar0");
        let svg = canvas.finish("a > b");
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;") && svg.contains(r#"aria-label="a &gt; b""#));
        assert!(svg.contains(r#"width="0.0""#), "{svg}");
        assert!(roxmltree::Document::parse(&svg).is_ok(), "{svg}");
    }
}
