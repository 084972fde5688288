//! What the server says when it refuses: its SQLSTATE decides, its message explains.

use std::fmt;

use bytes::Bytes;

use crate::frame::Fields;
use crate::violation::Violation;

/// An `ErrorResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, never translated.
    pub severity: String,
    /// The five characters of the SQLSTATE.
    pub sqlstate: String,
    /// The primary message, in the server's language.
    pub message: String,
    /// More about it. Not printed by `Display`: a detail may hold values of a row.
    pub detail: Option<String>,
    /// What the server advises.
    pub hint: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}

impl std::error::Error for ServerError {}

/// What a [`ServerError`] means for a caller that could try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The role may not do this, or could not prove who it is.
    NotPermitted,
    /// The server is starting, stopping, out of connections or of another resource: later it may work.
    TryLater,
    /// What other transactions do at this moment is in the way: soon it may work.
    Again,
    /// The object is in use by another session.
    InUse,
    /// The object does not exist.
    Missing,
    /// The object exists already.
    Exists,
    /// The object (or the server) is not in the state that this needs, and waiting does not help.
    Unusable,
    /// Something else: trying again would fail again.
    Other,
}

impl ServerError {
    pub(crate) fn parse(body: Bytes) -> Result<Self, Violation> {
        let mut fields = Fields::of(body);
        let mut error = ServerError {
            severity: String::new(),
            sqlstate: String::new(),
            message: String::new(),
            detail: None,
            hint: None,
        };
        loop {
            match fields.u8()? {
                0 => return Ok(error),
                b'V' => error.severity = fields.text()?,
                b'C' => error.sqlstate = fields.text()?,
                b'M' => error.message = fields.text()?,
                b'D' => error.detail = Some(fields.text()?),
                b'H' => error.hint = Some(fields.text()?),
                _ => drop(fields.text()?),
            }
        }
    }

    /// What it means, by SQLSTATE.
    pub fn verdict(&self) -> Verdict {
        match self.sqlstate.as_str() {
            "42501" | "3D000" => Verdict::NotPermitted,
            "55006" => Verdict::InUse,
            "42704" => Verdict::Missing,
            "42710" => Verdict::Exists,
            // Also: a segment of the log that the slot needs has been removed (58P01).
            "55000" | "58P01" => Verdict::Unusable,
            state => match state.get(..2) {
                Some("28") => Verdict::NotPermitted,
                Some("40") => Verdict::Again,
                Some("08" | "53" | "57" | "58") => Verdict::TryLater,
                _ => Verdict::Other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &'static [u8]) -> ServerError {
        ServerError::parse(Bytes::from_static(body)).unwrap()
    }

    #[test]
    fn the_fields_are_found_among_others() {
        let error = parsed(b"SFEHLER\0VERROR\0C42710\0Mslot exists\0Dk=1\0Hdrop it\0Fslot.c\0L12\0Rf\0\0");
        assert_eq!(error.severity, "ERROR");
        assert_eq!(error.to_string(), "slot exists (SQLSTATE 42710)");
        assert_eq!(error.detail.as_deref(), Some("k=1"));
        assert_eq!(error.hint.as_deref(), Some("drop it"));
        assert_eq!(error.verdict(), Verdict::Exists);
    }

    #[test]
    fn a_body_without_its_end_is_a_violation() {
        assert!(ServerError::parse(Bytes::from_static(b"C42710\0M")).is_err());
        assert!(ServerError::parse(Bytes::new()).is_err());
    }

    #[test]
    fn states_have_a_verdict_even_if_malformed() {
        let of = |state: &str| ServerError {
            sqlstate: state.to_owned(),
            ..parsed(b"\0")
        };
        assert_eq!(of("28P01").verdict(), Verdict::NotPermitted);
        assert_eq!(of("57P01").verdict(), Verdict::TryLater);
        assert_eq!(of("40001").verdict(), Verdict::Again);
        assert_eq!(of("").verdict(), Verdict::Other);
        assert_eq!(of("é").verdict(), Verdict::Other);
    }
}
