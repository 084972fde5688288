//! Where to connect and as whom: connection strings, `PG*` environment, password file.
//!
//! What libpq would take, this takes: a URL or a keyword string, the environment for what it leaves out, the
//! password file for the password. TLS is not here yet, so a mode that demands it is refused rather than
//! ignored; its place is where the parts of a configuration are put together.

mod environment;
mod passfile;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use self::environment::Environment;

/// How long a connection may take unless the connection string says otherwise.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

const PORT_DEFAULT: u16 = 5432;

/// Everything needed to open a connection, SQL or replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectConfig {
    /// The server.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The role.
    pub user: String,
    /// The password, if one is known.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// How long opening may take.
    pub connect_timeout: Duration,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
}

/// How the server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A host name or address.
    Tcp(String),
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Tcp(name) => name.fmt(f),
            Host::Unix(folder) => folder.display().fmt(f),
        }
    }
}

/// A password. Shown nowhere; whoever needs it says [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(password: impl Into<String>) -> Self {
        Secret(password.into())
    }

    /// The password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a connection string and the environment do not say where to connect.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is neither a URL nor keywords.
    #[error("read the connection string")]
    Syntax {
        /// What the parser said; it quotes no values.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A variable of the environment has no usable value.
    #[error("use the environment variable {variable}")]
    Variable {
        /// Its name.
        variable: &'static str,
    },
    /// Several hosts or ports: source and target must be one known server each.
    #[error("choose between several hosts: give the one server that takes the writes")]
    SeveralHosts,
    /// An `sslmode` that demands TLS.
    #[error("honour sslmode={mode}: this release connects without TLS (sslmode disable or prefer)")]
    TlsNotSupported {
        /// The mode asked for.
        mode: String,
    },
    /// A keyword that would change the session and is not carried through.
    #[error("honour the connection keyword `{keyword}`")]
    KeywordNotSupported {
        /// The keyword.
        keyword: &'static str,
    },
    /// Nobody said as whom to connect.
    #[error("find out as whom to connect: name a user in the connection string or in PGUSER")]
    NoUser,
    /// The password is not UTF-8.
    #[error("read the password as UTF-8")]
    PasswordNotUtf8,
    /// The password file may be read by others.
    #[error("use the password file {path}: others may read it, so run chmod 0600 on it", path = path.display())]
    PassfileOpenToOthers {
        /// The file.
        path: PathBuf,
    },
    /// The password file cannot be read.
    #[error("read the password file {path}", path = path.display())]
    PassfileUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ConnectConfig {
    /// Resolves a connection string (a URL, keywords, or empty) with the environment of this process.
    ///
    /// # Errors
    /// When the text is malformed, asks for what is not supported, or leaves something open.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::resolve(text, &Environment::of_process())
    }

    /// Resolves a connection string with the given environment.
    ///
    /// # Errors
    /// As [`ConnectConfig::parse`].
    pub fn resolve(text: &str, environment: &Environment) -> Result<Self, ConfigError> {
        refuse_tls(text, environment)?;
        let parsed =
            tokio_postgres::Config::from_str(text).map_err(|source| ConfigError::Syntax { source })?;
        Self::from_parts(&parsed, environment)
    }

    fn from_parts(given: &tokio_postgres::Config, environment: &Environment) -> Result<Self, ConfigError> {
        if given.get_options().is_some() {
            return Err(ConfigError::KeywordNotSupported { keyword: "options" });
        }
        let port = port(given, environment)?;
        let host = host(given, environment, port)?;
        let user = given
            .get_user()
            .map(str::to_owned)
            .or_else(|| environment.get("PGUSER"));
        let user = user.or_else(|| environment.login()).ok_or(ConfigError::NoUser)?;
        let database = given
            .get_dbname()
            .map(str::to_owned)
            .or_else(|| environment.get("PGDATABASE"));
        let database = database.unwrap_or_else(|| user.clone());
        let application_name = given.get_application_name().map(str::to_owned);
        let mut config = ConnectConfig {
            host,
            port,
            user,
            password: None,
            database,
            connect_timeout: connect_timeout(given, environment)?,
            application_name: application_name.unwrap_or_else(|| "crossfade".to_owned()),
        };
        config.password = config.find_password(given, environment)?;
        Ok(config)
    }

    /// The same server and role, seen under another name in `pg_stat_activity`.
    #[must_use]
    pub fn with_application_name(&self, name: impl Into<String>) -> Self {
        ConnectConfig {
            application_name: name.into(),
            ..self.clone()
        }
    }

    /// The same server and role, another database.
    #[must_use]
    pub fn with_database(&self, database: impl Into<String>) -> Self {
        ConnectConfig {
            database: database.into(),
            ..self.clone()
        }
    }

    fn find_password(
        &self,
        given: &tokio_postgres::Config,
        environment: &Environment,
    ) -> Result<Option<Secret>, ConfigError> {
        if let Some(bytes) = given.get_password() {
            let text = std::str::from_utf8(bytes).map_err(|_| ConfigError::PasswordNotUtf8)?;
            return Ok(Some(Secret::new(text)));
        }
        if let Some(text) = environment.get("PGPASSWORD") {
            return Ok(Some(Secret::new(text)));
        }
        passfile::find(self, environment)
    }

    pub(crate) fn to_tokio(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        match &self.host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(folder) => config.host_path(folder),
        };
        config
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name(&self.application_name)
            .connect_timeout(self.connect_timeout)
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(60))
            .ssl_mode(tokio_postgres::config::SslMode::Disable);
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        config
    }
}

