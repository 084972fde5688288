//! What is asked of TLS, and the configuration that does it. (PostgreSQL's documentation, 34.19.)
//!
//! Certificates are read anew for each connection: a migration outlives the files that are rotated under it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, Error, SupportedProtocolVersion, version};

use super::ConfigError;
use super::certificate::{ServerVerifier, Trust};
use super::settings::Settings;

/// By which PostgreSQL knows its own clients, and they it.
pub(super) const ALPN: &[u8] = b"postgresql";

/// `sslmode`, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the server does not let us in without.
    Allow,
    /// If the server can, and without if it does not let us in so.
    Prefer,
    /// Always. The certificate is looked at only if there is a file of roots.
    Require,
    /// And its certificate comes from a root that we trust.
    VerifyCa,
    /// And the certificate is for the host that we asked for.
    VerifyFull,
}

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiation {
    /// The server is asked whether it can.
    Postgres,
    /// At once; from PostgreSQL 17 on.
    Direct,
}

/// Whom we trust to name servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The certificates of a file.
    File {
        /// The file.
        path: PathBuf,
        /// It was asked for, and is not the usual place.
        named: bool,
    },
    /// Those that the operating system trusts.
    System,
    /// Nobody: there is no home folder to look in.
    None,
}

/// What is asked of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Whether, and what is verified.
    pub mode: TlsMode,
    /// How it begins.
    pub negotiation: Negotiation,
    /// Whom we trust.
    pub roots: Roots,
    /// Our certificate and its key, each of which may be absent if it was not named.
    pub identity: Option<ClientFiles>,
    /// Revoked certificates.
    pub revoked: Option<PathBuf>,
    /// The server is told which host we asked for.
    pub server_name_indication: bool,
    /// No version before the first, and none beyond the second.
    pub versions: (TlsVersion, TlsVersion),
}

/// A version that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

/// Our certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate, and those between it and a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// They were asked for, and are not the usual place.
    pub named: bool,
}

/// A file that TLS needs and that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// There is none, and the mode needs it.
    #[error(
        "there is no file of root certificates {path}: name one with sslrootcert, trust the system's with \
         sslrootcert=system, or do without verification with sslmode=require"
    )]
    NoRoots {
        /// Where it was looked for.
        path: String,
    },
    /// It cannot be read.
    #[error("{what} {path} cannot be read: {source}")]
    Unreadable {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It can be read and makes no sense.
    #[error("{what} {path} cannot be used: {reason}")]
    Unusable {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: String,
        /// Why.
        reason: String,
    },
    /// Others may read the key.
    #[error("the private key {path} may be read by others: run `chmod 0600 {path}`")]
    KeyOpenToOthers {
        /// Where it is.
        path: String,
    },
    /// The key and the certificate do not belong together.
    #[error(
        "certificate {certificate} and key {key} do not belong together, or are of a kind that is not served: {source}"
    )]
    Identity {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
        /// Why.
        #[source]
        source: Error,
    },
    /// The operating system trusts nobody.
    #[error(
        "the operating system has no root certificates (sslrootcert=system): install its ca-certificates"
    )]
    NoSystemRoots,
}

