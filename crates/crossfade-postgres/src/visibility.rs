//! Why a transaction that the stream has brought is not visible yet (R7): what its session waits for.

use crossfade_core::migration::Invisible;

use crate::session::{Session, SqlError};

/// Everybody may see whose lock it is; what a session of another role waits for only `pg_read_all_stats` shows.
const HOLDER: &str = "\
SELECT lock.pid, activity.wait_event_type || ' ' || activity.wait_event,
       pg_catalog.current_setting('synchronous_standby_names')
  FROM pg_catalog.pg_locks AS lock LEFT JOIN pg_catalog.pg_stat_activity AS activity USING (pid)
 WHERE lock.locktype = 'transactionid' AND lock.mode = 'ExclusiveLock' AND lock.granted
   AND lock.transactionid = $1::text::pg_catalog.xid8::pg_catalog.xid";
/// A commit that waits for a standby.
const SYNCHRONOUS: &str = "IPC SyncRep";

/// In words: which transaction, whose, and what it waits for.
///
/// # Errors
/// As the server says.
pub async fn explain(session: &Session, invisible: Invisible) -> Result<String, SqlError> {
    let xid = invisible.xid.to_string();
    let Some(row) = session.query_opt(HOLDER, &[&xid]).await? else {
        return Ok(invisible.to_string());
    };
    let (pid, waits, standbys): (Option<i32>, Option<String>, String) = (row.get(0), row.get(1), row.get(2));
    Ok(words(invisible, pid, waits.as_deref(), &standbys))
}

fn words(invisible: Invisible, pid: Option<i32>, waits: Option<&str>, standbys: &str) -> String {
    let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    match waits {
        Some(SYNCHRONOUS) => format!(
            "{invisible}: its session{pid} waits for a synchronous standby (SyncRep; synchronous_standby_names is \
             `{standbys}`). What it has not touched goes on; the rest does when the standby answers or is no longer named"
        ),
        Some(event) => format!("{invisible}: its session{pid} waits for {event}"),
        None if standbys.is_empty() => format!("{invisible}: its session{pid} has not ended it"),
        None => format!(
            "{invisible}: its session{pid} perhaps waits for a synchronous standby (synchronous_standby_names is \
             `{standbys}`)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use crossfade_core::position::Xid;

    use super::*;

    #[test]
    fn the_standby_and_the_session_are_named_as_far_as_they_are_seen() {
        let invisible = Invisible { xid: Xid(753) };
        let seen = [
            words(invisible, Some(12), Some(SYNCHRONOUS), "ANY 1 (a)"),
            words(invisible, Some(12), None, "a"),
            words(invisible, None, None, ""),
        ];
        insta::assert_snapshot!(seen.join("\n"), @r"
        transaction 753 is in the stream and not visible yet: its session (pid 12) waits for a synchronous standby (SyncRep; synchronous_standby_names is `ANY 1 (a)`). What it has not touched goes on; the rest does when the standby answers or is no longer named
        transaction 753 is in the stream and not visible yet: its session (pid 12) perhaps waits for a synchronous standby (synchronous_standby_names is `a`)
        transaction 753 is in the stream and not visible yet: its session has not ended it
        ");
    }
}
