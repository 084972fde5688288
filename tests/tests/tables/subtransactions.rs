//! One transaction of 5,000 subtransactions: more than a snapshot lists, some of them rolled back, open while rows
//! are copied, and while the slot is made.

use anyhow::{Context as _, Result};
use crossfade_core::phase::Phase;
use tokio_postgres::Client;

use super::{Copy, Pair, both};

/// Each inserts a row and changes another; every third is rolled back.
const MANY: &str = "DO $$ BEGIN
  FOR i IN 1..5000 LOOP
    BEGIN
      INSERT INTO {t} VALUES (i, {from} + i, 0);
      UPDATE {t} SET n = n + 10000 WHERE id = i;
      IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
  END LOOP;
END $$";

async fn begin(pair: &Pair, from: u32) -> Result<Client> {
    let session = pair.stage.client().await?;
    session.batch_execute("BEGIN").await?;
    both(&session, &MANY.replace("{from}", &from.to_string())).await?;
    Ok(session)
}

async fn written(copy: Copy) -> Result<()> {
    let pair = Pair::new("id integer PRIMARY KEY, small integer NOT NULL").await?;
    pair.both("INSERT INTO {t} SELECT i, i, i % 7 FROM generate_series(1, 12000) AS i")
        .await?;
    let before = begin(&pair, 100_000).await?;
    let mut engine = pair.start(copy).await?;
    // The slot waits for whoever writes when it is made.
    pair.stage.reached_by(&mut engine, Phase::Prepared).await?;
    before.batch_execute("COMMIT").await?;
    pair.stage.reached_by(&mut engine, Phase::Copying).await?;
    if matches!(copy, Copy::Incremental) {
        // By now the slot is made, which would wait for the next one too.
        pair.chunks(1).await?;
    }
    let during = begin(&pair, 200_000).await?;
    if matches!(copy, Copy::Incremental) {
        let copied = pair.chunks(1).await?;
        pair.chunks(copied + 3).await?;
    }
    during.batch_execute("COMMIT").await?;
    pair.stage.reached_by(&mut engine, Phase::Ready).await?;
    let after = begin(&pair, 300_000).await?;
    after.batch_execute("COMMIT").await?;
    pair.cut_over(engine).await?;
    pair.compare().await
}

#[tokio::test]
async fn t12_five_thousand_subtransactions() -> Result<()> {
    for copy in Copy::BOTH {
        written(copy).await.with_context(|| format!("{copy:?}"))?;
    }
    Ok(())
}