impl TlsOptions {
    /// As the settings say.
    pub(super) fn of(settings: &Settings<'_>) -> Result<Self, ConfigError> {
        let folder = settings.environment().home().map(|home| home.join(".postgresql"));
        let usual = |name: &str| folder.as_ref().map(|folder| folder.join(name));
        let said = settings.get("sslrootcert");
        let roots = match said.map(|said| said.value) {
            Some(value) if value == "system" => Roots::System,
            Some(path) => Roots::File {
                path: path.into(),
                named: true,
            },
            None => usual("root.crt").map_or(Roots::None, |path| Roots::File { path, named: false }),
        };
        let mode = mode(settings, &roots)?;
        let negotiation = match settings.get("sslnegotiation") {
            None => Negotiation::Postgres,
            Some(said) => match said.value.as_str() {
                "postgres" => Negotiation::Postgres,
                "direct" if mode >= TlsMode::Require => Negotiation::Direct,
                "direct" => return Err(said.unusable("postgres, unless sslmode is require or stronger")),
                _ => return Err(said.unusable("postgres or direct")),
            },
        };
        let certificate = settings.text("sslcert").map(PathBuf::from);
        let named = certificate.is_some();
        let key = settings
            .text("sslkey")
            .map(PathBuf::from)
            .or_else(|| usual("postgresql.key"));
        let certificate = certificate.or_else(|| usual("postgresql.crt"));
        let identity = certificate.zip(key).map(|(certificate, key)| ClientFiles {
            certificate,
            key,
            named,
        });
        let revoked = settings.text("sslcrl").map(PathBuf::from);
        let sni = settings.get("sslsni").map(|said| said.switch());
        Ok(TlsOptions {
            mode,
            negotiation,
            roots,
            identity,
            revoked: revoked.or_else(|| usual("root.crl").filter(|path| path.exists())),
            server_name_indication: sni.transpose()?.unwrap_or(true),
            versions: versions(settings)?,
        })
    }

    /// What rustls is to do. Reads the files.
    pub(super) fn client_config(&self) -> Result<Arc<ClientConfig>, TlsFileError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions())
            // Of versions that rustls has with this provider, at least one.
            .map_err(|error| unusable("the range of versions of TLS", Path::new("asked for"), &error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.client_files() {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let taken = builder.with_client_auth_cert(files.chain()?, files.private_key()?);
                taken.map_err(|source| TlsFileError::Identity {
                    certificate: files.certificate.display().to_string(),
                    key: files.key.display().to_string(),
                    source,
                })?
            }
        };
        config.enable_sni = self.server_name_indication;
        if self.negotiation == Negotiation::Direct {
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        Ok(Arc::new(config))
    }

    /// Without them a connection may do without TLS.
    pub(super) fn files_are_optional(&self) -> bool {
        let named = self.identity.as_ref().is_some_and(|files| files.named);
        self.mode < TlsMode::Require && !named
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [
            (TlsVersion::V1_2, &version::TLS12),
            (TlsVersion::V1_3, &version::TLS13),
        ];
        let range = self.versions.0..=self.versions.1;
        let wanted = all.into_iter().filter(|(version, _)| range.contains(version));
        wanted.map(|(_, version)| version).collect()
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<ServerVerifier, TlsFileError> {
        let there = match &self.roots {
            Roots::File { path, named } => *named || path.exists(),
            Roots::System => true,
            Roots::None => false,
        };
        let trust = match self.mode {
            TlsMode::Disable | TlsMode::Allow | TlsMode::Prefer => None,
            // As libpq has it, which had no other mode once.
            TlsMode::Require if !there => None,
            TlsMode::Require | TlsMode::VerifyCa => Some(false),
            TlsMode::VerifyFull => Some(true),
        };
        let Some(names) = trust else {
            return Ok(ServerVerifier::of_anybody(provider));
        };
        let roots = self.root_certificates()?;
        let revoked = match &self.revoked {
            None => Vec::new(),
            Some(path) => {
                let read = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect);
                read.map_err(|error| unreadable("the list of revoked certificates", path, error))?
            }
        };
        let trust = Trust {
            roots,
            revoked,
            names,
        };
        ServerVerifier::of_trusted(provider, trust)
            .map_err(|reason| unusable("the file of root certificates", self.root_path(), &reason))
    }

    fn root_path(&self) -> &Path {
        match &self.roots {
            Roots::File { path, .. } => path,
            Roots::System => Path::new("system"),
            Roots::None => Path::new("~/.postgresql/root.crt"),
        }
    }

    fn root_certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
        let no_roots = |path: &Path| TlsFileError::NoRoots {
            path: path.display().to_string(),
        };
        match &self.roots {
            Roots::System => {
                let found = rustls_native_certs::load_native_certs().certs;
                match found.is_empty() {
                    true => Err(TlsFileError::NoSystemRoots),
                    false => Ok(found),
                }
            }
            Roots::None => Err(no_roots(self.root_path())),
            Roots::File { path, .. } if !path.exists() => Err(no_roots(path)),
            Roots::File { path, .. } => certificates("the file of root certificates", path),
        }
    }

    /// Those that were named, or are there.
    fn client_files(&self) -> Option<&ClientFiles> {
        let files = self.identity.as_ref();
        files.filter(|files| files.named || files.certificate.exists())
    }
}

