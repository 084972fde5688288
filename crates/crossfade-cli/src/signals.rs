//! Ctrl-C and SIGTERM: the first asks for a clean end, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Becomes true at the first signal. Must be called within the runtime.
pub(crate) fn watch() -> Result<watch::Receiver<bool>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::no_access(anyhow::Error::new(error)));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let (asked, stop) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked.send_replace(true) {
                end_at_once();
            }
            output::advise("Stopping cleanly. Once more to stop at once.");
        }
    });
    Ok(stop)
}

#[expect(clippy::exit, reason = "the user asked twice: nothing may delay it")]
fn end_at_once() -> ! {
    std::process::exit(Exit::Interrupted.code().into())
}
