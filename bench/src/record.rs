//! The results of a run as they grow: kept in a file after each sample, and taken up again from it.
//!
//! A file holds the measurements of one machine and one server with one set of settings: a ratio between two of them
//! would mean nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::machine::Machine;
use crate::report::{FORMAT, Report, settle};
use crate::server::ServerFacts;

/// A suite of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Ways to copy.
    Copy,
    /// Ways to drain a backlog.
    Apply,
    /// Latencies while a table is changed.
    Stall,
}

/// Why a file of results is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error("read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("write {path}")]
    Write {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not hold what we write.
    #[error("read {path} as results of `crossfade bench`")]
    Content {
        /// Which.
        path: String,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by a version that measures otherwise.
    #[error("read {path}: it has format {found}, and this version reads {FORMAT}")]
    Format {
        /// Which.
        path: String,
        /// The format it has.
        found: u32,
    },
    /// It was measured elsewhere.
    #[error(
        "go on with {path}: it was measured with another {what}; give another file, or --again to measure all anew"
    )]
    Elsewhere {
        /// Which.
        path: String,
        /// `machine` or `server`.
        what: &'static str,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Record {
    path: Option<PathBuf>,
    /// What there is so far.
    pub report: Report,
}

impl Record {
    /// Goes on with that file, if there is one; `again`: without what it has of these suites.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn open(
        path: Option<&Path>,
        again: &[Suite],
        machine: Machine,
        server: ServerFacts,
    ) -> Result<Record, RecordError> {
        let fresh = || Report::new(machine.clone(), server.clone());
        let report = match path.map(read).transpose()?.flatten() {
            None => fresh(),
            Some(report) => {
                let elsewhere = match (report.machine == machine, report.server == server) {
                    (true, true) => None,
                    (false, _) => Some("machine"),
                    (true, false) => Some("server"),
                };
                match elsewhere {
                    None => without(report, again),
                    Some(_) if !again.is_empty() => fresh(),
                    Some(what) => {
                        let path = path.map(shown).unwrap_or_default();
                        return Err(RecordError::Elsewhere { path, what });
                    }
                }
            }
        };
        let path = path.map(Path::to_owned);
        Ok(Record { path, report })
    }

    /// Computes the figures and writes the file, if there is one.
    ///
    /// # Errors
    /// [`RecordError::Write`].
    pub fn save(&mut self) -> Result<(), RecordError> {
        settle(&mut self.report.copy);
        settle(&mut self.report.apply);
        settle(&mut self.report.stall);
        let Some(path) = &self.path else {
            return Ok(());
        };
        let failed = |source| RecordError::Write {
            path: shown(path),
            source,
        };
        let text = serde_json::to_vec_pretty(&self.report).map_err(|error| failed(error.into()))?;
        // A run that is killed while it writes leaves the file as it was.
        let beside = path.with_extension("json.new");
        fs::write(&beside, text).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)
    }
}

/// The results in that file; `None` if there is no such file.
///
/// # Errors
/// [`RecordError`].
pub fn read(path: &Path) -> Result<Option<Report>, RecordError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = shown(path);
            return Err(RecordError::Read { path, source });
        }
    };
    let content = |source| RecordError::Content {
        path: shown(path),
        source,
    };
    #[derive(serde::Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_str(&text).map_err(content)?;
    if head.format != FORMAT {
        return Err(RecordError::Format {
            path: shown(path),
            found: head.format,
        });
    }
    serde_json::from_str(&text).map(Some).map_err(content)
}

fn without(mut report: Report, suites: &[Suite]) -> Report {
    for suite in suites {
        match suite {
            Suite::Copy => report.copy.clear(),
            Suite::Apply => report.apply.clear(),
            Suite::Stall => report.stall.clear(),
        }
    }
    report
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::{CopyParameters, CopySample};
    use crate::report::cell_of;

    fn machine(cores: usize) -> Machine {
        Machine {
            cores,
            memory_bytes: 1,
            processor: String::new(),
            system: "linux".to_owned(),
        }
    }

    fn server() -> ServerFacts {
        ServerFacts {
            version: "17.1".to_owned(),
            settings: [("fsync".to_owned(), "on".to_owned())].into(),
        }
    }

    #[test]
    fn a_file_is_gone_on_with_where_it_was_measured() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        let mut record = Record::open(Some(&path), &[], machine(2), server()).unwrap();
        let sample = CopySample {
            rows_per_second: 5.0,
            wal_bytes_per_row: 100.0,
        };
        let cell = cell_of(
            &mut record.report.copy,
            "one",
            &CopyParameters::default(),
            &CopyParameters::default(),
        );
        cell.samples.push(sample);
        record.save().unwrap();

        let again = Record::open(Some(&path), &[], machine(2), server()).unwrap();
        assert_eq!(again.report, record.report);
        assert_eq!(again.report.copy[0].main_figure().unwrap().ratio, Some(1.0));
        let other = Record::open(Some(&path), &[], machine(4), server());
        assert!(matches!(
            other,
            Err(RecordError::Elsewhere { what: "machine", .. })
        ));
        let kept = Record::open(Some(&path), &[Suite::Stall], machine(2), server()).unwrap();
        assert_eq!(kept.report.copy.len(), 1);
        let anew = Record::open(Some(&path), &[Suite::Copy], machine(2), server()).unwrap();
        assert!(anew.report.copy.is_empty());
    }

    #[test]
    fn a_file_of_something_else_is_not_taken_for_results() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(read(&path), Err(RecordError::Content { .. })));
        std::fs::write(&path, r#"{"format": 99}"#).unwrap();
        assert!(matches!(read(&path), Err(RecordError::Format { found: 99, .. })));
    }
}