impl ClientFiles {
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
        certificates("the client certificate", &self.certificate)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsFileError> {
        const KEY: &str = "the private key";
        let unreadable_key = |source| TlsFileError::Unreadable {
            what: KEY,
            path: self.key.display().to_string(),
            source,
        };
        let metadata = fs::metadata(&self.key).map_err(unreadable_key)?;
        // A key of root's may be read by a group: that is how Debian shares one.
        let closed_to = if metadata.uid() == 0 { 0o037 } else { 0o077 };
        if metadata.mode() & closed_to != 0 {
            return Err(TlsFileError::KeyOpenToOthers {
                path: self.key.display().to_string(),
            });
        }
        let text = fs::read(&self.key).map_err(unreadable_key)?;
        let encrypted = text.windows(9).any(|word| word == b"ENCRYPTED");
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match encrypted {
            true => {
                let reason =
                    "it is encrypted, which is not served: keep a key without a passphrase under 0600";
                unusable(KEY, &self.key, &reason)
            }
            false => unreadable(KEY, &self.key, error),
        })
    }
}

fn mode(settings: &Settings<'_>, roots: &Roots) -> Result<TlsMode, ConfigError> {
    let system = *roots == Roots::System;
    let Some(said) = settings.get("sslmode") else {
        return Ok(match system {
            true => TlsMode::VerifyFull,
            false => TlsMode::Prefer,
        });
    };
    let mode = match said.value.as_str() {
        "disable" => TlsMode::Disable,
        "allow" => TlsMode::Allow,
        "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            return Err(said.unusable("disable, allow, prefer, require, verify-ca or verify-full"));
        }
    };
    match system && mode != TlsMode::VerifyFull {
        // Anybody can have a certificate of those.
        true => Err(said.unusable("verify-full, with sslrootcert=system")),
        false => Ok(mode),
    }
}

fn versions(settings: &Settings<'_>) -> Result<(TlsVersion, TlsVersion), ConfigError> {
    let (min, max) = (
        settings.get("ssl_min_protocol_version"),
        settings.get("ssl_max_protocol_version"),
    );
    // Older ones than these are not served at all.
    let min = match min.as_ref().map(|said| (said, said.value.as_str())) {
        None | Some((_, "TLSv1" | "TLSv1.1" | "TLSv1.2")) => TlsVersion::V1_2,
        Some((_, "TLSv1.3")) => TlsVersion::V1_3,
        Some((said, _)) => return Err(said.unusable("TLSv1.2 or TLSv1.3")),
    };
    match max.as_ref().map(|said| (said, said.value.as_str())) {
        None | Some((_, "TLSv1.3")) => Ok((min, TlsVersion::V1_3)),
        Some((_, "TLSv1.2")) if min == TlsVersion::V1_2 => Ok((min, min)),
        Some((said, _)) => Err(said.unusable("TLSv1.2 or TLSv1.3, and not below ssl_min_protocol_version")),
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<CertificateDer<'static>> = read.map_err(|error| unreadable(what, path, error))?;
    match found.is_empty() {
        true => Err(unusable(what, path, &"it holds no certificate in PEM form")),
        false => Ok(found),
    }
}

fn unreadable(what: &'static str, path: &Path, error: pem::Error) -> TlsFileError {
    match error {
        pem::Error::Io(source) => TlsFileError::Unreadable {
            what,
            path: path.display().to_string(),
            source,
        },
        error => unusable(what, path, &error),
    }
}

fn unusable(what: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> TlsFileError {
    TlsFileError::Unusable {
        what,
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}
