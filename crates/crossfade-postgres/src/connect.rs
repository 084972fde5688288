//! Where to connect and as whom, and the connection's byte stream.
//!
//! ```text
//! connection string ─► conninfo ─┐
//! service file ─────► service ───┼─► settings ─► ConnectConfig ─► establish ─► Stream, logged in
//! PG* variables ────► environment┘                  ▲                 (each server, each encryption)
//! password file ────► passfile ─────────────────────┘
//! ```
//!
//! What libpq takes, this takes, by the same names and with the same precedence; a parameter that asks for what is not
//! built is refused and never ignored. Different from libpq, on purpose: of several servers the one that takes writes
//! is chosen whether or not that is said, a password file that others may read is an error and not a warning, and
//! without `connect_timeout` a connection has ten seconds.

mod certificate;
mod conninfo;
mod endpoint;
mod environment;
mod establish;
mod libpq;
mod passfile;
mod service;
mod settings;
mod stream;
mod tls;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};

pub use self::endpoint::{Endpoint, Host};
pub use self::environment::Environment;
pub use self::establish::{Failure, Next, Route, establish};
pub use self::settings::SaidIn;
use self::settings::Settings;
pub(crate) use self::stream::AsItIs;
pub use self::stream::{Encryption, Stream, StreamError, tls_reason};
pub use self::tls::{ClientFiles, Negotiation, Roots, TlsFileError, TlsMode, TlsOptions, TlsVersion};

/// How long a connection may take unless that is said.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// As good as without end.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// Everything needed to open a connection, SQL or replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectConfig {
    /// The servers to try, in order; at least one.
    pub endpoints: Vec<Endpoint>,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// How long opening may take, for each server.
    pub connect_timeout: Duration,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// Whether a password is bound to the server's certificate.
    pub channel_binding: Binding,
    /// What is asked of TLS.
    pub tls: TlsOptions,
    /// When a silent connection counts as lost.
    pub keepalive: Keepalive,
    /// The cluster that it has to lead to, by its system identifier; `None` until that is known.
    pub cluster: Option<u64>,
}

/// `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Never.
    Disable,
    /// If the server offers it.
    Prefer,
    /// A server that does not offer it is not logged in to.
    Require,
}

/// When a silent TCP connection counts as lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Probes are sent at all.
    pub on: bool,
    /// After so much silence.
    pub idle: Duration,
    /// And then each.
    pub interval: Duration,
    /// So many.
    pub count: u32,
    /// How long what was sent may stay without an answer; `None` as the system has it.
    pub user_timeout: Option<Duration>,
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

/// Why connection string, service and environment do not say where to connect.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is neither a URI nor keywords.
    #[error("read the connection string: {reason}")]
    Syntax {
        /// What is wrong; it quotes no values.
        reason: String,
    },
    /// No parameter of libpq's has this name.
    #[error("understand the connection parameter `{keyword}` in {by}")]
    UnknownKeyword {
        /// The name.
        keyword: String,
        /// Where it is said.
        by: SaidIn,
    },
    /// A parameter has a value that it cannot have.
    #[error("use {keyword}={value} (from {by}): it can be {expected}")]
    Value {
        /// Its name.
        keyword: &'static str,
        /// Its value; never a password.
        value: String,
        /// Where it is said.
        by: SaidIn,
        /// What it can be.
        expected: &'static str,
    },
    /// A parameter that is not carried through.
    #[error("honour the connection parameter `{keyword}` (from {by}): it is not supported")]
    NotSupported {
        /// Its name.
        keyword: &'static str,
        /// Where it is said.
        by: SaidIn,
    },
    /// Lists of different lengths.
    #[error("match {others} {what} to {hosts} hosts: give one for each")]
    HostsDoNotMatch {
        /// Ports or addresses.
        what: &'static str,
        /// How many hosts.
        hosts: usize,
        /// How many of these.
        others: usize,
    },
    /// Nobody said as whom to connect.
    #[error("find out as whom to connect: name a user in the connection string or in PGUSER")]
    NoUser,
    /// A service that no file has.
    #[error("find the service `{service}` in {}", .files.join(" or "))]
    ServiceNotFound {
        /// Its name.
        service: String,
        /// Where it was looked for.
        files: Vec<String>,
    },
    /// A service file cannot be read.
    #[error("read the service file {path}", path = path.display())]
    ServiceFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line that is no `keyword=value`, or names a further service.
    #[error("read the service file {path}, line {line}: it is no `keyword=value`", path = path.display())]
    ServiceSyntax {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
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
    /// Resolves a connection string (a URI, keywords, or empty) with the environment of this process.
    ///
    /// # Errors
    /// When something is malformed, asks for what is not supported, or is left open.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::resolve(text, &Environment::of_process())
    }

    /// Resolves a connection string with the given environment.
    ///
    /// # Errors
    /// As [`ConnectConfig::parse`].
    pub fn resolve(text: &str, environment: &Environment) -> Result<Self, ConfigError> {
        let settings = Settings::of(text, environment)?;
        let endpoints = endpoint::named(&settings)?;
        let user = settings.text("user").or_else(|| environment.login());
        let user = user.ok_or(ConfigError::NoUser)?;
        let database = settings.text("dbname").unwrap_or_else(|| user.clone());
        takes_writes(&settings)?;
        Ok(ConnectConfig {
            endpoints: endpoint::with_passwords(&settings, endpoints, &user, &database)?,
            connect_timeout: connect_timeout(&settings)?,
            application_name: settings
                .text("application_name")
                .unwrap_or_else(|| "crossfade".to_owned()),
            channel_binding: binding(&settings)?,
            tls: TlsOptions::of(&settings)?,
            keepalive: keepalive(&settings)?,
            cluster: None,
            user,
            database,
        })
    }

    /// The same server and role, seen under another name in `pg_stat_activity`.
    #[must_use]
    pub fn with_application_name(&self, name: impl Into<String>) -> Self {
        ConnectConfig {
            application_name: name.into(),
            ..self.clone()
        }
    }

    /// The same, and from now on no connection, for SQL or replication, is to another cluster than this one.
    #[must_use]
    pub fn to_cluster(&self, system_identifier: u64) -> Self {
        ConnectConfig {
            cluster: Some(system_identifier),
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

    /// The same servers by another password.
    #[must_use]
    pub fn with_password(&self, password: Option<Secret>) -> Self {
        let mut config = self.clone();
        for endpoint in &mut config.endpoints {
            endpoint.password.clone_from(&password);
        }
        config
    }

    /// For the client library, which is given a stream.
    pub(crate) fn to_tokio(&self, route: &Route) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.user)
            .dbname(&self.database)
            .application_name(&self.application_name)
            .channel_binding(match self.channel_binding {
                Binding::Disable => ChannelBinding::Disable,
                Binding::Prefer => ChannelBinding::Prefer,
                Binding::Require => ChannelBinding::Require,
            });
        match route.encryption {
            Encryption::Plain => config.ssl_mode(SslMode::Disable),
            // As far as the library knows, TLS begins with the next byte; it has begun already.
            Encryption::Tls => config
                .ssl_mode(SslMode::Require)
                .ssl_negotiation(SslNegotiation::Direct),
        };
        if let Some(password) = &route.endpoint.password {
            config.password(password.expose());
        }
        config
    }
}

