//! The documents name tests and planted bugs; every name is one that exists, and no planted bug goes unnamed.

mod codes;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

#[test]
fn every_test_that_the_documents_name_exists() -> Result<()> {
    let known = identifiers()?;
    let failures = fs::read_to_string(root().join("docs/failures.md"))?;
    for (file, text) in [("docs/failures.md", failures), ("docs/protocol.md", breaches()?)] {
        let named: Vec<&str> = quoted(&text).filter(|word| is_test_name(word)).collect();
        ensure!(named.len() > 50, "{file} names {} tests", named.len());
        for name in named {
            ensure!(known.contains(name), "{file} names {name}: no such test");
        }
    }
    Ok(())
}

#[test]
fn every_path_that_the_failures_name_exists() -> Result<()> {
    let text = fs::read_to_string(root().join("docs/failures.md"))?;
    let paths: Vec<&str> = quoted(&text).filter(|word| word.contains('/')).collect();
    ensure!(!paths.is_empty(), "no path is named");
    for path in paths {
        ensure!(root().join(path).exists(), "docs/failures.md names {path}");
    }
    Ok(())
}

#[test]
fn the_protocol_names_every_planted_bug_and_no_other() -> Result<()> {
    let text = breaches()?;
    let named: BTreeSet<String> = quoted(&text)
        .filter(|word| {
            word.contains('-') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        })
        .map(str::to_owned)
        .collect();
    let mut planted = BTreeSet::new();
    for entry in fs::read_dir(root().join("tests/planted"))? {
        let path = entry?.path();
        let stem = path.file_stem().context("a name")?;
        planted.insert(stem.to_string_lossy().into_owned());
    }
    ensure!(
        named == planted,
        "named in docs/protocol.md and not planted: {:?}; planted and not named: {:?}",
        named.difference(&planted).collect::<Vec<_>>(),
        planted.difference(&named).collect::<Vec<_>>()
    );
    Ok(())
}

/// One that does not is tried by nobody until it is mended.
#[test]
fn every_planted_bug_applies() -> Result<()> {
    for entry in fs::read_dir(root().join("tests/planted"))? {
        let patch = entry?.path();
        let mut git = Command::new("git");
        git.current_dir(root()).args(["apply", "--check"]).arg(&patch);
        let output = git.output().context("run git")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{}: {said}", patch.display());
    }
    Ok(())
}

#[test]
fn the_protocol_names_every_broken_shell_of_the_simulator() -> Result<()> {
    let text = breaches()?;
    let named: BTreeSet<&str> = text
        .split('*')
        .filter(|word| {
            word.starts_with(char::is_uppercase) && word.bytes().all(|byte| byte.is_ascii_alphabetic())
        })
        .collect();
    let source = fs::read_to_string(root().join("crates/crossfade-sim/src/planted.rs"))?;
    let variants: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(','))
        .filter(|line| line.bytes().all(|byte| byte.is_ascii_alphabetic()))
        .collect();
    ensure!(!variants.is_empty(), "no variant was found");
    ensure!(named == variants, "named: {named:?}; there are: {variants:?}");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The section of the protocol that names tests and planted bugs.
fn breaches() -> Result<String> {
    let text = fs::read_to_string(root().join("docs/protocol.md"))?;
    let (_, breaches) = text
        .split_once("## 11. What notices a breach")
        .context("find the section")?;
    Ok(breaches.to_owned())
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Long names of words: tests have them, columns and settings do not.
fn is_test_name(word: &str) -> bool {
    word.matches('_').count() >= 4
        && word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Every word of the workspace's sources: some tests get their name from a macro.
fn identifiers() -> Result<BTreeSet<String>> {
    let mut words = BTreeSet::new();
    let mut folders = vec![root().join("crates"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                let apart = |sign: char| !(sign.is_alphanumeric() || sign == '_');
                words.extend(text.split(apart).map(str::to_owned));
            }
        }
    }
    Ok(words)
}
