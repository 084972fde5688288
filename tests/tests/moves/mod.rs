//! Moves of a whole database to another server: there, back, and there again, under an application that writes.

use anyhow::Result;
use crossfade_tests::moving::MovingOptions;
use crossfade_tests::moving::there_and_back::{Faults, there_and_back};

#[tokio::test]
async fn an_estate_goes_there_and_back_and_there() -> Result<()> {
    let seen = there_and_back(MovingOptions::default(), Faults::default()).await?;
    println!("{seen:?}");
    Ok(())
}

#[tokio::test]
async fn an_estate_goes_there_and_back_past_kills_and_crashes() -> Result<()> {
    let faults = Faults { kills: 3, crashes: 1 };
    let options = MovingOptions {
        seed: 7,
        ..MovingOptions::default()
    };
    let seen = there_and_back(options, faults).await?;
    println!("{seen:?}");
    Ok(())
}
