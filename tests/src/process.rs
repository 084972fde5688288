//! One run of the `crossfade` binary: started, signalled, waited for, its last line read.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::binary;

/// The longest that any run may take here.
const RUN_MAX: Duration = Duration::from_secs(1800);

/// A running `crossfade`. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    command: String,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The last line of stdout, with `--json`; null if there is none.
    pub object: Value,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
    /// What was run.
    pub command: String,
}

impl Process {
    /// Starts it with these arguments.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn start(arguments: &[String]) -> Result<Process> {
        let mut child = Command::new(binary::crossfade()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Nothing of whoever runs the tests may reach it.
            .env_remove("DATABASE_URL")
            .env_remove("CROSSFADE_LOG")
            .kill_on_drop(true)
            .spawn()
            .context("start crossfade")?;
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        Ok(Process {
            pid: pid.context("a running process has an id")?,
            command: format!("crossfade {}", arguments.join(" ")),
            stdout: tokio::spawn(text(child.stdout.take())),
            stderr: tokio::spawn(text(child.stderr.take())),
            child,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until it has ended; what it said is still there for [`Process::end`].
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn ended_early(&mut self) -> Result<String> {
        let status = self.child.wait().await?;
        let said = (&mut self.stdout).await.unwrap_or_default();
        Ok(format!("`{}` with {status}: {said}", self.command))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// There is no such process any more.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).with_context(|| format!("send {signal:?} to `{}`", self.command))
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill_9(mut self) -> Result<Ended> {
        // It may have ended by itself.
        self.child.start_kill().ok();
        self.end().await
    }

    /// Sends a signal and waits for the end, which must come within `within`.
    ///
    /// # Errors
    /// It did not end in time.
    pub async fn end_by(self, signal: Signal, within: Duration) -> Result<Ended> {
        self.signal(signal)?;
        let sent = Instant::now();
        let ended = self.end().await?;
        let took = sent.elapsed();
        ensure!(
            took < within,
            "{} took {took:?} to end after {signal:?}",
            ended.command
        );
        Ok(ended)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It did not end in half an hour.
    pub async fn end(mut self) -> Result<Ended> {
        let waiting = tokio::time::timeout(RUN_MAX, self.child.wait());
        let status = waiting
            .await
            .with_context(|| format!("`{}` does not end", self.command))??;
        let (stdout, stderr) = (self.stdout.await?, self.stderr.await?);
        let last = stdout.lines().last().unwrap_or_default();
        Ok(Ended {
            code: status.code(),
            object: serde_json::from_str(last).unwrap_or(Value::Null),
            stdout,
            stderr,
            command: self.command,
        })
    }
}

impl Ended {
    /// Fails, with everything that was said, if the exit code is another one.
    ///
    /// # Errors
    /// The code is another one.
    pub fn expect(self, code: i32) -> Result<Ended> {
        let Ended {
            stdout,
            stderr,
            command,
            ..
        } = &self;
        ensure!(
            self.code == Some(code),
            "`{command}` ended with {:?} and not {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
            self.code
        );
        Ok(self)
    }

    /// Whether everything that was said, on stdout or stderr, holds this.
    pub fn says(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }

    /// A number of the report.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn reported(&self, pointer: &str) -> Result<u64> {
        let found = self
            .object
            .pointer(&format!("/report/{pointer}"))
            .and_then(Value::as_u64);
        found.with_context(|| format!("find report/{pointer} in {}", self.object))
    }
}

async fn text(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).await.ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
