//! The replication commands, rendered. Their grammar is the walsender's own, not SQL's.

use crossfade_core::position::Lsn;
use crossfade_postgres::ident::Ident;

/// A text value. Not SQL's literal: the walsender knows neither backslashes nor `E''`.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The form without parentheses is the one that all of 14 to 18 understand.
pub(crate) fn create_slot(slot: &str, export_snapshot: bool) -> String {
    let snapshot = if export_snapshot {
        "EXPORT_SNAPSHOT"
    } else {
        "NOEXPORT_SNAPSHOT"
    };
    format!(
        "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput {snapshot}",
        Ident(slot)
    )
}

pub(crate) fn drop_slot(slot: &str) -> String {
    format!("DROP_REPLICATION_SLOT {} WAIT", Ident(slot))
}

/// Version 1 delivers whole transactions after their commit, which is all that the engine wants to see.
pub(crate) fn start(slot: &str, from: Lsn, publication: &str, binary: bool) -> String {
    // A list of identifiers within a literal: quoted as one, then as the other.
    let publications = literal(&Ident(publication).to_string());
    format!(
        "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {publications}, \
         messages 'true', binary '{binary}')",
        Ident(slot)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_rendered_and_quoted() {
        assert_eq!(
            create_slot("crossfade_a", true),
            r#"CREATE_REPLICATION_SLOT "crossfade_a" LOGICAL pgoutput EXPORT_SNAPSHOT"#
        );
        assert_eq!(
            create_slot("crossfade_a", false),
            r#"CREATE_REPLICATION_SLOT "crossfade_a" LOGICAL pgoutput NOEXPORT_SNAPSHOT"#
        );
        assert_eq!(drop_slot("a\"b"), r#"DROP_REPLICATION_SLOT "a""b" WAIT"#);
        assert_eq!(
            start("s", Lsn(0x16_B374_D848), "it's \"p\"", true),
            "START_REPLICATION SLOT \"s\" LOGICAL 16/B374D848 (proto_version '1', publication_names \
             '\"it''s \"\"p\"\"\"', messages 'true', binary 'true')"
        );
    }
}
