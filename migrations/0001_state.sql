-- The engine's own state. Forward only: a later release adds a file, and never changes this one.

CREATE TABLE crossfade.migration (
    name         text PRIMARY KEY,
    plan         text NOT NULL,
    plan_digest  text NOT NULL,
    phase        text NOT NULL CHECK (phase IN ('planned', 'prepared', 'copying', 'copied', 'following', 'ready',
                                                'swapped', 'rolled_back', 'completed', 'aborted')),
    paused       boolean NOT NULL DEFAULT false,
    source_oid   oid NOT NULL,
    source_table text NOT NULL,
    report       text NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text NOT NULL DEFAULT session_user,
    updated_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE crossfade.migration IS 'One row a migration: its plan and how far it has come';

-- Two unfinished migrations of one table are refused by the server, whoever starts them.
CREATE UNIQUE INDEX migration_one_per_table ON crossfade.migration (source_oid)
    WHERE phase NOT IN ('swapped', 'rolled_back', 'completed', 'aborted');

-- Holds nothing but the generation: every writing transaction locks it FOR SHARE, only a starting engine updates it.
CREATE TABLE crossfade.generation (
    migration  text PRIMARY KEY,
    generation bigint NOT NULL
);
COMMENT ON TABLE crossfade.generation IS 'Which engine may write: statements of an earlier one fail (R24)';

CREATE TABLE crossfade.engine (
    migration       text PRIMARY KEY,
    host            text NOT NULL,
    process         bigint NOT NULL,
    backend_pid     integer NOT NULL,
    backend_started timestamptz NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT now(),
    heard_at        timestamptz NOT NULL DEFAULT now(),
    progress        text NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
COMMENT ON TABLE crossfade.engine IS 'Who works on a migration, where, and what it last said';

CREATE TABLE crossfade.position (
    migration        text NOT NULL,
    direction        text NOT NULL CHECK (direction IN ('forward', 'back')),
    applied_lsn      pg_lsn NOT NULL,
    slot_snapshot    text,
    -- Of the last alignment: what it sees is in the target, whatever its commit's position (R26).
    aligned_snapshot text,
    PRIMARY KEY (migration, direction)
) WITH (fillfactor = 10);
COMMENT ON TABLE crossfade.position IS 'Everything committed at or before applied_lsn is in the target; written with the rows. Back: in the retired table, from the end of the swap on (R31)';

CREATE TABLE crossfade.source_file (
    migration text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('forward', 'back')),
    -- None: it was replaced while it was compared.
    file      oid,
    PRIMARY KEY (migration, direction)
);
COMMENT ON TABLE crossfade.source_file IS 'The file (relfilenode) that the source had when it was copied, swapped in, or last compared whole: with another one nothing is swapped (R4)';

CREATE TABLE crossfade.way_back_closed (
    migration text PRIMARY KEY,
    since_lsn pg_lsn NOT NULL,
    reason    text NOT NULL,
    closed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE crossfade.way_back_closed IS 'A retired table that no longer follows: since when, and which row it refused (R32)';

CREATE TABLE crossfade.detector (
    migration text PRIMARY KEY,
    seen_lsn  pg_lsn,
    strays    bigint NOT NULL DEFAULT 0,
    -- So many of them, the earliest, lie behind a verification that found every row equal.
    settled   bigint NOT NULL DEFAULT 0,
    -- Of the first since all were settled last; without an id: nobody looked, up to there.
    first_lsn pg_lsn,
    first_xid xid8
) WITH (fillfactor = 10);
COMMENT ON TABLE crossfade.detector IS 'Up to where the retired table was watched after the swap, and how many transactions wrote to it that were not the engine''s (R31)';

CREATE TABLE crossfade.chunk (
    migration    text NOT NULL,
    chunk        bigint NOT NULL,
    snapshot     text NOT NULL,
    lower        bytea,
    upper        bytea,
    rows         bigint NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (migration, chunk)
);
COMMENT ON TABLE crossfade.chunk IS 'The ledger: which rows are in the target, and under which snapshot they were read';

CREATE TABLE crossfade.unproven_drop (
    migration text NOT NULL,
    xid       xid8 NOT NULL
);
COMMENT ON TABLE crossfade.unproven_drop IS 'Transactions dropped for a chunk still to be read: its snapshot must see them (R6)';

CREATE TABLE crossfade.statement_done (
    migration text NOT NULL,
    statement integer NOT NULL,
    done_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (migration, statement)
);
COMMENT ON TABLE crossfade.statement_done IS 'Statements of the plan, by position, that were committed; written with their effect';

CREATE TABLE crossfade.swap_attempt (
    migration  text NOT NULL,
    attempt    bigint GENERATED ALWAYS AS IDENTITY,
    xid        xid8 NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (migration, attempt)
);
COMMENT ON TABLE crossfade.swap_attempt IS 'The transaction of each swap, written down before its COMMIT by another session (R29)';

CREATE TABLE crossfade.request (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration text NOT NULL,
    verb      text NOT NULL CHECK (verb IN ('pause', 'continue', 'cutover', 'rollback', 'verify', 'repair')),
    asked_by  text NOT NULL DEFAULT session_user,
    asked_at  timestamptz NOT NULL DEFAULT now(),
    taken_at  timestamptz
);
COMMENT ON TABLE crossfade.request IS 'What operators asked of an engine';

CREATE TABLE crossfade.verification (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration        text NOT NULL,
    direction        text NOT NULL CHECK (direction IN ('forward', 'back')),
    began_at         timestamptz NOT NULL,
    ended_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    aligned_lsn      pg_lsn NOT NULL,
    whole            boolean NOT NULL,
    pairs            integer NOT NULL,
    slices           integer NOT NULL,
    slices_different integer NOT NULL,
    rows             bigint NOT NULL,
    differences      text NOT NULL DEFAULT '[]',
    more             boolean NOT NULL,
    unverified       text[] NOT NULL DEFAULT '{}',
    -- Rows that were repaired right before it.
    repaired         integer NOT NULL DEFAULT 0,
    -- Another one follows, after a repair of what differed.
    repair_follows   boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE crossfade.verification IS 'What each comparison of source and target came to; the last one gates the cutover';

CREATE TABLE crossfade.audit (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    migration text NOT NULL,
    who       text NOT NULL DEFAULT session_user,
    host      text NOT NULL,
    what      text NOT NULL,
    statement text
);
COMMENT ON TABLE crossfade.audit IS 'Who did what and when; kept after complete and abort';