impl fmt::Display for ConnectConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.endpoints.iter().map(Endpoint::to_string);
        let endpoints = endpoints.collect::<Vec<_>>().join(",");
        write!(f, "{}@{endpoints}/{}", self.user, self.database)
    }
}

fn takes_writes(settings: &Settings<'_>) -> Result<(), ConfigError> {
    match settings.get("target_session_attrs") {
        None => Ok(()),
        Some(said) if ["any", "read-write", "primary"].contains(&said.value.as_str()) => Ok(()),
        Some(said) => {
            Err(said.unusable("any, read-write or primary: only a server that takes writes will do"))
        }
    }
}

fn binding(settings: &Settings<'_>) -> Result<Binding, ConfigError> {
    let Some(said) = settings.get("channel_binding") else {
        return Ok(Binding::Prefer);
    };
    match said.value.as_str() {
        "disable" => Ok(Binding::Disable),
        "prefer" => Ok(Binding::Prefer),
        "require" => Ok(Binding::Require),
        _ => Err(said.unusable("disable, prefer or require")),
    }
}

fn connect_timeout(settings: &Settings<'_>) -> Result<Duration, ConfigError> {
    let Some(said) = settings.get("connect_timeout") else {
        return Ok(CONNECT_TIMEOUT_DEFAULT);
    };
    // Nothing and less is for ever, as libpq has it.
    let seconds: i64 = said.number("a number of seconds")?;
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    Ok(seconds.map_or(FOREVER, Duration::from_secs).min(FOREVER))
}

fn keepalive(settings: &Settings<'_>) -> Result<Keepalive, ConfigError> {
    let on = settings.get("keepalives").map(|said| said.switch());
    let number = |keyword, default: u32| match settings.get(keyword) {
        None => Ok(default),
        // Nothing is the system's default; here that is ours.
        Some(said) => said
            .number("a whole number")
            .map(|number: u32| if number == 0 { default } else { number }),
    };
    let seconds = |keyword, default| Ok(Duration::from_secs(number(keyword, default)?.into()));
    let user_timeout = match settings.get("tcp_user_timeout") {
        None => Some(Duration::from_secs(60)),
        Some(said) => {
            let millis: u64 = said.number("a number of milliseconds")?;
            Some(Duration::from_millis(millis)).filter(|timeout| !timeout.is_zero())
        }
    };
    Ok(Keepalive {
        on: on.transpose()?.unwrap_or(true),
        idle: seconds("keepalives_idle", 30)?,
        interval: seconds("keepalives_interval", 10)?,
        count: number("keepalives_count", 3)?,
        user_timeout,
    })
}

#[cfg(test)]
mod tests;
