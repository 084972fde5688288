//! `crossfade bench all` in its smallest form: every cell, a run that goes on, and a page with every plot.

#![expect(clippy::unwrap_used, reason = "a test that cannot begin shall fail")]

use std::path::Path;
use std::process::Command;

use roxmltree::{Document, ParsingOptions};
use serde_json::Value;

/// Runs it and returns what `--json` says.
fn bench(folder: &Path, more: &[&str]) -> Value {
    let small =
        "bench all --json --rows 1000 --changes 200 --rate 20 --swaps 1 --rounds 1 --out results.json";
    let output = Command::new(env!("CARGO_BIN_EXE_crossfade"))
        .args(small.split(' '))
        .args(more)
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn count(report: &Value, suite: &str) -> usize {
    report[suite].as_array().unwrap().len()
}

#[test]
fn all_is_measured_once_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let first = bench(folder.path(), &[]);
    // Both ways in one and two sessions, another range, width and TOAST share, one and two indexes.
    assert_eq!(count(&first, "copy"), 4 + 3 + 2);
    assert_eq!(count(&first, "apply"), 3, "{}", first["notes"]);
    assert_eq!(count(&first, "stall"), 1);
    assert_eq!(first["server"]["settings"]["fsync"], "on");

    std::fs::copy(
        folder.path().join("results.json"),
        folder.path().join("before.json"),
    )
    .unwrap();
    let again = bench(
        folder.path(),
        &["--html", "page.html", "--compare", "before.json"],
    );
    assert_eq!(again, first, "nothing is measured again");
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(&page, options).unwrap();
    let plots = document
        .descendants()
        .filter(|node| node.tag_name().name() == "svg");
    assert_eq!(plots.count(), 5);
    assert!(page.contains("+0.0 %"), "compared with itself");
}
