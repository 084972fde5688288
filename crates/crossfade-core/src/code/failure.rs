//! Why an engine has ended where someone must act.

use super::{Deserialize, Serialize, UnknownCode};

codes! {
    /// Why an engine, or a command on its migration, has ended where someone must act.
    FailureCode, a "failure":

    AlreadySwapped "already_swapped"
        cause: "The tables have been swapped: there is nothing left to abort."
        remedy: "End the migration with `crossfade complete`, or, with a way back, go back with `crossfade \
                 rollback`.";
    CannotConnect "cannot_connect"
        cause: "The server does not answer, takes no connection now, or has ended the one that there was."
        remedy: "Look at host, port and TLS, and whether the server takes connections; then try again.";
    ChangeNotApplied "change_not_applied"
        cause: "A change of the stream cannot be applied: the new table does not take it, or is not as the engine \
                left it."
        remedy: "The source is untouched. Mend the cause, then `crossfade continue`, or `crossfade abort`.";
    Defect "defect"
        cause: "The engine met what cannot be."
        remedy: "Please report it. Then `crossfade continue`, or before the swap `crossfade abort`.";
    EngineBusy "engine_busy"
        cause: "Another engine is at work on the migration, on the machine and as the process that the message says."
        remedy: "Stop that engine, or let it do the work.";
    ExecutionMax "execution_max"
        cause: "The limit `execution_max` has passed."
        remedy: "Go on with `crossfade continue`.";
    HookFailed "hook_failed"
        cause: "A hook of a move ended with an error, or not in its time."
        remedy: "Mend the hook; then give the same command again.";
    IdentityDoesNotFit "identity_does_not_fit"
        cause: "The value of an identity column's sequence does not fit the one that takes its place."
        remedy: "Before the swap `crossfade abort`, then plan the change again. After it bring the sequence back \
                 into its bounds and `crossfade continue`, or `crossfade complete`.";
    InRecovery "in_recovery"
        cause: "The server is in recovery: it is a standby, or not up yet."
        remedy: "Connect to the primary that the migration began on.";
    LockNotGranted "lock_not_granted"
        cause: "A lock was not granted in time."
        remedy: "Find who holds the lock, then go on with `crossfade continue`.";
    NoEngine "no_engine"
        cause: "No engine works on the migration, so nobody takes the request."
        remedy: "Start one with `crossfade continue`.";
    NoProgress "no_progress"
        cause: "The engine's connections are lost again and again, without anything new done in between."
        remedy: "Find out what ends them: a limit of a proxy's, or a server process that dies of a statement (see \
                 its log). Then `crossfade continue`.";
    NoWayBack "no_way_back"
        cause: "The migration was run without a way back: there is nothing to roll back with."
        remedy: "End it with `crossfade complete`.";
    NotAppendOnly "not_append_only"
        cause: "A row of a table without a key was updated or deleted, and only inserts can be followed there."
        remedy: "The source is untouched. `crossfade abort`; give the table a primary key, then run the change \
                 again.";
    NotHandedOver "not_handed_over"
        cause: "The move has not been handed over, so there is nothing to complete and nothing to go back from."
        remedy: "`crossfade status` shows where it is, `crossfade cutover` hands over, `crossfade abort` gives up.";
    NotPermitted "not_permitted"
        cause: "The server answers and does not let the role in, or not do what is needed."
        remedy: "Follow what the server says: a password, a line in `pg_hba.conf`, or a privilege. `crossfade \
                 grants` prints what the role needs.";
    NotSwapped "not_swapped"
        cause: "The tables are not swapped, so there is nothing to complete and nothing to go back from."
        remedy: "`crossfade status` shows where the migration is, `crossfade cutover` swaps, `crossfade abort` gives \
                 up.";
    OtherServer "other_server"
        cause: "It is another server, or another history of it, than the one that the migration began on."
        remedy: "Point the connection at the server that the migration began on. After a failover its slots are \
                 gone: before the swap `crossfade abort`, then run the change again; after it `crossfade complete`.";
    Pooler "pooler"
        cause: "Something that shares sessions stands in front of the server, as a pooler does."
        remedy: "Connect to PostgreSQL itself, by its own host and port.";
    ProtocolViolation "protocol_violation"
        cause: "What answers a connection for replication does not speak PostgreSQL's protocol."
        remedy: "Connect to PostgreSQL itself, not through a pooler; then `crossfade continue`.";
    PublicationChanged "publication_changed"
        cause: "The publication was altered, dropped or made anew: changes may be missing from the stream."
        remedy: "Before the swap the source is untouched: `crossfade abort`, then run the change again. After it \
                 there is no way back any more: `crossfade complete` ends the migration.";
    ReplicationRefused "replication_refused"
        cause: "The server refuses a command of a connection for replication, and says why."
        remedy: "Mend what it complains about (`crossfade plan` looks for it), then `crossfade continue`.";
    RetainedWalMax "retained_wal_max"
        cause: "The migration's slots retained more WAL than `retained_wal_max`, and were dropped."
        remedy: "Before the swap the source is untouched: `crossfade abort`, raise the limit or choose a quieter \
                 hour, then run the change again. After it there is no way back any more: `crossfade complete` ends \
                 the migration.";
    RowNotCopied "row_not_copied"
        cause: "A row's values do not fit the new table, or an expression of the change fails on them; the message \
                names its key."
        remedy: "The source is untouched. Change that row, then `crossfade continue`; or `crossfade abort`, and \
                 change the expression.";
    RowNotFetched "row_not_fetched"
        cause: "Rows that are to be read again by their key cannot be read."
        remedy: "Mend the cause, then `crossfade continue`, or before the swap `crossfade abort`.";
    SchemaNotDumped "schema_not_dumped"
        cause: "`pg_dump` is not there, is older than the source, or does not write the schema, and says why."
        remedy: "Give a `pg_dump` that is as new as the source with --pg-dump; or make the tables on the target by yourself and \
                 say `--schema-from existing`.";
    SchemaNotRestored "schema_not_restored"
        cause: "The target does not take a statement of the source's schema, and says why."
        remedy: "Mend what the target complains about (a role, an extension, a schema); then give the same command again.";
    ServerAway "server_away"
        cause: "The server was away for longer than `--reconnect-max`."
        remedy: "When it is back: `crossfade continue`.";
    ServerTooOld "server_too_old"
        cause: "The server is older than PostgreSQL 14."
        remedy: "Point the connection at the server that the migration began on, or upgrade it first.";
    SessionsNotEnding "sessions_not_ending"
        cause: "Sessions of an earlier engine are still there, and do not end when they are told to."
        remedy: "Look for them in `pg_stat_activity` by `application_name`, and end them; then `crossfade continue`.";
    SeveralServers "several_servers"
        cause: "The address leads to more than one server, as a balancer's does: a snapshot, a slot or a lock of one \
                is not on the other."
        remedy: "Connect to the one server that is meant, a primary, by its own host and port. What was begun goes on \
                 there, with the same command or `crossfade continue`.";
    SlotAhead "slot_ahead"
        cause: "The replication slot is ahead of what has been applied: somebody else has read from it or advanced \
                it, and changes are missing."
        remedy: "Before the swap the source is untouched: `crossfade abort`, then run the change again. After it \
                 there is no way back any more: `crossfade complete` ends the migration.";
    SlotChanged "slot_changed"
        cause: "A replication slot of the migration's name is there that the engine did not make, or gone when it \
                was to be dropped."
        remedy: "See who made or dropped it (`pg_replication_slots`), then `crossfade continue`.";
    SlotInUse "slot_in_use"
        cause: "A slot cannot be dropped: another process uses it."
        remedy: "End that process, then `crossfade continue`.";
    SlotInvalidated "slot_invalidated"
        cause: "The server has invalidated the replication slot and removed WAL that it needs: see \
                `max_slot_wal_keep_size`, and from PostgreSQL 18 on `idle_replication_slot_timeout`."
        remedy: "Before the swap the source is untouched: `crossfade abort`, raise the setting, then run the change \
                 again. After it there is no way back any more: `crossfade complete` ends the migration.";
    SlotMissing "slot_missing"
        cause: "The replication slot, or the publication that is read with it, is gone or of no use any more, and \
                changes with it."
        remedy: "Before the swap the source is untouched: `crossfade abort`, then run the change again. After it \
                 `crossfade continue` makes anew what can be made anew; `crossfade complete` ends the migration.";
    SlotSnapshotTooLarge "slot_snapshot_too_large"
        cause: "A slot cannot be made while so many subtransactions run that its snapshot has no room for them."
        remedy: "Let transactions with very many subtransactions end first, then `crossfade continue`.";
    SnapshotNotUnderstood "snapshot_not_understood"
        cause: "The server's snapshots have a form that is not known."
        remedy: "Please report it, with the server's version.";
    SourceChanged "source_changed"
        cause: "The table that is followed, or a new one after the swap, is no longer what was planned."
        remedy: "Before the swap the source is untouched: `crossfade abort`, then plan the change again. After it \
                 make the tables again what the plan says, then `crossfade continue`; or `crossfade complete`.";
    SourceDropped "source_dropped"
        cause: "The source was dropped."
        remedy: "Remove what is left with `crossfade abort`.";
    SourceRewritten "source_rewritten"
        cause: "The source was rewritten or replaced while it was copied (VACUUM FULL, CLUSTER, ALTER TABLE), and a \
                rewrite is not in the stream."
        remedy: "The source is untouched by the engine. `crossfade abort`, then plan the change again.";
    StateSchemaChanged "state_schema_changed"
        cause: "Somebody has changed the state schema `crossfade`, or what stands in it."
        remedy: "Compare it with the release's, and bring it back.";
    StateSchemaNewer "state_schema_newer"
        cause: "The state schema `crossfade` was written by a later release."
        remedy: "Use the release of crossfade that wrote it, or a later one.";
    StatementFailed "statement_failed"
        cause: "The server does not carry out a statement of the engine's, and says why."
        remedy: "Mend the cause, then go on with `crossfade continue`, or `crossfade abort`.";
    StreamNotUnderstood "stream_not_understood"
        cause: "What came through the stream cannot be trusted, or was refused for a reason that is not known."
        remedy: "Please report it. Before the swap the source is untouched: `crossfade abort`, then run the change \
                 again. After it `crossfade complete` ends the migration.";
    Superseded "superseded"
        cause: "Another engine has taken the migration over, or it was aborted."
        remedy: "`crossfade status` says which.";
    SwapUnresolved "swap_unresolved"
        cause: "The transaction that swaps the tables has neither committed nor rolled back, or the server does not \
                know any more what became of it."
        remedy: "Look at `pg_locks` for the transaction, and run `crossfade status` when it has ended.";
    SynchronousStandby "synchronous_standby"
        cause: "The setting `synchronous_standby_names` has come to match the engine's connection: every commit \
                would wait for it."
        remedy: "Name the standbys one by one, then go on with `crossfade continue`.";
    TablesNotChecked "tables_not_checked"
        cause: "The tables cannot be held against the plan: one is gone, its definition is not understood, or the \
                plan was made by another release."
        remedy: "Find out what became of the tables; before the swap `crossfade abort` gives up.";
    TargetChanged "target_changed"
        cause: "The table that is to take the place is not what was planned: somebody has changed it."
        remedy: "Before the swap the source is untouched: `crossfade abort`, then plan the change again. After it \
                 make the tables again what the plan says, then `crossfade continue`; or `crossfade complete`.";
    WayBackClosed "way_back_closed"
        cause: "The retired table has refused a row, and does not follow any more."
        remedy: "Mend the row and `crossfade continue`, which tries it again; or `crossfade complete`.";
}

