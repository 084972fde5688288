//! Keys and identities: which row a change is of, and which chunk it lies in, is for the server to say.

use anyhow::{Context as _, Result};
use crossfade_core::phase::Phase;

use super::{Copy, Pair, Writer};

/// A table, and what is done to it.
struct Keyed {
    columns: &'static str,
    /// For the table alone, and its twin, before there are rows.
    then: &'static str,
    /// Of 3,000 rows; `i` runs from 1.
    rows: &'static str,
    /// In turn, all the time; `{i}` is the round.
    writes: &'static [&'static str],
}

async fn changed(keyed: &Keyed) -> Result<()> {
    for copy in Copy::BOTH {
        changed_by(keyed, copy)
            .await
            .with_context(|| format!("{copy:?}"))?;
    }
    Ok(())
}

async fn changed_by(keyed: &Keyed, copy: Copy) -> Result<()> {
    let pair = Pair::new(keyed.columns).await?;
    pair.both(keyed.then).await?;
    let fill = format!(
        "INSERT INTO {{t}} SELECT {} FROM generate_series(1, 3000) AS i",
        keyed.rows
    );
    pair.both(&fill).await?;
    let mut writer = Writer::start(&pair, keyed.writes).await?;
    writer.goes_on(10).await?;
    let mut engine = pair.start(copy).await?;
    pair.stage.reached_by(&mut engine, Phase::Copying).await?;
    if matches!(copy, Copy::Incremental) {
        pair.chunks(3).await?;
    }
    pair.stage.reached_by(&mut engine, Phase::Ready).await?;
    writer.goes_on(20).await?;
    pair.cut_over(engine).await?;
    writer.goes_on(20).await?;
    writer.stop().await?;
    pair.compare().await
}

#[tokio::test]
async fn a_text_key_in_the_order_of_a_language() -> Result<()> {
    // Upper and lower case, accents and digits: the bytes are in another order.
    changed(&Keyed {
        columns: "k text COLLATE \"sv-SE-x-icu\" PRIMARY KEY, big text",
        then: "ALTER TABLE {t} ALTER COLUMN big SET STORAGE EXTERNAL",
        rows: "i, (ARRAY['a','B','ä','Z','é','e','ø','0','_'])[1 + i % 9] || (i * 7919 % 3001) || 'x',
               CASE WHEN i % 100 = 0 THEN repeat('x', 3000) END",
        writes: &[
            "UPDATE {t} SET n = n + 3000 WHERE n % 97 = {i} % 97",
            "UPDATE {t} SET k = 'Å' || k WHERE n % 101 = {i} % 101 AND length(k) < 40",
            "INSERT INTO {t} VALUES ({i}, 'ny' || {i}, repeat('y', 3000))",
            "DELETE FROM {t} WHERE k LIKE 'ny%' AND n < {i} - 20",
        ],
    })
    .await
}

