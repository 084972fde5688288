//! Who PostgreSQL runs as: ourselves, or, since it refuses root, an unprivileged account where we are root.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

/// Tried in this order; the first comes with PostgreSQL's packages, the second with every system.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// Why no account was found.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error("run PostgreSQL as root, which it refuses, without a user `postgres` or `nobody` on this system")]
    OnlyRoot,
}

/// The account that servers run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// Our own.
    Ours,
    /// We are root: this one.
    Unprivileged { uid: u32, gid: u32 },
}

impl Account {
    /// Ours, unless we are root.
    pub(crate) fn for_servers() -> Result<Account, AccountError> {
        if !is_root() {
            return Ok(Account::Ours);
        }
        UNPRIVILEGED
            .iter()
            .find_map(|name| {
                Some(Account::Unprivileged {
                    uid: id("-u", name)?,
                    gid: id("-g", name)?,
                })
            })
            .ok_or(AccountError::OnlyRoot)
    }

    /// Makes the account the owner of `path`.
    pub(crate) fn own(self, path: &Path) -> std::io::Result<()> {
        match self {
            Account::Ours => Ok(()),
            Account::Unprivileged { uid, gid } => chown(path, Some(uid), Some(gid)),
        }
    }

    /// Makes `command` run as this account.
    pub(crate) fn run(self, command: &mut Command) {
        use std::os::unix::process::CommandExt;
        match self {
            Account::Ours => {}
            Account::Unprivileged { uid, gid } => {
                command.uid(uid).gid(gid);
            }
        }
    }
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn id(flag: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, name]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
