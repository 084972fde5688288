//! How a run ended, and what to do next: one sentence each, or one object.

use crossfade_coordinator::ended::Ended;
use crossfade_core::name::MigrationName;
use serde_json::{Value, json};

use super::{Console, advise, complain, refusals, report, verification};
use crate::exit::Exit;

/// Prints it, and says what to exit with.
pub(crate) fn explain(console: Console, name: Option<&MigrationName>, ended: &Ended) -> Exit {
    if console.json {
        console.object(&object(name, ended));
        return Exit::from(ended);
    }
    let shown = name.map_or("NAME", MigrationName::as_str);
    match ended {
        Ended::Done(report) => console.result(&report::render(name, report)),
        Ended::Aborted => {
            console.result("Given up: slot, publication and new table are gone. The source is as it was.\n")
        }
        Ended::Interrupted => advise(&format!(
            "Interrupted; nothing is lost. Go on with `crossfade continue {shown}`, or, before the swap, give up with \
             `crossfade abort {shown}`."
        )),
        Ended::CutoverNotAchieved { obstacle, attempts } => {
            complain(
                &format!("swap the tables in {attempts} attempts: {obstacle}"),
                None,
            );
            advise(&format!(
                "Nothing was swapped, and the new table can go on following. Try again with `crossfade continue \
                 {shown} --cutover auto`."
            ));
        }
        Ended::NotEqual { verification: found } => {
            complain(&verification::not_equal(found), None);
            super::print(&verification::differences(found));
            advise(&verification::unverified(found));
            advise(&verification::advice(found, shown));
        }
        Ended::Stopped { code, reason, remedy } => {
            complain(&format!("go on: {reason}"), Some(*code));
            advise(remedy);
            advise(&format!("Go on with `crossfade continue {shown}`."));
        }
        Ended::Refused(reasons) => super::print(&refusals::render(reasons)),
        Ended::NoAccess { code, reason } => complain(reason, Some(*code)),
        Ended::NeedsOperator { code, reason, remedy } => {
            complain(&format!("go on without an operator: {reason}"), Some(*code));
            advise(remedy);
        }
    }
    Exit::from(ended)
}

/// For programs.
pub(crate) fn object(name: Option<&MigrationName>, ended: &Ended) -> Value {
    let exit = Exit::from(ended);
    let mut object = json!({ "outcome": exit.word(), "exit_code": exit.code(), "migration": name });
    let more = match ended {
        Ended::Done(report) => json!({ "report": report }),
        Ended::Aborted => json!({ "aborted": true }),
        Ended::Interrupted => json!({}),
        Ended::CutoverNotAchieved { obstacle, attempts } => {
            json!({ "obstacle": obstacle, "attempts": attempts })
        }
        Ended::NotEqual { verification } => json!({ "verification": verification }),
        Ended::Stopped { code, reason, remedy } | Ended::NeedsOperator { code, reason, remedy } => {
            json!({ "code": code, "reason": reason, "remedy": remedy })
        }
        Ended::Refused(refusals) => json!({ "refusals": refusals }),
        Ended::NoAccess { code, reason } => json!({ "code": code, "reason": reason }),
    };
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

#[cfg(test)]
mod tests {
    use crossfade_core::code::FailureCode;

    use super::*;

    #[test]
    fn programs_get_outcome_code_and_reason() {
        let ended = Ended::NeedsOperator {
            code: FailureCode::SlotMissing,
            reason: "the slot is gone".to_owned(),
            remedy: "Start over.".to_owned(),
        };
        let name: MigrationName = "orders".parse().unwrap();
        assert_eq!(
            object(Some(&name), &ended),
            json!({
                "outcome": "needs_operator", "exit_code": 30, "migration": "orders",
                "code": "slot_missing", "reason": "the slot is gone", "remedy": "Start over.",
            })
        );
    }
}
