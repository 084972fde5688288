//! Planted bugs: a checker that none of them trips is not a checker.
//!
//! Each patch in `tests/planted/` breaks one rule, and names the tests that must then fail:
//!
//! ```text
//! # R29: what it breaks.
//! # test: cargo test -p crossfade-core --lib cutover::tests::…
//! ```
//!
//! The patches are applied in turn to a scratch worktree of the last commit, with a target folder of its own that
//! is kept between runs. A patch that does not apply, does not compile, or whose tests still pass is a failure.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// The longest that a test may take with a bug planted.
const TEST_MAX: Duration = Duration::from_secs(1200);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A patch and what must notice it.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Its file's name.
    pub name: String,
    file: PathBuf,
    /// The commands that must fail.
    pub tests: Vec<String>,
}

/// What became of a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Every test that it names failed.
    Caught,
    /// These still pass.
    Missed(Vec<String>),
    /// It could not be tried.
    Unusable(String),
}

/// The patches whose names hold one of `parts`, or all if there are none, by name.
///
/// # Errors
/// They cannot be read.
pub fn patches(parts: &[String]) -> Result<Vec<Patch>> {
    let folder = repository().join("tests/planted");
    let entries = std::fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    let files = entries.into_iter().map(|entry| entry.path());
    let mut patches = Vec::new();
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "patch")) {
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&file)?;
        let tests = text.lines().filter_map(|line| line.strip_prefix("# test: "));
        let tests: Vec<String> = tests.map(str::to_owned).collect();
        ensure!(!tests.is_empty(), "{name} names no test");
        if parts.is_empty() || parts.iter().any(|part| name.contains(part)) {
            patches.push(Patch { name, file, tests });
        }
    }
    patches.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(patches)
}

/// A scratch worktree of the last commit. Dropping it removes it.
pub struct Scratch {
    folder: TempDir,
    target: PathBuf,
}

impl Scratch {
    /// Makes it. `target` is where Cargo builds; kept.
    ///
    /// # Errors
    /// Git does not.
    pub fn new(target: PathBuf) -> Result<Scratch> {
        let folder = TempDir::new()?;
        let scratch = Scratch { folder, target };
        let tree = scratch.tree();
        run(git(repository())
            .args(["worktree", "add", "--quiet", "--detach"])
            .arg(&tree)
            .arg("HEAD"))?;
        Ok(scratch)
    }

    /// Plants one bug, runs the tests that should notice it, and takes it out again.
    ///
    /// # Errors
    /// The worktree cannot be cleaned.
    pub fn try_patch(&self, patch: &Patch) -> Result<Found> {
        let found = self
            .plant(patch)
            .unwrap_or_else(|error| Found::Unusable(format!("{error:#}")));
        run(git(&self.tree()).args(["checkout", "--quiet", "--", "."]))?;
        Ok(found)
    }

    fn plant(&self, patch: &Patch) -> Result<Found> {
        run(git(&self.tree()).arg("apply").arg(&patch.file))?;
        let mut missed = Vec::new();
        for test in &patch.tests {
            let words: Vec<&str> = test.split_whitespace().collect();
            run(&mut self.cargo(&built(&words)?)).context("build the tests")?;
            if passes(&mut self.cargo(&words))? {
                missed.push(test.clone());
            }
        }
        Ok(if missed.is_empty() {
            Found::Caught
        } else {
            Found::Missed(missed)
        })
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn cargo(&self, words: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command
            .args(&words[1..])
            .current_dir(self.tree())
            .env("CARGO_TARGET_DIR", &self.target);
        // The tests must build the planted binary, and not be told of another one.
        command.env_remove("CROSSFADE_BIN");
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left otherwise is a folder that `git worktree prune` forgets.
        run(git(repository())
            .args(["worktree", "remove", "--force"])
            .arg(self.tree()))
        .ok();
    }
}

/// The same command, built and not run: a bug that does not compile proves nothing.
fn built<'a>(words: &[&'a str]) -> Result<Vec<&'a str>> {
    let own = words.split(|word| *word == "--").next().unwrap_or_default();
    match own {
        ["cargo", "test", rest @ ..] => Ok([&["cargo", "test", "--no-run"], rest].concat()),
        ["cargo", "run", rest @ ..] => Ok([&["cargo", "build"], rest].concat()),
        _other => bail!(
            "run `{}`: only `cargo test …` and `cargo run …` are",
            words.join(" ")
        ),
    }
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    command
}

fn run(command: &mut Command) -> Result<()> {
    let output = output(command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "run {command:?}: {}", said.trim());
    Ok(())
}

/// Whether a test passes. One that a bug makes hang is ended, and has not caught anything.
fn passes(command: &mut Command) -> Result<bool> {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // A group of its own: Cargo's end alone would leave the test running.
    let mut child = quiet
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {quiet:?}"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let began = Instant::now();
    while began.elapsed() < TEST_MAX {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(LOOK);
    }
    kill_process_group(group.context("a running process has an id")?, Signal::KILL)?;
    child.wait()?;
    bail!("the test does not end: {command:?}")
}

fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {command:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_names_tests_that_can_be_built_alone() -> Result<()> {
        let patches = patches(&[])?;
        assert!(!patches.is_empty());
        for test in patches.iter().flat_map(|patch| &patch.tests) {
            built(&test.split_whitespace().collect::<Vec<_>>())?;
        }
        Ok(())
    }

    #[test]
    fn what_is_built_is_what_is_run() -> Result<()> {
        assert_eq!(
            built(&["cargo", "run", "-p", "x", "--", "--seeds", "9"])?,
            ["cargo", "build", "-p", "x"]
        );
        assert_eq!(
            built(&["cargo", "test", "-p", "x", "y"])?,
            ["cargo", "test", "--no-run", "-p", "x", "y"]
        );
        assert!(built(&["true"]).is_err());
        Ok(())
    }
}
