//! The folder that holds all of a server, and the watchdog that removes both if we are killed.
//!
//! The watchdog is a shell that waits on a pipe of ours and knows the folder. The pipe closes when we let go of
//! it or die, however we die; then the watchdog ends the server whose pid the folder names, and removes the
//! folder. It is started before anything that it has to clean up, so there is no moment without it.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::account::Account;

/// The longest path of a Unix socket, without its final zero: 107 on Linux, 103 on macOS and the BSDs.
const SOCKET_PATH_MAX: usize = 103;
/// What PostgreSQL names its socket, at its longest.
const SOCKET_NAME: &str = "/s/.s.PGSQL.65535.lock";

/// `$1` is the folder. Immediate shutdown, since nobody will ever read the files; the waiting is bounded.
const WATCHDOG: &str = r#"
read -r _
pidfile="$1/data/postmaster.pid"
tries=0
while [ -e "$1" ] && [ $tries -lt 100 ]; do
    if [ -e "$pidfile" ]; then
        read -r pid < "$pidfile" && [ "$pid" -gt 1 ] && kill -QUIT "$pid"
    else
        rm -rf "$1" && exit 0
    fi
    tries=$((tries + 1))
    sleep 0.1
done
rm -rf "$1"
"#;

/// Why the folder could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// No folder with a path short enough for a socket.
    #[error("create a folder in {}", parent.display())]
    Create {
        /// Where.
        parent: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The folder cannot be given to the server's account, or a file in it not written.
    #[error("write {}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The shell did not start.
    #[error("start the watchdog, a shell")]
    Watchdog(#[source] io::Error),
}

/// The folder with its watchdog.
#[derive(Debug)]
pub(crate) struct Folder {
    directory: TempDir,
    watchdog: Child,
}

impl Folder {
    /// Makes the folder, mode 0700, for `account`.
    pub(crate) fn create(account: &Account) -> Result<Folder, FolderError> {
        let parent = parent();
        let directory = tempfile::Builder::new()
            .prefix("cf-")
            .rand_bytes(8)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(|source| FolderError::Create { parent, source })?;
        let watchdog = watch(directory.path()).map_err(FolderError::Watchdog)?;
        let folder = Folder { directory, watchdog };
        for path in [folder.path().to_owned(), folder.socket()] {
            std::fs::create_dir_all(&path)
                .and_then(|()| account.own(&path))
                .map_err(|source| FolderError::Write { path, source })?;
        }
        Ok(folder)
    }

    /// Adds `settings` to the cluster's configuration; where a name is set twice the last one counts.
    pub(crate) fn configure(&self, settings: &str) -> Result<(), FolderError> {
        use std::io::Write;
        let path = self.data().join("postgresql.conf");
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(settings.as_bytes()))
            .map_err(|source| FolderError::Write { path, source })
    }

    /// Makes a copied cluster a standby.
    pub(crate) fn mark_standby(&self, account: &Account) -> Result<(), FolderError> {
        let path = self.data().join("standby.signal");
        std::fs::write(&path, "")
            .and_then(|()| account.own(&path))
            .map_err(|source| FolderError::Write { path, source })
    }

    /// A file of the account's own.
    pub(crate) fn write_private(
        &self,
        account: &Account,
        name: &str,
        text: &str,
    ) -> Result<PathBuf, FolderError> {
        let path = self.path().join(name);
        std::fs::write(&path, text)
            .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o600)))
            .and_then(|()| account.own(&path))
            .map_err(|source| FolderError::Write {
                path: path.clone(),
                source,
            })?;
        Ok(path)
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The cluster.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The folder of the Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("s")
    }

    /// The server's log, opened to be added to.
    pub(crate) fn log(&self) -> io::Result<File> {
        File::options()
            .create(true)
            .append(true)
            .open(self.path().join("log"))
    }

    /// What the log holds.
    pub(crate) fn log_text(&self) -> io::Result<String> {
        let bytes = std::fs::read(self.path().join("log"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The server is down by now (`Server`'s fields drop in order). What we cannot remove the watchdog will:
        // closing its pipe wakes it, and it ends once the folder is gone.
        std::fs::remove_dir_all(self.directory.path()).ok();
        drop(self.watchdog.stdin.take());
        self.watchdog.wait().ok();
    }
}

/// `$TMPDIR`, or `/tmp` where that is too long for a socket's path.
fn parent() -> PathBuf {
    let wanted = std::env::temp_dir();
    let length = wanted.as_os_str().len() + "/cf-12345678".len() + SOCKET_NAME.len();
    if length <= SOCKET_PATH_MAX {
        wanted
    } else {
        PathBuf::from("/tmp")
    }
}

fn watch(folder: &Path) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", WATCHDOG, "crossfade-watchdog"])
        .arg(folder)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A group of its own: Ctrl-C in the terminal must reach us and not the one that cleans up after us.
        .process_group(0)
        .spawn()
}
