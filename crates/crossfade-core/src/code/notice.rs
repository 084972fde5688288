//! What should be known and does not stand in the way.

use super::{Deserialize, Serialize, UnknownCode};

codes! {
    /// What the user should know of a change or of a server, and what can be done about it.
    NoticeCode, a "notice":

    ActivityHidden "activity_hidden"
        cause: "The role that runs changes may not see what other roles' sessions do: their old snapshots are not \
                waited for, who stands in the way is not named, and limits on standbys' lag hold nothing back."
        remedy: "Run `GRANT pg_read_all_stats TO …`.";
    AppendOnly "append_only"
        cause: "The table has no key, so only inserts can be followed. The first UPDATE or DELETE succeeds as ever, \
                and stops the run without harm to the table."
        remedy: "Give the table a primary key, unless its rows are only inserted.";
    DefaultPerRow "default_per_row"
        cause: "A column's default is computed once for each row when the row is copied or applied, and kept from \
                then on; it is not verified."
        remedy: "Nothing has to be done, unless each row is to have a certain value: then fill the column after the \
                 swap.";
    DependsOnSettings "depends_on_settings"
        cause: "An expression depends on settings, which are pinned for it: TimeZone is UTC, DateStyle ISO, MDY."
        remedy: "Where another setting is meant write it into the expression, as in `AT TIME ZONE 'Europe/Vienna'`.";
    EventTrigger "event_trigger"
        cause: "An event trigger fires at statements of the engine's too, and one that fails ends the run."
        remedy: "See to it that it lets them pass, or disable it for the change.";
    InvalidIndex "invalid_index"
        cause: "An index is invalid, left over by a failed build; the new table will not have it."
        remedy: "Drop it, or build it again with `REINDEX INDEX CONCURRENTLY`.";
    LongTransaction "long_transaction"
        cause: "A transaction has been open for long. If it writes, a slot is not made before it has ended; if it \
                reads, a swap may have to wait for it."
        remedy: "Wait for its end, or end it.";
    MetadataOnly "metadata_only"
        cause: "A plain ALTER TABLE does not rewrite the table: a migration may not be worth it."
        remedy: "Run the ALTER TABLE itself, where its lock for a moment, or for one reading of the table, does no \
                 harm.";
    NoDefaultPartition "no_default_partition"
        cause: "A row that fits none of the partitions of a new table stops the run, and after the swap it fails the \
                application's statement."
        remedy: "Add a partition with `values = \"DEFAULT\"`.";
    NoWayBackSlot "no_way_back_slot"
        cause: "There is no room for two slots and two walsenders, and a change with a way back takes two."
        remedy: "Raise `max_replication_slots` and `max_wal_senders` and restart the server, or run changes with \
                 `--way-back none`.";
    PartitionsNotPruned "partitions_not_pruned"
        cause: "Who looks for a row by the source's key alone looks into all partitions of a new table; so does each \
                change that is applied."
        remedy: "Make fewer partitions, and name the columns of `partition_by` in the application's queries.";
    PreparedTransaction "prepared_transaction"
        cause: "There is a prepared transaction, and a slot is not made before it has ended."
        remedy: "Run `COMMIT PREPARED …` or `ROLLBACK PREPARED …`.";
    ReferencingColumnStays "referencing_column_stays"
        cause: "A column that refers to one that is retyped keeps its own type."
        remedy: "Retype it too, with a plain ALTER TABLE or a change of its own.";
    ReplicaLagHidden "replica_lag_hidden"
        cause: "The role that runs the change may not see how far standbys are behind: `replica_lag_max` and \
                `replica_lag_bytes_max` hold nothing back."
        remedy: "Run `GRANT pg_read_all_stats TO …`, or give a `pace_query`.";
    SequenceStaysBigint "sequence_stays_bigint"
        cause: "A sequence fills a column that gets another type, and itself stays bigint."
        remedy: "Run `ALTER SEQUENCE … AS …` with the column's new type.";
    SequenceStaysInteger "sequence_stays_integer"
        cause: "A sequence fills a column that gets another type, and itself stays integer: it ends at 2147483647 or \
                before."
        remedy: "Run `ALTER SEQUENCE … AS …` with the column's new type.";
    SequenceStaysSmallint "sequence_stays_smallint"
        cause: "A sequence fills a column that gets another type, and itself stays smallint: it ends at 32767 or \
                before."
        remedy: "Run `ALTER SEQUENCE … AS …` with the column's new type.";
    SlotMayBeLost "slot_may_be_lost"
        cause: "The setting `max_slot_wal_keep_size` bounds the WAL that a slot retains: beyond it the server \
                invalidates the slot, and the run has to start over."
        remedy: "Raise it, or copy in chunks with `--copy incremental`.";
    SourceKept "source_kept"
        cause: "The source stays as it is. What is written to it after the swap is not in the new tables, nor the \
                other way round."
        remedy: "Let applications write to the new tables from the swap on.";
    SourceRetired "source_retired"
        cause: "The source leaves its place with the swap, and none of the new tables gets its triggers and foreign \
                keys. Whoever names it gets an error, or the new table or the view that has its name then."
        remedy: "Prepare the applications for the new tables, and add after the swap what is missing.";
    StandbyReadersUnseen "standby_readers_unseen"
        cause: "A standby without `hot_standby_feedback` is connected: transactions there that read across the swap \
                cannot be seen and are not waited for."
        remedy: "Set `hot_standby_feedback = on` there, or let nothing read the table there while the tables are \
                 swapped.";
}
