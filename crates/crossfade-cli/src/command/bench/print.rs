//! A report on a terminal: at most a page.

use std::fmt::Write as _;

use crossfade_bench::compare::Earlier;
use crossfade_bench::report::{Cell, Figure, Report, groups};
use crossfade_bench::stall::{Phase, StallSample, figure_name, transactions};
use crossfade_bench::stats::Percentiles;

use crate::output::HEADING;
use crate::output::units::{bytes, count};

/// Everything that the report has. Writing to a String cannot fail, here and below.
pub(super) fn summary(report: &Report, earlier: Option<&Earlier>) -> String {
    let mut text = head(report);
    for group in groups(&report.copy) {
        let rows = count(group[0].parameters.rows);
        cells(&mut text, &format!("Copy: {rows} rows"), &group, earlier);
    }
    for group in groups(&report.apply) {
        let changes = count(group[0].parameters.changes);
        let title = format!("Apply: a backlog of {changes} changes");
        cells(&mut text, &title, &group, earlier);
    }
    for cell in &report.stall {
        let (rows, rate) = (count(cell.parameters.rows), count(cell.parameters.rate.into()));
        let title = format!("Stall: {rows} rows, a writer of {rate} transactions/s");
        stall(&mut text, &title, cell, earlier);
    }
    let doubts = earlier.map(|earlier| earlier.doubts(report)).unwrap_or_default();
    for note in report.notes.iter().map(String::as_str).chain(doubts) {
        writeln!(text, "Note: {note}.").ok();
    }
    text
}

fn head(report: &Report) -> String {
    let setting = |name: &str| {
        let value = report.server.settings.get(name);
        format!("{name} {}", value.map_or("?", String::as_str))
    };
    let settings = ["fsync", "synchronous_commit", "shared_buffers", "max_wal_size"].map(setting);
    let version = report.server.version.split(' ').next().unwrap_or_default();
    format!(
        "PostgreSQL {version}: {}; {} cores, {}\nMedians of all rounds, and least to most.\n",
        settings.join(", "),
        report.machine.cores,
        bytes(report.machine.memory_bytes)
    )
}

fn cells<P, S>(text: &mut String, title: &str, cells: &[&Cell<P, S>], earlier: Option<&Earlier>) {
    writeln!(text, "{HEADING}{title}{HEADING:#}").ok();
    for cell in cells {
        let Some((main, others)) = cell.figures.split_first() else {
            continue;
        };
        let ratio = match (cell.is_baseline(), main.ratio) {
            (true, _) => "baseline".to_owned(),
            (false, Some(ratio)) => format!("{ratio:.2} ×"),
            (false, None) => String::new(),
        };
        let spread = format!(
            "{}–{}",
            count(main.spread.min as u64),
            count(main.spread.max as u64)
        );
        let others: String = others
            .iter()
            .map(|figure| {
                format!(
                    "  {} {} {}",
                    figure.name,
                    count(figure.spread.median as u64),
                    figure.unit
                )
            })
            .collect();
        writeln!(
            text,
            "  {:<28} {:>10} {:<9} {spread:>19} {ratio:>9}{others}{}",
            cell.label,
            count(main.spread.median as u64),
            main.unit,
            moved(cell, main, earlier)
        )
        .ok();
    }
}

fn stall<P>(text: &mut String, title: &str, cell: &Cell<P, StallSample>, earlier: Option<&Earlier>) {
    writeln!(text, "{HEADING}{title}{HEADING:#}").ok();
    for phase in Phase::ALL {
        let figure = |name| cell.figure(&figure_name(phase, name));
        let values: String = Percentiles::NAMES
            .into_iter()
            .filter_map(|name| Some(format!("  {name} {:>8.1} ms", figure(name)?.spread.median)))
            .collect();
        let moved = figure("p99").map_or_else(String::new, |p99| moved(cell, p99, earlier));
        let due = count(transactions(cell, phase) as u64);
        writeln!(text, "  {:<10}{due:>9} due{values}{moved}", phase.name()).ok();
    }
    let spread = |name: &str| {
        let spread = cell.figure(name)?.spread;
        Some(format!(
            "{:.1} ms ({:.1}–{:.1})",
            spread.median, spread.min, spread.max
        ))
    };
    let failed: u64 = cell.samples.iter().map(|sample| sample.failed).sum();
    writeln!(
        text,
        "  swaps: {}; lock held {}, longest wait {}; failed transactions: {failed}",
        cell.samples.len(),
        spread("lock held").unwrap_or_default(),
        spread("longest in the swap").unwrap_or_default(),
    )
    .ok();
}

/// How far it has moved, if there is an earlier run.
fn moved<P, S>(cell: &Cell<P, S>, figure: &Figure, earlier: Option<&Earlier>) -> String {
    let Some(earlier) = earlier else {
        return String::new();
    };
    match earlier.change(&cell.id, &figure.name, figure.spread.median) {
        Some(change) => format!("  {:+.1} %", change * 100.0),
        None => "  new".to_owned(),
    }
}
