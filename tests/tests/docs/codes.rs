//! The codes against the sources that give them: none is dead, and a failure ends as its code says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use crossfade_core::code::{Ending, FailureCode, NoticeCode, RefusalCode};

use super::root;

#[test]
fn every_code_is_given_somewhere() -> Result<()> {
    let mut given = BTreeSet::new();
    for source in sources(&root().join("crates"))? {
        for kind in ["RefusalCode::", "NoticeCode::", "FailureCode::"] {
            given.extend(named(&source, kind).map(|(_, name)| format!("{kind}{name}")));
        }
    }
    let refusals = RefusalCode::ALL
        .iter()
        .map(|code| format!("RefusalCode::{code:?}"));
    let notices = NoticeCode::ALL.iter().map(|code| format!("NoticeCode::{code:?}"));
    let failures = FailureCode::ALL
        .iter()
        .map(|code| format!("FailureCode::{code:?}"));
    let all = refusals.chain(notices).chain(failures);
    let dead: Vec<String> = all.filter(|code| !given.contains(code)).collect();
    ensure!(dead.is_empty(), "given by nobody: {dead:?}");
    Ok(())
}

/// `docs/errors.md` says of each the exit code.
#[test]
fn a_failure_ends_as_its_code_says() -> Result<()> {
    let mut seen = 0;
    for source in sources(&root().join("crates/crossfade-coordinator/src"))? {
        for (before, name) in named(&source, "FailureCode::") {
            let constructor = before.trim_end().strip_suffix('(').unwrap_or_default();
            let ending = match constructor.rsplit("::").next() {
                Some("no_access") => Ending::NoAccess,
                Some("stopped") => Ending::Stopped,
                Some("needs_operator") => Ending::NeedsOperator,
                _other => continue,
            };
            seen += 1;
            let code = FailureCode::ALL.iter().find(|code| format!("{code:?}") == name);
            ensure!(
                code.map(|code| code.ending()) == Some(ending),
                "{name} is given where a run ends with {ending:?}"
            );
        }
    }
    ensure!(seen > 40, "only {seen} were found");
    Ok(())
}

/// What stands behind each `kind`, with all that is before it.
fn named<'a>(source: &'a str, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    source.match_indices(kind).map(move |(at, _)| {
        let rest = &source[at + kind.len()..];
        let end = rest
            .find(|sign: char| !sign.is_alphanumeric())
            .unwrap_or(rest.len());
        (&source[..at], &rest[..end])
    })
}

/// The sources below a folder, without their tests and the tables of codes themselves.
fn sources(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let left_out = ["tests", "code"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !left_out {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let code = text.split("\n#[cfg(test)]\nmod tests").next();
            found.push(code.unwrap_or_default().to_owned());
        }
    }
    Ok(found)
}
