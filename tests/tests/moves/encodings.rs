//! Databases that are not in UTF-8.

use anyhow::{Result, ensure};
use crossfade_tests::moving::Moving;

/// Bytes beyond ASCII in a key, a value, an enum and the names; of a value so long that it is out of line, too.
fn tables(encoding: &str) -> String {
    format!(
        "CREATE TYPE \"größe\" AS ENUM ('klein', 'größer');
         CREATE TABLE \"bücher\" (\"schlüssel\" text PRIMARY KEY, titel text, maß \"größe\", lang text);
         INSERT INTO \"bücher\"
              SELECT convert_from('\\xe9'::bytea, '{encoding}') || i, convert_from('\\xfc'::bytea, '{encoding}'), 'größer',
                     repeat(convert_from('\\xe4'::bytea, '{encoding}') || md5(i::text), 500)
                FROM generate_series(1, 500) AS i"
    )
}

async fn there_and_back(encoding: &str) -> Result<()> {
    let moving = Moving::encoded(encoding).await?;
    let (old, new) = (
        moving.client(&moving.from).await?,
        moving.client(&moving.to).await?,
    );
    old.batch_execute(&tables(encoding)).await?;
    let mut engine = moving.start_move_hooked(&[])?;
    moving.verified(&mut engine, 0).await?;
    let changes = format!(
        "UPDATE \"bücher\" SET titel = titel || convert_from('\\xdf'::bytea, '{encoding}')
          WHERE \"schlüssel\" > convert_from('\\xe9'::bytea, '{encoding}') || 4;
         INSERT INTO \"bücher\" VALUES (convert_from('\\xe8'::bytea, '{encoding}'), NULL, 'klein', NULL);
         DELETE FROM \"bücher\" WHERE \"schlüssel\" = convert_from('\\xe9'::bytea, '{encoding}') || 7"
    );
    old.batch_execute(&changes).await?;
    moving.operate("verify", &[]).await?.expect(0)?;
    moving.operate("cutover", &[]).await?.expect(0)?;
    moving.led(&mut engine, 1).await?;
    let later = changes.replace("\\xe8", "\\xea").replace("7\"", "8\"");
    new.batch_execute(&later).await?;
    moving.verified(&mut engine, 1).await?;
    moving.operate("rollback", &[]).await?.expect(0)?;
    moving.led(&mut engine, 2).await?;
    let sum = "SELECT md5(string_agg(encode(convert_to(b::text, getdatabaseencoding()), 'hex'), ',' ORDER BY \"schlüssel\"))
                      || count(*) FROM \"bücher\" AS b";
    let sums: [String; 2] = [
        old.query_one(sum, &[]).await?.get(0),
        new.query_one(sum, &[]).await?.get(0),
    ];
    ensure!(sums[0] == sums[1], "{sums:?}");
    engine.kill_9().await?;
    Ok(())
}

#[tokio::test]
async fn a_database_in_latin1_moves() -> Result<()> {
    there_and_back("LATIN1").await
}

/// Its bytes are no UTF-8.
#[tokio::test]
async fn a_database_without_an_encoding_moves() -> Result<()> {
    there_and_back("SQL_ASCII").await
}
