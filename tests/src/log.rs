//! What the server executed, out of its own log.

use crossfade_core::name::MigrationName;

/// A statement as the server logged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The backend's process id.
    pub session: String,
    /// The text.
    pub sql: String,
}

/// The statements of a migration's sessions, in the order in which the server began them. The log's prefix is the
/// lab's: `time [pid] user@database/application `.
pub fn statements(log: &str, name: &MigrationName) -> Vec<Logged> {
    let ours = format!("/{} LOG:  ", name.application_name());
    entries(log)
        .into_iter()
        .filter_map(|entry| {
            let (head, said) = entry.split_once(&ours)?;
            let session = head.split_once('[')?.1.split_once(']')?.0;
            Some(Logged {
                session: session.to_owned(),
                sql: sql(said)?.to_owned(),
            })
        })
        .collect()
}

/// `statement: …` and `execute name: …`; everything else is no statement.
fn sql(said: &str) -> Option<&str> {
    if let Some(sql) = said.strip_prefix("statement: ") {
        return Some(sql);
    }
    said.strip_prefix("execute ")?
        .split_once(": ")
        .map(|(_, sql)| sql)
}

/// An entry's further lines begin with a tab.
fn entries(log: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in log.lines() {
        match (line.strip_prefix('\t'), entries.last_mut()) {
            (Some(more), Some(entry)) => {
                entry.push('\n');
                entry.push_str(more);
            }
            (Some(_), None) | (None, _) => entries.push(line.to_owned()),
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_others_and_answers_are_left_out() {
        let log = "2026-01-01 00:00:00 UTC [7] engine@shop/crossfade c LOG:  statement: CREATE TABLE t (\n\
                   \tid int)\n\
                   2026-01-01 00:00:00 UTC [8] app@shop/psql LOG:  statement: SELECT 1\n\
                   2026-01-01 00:00:00 UTC [9] engine@shop/crossfade c ERROR:  no\n\
                   2026-01-01 00:00:00 UTC [9] engine@shop/crossfade c LOG:  execute s0: SELECT $1\n\
                   2026-01-01 00:00:00 UTC [9] engine@shop/crossfade c DETAIL:  parameters: $1 = '1'\n";
        let name = "c".parse().unwrap();
        let found = statements(log, &name);
        let texts: Vec<&str> = found.iter().map(|logged| logged.sql.as_str()).collect();
        assert_eq!(texts, ["CREATE TABLE t (\nid int)", "SELECT $1"]);
        assert_eq!(found[1].session, "9");
    }
}
