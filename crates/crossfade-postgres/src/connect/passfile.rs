//! The password file: `host:port:database:user:password`, first match wins, and nobody else may read it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::settings::Settings;
use super::{ConfigError, Endpoint, Environment, Host, Secret};

/// The file's text: of the file that was named, else of `~/.pgpass`, if it exists.
pub(super) fn read(settings: &Settings<'_>) -> Result<Option<String>, ConfigError> {
    let of_home = || Some(settings.environment().home()?.join(".pgpass"));
    let named = settings.text("passfile").map(PathBuf::from);
    match named.or_else(of_home) {
        Some(path) => read_file(&path),
        None => Ok(None),
    }
}

fn read_file(path: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable = |source| ConfigError::PassfileUnreadable {
        path: path.to_owned(),
        source,
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let metadata: fs::Metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(ConfigError::PassfileOpenToOthers {
            path: path.to_owned(),
        });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

/// The password that the file has for a server.
pub(super) fn find(text: &str, endpoint: &Endpoint, user: &str, database: &str) -> Option<Secret> {
    let host = match &endpoint.host {
        Host::Unix(folder) if Environment::is_default_socket(folder) => "localhost".to_owned(),
        host => host.to_string(),
    };
    let port = endpoint.port.to_string();
    let wanted = [host.as_str(), &port, database, user];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(fields)
        .find(|fields| {
            let matches = |(field, value): (&String, &&str)| field == "*" || field == *value;
            fields.len() == 5 && fields.iter().zip(&wanted).all(matches)
        })
        .map(|mut fields| Secret::new(fields.remove(4)))
}

/// Splits at the first four unescaped colons; `\:` and `\\` stand for the characters themselves.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.trim_end_matches('\r').chars();
    while let Some(char) = chars.next() {
        let literal = match char {
            '\\' => chars.next(),
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                None
            }
            other => Some(other),
        };
        if let (Some(literal), Some(field)) = (literal, fields.last_mut()) {
            field.push(literal);
        }
    }
    fields
}
