//! The schema that is restored: as it was, to the last byte of a function.

use anyhow::{Result, ensure};
use crossfade_tests::moving::Moving;

use super::count;

const BODY: &str = "\r\n-- by hand, on Windows:\r\n\\restrict\n\\unrestrict x\n\\d\nSELECT 1\r\n";

#[tokio::test]
async fn a_schema_may_be_there_and_a_function_is_as_it_was() -> Result<()> {
    let moving = Moving::bare().await?;
    let (source, target) = (
        moving.client(&moving.from).await?,
        moving.client(&moving.to).await?,
    );
    source
        .batch_execute(&format!(
            "CREATE SCHEMA \"My Sales\"; CREATE TABLE \"My Sales\".t (id integer PRIMARY KEY);
             INSERT INTO \"My Sales\".t SELECT generate_series(1, 10);
             CREATE FUNCTION \"My Sales\".f() RETURNS text LANGUAGE sql AS $f$SELECT $x${BODY}$x$::text$f$"
        ))
        .await?;
    target
        .batch_execute("CREATE SCHEMA \"My Sales\"; CREATE TABLE \"My Sales\".mine ()")
        .await?;
    let engine = moving.start_move_hooked(&["--copy-only"])?;
    engine.end().await?.expect(0)?;
    ensure!(count(&target, "SELECT count(*) FROM \"My Sales\".t").await? == 10);
    let body: String = target.query_one("SELECT \"My Sales\".f()", &[]).await?.get(0);
    ensure!(body == BODY, "{body:?}");
    Ok(())
}