#[tokio::test]
async fn a_text_key_that_ignores_case() -> Result<()> {
    changed(&Keyed {
        columns: "k text PRIMARY KEY",
        then: "CREATE COLLATION IF NOT EXISTS public.any_case
                 (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
               ALTER TABLE {t} ALTER COLUMN k TYPE text COLLATE public.any_case",
        rows: "i, 'Key ' || (i * 7919 % 3001)",
        writes: &[
            "UPDATE {t} SET k = upper(k) WHERE n % 97 = {i} % 97",
            "UPDATE {t} SET k = lower(k), n = n + 3000 WHERE n % 89 = {i} % 89",
            "DELETE FROM {t} WHERE k = 'KEY {i}'; INSERT INTO {t} VALUES ({i}, 'kEy {i}')",
        ],
    })
    .await
}

#[tokio::test]
async fn a_numeric_key_of_which_one_value_has_many_spellings() -> Result<()> {
    changed(&Keyed {
        columns: "k numeric PRIMARY KEY",
        then: "",
        rows: "i, (i * 7919 % 3001)::numeric / 10",
        writes: &[
            "UPDATE {t} SET k = k + 0.0000 WHERE n % 97 = {i} % 97",
            "UPDATE {t} SET k = trim_scale(k), n = n + 3000 WHERE n % 89 = {i} % 89",
            "UPDATE {t} SET k = k + 100000 * {i} WHERE n % 211 = {i} % 211 AND k < 100000",
            "DELETE FROM {t} WHERE k = {i}.0; INSERT INTO {t} VALUES ({i}, {i}.00)",
        ],
    })
    .await
}

#[tokio::test]
async fn a_key_of_two_columns_beside_a_nullable_unique_one() -> Result<()> {
    changed(&Keyed {
        columns: "k integer, part uuid, code integer UNIQUE, PRIMARY KEY (k, part)",
        then: "",
        rows: "i, i % 40, md5(i::text)::uuid, CASE WHEN i % 3 = 0 THEN i END",
        writes: &[
            "UPDATE {t} SET n = n + 3000, code = NULL WHERE code % 97 = {i} % 97",
            "UPDATE {t} SET k = (k + {i}) % 50 WHERE n % 101 = {i} % 101",
            // The unique values of two rows change places.
            "UPDATE {t} SET code = -1 WHERE code = 30; UPDATE {t} SET code = 30 WHERE code = 33; UPDATE {t} SET code = 33 WHERE code = -1",
            "INSERT INTO {t} VALUES ({i}, {i} % 40, md5('new {i}')::uuid, 10000 + {i})",
            "DELETE FROM {t} WHERE code = 10000 + {i} - 21",
        ],
    })
    .await
}

/// The stream carries the identity's old values, and the primary key changes without one.
#[tokio::test]
async fn an_identity_that_is_not_the_primary_key() -> Result<()> {
    changed(&Keyed {
        columns: "id integer PRIMARY KEY, code text NOT NULL, big text, CONSTRAINT code UNIQUE (code)",
        then: "ALTER TABLE {t} REPLICA IDENTITY USING INDEX code, ALTER COLUMN big SET STORAGE EXTERNAL",
        rows: "i, i, 'c' || (i * 7919 % 3001), CASE WHEN i % 100 = 0 THEN repeat('x', 3000) END",
        writes: &[
            "UPDATE {t} SET id = id + 1000000 WHERE n % 97 = {i} % 97 AND id < 1000000",
            "UPDATE {t} SET id = id - 1000000 WHERE n % 53 = {i} % 53 AND id BETWEEN 1000001 AND 1999999",
            "UPDATE {t} SET code = 'x' || code WHERE n % 101 = {i} % 101 AND length(code) < 40",
            // The primary keys of two rows change places.
            "UPDATE {t} SET id = -1 WHERE code = 'c1'; UPDATE {t} SET id = -2 WHERE code = 'c2';
             UPDATE {t} SET id = 20000000 + {i} WHERE id = -1; UPDATE {t} SET id = 30000000 + {i} WHERE id = -2",
            "INSERT INTO {t} VALUES ({i}, 5000000 + {i}, 'new {i}', NULL)",
            "DELETE FROM {t} WHERE code = 'new ' || ({i} - 19)",
        ],
    })
    .await
}

/// No primary key at all: an immediate unique index over columns without NULLs tells the rows apart.
#[tokio::test]
async fn a_full_identity_without_a_primary_key() -> Result<()> {
    changed(&Keyed {
        columns: "a integer NOT NULL, b text NOT NULL, note text, big text, CONSTRAINT ab UNIQUE (a, b)",
        then: "ALTER TABLE {t} REPLICA IDENTITY FULL, ALTER COLUMN big SET STORAGE EXTERNAL",
        rows: "i, i % 50, 'b' || i, CASE WHEN i % 2 = 0 THEN 'x' END, CASE WHEN i % 100 = 0 THEN repeat('x', 3000) END",
        writes: &[
            "UPDATE {t} SET note = NULL WHERE n % 97 = {i} % 97",
            "UPDATE {t} SET note = 'was null' WHERE note IS NULL AND n % 89 = {i} % 89",
            "UPDATE {t} SET a = (a + 1) % 60, note = NULL WHERE n % 101 = {i} % 101",
            "INSERT INTO {t} VALUES ({i}, 7, 'new {i}', NULL, NULL)",
            "DELETE FROM {t} WHERE b = 'new ' || ({i} - 16)",
        ],
    })
    .await
}
