//! What stands in the way of any change on a server, and what is good to know, for `crossfade check`.

use crossfade_core::code::NoticeCode;
use crossfade_core::refusal::{Notice, Refusal};

use super::facts::{self, FactsError, LongTransaction};
use super::{ServerFacts, publications, role, standby, wal};
use crate::change::limits::show_bytes;
use crate::ident::Ident;
use crate::session::Session;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What stands in the way.
    pub refusals: Vec<Refusal>,
    /// What does not, but should be known.
    pub notices: Vec<Notice>,
}

/// How many long transactions are named.
const NAMED_MAX: usize = 10;

/// What the server is looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A change of tables in their place.
    Change,
    /// Either side of a move.
    Move,
}

/// Looks at the server. Changes nothing, and needs no privilege.
///
/// # Errors
/// When the server refuses.
pub async fn look(session: &Session, purpose: Purpose) -> Result<Findings, FactsError> {
    Ok(findings(&facts::read_server(session).await?, purpose))
}

fn findings(server: &ServerFacts, purpose: Purpose) -> Findings {
    // Any migration's connections are called so, and then its name.
    let ours = standby::of_server(server, "crossfade");
    let refusals = [
        wal::of_server(server, false),
        role::of_server(server),
        ours,
        publications::of_server(server),
    ];
    let mut notices = Vec::new();
    match purpose {
        Purpose::Change => {
            notices.extend(second_slot(server));
            notices.extend(kept_wal(server, "`plan` says how much a copy writes."));
            notices.extend(unseen_readers(server));
        }
        // Of a move each server has one slot, and no reader is led to other rows.
        Purpose::Move => {
            let until = "That of a move retains all that is written until the last table is copied.";
            notices.extend(kept_wal(server, until));
        }
    }
    notices.extend(hidden_activity(server));
    notices.extend(prepared(server));
    notices.extend(long(server));
    notices.extend(event_triggers(server));
    Findings {
        refusals: refusals.concat(),
        notices,
    }
}

fn notice(code: NoticeCode, object: String, message: String, offer: Option<String>) -> Notice {
    Notice {
        code,
        object,
        message,
        offer,
    }
}

/// Enough for the way there only.
fn second_slot(server: &ServerFacts) -> Option<Notice> {
    let alone = wal::of_server(server, false).is_empty();
    (alone && !wal::of_server(server, true).is_empty()).then(|| {
        notice(
            NoticeCode::NoWayBackSlot,
            "settings max_replication_slots, max_wal_senders".to_owned(),
            "There is room for one slot and one walsender, and a change with a way back takes two."
                .to_owned(),
            Some("Raise them and restart the server, or run changes with `--way-back none`.".to_owned()),
        )
    })
}

fn kept_wal(server: &ServerFacts, how_much: &str) -> Option<Notice> {
    let kept = server.slot_keeps_bytes?;
    Some(notice(
        NoticeCode::SlotMayBeLost,
        "setting max_slot_wal_keep_size".to_owned(),
        format!(
            "A slot that retains more than {} is invalidated, and its run has to start over. {how_much}",
            show_bytes(kept)
        ),
        None,
    ))
}

/// Transactions on standbys that read across a swap.
pub(super) fn unseen_readers(server: &ServerFacts) -> Option<Notice> {
    (server.standbys_unseen > 0).then(|| {
        notice(
            NoticeCode::StandbyReadersUnseen,
            "standbys".to_owned(),
            "A standby without hot_standby_feedback is connected: transactions there that read across the swap cannot \
             be seen and are not waited for."
                .to_owned(),
            None,
        )
    })
}

fn hidden_activity(server: &ServerFacts) -> Option<Notice> {
    (!server.may_see_lag).then(|| {
        notice(
            NoticeCode::ActivityHidden,
            format!("role {}", server.role),
            "It may not see what other roles' sessions do: their old snapshots are not waited for, who stands in the way \
             is not named, and limits on standbys' lag hold nothing back."
                .to_owned(),
            Some(format!("GRANT pg_read_all_stats TO {}", Ident(&server.role))),
        )
    })
}

fn prepared(server: &ServerFacts) -> Vec<Notice> {
    let found = server.prepared.iter().map(|prepared| {
        notice(
            NoticeCode::PreparedTransaction,
            format!("prepared transaction {}", prepared.gid),
            format!(
                "It has been there for {}: a slot is not made before it has ended.",
                duration(prepared.age_s)
            ),
            Some("COMMIT PREPARED or ROLLBACK PREPARED it.".to_owned()),
        )
    });
    found.collect()
}

fn long(server: &ServerFacts) -> Vec<Notice> {
    let found = server.long.iter().take(NAMED_MAX).map(|long| {
        let LongTransaction { pid, age_s, .. } = long;
        let user = long.user.as_deref().unwrap_or("?");
        let application = match long.application.as_deref() {
            None | Some("") => String::new(),
            Some(name) => format!(" ({name})"),
        };
        notice(
            NoticeCode::LongTransaction,
            format!("process {pid}, {user}{application}"),
            format!(
                "Its transaction has been open for {}. If it writes, a slot is not made before it has ended; if it reads, \
                 a swap may have to wait for it.",
                duration(*age_s)
            ),
            None,
        )
    });
    found.collect()
}

fn event_triggers(server: &ServerFacts) -> Vec<Notice> {
    let found = server.event_triggers.iter().map(|name| {
        notice(
            NoticeCode::EventTrigger,
            format!("event trigger {name}"),
            "It fires at statements of the engine's too, and one that fails ends the run.".to_owned(),
            None,
        )
    });
    found.collect()
}

fn duration(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::facts::{Prepared, fine};

    #[test]
    fn nothing_is_found_where_all_is_well() {
        assert_eq!(findings(&fine().server, Purpose::Change), Findings::default());
    }

    #[test]
    fn what_does_not_stand_in_the_way_is_said() {
        let long = |pid, application: &str| LongTransaction {
            pid,
            user: (pid != 2).then(|| "app".to_owned()),
            application: Some(application.to_owned()),
            age_s: 3_700,
        };
        let server = ServerFacts {
            slots_used: 9,
            standbys_unseen: 1,
            may_see_lag: false,
            slot_keeps_bytes: Some(1 << 30),
            prepared: vec![Prepared {
                gid: "it's".to_owned(),
                age_s: 86_400,
            }],
            long: vec![long(1, "report"), long(2, "")],
            event_triggers: vec!["watch".to_owned()],
            ..fine().server
        };
        let found = findings(&server, Purpose::Change);
        assert_eq!(found.refusals, []);
        let lines = found.notices.iter().map(|notice| {
            let Notice {
                code,
                object,
                message,
                offer,
            } = notice;
            format!(
                "{code}: {object}: {message} {}\n",
                offer.as_deref().unwrap_or("-")
            )
        });
        insta::assert_snapshot!(lines.collect::<String>());
    }

    #[test]
    fn not_every_long_transaction_is_named() {
        let long = LongTransaction {
            pid: 1,
            user: None,
            application: None,
            age_s: 600,
        };
        let server = ServerFacts {
            long: vec![long; NAMED_MAX + 5],
            ..fine().server
        };
        assert_eq!(findings(&server, Purpose::Change).notices.len(), NAMED_MAX);
    }
}
