//! What every session of the engine pins, so that nothing set on the role, the database or the server changes
//! what its statements mean or cuts them short.

use crate::ident::literal;

/// What differs between the engine's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// `search_path`, in the setting's own syntax. Empty: nothing but `pg_catalog`.
    pub search_path: String,
    /// What a commit waits for.
    pub synchronous_commit: SynchronousCommit,
    /// It writes for the move of that name to tables that nobody else may write to.
    pub writes_for: Option<String>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            search_path: String::new(),
            // A standby that does not answer must not hold up what is asked of an engine.
            synchronous_commit: SynchronousCommit::Local,
            writes_for: None,
        }
    }
}

/// `synchronous_commit`. There is no `off`: whatever the engine calls committed must survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynchronousCommit {
    /// Flushed here and by the synchronous standbys, if there are any.
    On,
    /// Flushed here: a dead standby cannot prolong an exclusive lock (R28, R29).
    Local,
}

impl SynchronousCommit {
    /// The setting's value.
    pub fn as_str(self) -> &'static str {
        match self {
            SynchronousCommit::On => "on",
            SynchronousCommit::Local => "local",
        }
    }
}

/// Name, value, and the first major version that knows it.
const PINNED: &[(&str, &str, u32)] = &[
    // Nothing cuts a statement short but ourselves.
    ("statement_timeout", "0", 0),
    ("lock_timeout", "0", 0),
    ("idle_in_transaction_session_timeout", "0", 0),
    ("idle_session_timeout", "0", 14),
    ("transaction_timeout", "0", 17),
    // The server finds out within a minute that our machine is gone, and lets go of what it held.
    ("tcp_keepalives_idle", "30", 0),
    ("tcp_keepalives_interval", "10", 0),
    ("tcp_keepalives_count", "3", 0),
    ("tcp_user_timeout", "60000", 0),
    // Texts and expressions mean the same everywhere.
    ("TimeZone", "UTC", 0),
    ("DateStyle", "ISO, MDY", 0),
    ("IntervalStyle", "postgres", 0),
    ("extra_float_digits", "1", 0),
    ("bytea_output", "hex", 0),
    ("xmloption", "content", 0),
    ("xmlbinary", "base64", 0),
    ("lc_monetary", "C", 0),
    ("lc_numeric", "C", 0),
    ("lc_time", "C", 0),
    ("array_nulls", "on", 0),
    ("standard_conforming_strings", "on", 0),
    ("transform_null_equals", "off", 0),
    ("quote_all_identifiers", "off", 0),
    // Transactions begin as we say.
    ("default_transaction_isolation", "read committed", 0),
    ("default_transaction_read_only", "off", 0),
    ("default_transaction_deferrable", "off", 0),
    // With row security off, a policy that would hide rows is an error and not a silent gap in the copy.
    ("row_security", "off", 0),
    // New tables are as the statement says, not as the role prefers.
    ("default_tablespace", "", 0),
    ("default_table_access_method", "heap", 0),
    ("check_function_bodies", "off", 0),
    ("client_min_messages", "warning", 0),
    // Our statements are short or bound by I/O: compiling them only adds a delay.
    ("jit", "off", 0),
];

/// The setting that a lockout looks at.
pub(crate) const WRITES_FOR: &str = "crossfade.writes_for";

/// One statement that pins everything.
pub(super) fn pin(major: u32, options: &SessionOptions) -> String {
    let own = [
        ("search_path", search_path(options)),
        ("synchronous_commit", options.synchronous_commit.as_str()),
    ];
    let common = PINNED.iter().filter(|(.., since)| *since <= major);
    let writes_for = options.writes_for.as_deref().map(|name| (WRITES_FOR, name));
    let all = common.map(|(name, value, _)| (*name, *value)).chain(own);
    let all = all.chain(writes_for);
    let calls: Vec<String> = all.map(|(name, value)| set_config(name, value)).collect();
    format!("SELECT {}", calls.join(",\n       "))
}

fn search_path(options: &SessionOptions) -> &str {
    if options.search_path.trim().is_empty() {
        "pg_catalog"
    } else {
        &options.search_path
    }
}

fn set_config(name: &str, value: &str) -> String {
    format!(
        "pg_catalog.set_config({}, {}, false)",
        literal(name),
        literal(value)
    )
}

/// The first number of `server_version`, such as 15 of `15.20 (Debian 15.20-1)` or 18 of `18beta1`.
pub(super) fn major_version(text: &str) -> u32 {
    let end = text
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_form() {
        assert_eq!(major_version("15.20 (Debian 15.20-1)"), 15);
        assert_eq!(major_version("18beta1"), 18);
        assert_eq!(major_version(""), 0);
    }

    #[test]
    fn settings_unknown_to_the_server_are_left_out() {
        let options = SessionOptions {
            search_path: r#""$user", public"#.to_owned(),
            synchronous_commit: SynchronousCommit::Local,
            ..SessionOptions::default()
        };
        insta::assert_snapshot!(pin(17, &options));
        assert!(!pin(16, &options).contains("'transaction_timeout'"));
    }
}
