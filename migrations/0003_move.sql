-- Moves to another server: each hand-over is a row on both, on the one that is left in the transaction that shuts out its
-- writers for good.
CREATE TABLE crossfade.hand_over (
    migration  text NOT NULL,
    leg        integer NOT NULL,
    -- Left: from here on the tables here follow. Entered: from here on they lead. On the target only: paused, the hook has
    -- paused applications that are to go on; switched, the hook has led them over.
    side       text NOT NULL CHECK (side IN ('left', 'entered', 'paused', 'switched')),
    -- With left: what the other server has to have before it is entered.
    drained    pg_lsn,
    handed_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (migration, leg, side)
);
COMMENT ON TABLE crossfade.hand_over IS 'Which server leads: the one that did not leave last';

CREATE TABLE crossfade.moved_table (
    migration text PRIMARY KEY,
    phase     text NOT NULL CHECK (phase IN ('planned', 'copying', 'copied', 'following', 'ready'))
);
COMMENT ON TABLE crossfade.moved_table IS 'How far each table of a move has come';

CREATE TABLE crossfade.moved_schema (
    migration  text PRIMARY KEY,
    after_rows text NOT NULL,
    refresh    text NOT NULL
);
COMMENT ON TABLE crossfade.moved_schema IS 'What of the dump of a move is still to be run: once the rows are there, and once this server leads';

-- Of a table that does not lead. The code is that of a read-only transaction: drivers and poolers know it as "connect anew".
CREATE FUNCTION crossfade.lockout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'read_only_sql_transaction',
        MESSAGE = pg_catalog.format('%I.%I is not written to on this server: move %s has it at %s',
                                    TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0], TG_ARGV[1]),
        HINT = 'Connect to the server that leads.';
END
$$;

-- Tables of another server have oids of their own, and are known by the move's row alone.
ALTER TABLE crossfade.migration ADD COLUMN source_system numeric NOT NULL DEFAULT 0;
DROP INDEX crossfade.migration_one_per_table;
CREATE UNIQUE INDEX migration_one_per_table ON crossfade.migration (source_system, source_oid)
    WHERE phase NOT IN ('swapped', 'rolled_back', 'completed', 'aborted');