impl fmt::Display for ConnectConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

/// Looks at the text itself, since the parser knows no mode beyond `require`.
fn refuse_tls(text: &str, environment: &Environment) -> Result<(), ConfigError> {
    let from_text = text.split_once("sslmode").and_then(|(_, rest)| {
        let value = rest.trim_start().strip_prefix('=')?.trim_start();
        let end = value.find(|char: char| !(char.is_ascii_alphanumeric() || char == '-' || char == '\''));
        Some(value[..end.unwrap_or(value.len())].trim_matches('\'').to_owned())
    });
    match from_text.or_else(|| environment.get("PGSSLMODE")) {
        Some(mode) if !matches!(mode.as_str(), "disable" | "allow" | "prefer") => {
            Err(ConfigError::TlsNotSupported { mode })
        }
        _ => Ok(()),
    }
}

fn port(given: &tokio_postgres::Config, environment: &Environment) -> Result<u16, ConfigError> {
    match given.get_ports() {
        [] => match environment.get("PGPORT") {
            Some(text) => text
                .parse()
                .map_err(|_| ConfigError::Variable { variable: "PGPORT" }),
            None => Ok(PORT_DEFAULT),
        },
        [port] => Ok(*port),
        _ => Err(ConfigError::SeveralHosts),
    }
}

fn host(given: &tokio_postgres::Config, environment: &Environment, port: u16) -> Result<Host, ConfigError> {
    if let [address] = given.get_hostaddrs() {
        return Ok(Host::Tcp(address.to_string()));
    }
    match given.get_hosts() {
        [] => match environment.get("PGHOST") {
            Some(text) if text.contains(',') => Err(ConfigError::SeveralHosts),
            Some(text) if text.starts_with('/') => Ok(Host::Unix(text.into())),
            Some(text) => Ok(Host::Tcp(text)),
            None => Ok(environment.default_host(port)),
        },
        [tokio_postgres::config::Host::Tcp(name)] => Ok(Host::Tcp(name.clone())),
        [tokio_postgres::config::Host::Unix(folder)] => Ok(Host::Unix(folder.clone())),
        _ => Err(ConfigError::SeveralHosts),
    }
}

fn connect_timeout(
    given: &tokio_postgres::Config,
    environment: &Environment,
) -> Result<Duration, ConfigError> {
    if let Some(timeout) = given.get_connect_timeout() {
        return Ok(*timeout);
    }
    match environment.get("PGCONNECT_TIMEOUT") {
        Some(text) => text
            .parse()
            .map(Duration::from_secs)
            .map_err(|_| ConfigError::Variable {
                variable: "PGCONNECT_TIMEOUT",
            }),
        None => Ok(CONNECT_TIMEOUT_DEFAULT),
    }
}

#[cfg(test)]
mod tests;
