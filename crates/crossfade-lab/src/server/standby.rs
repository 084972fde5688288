//! A physical standby of a running server: its files, copied between `pg_backup_start` and `pg_backup_stop`, and its
//! write-ahead log, streamed.
//!
//! By hand and not with `pg_basebackup`, which not every build of PostgreSQL comes with. The steps are those of
//! "Making a Base Backup Using the Low Level API" in PostgreSQL's manual.

use std::io;
use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use super::account::Account;
use super::folder::{Folder, FolderError};
use super::{SUPERUSER, Server, ServerError, ServerOptions, keyword, launch};

/// What the manual says to leave out: each is of the running server only, or comes through the stream.
const EMPTY: [&str; 8] = [
    "pg_wal",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
];
const LEFT_OUT: [&str; 2] = ["postmaster.pid", "postmaster.opts"];
/// Within `pg_wal` the server wants this folder.
const ARCHIVE_STATUS: &str = "pg_wal/archive_status";

impl Server {
    /// Starts a standby that is known to this server by that `application_name` and answers queries. `options` are its
    /// settings; what makes it a standby is added. It must be dropped before this server, or it complains to its log
    /// until it is.
    ///
    /// # Errors
    /// As [`Server::start`].
    ///
    /// # Cancel safety
    /// As [`Server::start`].
    pub async fn standby(&self, name: &str, options: ServerOptions) -> Result<Server, ServerError> {
        let folder = Folder::create(&self.account)?;
        let backup = self.connect(SUPERUSER, "postgres").await?;
        self.base_backup(&backup, &folder).await?;
        folder.mark_standby(&self.account)?;
        let primary = format!("{} application_name={}", self.superuser(), keyword(name));
        let options = options
            .setting("primary_conninfo", &primary)
            .setting("wal_receiver_status_interval", "1s")
            .setting("hot_standby", "on");
        let (postmaster, port) = launch(&options, &self.installation, &self.account, &folder).await?;
        // It answers, so it has streamed what the backup needs, which the backup's slot has kept until now.
        drop(backup);
        Ok(Server {
            postmaster,
            folder,
            installation: self.installation.clone(),
            account: self.account,
            port,
        })
    }

    async fn base_backup(&self, backup: &Client, folder: &Folder) -> Result<(), ServerError> {
        let (start, stop) = match self.installation.major {
            ..15 => (
                "pg_start_backup('lab', true, false)",
                "pg_stop_backup(false, false)",
            ),
            15.. => ("pg_backup_start('lab', true)", "pg_backup_stop(false)"),
        };
        // The slot ends with the session.
        let slot =
            "SELECT pg_create_physical_replication_slot('lab_backup_' || pg_backend_pid(), true, true)";
        backup.batch_execute(slot).await?;
        backup.batch_execute(&format!("SELECT {start}")).await?;
        let (from, to, account) = (self.folder.data(), folder.data(), self.account);
        tokio::task::spawn_blocking(move || copy_cluster(&from, &to, &account))
            .await
            .map_err(ServerError::Task)??;
        let label: String = backup
            .query_one(&format!("SELECT labelfile FROM {stop}"), &[])
            .await?
            .get(0);
        folder.write_private(&self.account, "data/backup_label", &label)?;
        Ok(())
    }
}

fn copy_cluster(from: &Path, to: &Path, account: &Account) -> Result<(), FolderError> {
    make_folder(to, account)?;
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        let folder = from.join(&inner);
        let entries = std::fs::read_dir(&folder).map_err(failed(&folder))?;
        for entry in entries {
            let entry = entry.map_err(failed(&folder))?;
            let inner = inner.join(entry.file_name());
            let is_folder = entry.file_type().map_err(failed(&entry.path()))?.is_dir();
            if LEFT_OUT.iter().any(|name| inner == Path::new(name)) {
            } else if is_folder {
                make_folder(&to.join(&inner), account)?;
                if !EMPTY.iter().any(|name| inner == Path::new(name)) {
                    open.push(inner);
                }
            } else {
                copy_file(&entry.path(), &to.join(&inner), account)?;
            }
        }
    }
    make_folder(&to.join(ARCHIVE_STATUS), account)
}

fn make_folder(path: &Path, account: &Account) -> Result<(), FolderError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .and_then(|()| account.own(path))
        .map_err(failed(path))
}

/// A file that the running server has removed meanwhile is none of the backup's: the log removes it too.
fn copy_file(from: &Path, to: &Path, account: &Account) -> Result<(), FolderError> {
    match std::fs::copy(from, to).and_then(|_| account.own(to)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(from)(error)),
        _copied_or_gone => Ok(()),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Write { path, source }
}
