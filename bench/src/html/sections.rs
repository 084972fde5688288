//! The page's part for each suite: its plots, each with a line that says how to read it, and its figures.

use super::bars::{self, Bar};
use super::curves::{Band, Chart, Curve};
use super::scale::short;
use super::svg::escape;
use crate::apply::{ApplyParameters, ApplySample, Point, Reader};
use crate::compare::Earlier;
use crate::copy::{CopyParameters, CopySample, Way};
use crate::report::{Cell, Report, Sample, groups};
use crate::stall::{Phase, StallSample, figure_name};
use crate::stats::{Percentiles, Spread};

/// Shares of a drain that a rate is computed over.
const SHARES: usize = 20;

/// Ways to copy.
pub(super) fn copy(report: &Report, earlier: Option<&Earlier>) -> String {
    let groups = groups(&report.copy).into_iter();
    groups.map(|cells| copy_of(&cells, earlier)).collect()
}

type CopyCell = Cell<CopyParameters, CopySample>;

fn copy_of(cells: &[&CopyCell], earlier: Option<&Earlier>) -> String {
    let Some(first) = cells.first() else {
        return String::new();
    };
    let parameters = &first.parameters;
    let what = format!(
        "{} rows with a payload of {} bytes, {} % of them with a TOASTed text, copied in ranges of {} MB within one server; \
         where a label names another value, only that one differs.",
        short(parameters.rows as f64),
        parameters.width,
        parameters.toast,
        parameters.range_mb
    );
    let all: Vec<Bar<'_>> = cells
        .iter()
        .filter_map(|cell| bar(cell, usize::from(cell.parameters.way == Way::CopyPipe)))
        .collect();
    let bars = figure(
        &bars::draw(
            "How fast rows are copied",
            "rows per second (more is better)",
            &all,
        ),
        "Bars are medians, whiskers the slowest and fastest round, the dashed line is the baseline: the engine's own \
         statement in one session.",
    );
    [
        heading("Copy", &what),
        bars,
        scaling(cells),
        table(cells, earlier),
    ]
    .concat()
}

/// A line for each way over the number of sessions, if there is more than one number.
fn scaling(cells: &[&CopyCell]) -> String {
    let Some(first) = cells.first() else {
        return String::new();
    };
    let of_way = |way: Way| {
        let mut points: Vec<(f64, f64)> = cells
            .iter()
            .filter(|cell| {
                let mut like = first.parameters;
                (like.way, like.sessions) = (way, cell.parameters.sessions);
                cell.parameters == like
            })
            .filter_map(|cell| {
                let median = cell.main_figure()?.spread.median;
                Some((cell.parameters.sessions as f64, median))
            })
            .collect();
        points.sort_by(|left, right| left.0.total_cmp(&right.0));
        Curve {
            label: way.name(),
            points,
        }
    };
    let chart = Chart {
        title: "How copying scales with sessions",
        x_axis: "sessions that copy at the same time",
        y_axis: "rows per second",
        logarithmic: false,
        whole_x: true,
        curves: Way::ALL.into_iter().map(of_way).collect(),
        bands: Vec::new(),
    };
    if chart.curves.iter().all(|curve| curve.points.len() < 2) {
        return String::new();
    }
    figure(
        &chart.draw(),
        "A line that rises in proportion would be perfect scaling. A pipe keeps two backends busy for each session.",
    )
}

/// Ways to drain a backlog.
pub(super) fn apply(report: &Report, earlier: Option<&Earlier>) -> String {
    let groups = groups(&report.apply).into_iter();
    groups.map(|cells| apply_of(&cells, earlier)).collect()
}

type ApplyCell = Cell<ApplyParameters, ApplySample>;

