//! A report as one page that needs nothing else: tables, and plots that are drawn here.
//!
//! The page is well-formed XML besides being HTML, follows the reader's choice of light or dark, and runs no script.

mod bars;
mod curves;
mod scale;
mod sections;
mod svg;

use crate::compare::Earlier;
use crate::report::Report;

use self::svg::escape;

const STYLE: &str = include_str!("style.css");

/// The page; with a column of changes if there is an earlier run.
pub fn page(report: &Report, earlier: Option<&Earlier>) -> String {
    let body = [
        head(report),
        remarks(report, earlier),
        sections::copy(report, earlier),
        sections::apply(report, earlier),
        sections::stall(report, earlier),
        settings(report),
    ]
    .concat();
    format!(
        r#"<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>Crossfade: measurements</title>
<style>
{STYLE}</style>
</head>
<body>
{body}</body>
</html>
"#
    )
}

fn head(report: &Report) -> String {
    let machine = &report.machine;
    let gigabytes = machine.memory_bytes as f64 / f64::from(1 << 30);
    let setting = |name: &str| {
        let value = report.server.settings.get(name);
        format!("{name} {}", value.map_or("?", String::as_str))
    };
    let named = ["fsync", "synchronous_commit", "shared_buffers", "max_wal_size"].map(setting);
    format!(
        "<h1>Crossfade: measurements</h1>\n<p class=\"faint\">Crossfade {} on PostgreSQL {} ({}); {} cores{}, {gigabytes:.0} GB, {}. \
         Ratios are to a baseline of the same run; a figure by itself says more about the machine.</p>\n",
        escape(&report.crossfade),
        escape(&report.server.version),
        escape(&named.join(", ")),
        machine.cores,
        match machine.processor.as_str() {
            "" => String::new(),
            processor => format!(" ({})", escape(processor)),
        },
        escape(&machine.system),
    )
}

/// What could not be measured, and what makes a comparison doubtful.
fn remarks(report: &Report, earlier: Option<&Earlier>) -> String {
    let doubts = earlier.map(|earlier| earlier.doubts(report)).unwrap_or_default();
    let notes = report.notes.iter().map(String::as_str).chain(doubts);
    notes
        .map(|note| format!("<p class=\"warn\">{}</p>\n", escape(note)))
        .collect()
}

fn settings(report: &Report) -> String {
    let rows: String = report
        .server
        .settings
        .iter()
        .map(|(name, value)| format!("<tr><td>{}</td><td>{}</td></tr>\n", escape(name), escape(value)))
        .collect();
    format!("<h2>Server settings</h2>\n<table>\n{rows}</table>\n")
}

#[cfg(test)]
mod tests;
