//! The incremental copy: chunk by chunk, while the application writes and its changes are applied.

use anyhow::{Result, ensure};
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::stage::Stage;

/// Chunks of this time are of the smallest size that there is.
const TINY: &str = "1ms";

#[tokio::test]
async fn nothing_is_lost_while_writers_write() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 20_000, 4, 11).await?;
    let file = stage.change_file(TABLE, &[RETYPE], &[("chunk_time", TINY)])?;
    let file = file.display().to_string();
    let name = stage.name().as_str();
    let run = [
        "run",
        "--yes",
        "--name",
        name,
        "--change",
        &file,
        "--copy",
        "incremental",
        "--way-back",
        "none",
        "--cutover",
        "auto",
    ];
    let ended = stage.ended(&run).await?.expect(0)?;
    ensure!(ended.reported("changes_dropped")? > 0, "{}", ended.object);
    println!("{}", ended.object);
    orders.goes_on(50).await?;
    let comparison = orders.stop_and_compare().await?;
    println!("{comparison:?}");
    Ok(())
}
