//! A private PostgreSQL server in a temporary folder.
//!
//! ```text
//! find ──► Installation ──► Folder (+ watchdog) ──► initdb ──► postgres ──► first connection answers
//! ```
//!
//! Invariants: the server listens on a socket that only its account (and root) can open, and on 127.0.0.1, where
//! passwords are asked for; dropping a [`Server`] leaves neither process nor file, also in a panic; and if this
//! process is killed outright, the watchdog of `folder` does the same.

mod account;
mod folder;
mod installation;
mod options;
mod package;
mod postmaster;
mod standby;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use tokio_postgres::{Client, NoTls};

pub use self::account::AccountError;
pub use self::folder::FolderError;
pub use self::installation::{Installation, InstallationError, MAJOR_MIN, Requirements, find};
pub use self::options::{LogStatement, ServerOptions};
pub use self::package::{PackageError, fetch};
pub use self::postmaster::PostmasterError;

use self::account::Account;
use self::folder::Folder;
use self::postmaster::Postmaster;

/// The superuser that `initdb` creates. It has no password, so it comes in by the socket only.
pub const SUPERUSER: &str = "postgres";

/// Another process can take a free port between our asking for it and the server's binding it.
const PORT_ATTEMPTS: u32 = 5;

/// Why a server did not start, stop or answer.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No PostgreSQL was found or fetched.
    #[error("find a PostgreSQL to run")]
    Installation(#[from] InstallationError),
    /// The task that looks for it, or that copies its files, died.
    #[error("wait for work on files")]
    Task(#[source] tokio::task::JoinError),
    /// We are root and there is nobody to be instead.
    #[error("choose the account to run PostgreSQL as")]
    Account(#[from] AccountError),
    /// The temporary folder or its watchdog.
    #[error("prepare the server's folder")]
    Folder(#[from] FolderError),
    /// No port to listen on.
    #[error("find a free port on 127.0.0.1")]
    Port(#[source] std::io::Error),
    /// `initdb` or `postgres`.
    #[error("run PostgreSQL")]
    Postmaster(#[from] PostmasterError),
    /// A statement of ours failed.
    #[error("set up the server")]
    Query(#[from] tokio_postgres::Error),
}

/// A running server. Dropping it kills the server and removes its files.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order: first the process, then its folder.
    postmaster: Postmaster,
    folder: Folder,
    installation: Installation,
    account: Account,
    port: u16,
}

impl Server {
    /// Creates a cluster, starts it and waits until it answers.
    ///
    /// # Errors
    /// [`ServerError`], with the tail of the server's log where it has one.
    ///
    /// # Cancel safety
    /// Dropping the future stops whatever was started and removes its files.
    pub async fn start(options: ServerOptions) -> Result<Server, ServerError> {
        let installation = match options.installation.clone() {
            Some(installation) => installation,
            None => search(Requirements::default()).await?,
        };
        let account = Account::for_servers()?;
        let folder = Folder::create(&account)?;
        postmaster::initdb(&installation, &account, &folder).await?;
        let (postmaster, port) = launch(&options, &installation, &account, &folder).await?;
        Ok(Server {
            postmaster,
            folder,
            installation,
            account,
            port,
        })
    }

    /// Stops the server and starts it again, on the same files, port and socket.
    ///
    /// `immediate` is a crash: nothing is flushed that was not, and the server recovers from its WAL.
    ///
    /// # Errors
    /// [`ServerError::Postmaster`]; the server may then be down.
    pub async fn restart(&mut self, immediate: bool) -> Result<(), ServerError> {
        self.postmaster.stop(immediate).await?;
        let mut next = Postmaster::spawn(&self.installation, &self.account, &self.folder)?;
        next.wait_until_ready(&self.superuser(), &self.folder).await?;
        self.postmaster = next;
        Ok(())
    }

    /// Kills the postmaster with SIGKILL and leaves it down until [`Server::restart`].
    ///
    /// # Errors
    /// [`ServerError::Postmaster`] when the signal cannot be sent.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        Ok(self.postmaster.kill()?)
    }

    /// How `role` reaches `database` over the socket, without a password: a libpq keyword string.
    pub fn connection(&self, role: &str, database: &str) -> String {
        let host = self.socket_dir().display().to_string();
        format!(
            "host={} port={} user={} dbname={}",
            keyword(&host),
            self.port,
            keyword(role),
            keyword(database)
        )
    }

    /// How `role` reaches `database` on this server or on another one, whichever takes writes, as
    /// [`Server::connection`].
    pub fn connection_to_either(&self, other: &Server, role: &str, database: &str) -> String {
        let [here, there] = [self, other].map(|server| server.socket_dir().display().to_string());
        format!(
            "host={} port={},{} user={} dbname={} target_session_attrs=read-write",
            keyword(&format!("{here},{there}")),
            self.port,
            other.port,
            keyword(role),
            keyword(database)
        )
    }

    /// How `role` reaches `database` over TCP with its password: a libpq keyword string.
    pub fn tcp_connection(&self, role: &str, password: &str, database: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user={} password={} dbname={}",
            self.port,
            keyword(role),
            keyword(password),
            keyword(database)
        )
    }

    /// How the superuser reaches the database `postgres`.
    pub fn superuser(&self) -> String {
        self.connection(SUPERUSER, "postgres")
    }

    /// A session of `role` in `database`, over the socket.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn connect(&self, role: &str, database: &str) -> Result<Client, tokio_postgres::Error> {
        open(&self.connection(role, database)).await
    }

    /// Makes a role that may log in. `attributes` are SQL words such as `REPLICATION CREATEDB`.
    ///
    /// # Errors
    /// [`ServerError::Query`].
    pub async fn create_role(&self, name: &str, password: &str, attributes: &str) -> Result<(), ServerError> {
        let client = self.connect(SUPERUSER, "postgres").await?;
        let statement = format!(
            "CREATE ROLE {} LOGIN {attributes} PASSWORD {}",
            crate::sql::identifier(name),
            crate::sql::literal(password)
        );
        Ok(client.batch_execute(&statement).await?)
    }

    /// Makes a database that belongs to `owner`.
    ///
    /// # Errors
    /// [`ServerError::Query`].
    pub async fn create_database(&self, name: &str, owner: &str) -> Result<(), ServerError> {
        let client = self.connect(SUPERUSER, "postgres").await?;
        let statement = format!(
            "CREATE DATABASE {} OWNER {}",
            crate::sql::identifier(name),
            crate::sql::identifier(owner)
        );
        Ok(client.batch_execute(&statement).await?)
    }

    /// Writes a file that nobody but the server's account (and root) may read.
    ///
    /// # Errors
    /// [`ServerError::Folder`].
    pub fn write_private(&self, name: &str, text: &str) -> Result<PathBuf, ServerError> {
        Ok(self.folder.write_private(&self.account, name, text)?)
    }

    /// Who may come in how: the lines of `pg_hba.conf`, which count from the next restart on.
    ///
    /// # Errors
    /// [`ServerError::Folder`].
    pub fn let_in(&self, lines: &str) -> Result<(), ServerError> {
        self.write_private("data/pg_hba.conf", lines)?;
        Ok(())
    }

    /// Everything the server has logged so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> std::io::Result<String> {
        self.folder.log_text()
    }

    /// Says on stderr which server this is, past the harness that keeps what a passing test prints to itself.
    pub fn announce(&self) {
        let bin = self.installation.bin.display();
        // Where nobody listens there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "PostgreSQL {} from {bin}", self.version());
    }

    /// The server's version, such as `17.10`.
    pub fn version(&self) -> &str {
        &self.installation.version
    }

    /// The programs it runs from.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The TCP port on 127.0.0.1, and the number in the socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the socket.
    pub fn socket_dir(&self) -> PathBuf {
        self.folder.socket()
    }

    /// The folder that holds everything of this server, and is gone after the drop.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The postmaster's process id.
    pub fn pid(&self) -> u32 {
        self.postmaster.pid()
    }
}

/// Opens a session by a libpq keyword string or URL, and drives it in a task of its own.
///
/// # Errors
/// What the server answered, or why it could not be reached.
pub async fn open(connection: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, driver) = tokio_postgres::connect(connection, NoTls).await?;
    // The client's own calls report a broken connection; the driver has nothing to add.
    tokio::spawn(async move { driver.await.ok() });
    Ok(client)
}

/// [`find`] and, where needed, the download, off the async threads.
///
/// # Errors
/// [`ServerError::Installation`].
pub async fn search(requirements: Requirements) -> Result<Installation, ServerError> {
    let found = tokio::task::spawn_blocking(move || find(&requirements)).await;
    Ok(found.map_err(ServerError::Task)??)
}

async fn launch(
    options: &ServerOptions,
    installation: &Installation,
    account: &Account,
    folder: &Folder,
) -> Result<(Postmaster, u16), ServerError> {
    let mut attempts_left = PORT_ATTEMPTS;
    loop {
        attempts_left -= 1;
        let port = free_port().map_err(ServerError::Port)?;
        folder.configure(&options.render(&folder.socket(), port))?;
        let mut postmaster = Postmaster::spawn(installation, account, folder)?;
        let host = folder.socket().display().to_string();
        let connection = format!(
            "host={} port={port} user={SUPERUSER} dbname=postgres",
            keyword(&host)
        );
        match postmaster.wait_until_ready(&connection, folder).await {
            Ok(()) => return Ok((postmaster, port)),
            Err(error) if error.is_port_taken() && attempts_left > 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A value of a libpq keyword string.
fn keyword(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}
