//! What an error means to the application.

use tokio_postgres::Error;

/// Errors that an application has to live with: the place takes no writes, shuts down, is gone, or chose this
/// transaction to give way.
const EXPECTED: [&str; 3] = ["25006", "40001", "40P01"];
/// Classes of them: the end of a session, and of a connection.
const EXPECTED_CLASSES: [&str; 2] = ["57P", "08"];
/// What a broken connection is counted as: it has no SQLSTATE.
const LOST: &str = "lost";

/// An error, judged.
#[derive(Debug)]
pub(super) struct Trouble {
    /// The SQLSTATE, or that there was none.
    pub(super) code: String,
    /// What the server said.
    pub(super) text: String,
    /// Whether an application has to live with it.
    pub(super) is_expected: bool,
    /// Whether the session may have ended before the answer, so that nobody knows what the statement did.
    pub(super) is_open: bool,
}

impl Trouble {
    /// What `error` means, where the SQLSTATEs `tolerated` are expected, too.
    pub(super) fn of(error: &Error, tolerated: &[String]) -> Trouble {
        let Some(refusal) = error.as_db_error() else {
            return Trouble {
                code: LOST.to_owned(),
                text: error.to_string(),
                is_expected: error.is_closed() || is_io(error),
                is_open: true,
            };
        };
        let code = refusal.code().code();
        let ends = EXPECTED_CLASSES.iter().any(|class| code.starts_with(class));
        Trouble {
            code: code.to_owned(),
            text: format!("{} ({code})", refusal.message()),
            is_expected: ends || EXPECTED.contains(&code) || tolerated.iter().any(|one| one == code),
            is_open: ends,
        }
    }
}

/// Whether the network is to blame: a session that could not be opened, or broke off.
fn is_io(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<std::io::Error>() {
            return true;
        }
        source = inner.source();
    }
    false
}
