//! The environment that a connection string leaves the rest to: `PG*` variables, the login, the socket folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Host;

/// Where Debian's and PostgreSQL's own builds put their sockets.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The variables that count, taken once.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// That of this process. Variables that are not UTF-8 are as if unset.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables = std::env::vars_os().filter_map(text).collect();
        Environment { variables }
    }

    /// One made up of these variables only.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Environment {
            variables: variables.into_iter().map(owned).collect(),
        }
    }

    /// A variable's value, if it is set.
    pub(super) fn even_empty(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// A variable's value; an empty one counts as unset, as libpq has it.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.variables
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    }

    /// The operating system's user.
    pub(super) fn login(&self) -> Option<String> {
        self.get("USER").or_else(|| self.get("LOGNAME"))
    }

    /// The first folder that holds this port's socket, else the loopback address.
    pub(super) fn default_host(&self, port: u16) -> Host {
        SOCKET_FOLDERS
            .iter()
            .map(Path::new)
            .find(|folder| folder.join(format!(".s.PGSQL.{port}")).exists())
            .map_or_else(
                || Host::Tcp("localhost".to_owned()),
                |folder| Host::Unix(folder.into()),
            )
    }

    /// The folder of the user's files.
    pub(super) fn home(&self) -> Option<PathBuf> {
        self.get("HOME").map(PathBuf::from)
    }

    /// Whether libpq would look this socket folder up as `localhost` in the password file.
    pub(super) fn is_default_socket(folder: &Path) -> bool {
        SOCKET_FOLDERS.iter().any(|default| Path::new(default) == folder)
    }
}
