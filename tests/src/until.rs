//! Waiting for something to be so: polled, with a deadline, and with a message that says what never came.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Longer than anything takes here, on a busy machine too.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Between two looks.
const POLL: Duration = Duration::from_millis(5);

/// Asks until there is an answer; fails with `what` after [`DEADLINE`].
///
/// # Errors
/// The deadline, or what asking failed with.
pub async fn some<T, F>(what: impl Display, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if began.elapsed() > DEADLINE {
            bail!("waited {} s in vain for this: {what}", DEADLINE.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// As [`some`], for what is merely true or not.
///
/// # Errors
/// As [`some`].
pub async fn so<F>(what: impl Display, mut ask: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    some(what, || {
        let asked = ask();
        async { Ok(asked.await?.then_some(())) }
    })
    .await
}