fn apply_of(cells: &[&ApplyCell], earlier: Option<&Earlier>) -> String {
    let Some(first) = cells.first() else {
        return String::new();
    };
    let parameters = &first.parameters;
    let mix = parameters.mix;
    let what = format!(
        "A backlog of {} changes ({} % updates of an indexed column, {} % inserts, {} % deletes, {} a transaction) on {} rows, \
         committed while nobody reads, then drained from a slot.",
        short(parameters.changes as f64),
        mix.updates,
        mix.inserts,
        mix.deletes,
        parameters.transaction,
        short(parameters.rows as f64)
    );
    let number = |reader: Reader| Reader::ALL.iter().position(|other| *other == reader).unwrap_or(0);
    let all: Vec<Bar<'_>> = cells
        .iter()
        .filter_map(|cell| bar(cell, number(cell.parameters.reader)))
        .collect();
    let bars = figure(
        &bars::draw(
            "How fast a backlog is drained",
            "changes per second (more is better)",
            &all,
        ),
        "Bars are medians, whiskers the slowest and fastest round. The stream that is only read is the ceiling: the server \
         sends no faster.",
    );
    [
        heading("Apply", &what),
        bars,
        throughput(cells),
        table(cells, earlier),
    ]
    .concat()
}

fn throughput(cells: &[&ApplyCell]) -> String {
    let curve = |reader: Reader| {
        let mut cells = cells.iter();
        let cell = cells.find(|cell| cell.parameters.reader == reader);
        let sample = cell.and_then(|cell| cell.samples.last());
        Curve {
            label: reader.name(),
            points: sample.map(rates).unwrap_or_default(),
        }
    };
    let chart = Chart {
        title: "Throughput while the backlog is drained",
        x_axis: "seconds since the slot began to be read",
        y_axis: "changes per second",
        logarithmic: false,
        whole_x: false,
        curves: Reader::ALL.into_iter().map(curve).collect(),
        bands: Vec::new(),
    };
    figure(
        &chart.draw(),
        "The last round of each. A curve that ends earlier was done earlier; a flat one means that nothing gets slower \
         as the backlog goes on.",
    )
}

/// Changes per second between points of a drain that are some share of it apart.
fn rates(sample: &ApplySample) -> Vec<(f64, f64)> {
    let points = &sample.points;
    let Some(last) = points.last() else {
        return Vec::new();
    };
    let apart = (last.changes / SHARES as u64).max(1);
    let mut before = Point {
        seconds: 0.0,
        changes: 0,
    };
    let mut rates = Vec::new();
    for point in points {
        let seconds = point.seconds - before.seconds;
        if (point.changes - before.changes >= apart || point == last) && seconds > 0.0 {
            let middle = f64::midpoint(point.seconds, before.seconds);
            rates.push((middle, (point.changes - before.changes) as f64 / seconds));
            before = *point;
        }
    }
    rates
}

/// A writer's latencies while a table is changed.
pub(super) fn stall(report: &Report, earlier: Option<&Earlier>) -> String {
    report.stall.iter().map(|cell| stall_of(cell, earlier)).collect()
}

fn stall_of<P>(cell: &Cell<P, StallSample>, earlier: Option<&Earlier>) -> String {
    let longest = |sample: &&StallSample| sample.quantities().first().map_or(0.0, |first| first.2);
    let worst = cell
        .samples
        .iter()
        .max_by(|left, right| longest(left).total_cmp(&longest(right)));
    let Some(worst) = worst else {
        return String::new();
    };
    let what = format!(
        "{}: what a writer at a fixed rate feels of a whole change. Latency counts from when a transaction should have begun, \
         so that a stall counts for every transaction that was due in it. Swaps: {}; the lock was held for {} ms in the median.",
        cell.label,
        cell.samples.len(),
        cell.figure("lock held")
            .map_or_else(String::new, |held| short(held.spread.median)),
    );
    let caption = format!(
        "Each point is the transactions that were due in {} s; the y axis is logarithmic. Swaps measured: {}; shown is the one \
         with the longest wait.",
        short(moment_width(worst)),
        cell.samples.len()
    );
    [
        heading("Stall", &what),
        figure(&latencies(worst).draw(), &caption),
        phases_table(cell, earlier),
    ]
    .concat()
}

fn moment_width(sample: &StallSample) -> f64 {
    // Points lie in the middle of their times.
    sample.over_time.first().map_or(0.0, |first| first.seconds * 2.0)
}

fn latencies(sample: &StallSample) -> Chart<'_> {
    let curve = |label, value: fn(&crate::stall::Moment) -> f64| Curve {
        label,
        points: sample
            .over_time
            .iter()
            .map(|moment| (moment.seconds, value(moment)))
            .collect(),
    };
    let bands = sample.phases.iter().map(|phase| Band {
        label: phase.phase.name(),
        begin: phase.begin,
        end: phase.begin + phase.seconds,
    });
    Chart {
        title: "What the writer waits, through the life of a change",
        x_axis: "seconds since the writer was first watched",
        y_axis: "latency in milliseconds",
        logarithmic: true,
        whole_x: false,
        curves: vec![
            curve("median", |moment| moment.p50),
            curve("90th percentile", |moment| moment.p90),
            curve("longest", |moment| moment.max),
        ],
        bands: bands.collect(),
    }
}

