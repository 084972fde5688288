//! How a server is to be set up, rendered as lines of `postgresql.conf`.

use std::fmt::Write;
use std::path::Path;

use super::installation::Installation;

/// Which statements the server writes to its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStatement {
    /// None.
    #[default]
    None,
    /// Those that define.
    Ddl,
    /// Those that define or modify.
    Mod,
    /// Every one.
    All,
}

impl LogStatement {
    fn setting(self) -> &'static str {
        match self {
            LogStatement::None => "none",
            LogStatement::Ddl => "ddl",
            LogStatement::Mod => "mod",
            LogStatement::All => "all",
        }
    }
}

/// What may differ between servers. The default is the fastest one, which a power failure would destroy.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The programs to run; without them the first that [`find`](super::find) finds.
    pub installation: Option<Installation>,
    /// Whether commits are flushed to the disk, as a user's server does.
    pub durable: bool,
    /// Which statements are logged.
    pub log_statement: LogStatement,
    /// Settings beyond ours, or instead of them.
    pub settings: Vec<(String, String)>,
}

impl ServerOptions {
    /// Adds a setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The lines to append to `postgresql.conf`.
    pub(crate) fn render(&self, socket: &Path, port: u16) -> String {
        let on_or_off = if self.durable { "on" } else { "off" };
        let (socket, port) = (socket.display().to_string(), port.to_string());
        let mut settings = vec![
            ("listen_addresses", "127.0.0.1"),
            ("port", &port),
            ("unix_socket_directories", &socket),
            ("wal_level", "logical"),
            ("max_replication_slots", "20"),
            ("max_wal_senders", "20"),
            ("password_encryption", "scram-sha-256"),
            ("fsync", on_or_off),
            ("full_page_writes", on_or_off),
            ("log_statement", self.log_statement.setting()),
            ("log_line_prefix", "%m [%p] %q%u@%d/%a "),
            ("log_timezone", "UTC"),
            ("timezone", "UTC"),
        ];
        settings.extend(
            self.settings
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        settings
            .into_iter()
            .fold(String::from("\n"), |mut lines, (name, value)| {
                let value = value.replace('\\', r"\\").replace('\'', "''");
                // Writing to a String cannot fail.
                writeln!(lines, "{name} = '{value}'").ok();
                lines
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_later_ones_win() {
        let options = ServerOptions::default()
            .setting("search_path", "a, 'b'")
            .setting("fsync", "on");
        let text = options.render(Path::new("/tmp/it's"), 5433);
        assert!(text.contains("unix_socket_directories = '/tmp/it''s'"));
        assert!(text.contains("search_path = 'a, ''b'''"));
        assert!(text.rfind("fsync = 'on'") > text.find("fsync = 'off'"));
    }
}