/// How an engine's run ends, by what can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The server cannot be reached, or does not permit it.
    NoAccess,
    /// It can go on once the remedy is followed.
    Stopped,
    /// It will not go on by itself: an operator must decide.
    NeedsOperator,
}

impl FailureCode {
    /// How a run ends with it.
    pub fn ending(self) -> Ending {
        match self {
            FailureCode::CannotConnect
            | FailureCode::NotPermitted
            | FailureCode::Pooler
            | FailureCode::SeveralServers => Ending::NoAccess,
            FailureCode::Defect
            | FailureCode::EngineBusy
            | FailureCode::ExecutionMax
            | FailureCode::HookFailed
            | FailureCode::LockNotGranted
            | FailureCode::NoEngine
            | FailureCode::NoProgress
            | FailureCode::NotHandedOver
            | FailureCode::NotSwapped
            | FailureCode::ProtocolViolation
            | FailureCode::ReplicationRefused
            | FailureCode::RowNotCopied
            | FailureCode::SchemaNotDumped
            | FailureCode::SchemaNotRestored
            | FailureCode::ServerAway
            | FailureCode::SessionsNotEnding
            | FailureCode::SlotChanged
            | FailureCode::SlotInUse
            | FailureCode::SlotSnapshotTooLarge
            | FailureCode::SnapshotNotUnderstood
            | FailureCode::StatementFailed
            | FailureCode::Superseded
            | FailureCode::SynchronousStandby => Ending::Stopped,
            FailureCode::AlreadySwapped
            | FailureCode::ChangeNotApplied
            | FailureCode::IdentityDoesNotFit
            | FailureCode::InRecovery
            | FailureCode::NoWayBack
            | FailureCode::NotAppendOnly
            | FailureCode::OtherServer
            | FailureCode::PublicationChanged
            | FailureCode::RetainedWalMax
            | FailureCode::RowNotFetched
            | FailureCode::ServerTooOld
            | FailureCode::SlotAhead
            | FailureCode::SlotInvalidated
            | FailureCode::SlotMissing
            | FailureCode::SourceChanged
            | FailureCode::SourceDropped
            | FailureCode::SourceRewritten
            | FailureCode::StateSchemaChanged
            | FailureCode::StateSchemaNewer
            | FailureCode::StreamNotUnderstood
            | FailureCode::SwapUnresolved
            | FailureCode::TablesNotChecked
            | FailureCode::TargetChanged
            | FailureCode::WayBackClosed => Ending::NeedsOperator,
        }
    }
}
