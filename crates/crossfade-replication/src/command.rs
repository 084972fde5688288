//! The replication commands, rendered. Their grammar is the walsender's own, not SQL's.

use crossfade_core::position::Lsn;
use crossfade_postgres::ident::Ident;

/// A text value. Not SQL's literal: the walsender knows neither backslashes nor `E''`.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The first major version whose slots outlive a failover.
const FAILOVER_SINCE: u32 = 17;

/// Where the server's standbys can have a copy of the slot, it asks for that: whether they do is for their settings to say.
/// Elsewhere the form without parentheses, which 14 understands too.
pub(crate) fn create_slot(slot: &str, export_snapshot: bool, server_major: u32) -> String {
    let options = match (export_snapshot, server_major >= FAILOVER_SINCE) {
        (true, true) => "(SNAPSHOT 'export', FAILOVER 'true')",
        (false, true) => "(SNAPSHOT 'nothing', FAILOVER 'true')",
        (true, false) => "EXPORT_SNAPSHOT",
        (false, false) => "NOEXPORT_SNAPSHOT",
    };
    format!(
        "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput {options}",
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
            create_slot("crossfade_a", true, 14),
            r#"CREATE_REPLICATION_SLOT "crossfade_a" LOGICAL pgoutput EXPORT_SNAPSHOT"#
        );
        assert_eq!(
            create_slot("crossfade_a", false, 16),
            r#"CREATE_REPLICATION_SLOT "crossfade_a" LOGICAL pgoutput NOEXPORT_SNAPSHOT"#
        );
        assert_eq!(
            create_slot("crossfade_a", true, 17),
            r#"CREATE_REPLICATION_SLOT "crossfade_a" LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER 'true')"#
        );
        assert_eq!(
            create_slot("crossfade_a", false, 18),
            r#"CREATE_REPLICATION_SLOT "crossfade_a" LOGICAL pgoutput (SNAPSHOT 'nothing', FAILOVER 'true')"#
        );
        assert_eq!(drop_slot("a\"b"), r#"DROP_REPLICATION_SLOT "a""b" WAIT"#);
        assert_eq!(
            start("s", Lsn(0x16_B374_D848), "it's \"p\"", true),
            "START_REPLICATION SLOT \"s\" LOGICAL 16/B374D848 (proto_version '1', publication_names \
             '\"it''s \"\"p\"\"\"', messages 'true', binary 'true')"
        );
    }
}
