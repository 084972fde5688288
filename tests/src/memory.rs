//! The most memory that a process has had resident, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::Process;

/// Between two looks. The kernel keeps the peak: only what comes after the last look is missed.
const LOOK: Duration = Duration::from_millis(20);

/// Watches a process to its end; returns how it ended and its peak, in bytes.
///
/// # Errors
/// The kernel does not say, or the process does not end.
pub async fn watched(mut process: Process) -> Result<(crate::process::Ended, u64)> {
    let mut peak = 0;
    while process.is_running()? {
        // The file is empty of memory once the process has ended.
        peak = peak_of(process.pid()).unwrap_or(peak).max(peak);
        tokio::time::sleep(LOOK).await;
    }
    Ok((process.end().await?, peak))
}

fn peak_of(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("find VmHWM")?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}
