//! A physical standby of a running server, made with `pg_basebackup` and streaming from it.

use std::path::PathBuf;
use std::process::Stdio;

use super::folder::Folder;
use super::postmaster::{self, PostmasterError};
use super::{SUPERUSER, Server, ServerError, ServerOptions, keyword, launch};

impl Server {
    /// Starts a standby that is known to this server by that `application_name` and answers queries. It must be dropped
    /// before this server, or it complains to its log until it is.
    ///
    /// # Errors
    /// As [`Server::start`]; also where the installation has no `pg_basebackup`.
    ///
    /// # Cancel safety
    /// As [`Server::start`].
    pub async fn standby(&self, name: &str) -> Result<Server, ServerError> {
        let folder = Folder::create(&self.account)?;
        self.base_backup(&folder).await?;
        let primary = format!(
            "host={} port={} user={SUPERUSER} application_name={}",
            keyword(&self.socket_dir().display().to_string()),
            self.port,
            keyword(name)
        );
        let options = ServerOptions::default()
            .setting("primary_conninfo", &primary)
            .setting("wal_receiver_status_interval", "1s")
            .setting("hot_standby", "on");
        folder.mark_standby(&self.account)?;
        let (postmaster, port) = launch(&options, &self.installation, &self.account, &folder).await?;
        Ok(Server {
            postmaster,
            folder,
            installation: self.installation.clone(),
            account: self.account,
            port,
        })
    }

    async fn base_backup(&self, folder: &Folder) -> Result<(), PostmasterError> {
        let program = self
            .installation
            .find_program("pg_basebackup")
            .unwrap_or_else(|| PathBuf::from("pg_basebackup"));
        let mut command = postmaster::command(&program, &self.account, folder);
        command
            .arg("--host")
            .arg(self.socket_dir())
            .args(["--port", &self.port.to_string(), "--username", SUPERUSER])
            .args(["--checkpoint", "fast", "--no-sync", "--wal-method", "stream"])
            .arg("--pgdata")
            .arg(folder.data())
            .stdout(Stdio::null());
        let output = tokio::process::Command::from(command).kill_on_drop(true).output();
        let output = output.await;
        let output = output.map_err(|source| PostmasterError::Spawn {
            program: program.clone(),
            source,
        })?;
        if output.status.success() {
            return Ok(());
        }
        Err(PostmasterError::BaseBackup {
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
