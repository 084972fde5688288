//! PostgreSQL's own `pgbench` as an application, and the sums that its transactions keep equal.
//!
//! Each built-in transaction adds one delta to an account, its teller and its branch, and writes it to the history:
//! so the four sums are equal in every snapshot, whatever happened to the tables in between.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use tokio::process::Command;
use tokio_postgres::Client;

use crate::server::Installation;

/// Why `pgbench` gave no figures.
#[derive(Debug, thiserror::Error)]
pub enum PgbenchError {
    /// It is neither beside the server nor in `PATH`.
    #[error("find `pgbench` beside PostgreSQL in {} or in PATH", bin.display())]
    NotFound {
        /// Where it was looked for first.
        bin: PathBuf,
    },
    /// It did not start.
    #[error("start {}", program.display())]
    Spawn {
        /// Which.
        program: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("run pgbench; it ended with {status} and said:\n{stderr}")]
    Failed {
        /// How.
        status: ExitStatus,
        /// What it said.
        stderr: String,
        /// Transactions that it knows to be committed.
        transactions: u64,
    },
    /// It did not say how many transactions there were.
    #[error("read the report of pgbench:\n{report}")]
    Report {
        /// What it said.
        report: String,
    },
}

/// `pgbench` against one database.
#[derive(Clone, Debug)]
pub struct Pgbench {
    program: PathBuf,
    connection: String,
    rate: Option<u32>,
}

/// What a run said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Transactions that it committed.
    pub transactions: u64,
    /// Transactions that failed.
    pub failed: u64,
    /// Errors and warnings, line by line.
    pub complaints: Vec<String>,
}

impl Pgbench {
    /// The one that belongs to `installation`, or that is in `PATH`.
    ///
    /// # Errors
    /// [`PgbenchError::NotFound`].
    pub fn new(installation: &Installation, connection: &str) -> Result<Pgbench, PgbenchError> {
        let program = installation.find_program("pgbench");
        let program = program.ok_or_else(|| PgbenchError::NotFound {
            bin: installation.bin.clone(),
        })?;
        Ok(Pgbench {
            program,
            connection: connection.to_owned(),
            rate: None,
        })
    }

    /// The same with so many transactions a second, and not as many as the server takes.
    #[must_use]
    pub fn at_rate(self, rate: u32) -> Pgbench {
        Pgbench {
            rate: Some(rate),
            ..self
        }
    }

    /// Makes and fills its tables: 100,000 accounts a scale.
    ///
    /// # Errors
    /// [`PgbenchError::Failed`] and [`PgbenchError::Spawn`].
    pub async fn initialize(&self, scale: u32) -> Result<(), PgbenchError> {
        let scale = scale.to_string();
        // g generates on the server, which is several times faster than sending rows to it.
        self.run(&["--initialize", "--quiet", "--init-steps=dtGvp", "--scale", &scale])
            .await
            .map(drop)
    }

    /// Makes its tables, and leaves them empty.
    ///
    /// # Errors
    /// As [`Pgbench::initialize`].
    pub async fn create_tables(&self) -> Result<(), PgbenchError> {
        self.run(&["--initialize", "--quiet", "--init-steps=dtp"])
            .await
            .map(drop)
    }

    /// Runs the built-in transaction. Dropping the future ends it.
    ///
    /// # Errors
    /// [`PgbenchError`]; a client that an error ended makes the run fail.
    pub async fn transactions(&self, clients: u32, time: Duration) -> Result<Report, PgbenchError> {
        let (clients, seconds) = (clients.to_string(), time.as_secs().max(1).to_string());
        let mut arguments = vec![
            "--no-vacuum",
            "--client",
            &clients,
            "--jobs",
            "2",
            "--time",
            &seconds,
        ];
        let rate = self.rate.map(|rate| rate.to_string());
        if let Some(rate) = &rate {
            arguments.extend(["--rate", rate]);
        }
        let (report, complaints) = self.run(&arguments).await?;
        parse(&report, &complaints).ok_or(PgbenchError::Report { report })
    }

