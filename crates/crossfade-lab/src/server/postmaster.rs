//! The programs of one server: `initdb` once, then `postgres` as our own child, so that its pid is ours to signal.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::account::Account;
use super::folder::Folder;
use super::installation::Installation;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// After this an ending server is killed; it has nothing to save.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// Why `initdb` or `postgres` failed.
#[derive(Debug, thiserror::Error)]
pub enum PostmasterError {
    /// A program did not start.
    #[error("start {}", program.display())]
    Spawn {
        /// Which.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No cluster was made.
    #[error("create a cluster; initdb ended with {status} and said:\n{stderr}")]
    Initdb {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// Our child could not be asked how it is, or the task that waits for it died.
    #[error("wait for a child process")]
    Wait(#[source] io::Error),
    /// A signal was not delivered.
    #[error("signal the server")]
    Signal(#[source] rustix::io::Errno),
    /// It ended by itself while starting.
    #[error("start the server; it ended with {status} and logged:\n{log}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: String,
    },
    /// It runs, and lets nobody in.
    #[error("reach the server within {} s; it logged:\n{log}", READY_TIMEOUT.as_secs())]
    NotReady {
        /// Its log.
        log: String,
        /// What the last try said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// It does not end.
    #[error("stop the server within {} s", STOP_TIMEOUT.as_secs())]
    NotStopped,
}

impl PostmasterError {
    /// Whether another try on another port may succeed.
    pub(crate) fn is_port_taken(&self) -> bool {
        match self {
            PostmasterError::Ended { log, .. } => log.contains("could not create any TCP/IP sockets"),
            PostmasterError::Spawn { .. }
            | PostmasterError::Initdb { .. }
            | PostmasterError::Wait(_)
            | PostmasterError::Signal(_)
            | PostmasterError::NotReady { .. }
            | PostmasterError::NotStopped => false,
        }
    }
}

/// Makes the cluster: UTF-8, locale C, trust on the socket, SCRAM over TCP.
pub(crate) async fn initdb(
    installation: &Installation,
    account: &Account,
    folder: &Folder,
) -> Result<(), PostmasterError> {
    let program = installation.program("initdb");
    let mut command = command(&program, account, folder);
    command
        .arg("--pgdata")
        .arg(folder.data())
        .args([
            "--username",
            super::SUPERUSER,
            "--encoding",
            "UTF8",
            "--locale",
            "C",
        ])
        .args([
            "--auth-local",
            "trust",
            "--auth-host",
            "scram-sha-256",
            "--no-sync",
        ])
        .stdout(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await;
    let output = output.map_err(|source| PostmasterError::Spawn { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(PostmasterError::Initdb {
        status: output.status,
        stderr,
    })
}

/// A `postgres` process. Dropping it kills the server.
#[derive(Debug)]
pub(crate) struct Postmaster {
    child: Child,
}

impl Postmaster {
    /// Starts the server; it does not answer yet.
    pub(crate) fn spawn(
        installation: &Installation,
        account: &Account,
        folder: &Folder,
    ) -> Result<Postmaster, PostmasterError> {
        let program = installation.program("postgres");
        let start = || {
            let log = folder.log()?;
            command(&program, account, folder)
                .arg("-D")
                .arg(folder.data())
                .stdout(log.try_clone()?)
                .stderr(log)
                // Ctrl-C in the terminal must not stop the server before its users.
                .process_group(0)
                .spawn()
        };
        match start() {
            Ok(child) => Ok(Postmaster { child }),
            Err(source) => Err(PostmasterError::Spawn { program, source }),
        }
    }

    /// Waits until the server lets a session in.
    pub(crate) async fn wait_until_ready(
        &mut self,
        connection: &str,
        folder: &Folder,
    ) -> Result<(), PostmasterError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let log = || {
            folder
                .log_text()
                .unwrap_or_else(|error| format!("(no log: {error})"))
        };
        loop {
            let source = match super::open(connection).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if let Some(status) = self.child.try_wait().map_err(PostmasterError::Wait)? {
                return Err(PostmasterError::Ended { status, log: log() });
            }
            if Instant::now() > deadline {
                return Err(PostmasterError::NotReady { log: log(), source });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops the server, fast (sessions are ended, everything is flushed) or immediately (a crash).
    pub(crate) async fn stop(&mut self, immediate: bool) -> Result<(), PostmasterError> {
        self.signal(if immediate { Signal::QUIT } else { Signal::INT })?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.is_running()? {
            if Instant::now() > deadline {
                return Err(PostmasterError::NotStopped);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Kills the postmaster outright; its children notice and end.
    pub(crate) fn kill(&mut self) -> Result<(), PostmasterError> {
        self.child.kill().map_err(PostmasterError::Wait)?;
        self.child.wait().map_err(PostmasterError::Wait)?;
        Ok(())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn is_running(&mut self) -> Result<bool, PostmasterError> {
        Ok(self.child.try_wait().map_err(PostmasterError::Wait)?.is_none())
    }

    /// Signals the child, unless it has already been waited for: then its pid may be somebody else's.
    fn signal(&mut self, signal: Signal) -> Result<(), PostmasterError> {
        if !self.is_running()? {
            return Ok(());
        }
        match i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            Some(pid) => kill_process(pid, signal).map_err(PostmasterError::Signal),
            None => Ok(()),
        }
    }
}

impl Drop for Postmaster {
    /// Immediate, not fast: a fast shutdown waits for walsenders and writes a checkpoint, for files that are
    /// about to be removed.
    fn drop(&mut self) {
        self.signal(Signal::QUIT).ok();
        let deadline = Instant::now() + DROP_TIMEOUT;
        while self.is_running().unwrap_or(false) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.kill().ok();
    }
}

/// A command without the caller's PostgreSQL settings, language and working directory.
pub(crate) fn command(program: &Path, account: &Account, folder: &Folder) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .env("LC_ALL", "C");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    account.run(&mut command);
    command
}
