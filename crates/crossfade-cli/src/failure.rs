//! What a command fails with: what failed and where on one line, what to do next on another, and the exit code.

use crossfade_coordinator::ended::Ended;
use crossfade_core::code::FailureCode;
use crossfade_core::name::MigrationName;
use crossfade_postgres::causes::in_one_line;
use crossfade_postgres::connect::ConfigError;
use crossfade_postgres::session::ConnectError;
use serde_json::json;

use crate::exit::Exit;
use crate::output::{self, Console};

/// A command that did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something here went wrong: an argument, a file, the terminal.
    Here {
        /// The exit code.
        exit: Exit,
        /// Which case it is, if it has a word.
        code: Option<FailureCode>,
        /// What; its messages fit "failed to …".
        error: anyhow::Error,
        /// What to do next, as a sentence.
        next: Option<String>,
    },
    /// The engine says how it ended.
    Engine {
        /// The migration, if it is about one.
        name: Option<MigrationName>,
        /// How.
        ended: Ended,
    },
}

/// What every command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// The command line, or a file that it names, is not right.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure::Here {
            exit: Exit::Usage,
            code: None,
            error: error.into(),
            next: None,
        }
    }

    /// The server, or something on this machine, is out of reach.
    pub(crate) fn no_access(error: impl Into<anyhow::Error>) -> Failure {
        Failure::Here {
            exit: Exit::NoAccess,
            code: None,
            error: error.into(),
            next: None,
        }
    }

    /// No session came about.
    pub(crate) fn no_session(error: ConnectError) -> Failure {
        Failure::Here {
            exit: error.code().ending().into(),
            code: Some(error.code()),
            error: error.into(),
            next: None,
        }
    }

    /// Says what to do next.
    #[must_use]
    pub(crate) fn next(self, sentence: impl Into<String>) -> Failure {
        match self {
            Failure::Here {
                exit, code, error, ..
            } => Failure::Here {
                exit,
                code,
                error,
                next: Some(sentence.into()),
            },
            Failure::Engine { .. } => self,
        }
    }

    /// Prints it, and says what to exit with.
    pub(crate) fn report(&self, console: Console) -> Exit {
        match self {
            Failure::Here {
                exit,
                code,
                error,
                next,
            } => {
                let error = in_one_line(error.as_ref());
                let mut object = json!({
                    "outcome": exit.word(), "exit_code": exit.code(), "error": error, "next": next,
                });
                if let Some(code) = code {
                    object["code"] = json!(code);
                }
                console.object(&object);
                output::complain(&error, *code);
                if let Some(next) = next {
                    output::advise(next);
                }
                *exit
            }
            Failure::Engine { name, ended } => output::ended::explain(console, name.as_ref(), ended),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        let asks_who = matches!(error, ConfigError::NoUser);
        let failure = Failure::usage(error);
        if asks_who {
            failure.next("Give --url, or set DATABASE_URL or the PG* variables.")
        } else {
            failure
        }
    }
}