fn phases_table<P>(cell: &Cell<P, StallSample>, earlier: Option<&Earlier>) -> String {
    let head: String = Percentiles::NAMES
        .iter()
        .map(|name| format!("<th>{name}, ms</th>"))
        .collect();
    let change = if earlier.is_some() {
        "<th>p99 against before</th>"
    } else {
        ""
    };
    let row = |phase: Phase| {
        let cells: String = Percentiles::NAMES
            .iter()
            .filter_map(|name| {
                let Spread { median, min, max } = cell.figure(&figure_name(phase, name))?.spread;
                Some(format!(
                    "<td>{} <span class=\"faint\">{}–{}</span></td>",
                    short(median),
                    short(min),
                    short(max)
                ))
            })
            .collect();
        let p99 = figure_name(phase, "p99");
        let change = earlier.map(|earlier| {
            let now = cell.figure(&p99).map_or(0.0, |figure| figure.spread.median);
            format!("<td>{}</td>", moved(earlier.change(&cell.id, &p99, now)))
        });
        format!(
            "<tr><td>{}</td><td>{}</td>{cells}{}</tr>\n",
            phase.name(),
            crate::stall::transactions(cell, phase),
            change.unwrap_or_default()
        )
    };
    let rows: String = Phase::ALL.into_iter().map(row).collect();
    format!("<table>\n<tr><th>phase</th><th>transactions</th>{head}{change}</tr>\n{rows}</table>\n")
}

fn bar<P, S>(cell: &Cell<P, S>, number: usize) -> Option<Bar<'_>> {
    let figure = cell.main_figure()?;
    Some(Bar {
        label: &cell.label,
        spread: figure.spread,
        ratio: figure.ratio,
        baseline: cell.is_baseline(),
        number,
    })
}

fn heading(title: &str, what: &str) -> String {
    format!("<h2>{title}</h2>\n<p>{}</p>\n", escape(what))
}

fn figure(svg: &str, caption: &str) -> String {
    format!(
        "<figure>\n{svg}<figcaption>{}</figcaption>\n</figure>\n",
        escape(caption)
    )
}

/// Every figure of every cell.
fn table<P, S>(cells: &[&Cell<P, S>], earlier: Option<&Earlier>) -> String {
    let Some(first) = cells.first() else {
        return String::new();
    };
    let names: String = first
        .figures
        .iter()
        .map(|figure| format!("<th>{}, {}</th>", escape(&figure.name), escape(&figure.unit)))
        .collect();
    let change = if earlier.is_some() {
        "<th>against before</th>"
    } else {
        ""
    };
    let rows: String = cells.iter().map(|cell| table_row(cell, earlier)).collect();
    format!("<table>\n<tr><th>cell</th>{names}<th>ratio</th>{change}</tr>\n{rows}</table>\n")
}

fn table_row<P, S>(cell: &Cell<P, S>, earlier: Option<&Earlier>) -> String {
    let values: String = cell
        .figures
        .iter()
        .map(|figure| {
            let Spread { median, min, max } = figure.spread;
            format!(
                "<td>{} <span class=\"faint\">{}–{}</span></td>",
                short(median),
                short(min),
                short(max)
            )
        })
        .collect();
    let main = cell.main_figure();
    let ratio = main.and_then(|figure| figure.ratio);
    let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2} ×"));
    let change = earlier.zip(main).map(|(earlier, figure)| {
        let change = earlier.change(&cell.id, &figure.name, figure.spread.median);
        format!("<td>{}</td>", moved(change))
    });
    let (label, change) = (escape(&cell.label), change.unwrap_or_default());
    format!("<tr><td>{label}</td>{values}<td>{ratio}</td>{change}</tr>\n")
}

fn moved(change: Option<f64>) -> String {
    change.map_or_else(|| "–".to_owned(), |change| format!("{:+.1} %", change * 100.0))
}
