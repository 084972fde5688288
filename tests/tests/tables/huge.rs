//! Values of 64 MB: copied, streamed, kept and fetched.

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::memory::watched;

use super::{Copy, Pair};

/// 64 MB, which the column's storage does not compress.
const HUGE: &str = "repeat(md5(({seed})::text), 2097152)";

fn huge(seed: &str) -> String {
    HUGE.replace("{seed}", seed)
}

async fn written(copy: Copy) -> Result<u64> {
    let pair = Pair::new("id integer PRIMARY KEY, big text, note text").await?;
    pair.both("ALTER TABLE {t} ALTER COLUMN big SET STORAGE EXTERNAL")
        .await?;
    pair.both(&format!(
        "INSERT INTO {{t}} SELECT i, i, {}, 'n' FROM generate_series(1, 4) AS i",
        huge("i")
    ))
    .await?;
    let mut engine = pair.start(copy).await?;
    pair.stage.reached_by(&mut engine, Phase::Copying).await?;
    let watching = tokio::spawn(watched(engine));
    for statements in [
        // Beside the value, which the stream leaves out.
        "UPDATE {t} SET n = -1, note = NULL WHERE id = 1".to_owned(),
        // The key changes, and the value goes along.
        "UPDATE {t} SET id = 20 WHERE id = 2".to_owned(),
        format!("INSERT INTO {{t}} VALUES (5, 5, {}, 'new')", huge("5")),
        format!("UPDATE {{t}} SET big = {} WHERE id = 3", huge("-3")),
        "UPDATE {t} SET note = 'again' WHERE id IN (3, 5); DELETE FROM {t} WHERE id = 4".to_owned(),
    ] {
        pair.both(&statements)
            .await
            .with_context(|| statements.chars().take(60).collect::<String>())?;
    }
    pair.stage.reached(Phase::Ready).await?;
    // Several in a row, while each takes its time to be applied.
    let several = format!(
        "INSERT INTO {{t}} SELECT i, i, {}, 'one of many' FROM generate_series(30, 34) AS i",
        huge("i")
    );
    pair.both(&several).await?;
    pair.both("UPDATE {t} SET n = n + 1").await?;
    pair.stage.operate("cutover", &[]).await?.expect(0)?;
    let (ended, peak) = watching.await??;
    ended.expect(0)?;
    let differ = "SELECT count(*) FROM public.t AS t FULL JOIN twin.t AS twin USING (id)
                   WHERE (t.n, t.note, md5(t.big)) IS DISTINCT FROM (twin.n, twin.note, md5(twin.big))";
    let differ: i64 = pair.client.query_one(differ, &[]).await?.get(0);
    ensure!(differ == 0, "{differ} rows differ");
    let rows: i64 = pair
        .client
        .query_one("SELECT count(*) FROM public.t", &[])
        .await?
        .get(0);
    ensure!(rows == 9, "{rows} rows");
    Ok(peak)
}

#[tokio::test]
async fn values_of_64_megabytes() -> Result<()> {
    for copy in Copy::BOTH {
        let peak = written(copy).await.with_context(|| format!("{copy:?}"))?;
        println!("{copy:?}: at most {} MB resident", peak >> 20);
    }
    Ok(())
}