    async fn run(&self, arguments: &[&str]) -> Result<(String, String), PgbenchError> {
        let output = Command::new(&self.program)
            .args(arguments)
            .arg(&self.connection)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| PgbenchError::Spawn {
                program: self.program.clone(),
                source,
            })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        if output.status.success() {
            return Ok((stdout, stderr));
        }
        Err(PgbenchError::Failed {
            status: output.status,
            stderr,
            // Where its clients were ended it reports what they had done.
            transactions: parse(&stdout, "").map_or(0, |report| report.transactions),
        })
    }
}

/// The four sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// `sum(abalance)`.
    pub accounts: i64,
    /// `sum(tbalance)`.
    pub tellers: i64,
    /// `sum(bbalance)`.
    pub branches: i64,
    /// `sum(delta)`.
    pub history: i64,
}

impl Sums {
    /// Reads them in one snapshot.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn read(client: &Client) -> Result<Sums, tokio_postgres::Error> {
        let row = client
            .query_one(
                "SELECT (SELECT coalesce(sum(abalance), 0)::bigint FROM pgbench_accounts),
                        (SELECT coalesce(sum(tbalance), 0)::bigint FROM pgbench_tellers),
                        (SELECT coalesce(sum(bbalance), 0)::bigint FROM pgbench_branches),
                        (SELECT coalesce(sum(delta), 0)::bigint FROM pgbench_history)",
                &[],
            )
            .await?;
        Ok(Sums {
            accounts: row.get(0),
            tellers: row.get(1),
            branches: row.get(2),
            history: row.get(3),
        })
    }

    /// Whether no change was lost or made twice.
    pub fn are_equal(&self) -> bool {
        [self.accounts, self.tellers, self.branches]
            .iter()
            .all(|sum| *sum == self.history)
    }
}

/// Transactions in the history that began from `from` on and before `to`, by the server's clock. The server runs
/// here, so its clock is ours; its time zone is UTC, as [`ServerOptions`](crate::server::ServerOptions) sets it.
///
/// # Errors
/// What the server answered.
pub async fn history_between(
    client: &Client,
    from: SystemTime,
    to: SystemTime,
) -> Result<i64, tokio_postgres::Error> {
    let count = "SELECT count(*) FROM pgbench_history WHERE mtime >= $1 AND mtime < $2";
    Ok(client.query_one(count, &[&from, &to]).await?.get(0))
}

fn parse(report: &str, complaints: &str) -> Option<Report> {
    let number = |name: &str| {
        let line = report.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().split([' ', '/']).next()?.parse().ok()
    };
    let is_complaint = |line: &&str| {
        ["error", "fatal", "aborted", "warning"]
            .iter()
            .any(|word| line.contains(word))
    };
    Some(Report {
        transactions: number("number of transactions actually processed:")?,
        // Before version 15 a failed transaction ended its client.
        failed: number("number of failed transactions:").unwrap_or(0),
        complaints: complaints
            .lines()
            .filter(is_complaint)
            .map(str::to_owned)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read() {
        let report = "transaction type: <builtin: TPC-B (sort of)>\nnumber of clients: 4\n\
                      number of transactions actually processed: 1234\n\
                      number of failed transactions: 2 (0.162%)\ntps = 617.000000 (without …)\n";
        let complaints =
            "pgbench: error: client 1 script 0 aborted in command 5 query 0: ERROR: no\nprogress\n";
        let read = parse(report, complaints).unwrap();
        assert_eq!(
            (read.transactions, read.failed, read.complaints.len()),
            (1234, 2, 1)
        );
        assert!(parse("nothing", "").is_none());
    }

    #[test]
    fn a_sum_that_differs_is_seen() {
        let equal = Sums {
            accounts: 5,
            tellers: 5,
            branches: 5,
            history: 5,
        };
        assert!(equal.are_equal());
        assert!(
            !Sums {
                accounts: 6,
                ..equal.clone()
            }
            .are_equal()
        );
        assert!(!Sums { history: 4, ..equal }.are_equal());
    }
}
