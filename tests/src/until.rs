//! Waiting for something to be so: polled, with a deadline, and with a message that says what never came.

use std::fmt::Display;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Longer than anything takes in a test, on a busy machine too.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// What a scenario of another size waits, in seconds.
static PATIENCE: AtomicU64 = AtomicU64::new(DEADLINE.as_secs());

/// Has this whole program wait longer.
pub fn be_patient(deadline: Duration) {
    PATIENCE.store(deadline.as_secs(), Ordering::Relaxed);
}

/// Between two looks.
const POLL: Duration = Duration::from_millis(5);

/// Asks until there is an answer; fails with `what` after [`DEADLINE`], or as [`be_patient`] says.
///
/// # Errors
/// The deadline, or what asking failed with.
pub async fn some<T, F>(what: impl Display, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let began = Instant::now();
    let deadline = Duration::from_secs(PATIENCE.load(Ordering::Relaxed));
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if began.elapsed() > deadline {
            bail!("waited {} s in vain for this: {what}", deadline.as_secs());
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
