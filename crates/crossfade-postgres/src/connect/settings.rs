//! Each connection parameter, from wherever it is said: the connection string, the service, the environment.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::conninfo::{self, Keywords};
use super::{ConfigError, Environment, service};

/// Where a parameter was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaidIn {
    /// The connection string.
    String,
    /// A section of a service file.
    Service(PathBuf),
    /// An environment variable.
    Variable(&'static str),
}

impl fmt::Display for SaidIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SaidIn::String => f.write_str("the connection string"),
            SaidIn::Service(path) => write!(f, "the service of {}", path.display()),
            SaidIn::Variable(name) => f.write_str(name),
        }
    }
}

/// A parameter's value.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) keyword: &'static str,
    pub(super) value: String,
    pub(super) by: SaidIn,
}

impl Said {
    /// It is not what it has to be.
    pub(super) fn unusable(&self, expected: &'static str) -> ConfigError {
        ConfigError::Value {
            keyword: self.keyword,
            value: self.value.clone(),
            by: self.by.clone(),
            expected,
        }
    }

    pub(super) fn number<T: FromStr>(&self, expected: &'static str) -> Result<T, ConfigError> {
        self.value.trim().parse().map_err(|_| self.unusable(expected))
    }

    /// `1` or `0`.
    pub(super) fn switch(&self) -> Result<bool, ConfigError> {
        match self.value.trim() {
            "1" => Ok(true),
            "0" => Ok(false),
            _ => Err(self.unusable("1 or 0")),
        }
    }

    fn not_supported(&self) -> ConfigError {
        ConfigError::NotSupported {
            keyword: self.keyword,
            by: self.by.clone(),
        }
    }
}

/// What is done about a keyword.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heeded {
    /// It is.
    Yes,
    /// It has no meaning here, or says what is so anyway.
    Meaningless,
    /// It asks for what cannot be done, unless it has the value that asks for nothing.
    No { unless: &'static [&'static str] },
}

use Heeded::{Meaningless, No, Yes};

/// Every keyword of libpq's, with its environment variable.
const KEYWORDS: &[(&str, Option<&str>, Heeded)] = &[
    ("application_name", Some("PGAPPNAME"), Yes),
    ("channel_binding", Some("PGCHANNELBINDING"), Yes),
    ("client_encoding", Some("PGCLIENTENCODING"), Meaningless),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT"), Yes),
    ("dbname", Some("PGDATABASE"), Yes),
    ("fallback_application_name", None, Meaningless),
    ("gssdelegation", Some("PGGSSDELEGATION"), No { unless: &["0"] }),
    (
        "gssencmode",
        Some("PGGSSENCMODE"),
        No {
            unless: &["disable", "prefer"],
        },
    ),
    ("gsslib", Some("PGGSSLIB"), Meaningless),
    ("host", Some("PGHOST"), Yes),
    ("hostaddr", Some("PGHOSTADDR"), Yes),
    ("keepalives", None, Yes),
    ("keepalives_count", None, Yes),
    ("keepalives_idle", None, Yes),
    ("keepalives_interval", None, Yes),
    ("krbsrvname", Some("PGKRBSRVNAME"), Meaningless),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS"), Meaningless),
    ("options", None, No { unless: &[] }),
    ("passfile", Some("PGPASSFILE"), Yes),
    ("password", Some("PGPASSWORD"), Yes),
    ("port", Some("PGPORT"), Yes),
    (
        "replication",
        None,
        No {
            unless: &["false", "off", "no", "0"],
        },
    ),
    ("requiressl", Some("PGREQUIRESSL"), No { unless: &["0"] }),
    ("require_auth", Some("PGREQUIREAUTH"), No { unless: &[] }),
    ("requirepeer", Some("PGREQUIREPEER"), No { unless: &[] }),
    ("service", Some("PGSERVICE"), Yes),
    ("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION"), Yes),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION"), Yes),
    ("sslcert", Some("PGSSLCERT"), Yes),
    ("sslcertmode", Some("PGSSLCERTMODE"), No { unless: &["allow"] }),
    ("sslcompression", Some("PGSSLCOMPRESSION"), Meaningless),
    ("sslcrl", Some("PGSSLCRL"), Yes),
    ("sslcrldir", Some("PGSSLCRLDIR"), No { unless: &[] }),
    ("sslkey", Some("PGSSLKEY"), Yes),
    ("sslmode", Some("PGSSLMODE"), Yes),
    ("sslnegotiation", Some("PGSSLNEGOTIATION"), Yes),
    ("sslpassword", None, No { unless: &[] }),
    ("sslrootcert", Some("PGSSLROOTCERT"), Yes),
    ("sslsni", Some("PGSSLSNI"), Yes),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS"), Yes),
    ("tcp_user_timeout", None, Yes),
    ("user", Some("PGUSER"), Yes),
];

