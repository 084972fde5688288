//! Moves of a whole database to another server: there, back, and there again, under an application that writes.

use anyhow::{Result, ensure};
use crossfade_tests::moving::{Moving, MovingOptions, more_commits};

/// There, back, and there again; compared and held against the application's ledger.
async fn there_and_back(options: MovingOptions) -> Result<()> {
    let moving = Moving::start(options).await?;
    let application = moving.application().await?;
    let (old, new) = (moving.place(&moving.from), moving.place(&moving.to));
    more_commits(&application, &old, 50).await?;
    let mut engine = moving.start_move(&[])?;
    moving.ready(&mut engine, 0).await?;
    moving.operate("cutover", &[]).await?.expect(0)?;
    more_commits(&application, &new, 100).await?;
    moving.ready(&mut engine, 1).await?;
    moving.operate("rollback", &[]).await?.expect(0)?;
    moving.leg(&mut engine, 2).await?;
    more_commits(&application, &old, 100).await?;
    moving.ready(&mut engine, 2).await?;
    moving.operate("cutover", &[]).await?.expect(0)?;
    moving.leg(&mut engine, 3).await?;
    more_commits(&application, &new, 100).await?;
    let story = application.stop().await?;
    println!(
        "commits {:?}, errors {:?}, longest gap {:?}",
        story.commits_by_place.values().collect::<Vec<_>>(),
        story.errors_by_code,
        story.longest_gap
    );
    moving.check_story(&moving.to, &story).await?;
    moving.check_rows(&moving.to, &moving.from).await?;
    let ended = moving.operate_both("complete", &[]).await?.expect(0)?;
    ensure!(ended.object["outcome"] == "done");
    engine.end().await?.expect(0)?;
    moving.check_catalogs(&moving.to).await?;
    Ok(())
}

#[tokio::test]
async fn an_estate_goes_there_and_back_and_there() -> Result<()> {
    there_and_back(MovingOptions::default()).await
}
