//! The servers that a connection may go to, in order.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::settings::{Said, Settings};
use super::{ConfigError, Secret, passfile};

const PORT_DEFAULT: u16 = 5432;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// How it is reached.
    pub host: Host,
    /// Where it is, if that is not to be asked of the name service.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// The password for it, if one is known.
    pub password: Option<Secret>,
}

/// How a server is reached.
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

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Endpoint {
    /// The path of its socket, if it has one.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Unix(folder) => Some(folder.join(format!(".s.PGSQL.{}", self.port))),
            Host::Tcp(_) => None,
        }
    }
}

/// All that were named, without passwords; at least one.
pub(super) fn named(settings: &Settings<'_>) -> Result<Vec<Endpoint>, ConfigError> {
    let hosts = settings.get("host");
    let addresses = settings.get("hostaddr");
    let hosts = hosts.as_ref().map_or(Vec::new(), list);
    let addresses = match &addresses {
        Some(said) => addresses_of(said)?,
        None => Vec::new(),
    };
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(ConfigError::HostsDoNotMatch {
            what: "addresses",
            hosts: hosts.len(),
            others: addresses.len(),
        });
    }
    let count = hosts.len().max(addresses.len()).max(1);
    let ports = ports(settings.get("port"), count)?;
    let endpoint = |(number, port): (usize, u16)| {
        let address = addresses.get(number).copied().flatten();
        let named = hosts.get(number).filter(|host| !host.is_empty());
        let host = match (named, address) {
            (Some(host), _) if host.starts_with('/') => Host::Unix(host.into()),
            (Some(host), _) => Host::Tcp(host.clone()),
            (None, Some(address)) => Host::Tcp(address.to_string()),
            (None, None) => settings.environment().default_host(port),
        };
        Endpoint {
            host,
            address,
            port,
            password: None,
        }
    };
    Ok(ports.into_iter().enumerate().map(endpoint).collect())
}

/// Gives each its password: the one that was said, or that of the password file.
pub(super) fn with_passwords(
    settings: &Settings<'_>,
    mut endpoints: Vec<Endpoint>,
    user: &str,
    database: &str,
) -> Result<Vec<Endpoint>, ConfigError> {
    if let Some(password) = settings.text("password") {
        for endpoint in &mut endpoints {
            endpoint.password = Some(Secret::new(password.as_str()));
        }
        return Ok(endpoints);
    }
    if let Some(file) = passfile::read(settings)? {
        for endpoint in &mut endpoints {
            endpoint.password = passfile::find(&file, endpoint, user, database);
        }
    }
    Ok(endpoints)
}

fn list(said: &Said) -> Vec<String> {
    said.value.split(',').map(|one| one.trim().to_owned()).collect()
}

fn addresses_of(said: &Said) -> Result<Vec<Option<IpAddr>>, ConfigError> {
    let address = |text: &String| match text.as_str() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| said.unusable("IP addresses")),
    };
    list(said).iter().map(address).collect()
}

/// One for each host: a single one is everybody's.
fn ports(said: Option<Said>, hosts: usize) -> Result<Vec<u16>, ConfigError> {
    let Some(said) = said else {
        return Ok(vec![PORT_DEFAULT; hosts]);
    };
    let port = |text: &String| match text.as_str() {
        "" => Ok(PORT_DEFAULT),
        text => text
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| said.unusable("a number from 1 to 65535")),
    };
    let all: Vec<u16> = list(&said).iter().map(port).collect::<Result<_, _>>()?;
    match all.as_slice() {
        [one] => Ok(vec![*one; hosts]),
        several if several.len() == hosts => Ok(all),
        several => Err(ConfigError::HostsDoNotMatch {
            what: "ports",
            hosts,
            others: several.len(),
        }),
    }
}
