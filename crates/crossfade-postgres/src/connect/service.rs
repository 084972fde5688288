//! The connection service file: connection parameters under a name. (PostgreSQL's documentation, 34.17.)

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::conninfo::Keywords;
use super::{ConfigError, Environment};

/// Where Debian's build looks last.
const SYSTEM_FOLDER: &str = "/etc/postgresql-common";

/// What a service's section says, and the file that it is in.
pub(super) fn find(service: &str, environment: &Environment) -> Result<(Keywords, PathBuf), ConfigError> {
    let files = files(environment);
    for path in &files {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(source) => {
                return Err(ConfigError::ServiceFile {
                    path: path.clone(),
                    source,
                });
            }
        };
        if let Some(found) = section(&text, service, path)? {
            return Ok((found, path.clone()));
        }
    }
    Err(ConfigError::ServiceNotFound {
        service: service.to_owned(),
        files: files.iter().map(|path| path.display().to_string()).collect(),
    })
}

/// The user's file, then the system's.
fn files(environment: &Environment) -> Vec<PathBuf> {
    let of_user = match environment.get("PGSERVICEFILE") {
        Some(path) => Some(PathBuf::from(path)),
        None => environment.home().map(|home| home.join(".pg_service.conf")),
    };
    let folder = environment.get("PGSYSCONFDIR");
    let folder = folder.map_or_else(|| PathBuf::from(SYSTEM_FOLDER), PathBuf::from);
    of_user
        .into_iter()
        .chain([folder.join("pg_service.conf")])
        .collect()
}

fn section(text: &str, service: &str, path: &Path) -> Result<Option<Keywords>, ConfigError> {
    let mut within = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            if within.is_some() {
                break;
            }
            within = (name == service).then(Keywords::new);
            continue;
        }
        let Some(found) = &mut within else {
            continue;
        };
        let (keyword, value) = line
            .split_once('=')
            .filter(|(keyword, _)| keyword.trim() != "service")
            .ok_or_else(|| ConfigError::ServiceSyntax {
                path: path.to_owned(),
                line: number + 1,
            })?;
        found
            .entry(keyword.trim().to_owned())
            .or_insert_with(|| value.trim().to_owned());
    }
    Ok(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_found_by_its_name_and_ends_with_the_next() {
        let text = "# ours\n[a]\nhost=x\n\n[b]\nhost = y\nport=6\nport=7\n[b]\nuser=z\n";
        let found = |service| section(text, service, Path::new("f"));
        let b = found("b").unwrap().unwrap();
        assert_eq!((b["host"].as_str(), b["port"].as_str(), b.len()), ("y", "6", 2));
        assert!(found("c").unwrap().is_none());
        let broken = section("[a]\nhost\n", "a", Path::new("f")).unwrap_err();
        assert!(broken.to_string().contains("line 2"), "{broken}");
        assert!(section("[a]\nservice=b\n", "a", Path::new("f")).is_err());
    }
}
