//! Would our own connection count as a synchronous standby? Then every commit would wait for our
//! acknowledgement, and we for the commit: all writers stand still (R2).

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;

use super::{Context, ServerFacts, refusal};
use crate::session::{Session, SqlError};

/// Looks for `*` and for our `application_name` in `synchronous_standby_names`.
pub(super) fn check(context: &Context<'_>) -> Vec<Refusal> {
    of_server(&context.facts.server, &context.name.application_name())
}

/// As [`check`], of connections of that `application_name`.
pub(super) fn of_server(server: &ServerFacts, ours: &str) -> Vec<Refusal> {
    let setting = &server.synchronous_standby_names;
    if !matches(setting, ours) {
        return Vec::new();
    }
    vec![refusal(
        RefusalCode::WouldBeSynchronousStandby,
        "setting synchronous_standby_names",
        format!("`{setting}` matches our connection `{ours}`: every commit would wait for it."),
        "Name the standbys one by one.",
    )]
}

/// The server's `synchronous_standby_names`, if a connection of that `application_name` matches it now.
///
/// # Errors
/// As the server says.
pub async fn synchronous_as(session: &Session, application_name: &str) -> Result<Option<String>, SqlError> {
    let query = "SELECT pg_catalog.current_setting('synchronous_standby_names')";
    let setting: String = session.query_one(query, &[]).await?.get(0);
    Ok(matches(&setting, application_name).then_some(setting))
}

/// Whether a connection of that `application_name` is a candidate under the setting: `a, b`, `2 (a, b)`,
/// `FIRST 2 (a, b)`, `ANY 1 (*)`.
fn matches(setting: &str, application_name: &str) -> bool {
    names(setting)
        .iter()
        .any(|(name, quoted)| (name == "*" && !quoted) || name.eq_ignore_ascii_case(application_name))
}

/// The names of the list, with whether they were quoted; method and number are left out by where they stand:
/// before the parenthesis.
fn names(setting: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut current = String::new();
    let mut quoted = false;
    let mut characters = setting.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = true;
                while let Some(inner) = characters.next() {
                    if inner != '"' {
                        current.push(inner);
                    } else if characters.next_if_eq(&'"').is_some() {
                        current.push('"');
                    } else {
                        break;
                    }
                }
            }
            '(' => {
                current.clear();
                quoted = false;
            }
            ',' | ')' => {
                found.push((std::mem::take(&mut current), quoted));
                quoted = false;
            }
            blank if blank.is_whitespace() => {}
            other => current.push(other),
        }
    }
    found.push((current, quoted));
    found.retain(|(name, quoted)| *quoted || !name.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_read_in_all_its_forms() {
        let ours = "crossfade orders";
        for setting in [
            "*",
            "FIRST 1 (*)",
            "ANY 2 (a, *, b)",
            "a, \"crossfade orders\"",
            "2 (\"Crossfade Orders\")",
            "FIRST 1 (s1,\"crossfade orders\")",
        ] {
            assert!(matches(setting, ours), "{setting}");
        }
        for setting in [
            "",
            "s1",
            "FIRST 1 (s1, s2)",
            "\"*\"",
            "crossfade",
            "ANY 1 (\"a\"\"b\")",
            "any",
        ] {
            assert!(!matches(setting, ours), "{setting}");
        }
    }
}