/// Nothing is no value of these: what was meant to be safe must not be less so because a variable was not set.
const NEVER_EMPTY: [&str; 4] = [
    "channel_binding",
    "sslmode",
    "sslnegotiation",
    "target_session_attrs",
];

/// What was said of a connection.
pub(super) struct Settings<'a> {
    string: Keywords,
    service: Option<(Keywords, PathBuf)>,
    environment: &'a Environment,
}

impl<'a> Settings<'a> {
    /// Of a connection string, the service that it or the environment names, and the environment.
    pub(super) fn of(text: &str, environment: &'a Environment) -> Result<Self, ConfigError> {
        let mut settings = Settings {
            string: conninfo::parse(text)?,
            service: None,
            environment,
        };
        known(&settings.string, &SaidIn::String)?;
        if let Some(said) = settings.get("service") {
            let (keywords, path) = service::find(&said.value, environment)?;
            known(&keywords, &SaidIn::Service(path.clone()))?;
            settings.service = Some((keywords, path));
        }
        settings.all_heeded()?;
        Ok(settings)
    }

    /// What was said of a keyword; an empty value is as none, as libpq has it.
    pub(super) fn get(&self, keyword: &'static str) -> Option<Said> {
        let of_string = self
            .string
            .get(keyword)
            .map(|value| (value.clone(), SaidIn::String));
        let of_service = || {
            let (keywords, path) = self.service.as_ref()?;
            let value = keywords.get(keyword)?;
            Some((value.clone(), SaidIn::Service(path.clone())))
        };
        let of_environment = || {
            let variable = variable(keyword)?;
            Some((self.environment.even_empty(variable)?, SaidIn::Variable(variable)))
        };
        let said = of_string.or_else(of_service).or_else(of_environment);
        let (value, by) = said.filter(|(value, _)| !value.is_empty() || NEVER_EMPTY.contains(&keyword))?;
        Some(Said { keyword, value, by })
    }

    /// As [`Settings::get`], the value alone.
    pub(super) fn text(&self, keyword: &'static str) -> Option<String> {
        self.get(keyword).map(|said| said.value)
    }

    pub(super) fn environment(&self) -> &Environment {
        self.environment
    }

    fn all_heeded(&self) -> Result<(), ConfigError> {
        for (keyword, _, heeded) in KEYWORDS {
            if let (No { unless }, Some(said)) = (heeded, self.get(keyword))
                && !unless.contains(&said.value.as_str())
            {
                return Err(said.not_supported());
            }
        }
        Ok(())
    }
}

fn known(keywords: &Keywords, by: &SaidIn) -> Result<(), ConfigError> {
    let unknown = keywords
        .keys()
        .find(|keyword| !KEYWORDS.iter().any(|(known, _, _)| known == keyword));
    match unknown {
        Some(keyword) => Err(ConfigError::UnknownKeyword {
            keyword: keyword.clone(),
            by: by.clone(),
        }),
        None => Ok(()),
    }
}

fn variable(keyword: &str) -> Option<&'static str> {
    let (_, variable, _) = KEYWORDS.iter().find(|(known, _, _)| *known == keyword)?;
    *variable
}
