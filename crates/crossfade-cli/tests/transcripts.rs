//! What the binary says when it is asked for help, and when it cannot do what was asked.

#![expect(clippy::unwrap_used, reason = "a test that cannot begin shall fail")]

use std::process::{Command, Output};

/// Runs `crossfade` without anything of our environment that would change what it says.
fn crossfade(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crossfade"))
        .args(arguments)
        .env_clear()
        .env("USER", "nobody")
        .env("COLUMNS", "100")
        .output()
        .unwrap()
}

/// Exit code, stdout and stderr, for a snapshot.
fn transcript(arguments: &[&str]) -> String {
    let output = crossfade(arguments);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    format!(
        "$ crossfade {}\n{}{}exit {}",
        arguments.join(" "),
        text(&output.stdout),
        text(&output.stderr),
        output.status.code().unwrap()
    )
}

#[test]
fn help_teaches_with_examples_and_exit_codes() {
    insta::assert_snapshot!(transcript(&["--help"]));
}

#[test]
fn short_help_is_short() {
    insta::assert_snapshot!(transcript(&["-h"]));
}

#[test]
fn every_subcommand_has_help() {
    for command in [
        "init", "check", "grants", "plan", "run", "status", "pause", "continue", "verify", "cutover",
        "rollback", "abort", "complete", "explain", "bench", "demo",
    ] {
        let output = crossfade(&[command, "--help"]);
        assert!(output.status.success(), "{command}");
    }
    insta::assert_snapshot!(transcript(&["run", "--help"]));
}

#[test]
fn every_measurement_has_help() {
    insta::assert_snapshot!(transcript(&["bench", "--help"]));
    for what in ["copy", "apply", "stall", "all"] {
        insta::assert_snapshot!(
            format!("bench_{what}_has_help"),
            transcript(&["bench", what, "--help"])
        );
    }
}

#[test]
fn mistakes_in_the_command_line_exit_with_2() {
    insta::assert_snapshot!(transcript(&["plan", "--table", "orders"]));
    insta::assert_snapshot!(transcript(&["status", "Not a name"]));
}

#[test]
fn a_run_that_cannot_ask_says_so() {
    insta::assert_snapshot!(transcript(&[
        "run",
        "--table",
        "orders",
        "--alter",
        "ALTER COLUMN id TYPE bigint"
    ]));
}

#[test]
fn mistakes_in_a_change_are_shown_where_they_stand() {
    insta::assert_snapshot!(transcript(&[
        "plan",
        "--table",
        "orders",
        "--alter",
        "ALTER COLUMN id TIPE bigint"
    ]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("change.toml");
    std::fs::write(
        &file,
        "table = \"orders\"\nalter = [\"DROP COLUMN x\"]\n\n[limits]\nhold = \"2s\"\n",
    )
    .unwrap();
    let file = file.display().to_string();
    let said = transcript(&["plan", "--change", &file]).replace(&file, "change.toml");
    insta::assert_snapshot!(said);
}

#[test]
fn a_plan_that_is_none_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.json");
    std::fs::write(&file, "{}").unwrap();
    let file = file.display().to_string();
    let url = "host=127.0.0.1 port=1 user=app";
    let said = transcript(&["run", "--plan", &file, "--yes", "--url", url]).replace(&file, "plan.json");
    insta::assert_snapshot!(said);
}

#[test]
fn a_code_is_explained() {
    insta::assert_snapshot!(transcript(&["explain", "prepared_transaction"]));
    insta::assert_snapshot!(transcript(&["explain", "slot_missing", "--json"]));
    insta::assert_snapshot!(transcript(&["explain", "slot_mising"]));
    let all = crossfade(&["explain"]);
    assert!(all.status.success());
    let words = String::from_utf8(all.stdout).unwrap();
    assert!(words.contains("\nFailures\n  already_swapped\n"), "{words}");
}

#[test]
fn settings_that_cannot_be_honoured_exit_with_2() {
    insta::assert_snapshot!(transcript(&[
        "status",
        "--url",
        "postgres://app@db/shop?requirepeer=postgres"
    ]));
}

#[test]
fn a_server_that_is_not_there_exits_with_11() {
    let url = "host=127.0.0.1 port=1 user=app dbname=shop";
    let commands: [&[&str]; 4] = [
        &["status"],
        &[
            "plan",
            "--table",
            "orders",
            "--alter",
            "ALTER COLUMN id TYPE bigint",
        ],
        &["abort", "orders"],
        &["continue", "orders", "--json"],
    ];
    for command in commands {
        let output = crossfade(&[command, &["--url", url]].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(11), "{command:?}: {stderr}");
        let told = if command.contains(&"--json") {
            String::from_utf8(output.stdout).unwrap()
        } else {
            stderr
        };
        assert!(told.contains("reach the server at 127.0.0.1:1: "), "{told}");
        assert!(told.contains("cannot_connect"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
