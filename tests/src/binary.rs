//! Where the `crossfade` binary is: beside the program that runs the tests, built from the same sources.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context as _, Result, anyhow, ensure};

/// Names a binary to test instead of the one of this workspace.
const OVERRIDE: &str = "CROSSFADE_BIN";

static BINARY: LazyLock<Result<PathBuf, String>> =
    LazyLock::new(|| build().map_err(|error| format!("{error:#}")));

/// The binary under test. Cargo brings it up to date at the first call: an old one would prove nothing.
///
/// # Errors
/// It cannot be built.
pub fn crossfade() -> Result<PathBuf> {
    BINARY.clone().map_err(|error| anyhow!(error))
}

fn build() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(OVERRIDE) {
        return Ok(named.into());
    }
    let program = std::env::current_exe().context("find this program")?;
    // target/PROFILE/scenario, or target/PROFILE/deps/main-0123.
    let folder = program.parent().context("a program is in a folder")?;
    let profile = if folder.ends_with("deps") {
        folder.parent()
    } else {
        Some(folder)
    };
    let profile = profile.context("Cargo's folders are nested")?;
    let target = profile.parent().context("Cargo's folders are nested")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        "crossfade-cli",
        "--bin",
        "crossfade",
        "--manifest-path",
    ]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    cargo.arg("--target-dir").arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().context("start cargo")?;
    ensure!(status.success(), "build crossfade: cargo ended with {status}");
    Ok(profile.join("crossfade"))
}
