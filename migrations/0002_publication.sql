CREATE TABLE crossfade.publication (
    migration text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('forward', 'back')),
    identity  text NOT NULL,
    PRIMARY KEY (migration, direction)
);
COMMENT ON TABLE crossfade.publication IS 'The publications as they were before their slots were made: with another one changes may be missing, and nothing is swapped (R34)';
