//! What people and programs see: results on stdout, everything else on stderr.
//!
//! With `--json` stdout holds one object on one line and nothing else.

pub(crate) mod ended;
pub(crate) mod moves;
pub(crate) mod plan;
pub(crate) mod progress;
mod rate;
pub(crate) mod refusals;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod units;
pub(crate) mod verification;

use std::io::Write as _;

use clap::builder::styling::{AnsiColor, Style};
use crossfade_core::code::FailureCode;
use serde_json::Value;

use crate::args::Arguments;

/// Headings.
pub(crate) const HEADING: Style = Style::new().bold();
/// What stands in the way.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is as it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Beside the point.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// How to talk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    /// One object at the end, for programs.
    pub(crate) json: bool,
    /// Results and errors only.
    pub(crate) quiet: bool,
    /// `-v` was given: progress as JSON lines, with `--json`.
    pub(crate) verbose: bool,
}

impl Console {
    /// As the arguments say.
    pub(crate) fn of(arguments: &Arguments) -> Console {
        Console {
            json: arguments.json,
            quiet: arguments.quiet,
            verbose: arguments.verbose > 0,
        }
    }

    /// The result, for people; nothing with `--json`.
    pub(crate) fn result(self, text: &str) {
        if !self.json {
            print(text);
        }
    }

    /// The result, for programs; nothing without `--json`.
    pub(crate) fn object(self, value: &Value) {
        if self.json {
            print(&format!("{value}\n"));
        }
    }

    /// Something to know meanwhile.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet && !self.json {
            advise(text);
        }
    }
}

/// To stdout. Whoever closed it wants nothing more: a failed write is not a failure of the command.
pub(crate) fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

/// What failed and where, on stderr; `what` fits "failed to …". A code is one that `crossfade explain` knows.
pub(crate) fn complain(what: &str, code: Option<FailureCode>) {
    let code = code.map_or(String::new(), |code| format!(" {FAINT}[{code}]{FAINT:#}"));
    line(&format!("{BAD}crossfade:{BAD:#} failed to {what}{code}"));
}

/// A sentence on stderr.
pub(crate) fn advise(sentence: &str) {
    line(sentence);
}

fn line(text: &str) {
    let mut out = anstream::stderr().lock();
    writeln!(out, "{text}").ok();
}

/// A question on stderr; the answer goes on the same line.
pub(crate) fn ask(question: &str) {
    let mut out = anstream::stderr().lock();
    write!(out, "{question}").and_then(|()| out.flush()).ok();
}
