//! A connection string, as libpq reads it: a URI, or keywords and values. (PostgreSQL's documentation, 34.1.1.)

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::ConfigError;

/// What a connection string says, by keyword.
pub(super) type Keywords = BTreeMap<String, String>;

/// Reads either form; an empty text says nothing.
pub(super) fn parse(text: &str) -> Result<Keywords, ConfigError> {
    let schemes = ["postgresql://", "postgres://"];
    match schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => uri(rest),
        None => keywords(text),
    }
}

const NEITHER: &str = "it is neither a URI nor `keyword=value`";

fn syntax(reason: &str) -> ConfigError {
    ConfigError::Syntax {
        reason: reason.to_owned(),
    }
}

/// `[user[:password]@][host[:port][,…]][/dbname][?keyword=value[&…]]`.
fn uri(text: &str) -> Result<Keywords, ConfigError> {
    let mut found = Keywords::new();
    let mut rest = text;
    if let Some(end) = text.find(['@', '/']).filter(|end| text[*end..].starts_with('@')) {
        let (user, password) = match text[..end].split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (&text[..end], None),
        };
        put(&mut found, "user", &decoded(user)?);
        put(&mut found, "password", &decoded(password.unwrap_or_default())?);
        rest = &text[end + 1..];
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if rest.contains('@') {
        // It would be taken for a host or a database, and shown.
        return Err(syntax(
            "a `@` stands where none can: in a user's name or password `@` is written `%40`, and `/` `%2F`",
        ));
    }
    let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (hosts, ports) = hosts_and_ports(hosts)?;
    put(&mut found, "host", &hosts);
    put(&mut found, "port", &ports);
    put(&mut found, "dbname", &decoded(database)?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (keyword, value) = pair
            .split_once('=')
            .ok_or_else(|| syntax("a parameter of the URI has no value"))?;
        let (keyword, value) = (decoded(keyword)?, decoded(value)?);
        // As JDBC writes it.
        match (keyword.as_str(), value.as_str()) {
            ("ssl", "true") => found.insert("sslmode".to_owned(), "require".to_owned()),
            _ => found.insert(keyword, value),
        };
    }
    Ok(found)
}

fn put(found: &mut Keywords, keyword: &str, value: &str) {
    if !value.is_empty() {
        found.insert(keyword.to_owned(), value.to_owned());
    }
}

/// `a:1,[::1]:2` is `a,::1` and `1,2`.
fn hosts_and_ports(text: &str) -> Result<(String, String), ConfigError> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest
                    .split_once(']')
                    .ok_or_else(|| syntax("an IPv6 address in the URI has no `]`"))?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, port),
                    None if rest.is_empty() => (host, ""),
                    None => return Err(syntax("something stands between `]` and the port")),
                }
            }
            None => one.split_once(':').unwrap_or((one, "")),
        };
        hosts.push(decoded(host)?);
        ports.push(decoded(port)?);
    }
    let ports = match ports.iter().all(String::is_empty) {
        true => String::new(),
        false => ports.join(","),
    };
    Ok((hosts.join(","), ports))
}

fn decoded(text: &str) -> Result<String, ConfigError> {
    // `percent_decode_str` leaves what is no escape as it is; libpq refuses it.
    let mut escapes = text.split('%').skip(1);
    let whole = |escape: &str| {
        let digits = escape.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00")
    };
    if !escapes.all(whole) {
        return Err(syntax(
            "a `%` in the URI is not followed by two hexadecimal digits; write it as `%25`",
        ));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded
        .map_err(|_| syntax("an escape of the URI is not UTF-8"))?
        .into_owned())
}

/// `keyword = value`, with `'…'` around values that are empty or hold spaces, and `\` before quotes and itself.
fn keywords(text: &str) -> Result<Keywords, ConfigError> {
    let mut found = Keywords::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|char: char| char == '=' || char.is_whitespace());
        let end = end.unwrap_or(rest.len());
        let keyword = &rest[..end];
        // A mistyped URI may hold a password, and nothing of it is shown.
        if !keyword
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(syntax(NEITHER));
        }
        let after = rest[end..].trim_start().strip_prefix('=');
        let after = after.ok_or_else(|| ConfigError::Syntax {
            reason: match found.is_empty() {
                true => NEITHER.to_owned(),
                false => "a keyword is not followed by `=`".to_owned(),
            },
        })?;
        let (value, after) = value(after.trim_start())?;
        found.insert(keyword.to_owned(), value);
        rest = after.trim_start();
    }
    Ok(found)
}

/// The value at the beginning of a text, and what follows it.
fn value(text: &str) -> Result<(String, &str), ConfigError> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((place, char)) = chars.next() {
        match char {
            '\\' => value.extend(chars.next().map(|(_, char)| char)),
            '\'' if quoted => return Ok((value, &text[place + 1..])),
            char if char.is_whitespace() && !quoted => return Ok((value, &text[place..])),
            char => value.push(char),
        }
    }
    match quoted {
        true => Err(syntax("a value has no closing quote")),
        false => Ok((value, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(found) => {
                let all = found.iter().map(|(keyword, value)| format!("{keyword}={value}"));
                all.collect::<Vec<_>>().join("|")
            }
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn both_forms_are_read_as_libpq_does() {
        let all = [
            ("", ""),
            ("postgres://", ""),
            ("postgresql://u@", "user=u"),
            (
                "postgres://u:p%40@h:1/d?sslmode=require&x=%20",
                "dbname=d|host=h|password=p@|port=1|sslmode=require|user=u|x= ",
            ),
            ("postgres://h/d", "dbname=d|host=h"),
            ("postgres:///d?host=/run/pg", "dbname=d|host=/run/pg"),
            ("postgres://%2Frun%2Fpg/d", "dbname=d|host=/run/pg"),
            ("postgres://a:1,b/d", "dbname=d|host=a,b|port=1,"),
            ("postgres://[::1]:5,[fe80::2]", "host=::1,fe80::2|port=5,"),
            (
                "postgres://u:a/b@h",
                "! read the connection string: a `@` stands where none can: in a user's name or password `@` is written \
                 `%40`, and `/` `%2F`",
            ),
            ("postgres://h?ssl=true", "host=h|sslmode=require"),
            (
                "postgres://h?x",
                "! read the connection string: a parameter of the URI has no value",
            ),
            (
                "postgres://u:100%@h",
                "! read the connection string: a `%` in the URI is not followed by two hexadecimal digits; write it as `%25`",
            ),
            (
                "host = a  port=1 password='it\\'s \\\\'",
                "host=a|password=it's \\|port=1",
            ),
            ("password='' user=a\\ b", "password=|user=a b"),
            (
                "host='a",
                "! read the connection string: a value has no closing quote",
            ),
            (
                "host=a hunter2",
                "! read the connection string: a keyword is not followed by `=`",
            ),
            (
                "postgres:/u:hunter2@h?sslmode=require",
                "! read the connection string: it is neither a URI nor `keyword=value`",
            ),
            (
                "hunter2",
                "! read the connection string: it is neither a URI nor `keyword=value`",
            ),
        ];
        for (text, expected) in all {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
