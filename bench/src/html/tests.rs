//! A page of a whole report: every plot is there, and it is well-formed.

use roxmltree::{Document, ParsingOptions};

use super::*;
use crate::apply::{ApplyParameters, ApplySample, Point, Reader};
use crate::copy::{CopyParameters, CopySample, Way};
use crate::machine::Machine;
use crate::mix::Mix;
use crate::report::{cell_of, settle};
use crate::server::ServerFacts;
use crate::stall::{Moment, Phase, PhaseLatencies, StallParameters, StallSample};
use crate::stats::Percentiles;

fn report() -> Report {
    let machine = Machine {
        cores: 2,
        memory_bytes: 4 << 30,
        processor: "A <fast> one".to_owned(),
        system: "linux 6.1".to_owned(),
    };
    let server = ServerFacts {
        version: "17.1".to_owned(),
        settings: [("fsync".to_owned(), "on".to_owned())].into(),
    };
    let mut report = Report::new(machine, server);
    for (way, sessions, speed) in [
        (Way::InsertSelect, 1, 100.0),
        (Way::InsertSelect, 2, 150.0),
        (Way::CopyPipe, 1, 80.0),
    ] {
        let parameters = CopyParameters {
            way,
            sessions,
            ..CopyParameters::default()
        };
        let label = format!("{}, {sessions}", way.name());
        let baseline = CopyParameters {
            sessions: 1,
            ..CopyParameters::default()
        };
        let cell = cell_of(&mut report.copy, &label, &baseline, &parameters);
        cell.samples = [0.9, 1.0, 1.2]
            .map(|factor| CopySample {
                rows_per_second: speed * factor,
                wal_bytes_per_row: 200.0,
            })
            .to_vec();
    }
    add_apply(&mut report);
    add_stall(&mut report);
    settle(&mut report.copy);
    settle(&mut report.apply);
    settle(&mut report.stall);
    report
}

fn add_apply(report: &mut Report) {
    for reader in Reader::ALL {
        let parameters = ApplyParameters {
            reader,
            changes: 100,
            transaction: 10,
            mix: Mix::default(),
            rows: 1_000,
            width: 100,
            toast: 1,
        };
        let points = (0..=10_u32).map(|tenth| Point {
            seconds: f64::from(tenth),
            changes: u64::from(tenth) * 10,
        });
        let cell = cell_of(
            &mut report.apply,
            reader.name(),
            &ApplyParameters {
                reader: Reader::Subscription,
                ..parameters
            },
            &parameters,
        );
        cell.samples = vec![ApplySample {
            changes_per_second: 10.0,
            points: points.collect(),
        }];
    }
}

fn add_stall(report: &mut Report) {
    let parameters = StallParameters {
        rows: 1_000,
        rate: 500,
        sessions: 16,
        width: 100,
        toast: 1,
    };
    let phases = Phase::ALL
        .into_iter()
        .zip(0..5_u32)
        .map(|(phase, number)| PhaseLatencies {
            phase,
            begin: f64::from(number),
            seconds: 1.0,
            latencies: Percentiles::of([1.0, 2.0, 30.0]),
        });
    let over_time = (0..50_u32).map(|tenth| Moment {
        seconds: f64::from(tenth) / 10.0,
        p50: 1.0,
        p90: 3.0,
        max: 30.0,
    });
    cell_of(&mut report.stall, "a writer", &parameters, &parameters).samples = vec![StallSample {
        phases: phases.collect(),
        lock_held_ms: 12.0,
        lock_queue_ms: 1.0,
        attempts: 1,
        transactions: 2_500,
        failed: 0,
        over_time: over_time.collect(),
    }];
}

/// The page, if it is well-formed.
fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(page, options).unwrap()
}

#[test]
fn the_page_has_every_plot_and_is_well_formed() {
    let page = page(&report(), None);
    let document = parsed(&page);
    let texts = |class: &str| -> Vec<String> {
        let nodes = document
            .descendants()
            .filter(|node| node.attribute("class") == Some(class));
        nodes.filter_map(|node| node.text().map(str::to_owned)).collect()
    };
    assert_eq!(
        texts("title"),
        [
            "How fast rows are copied",
            "How copying scales with sessions",
            "How fast a backlog is drained",
            "Throughput while the backlog is drained",
            "What the writer waits, through the life of a change",
        ]
    );
    // One label for an axis of a bar chart, two for those of a line chart.
    assert_eq!(texts("axis").len(), 2 + 3 * 2);
    assert_eq!(
        texts("phase"),
        ["before", "copying", "following", "swap", "after"]
    );
    let captions = document
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", "figcaption")));
    assert_eq!(captions.count(), 5);
    assert!(!page.contains("<script") && !page.contains("href="));
}

#[test]
fn what_was_not_measured_has_no_section() {
    let mut report = report();
    report.apply.clear();
    report.stall.clear();
    report.note("apply: not <possible>".to_owned());
    let page = page(&report, None);
    let document = parsed(&page);
    let headings: Vec<&str> = document
        .descendants()
        .filter(|node| node.tag_name().name() == "h2")
        .filter_map(|node| node.text())
        .collect();
    assert_eq!(headings, ["Copy", "Server settings"]);
    assert!(page.contains("not &lt;possible&gt;"));
}

#[test]
fn an_earlier_run_adds_a_column() {
    let now = report();
    let mut before = report();
    for cell in &mut before.copy {
        cell.figures[0].spread.median /= 2.0;
    }
    before.machine.cores = 8;
    let earlier = Earlier { report: before };
    let cell = &now.copy[0];
    let median = cell.figures[0].spread.median;
    assert_eq!(earlier.change(&cell.id, "speed", median), Some(1.0));
    assert_eq!(earlier.change("copy of something else", "speed", median), None);
    let page = page(&now, Some(&earlier));
    parsed(&page);
    assert!(page.contains("against before") && page.contains("+100.0 %"));
    assert!(page.contains("the earlier run was on another machine"));
}
