//! Commands of the user's around a hand-over: what pauses applications, leads them to the other server, and lets them go
//! on.

use std::process::Stdio;
use std::time::Duration;

use crossfade_core::code::FailureCode;
use crossfade_core::way_back::Direction;
use crossfade_postgres::state::{self, Mark};
use tokio::process::Command;

use super::shared::{Shared, opposite};
use crate::failure::Failure;

/// Each is run by `sh -c`, with the move in its environment.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Before the first attempt to shut writers out: `PAUSE` of a pooler.
    pub pause: Option<String>,
    /// When the other server leads: DNS, configuration, a pooler's target.
    pub switch: Option<String>,
    /// At the end, whether it was handed over or not: `RESUME`.
    pub resume: Option<String>,
    /// How long each may take.
    pub timeout: Duration,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Pause,
    Switch,
    Resume,
}

impl Hook {
    fn word(self) -> &'static str {
        match self {
            Hook::Pause => "pause",
            Hook::Switch => "switch",
            Hook::Resume => "resume",
        }
    }
}

impl Hooks {
    /// Runs one, if there is one. `leads`: the direction in which rows go once it is done.
    ///
    /// # Cancel safety
    /// The command is killed with the future.
    pub(crate) async fn run(&self, hook: Hook, shared: &Shared, leads: Direction) -> Result<(), Failure> {
        let command = match hook {
            Hook::Pause => &self.pause,
            Hook::Switch => &self.switch,
            Hook::Resume => &self.resume,
        };
        let Some(command) = command else { return Ok(()) };
        let (leader, left) = match leads {
            Direction::Forward => (&shared.source, &shared.target),
            Direction::Back => (&shared.target, &shared.source),
        };
        let failed = |why: String| {
            Failure::stopped(
                FailureCode::HookFailed,
                format!("the hook {} `{command}` {why}", hook.word()),
                "Mend the hook, then run the same command again.",
            )
        };
        let running = Command::new("sh")
            .args(["-c", command])
            .env("CROSSFADE_MOVE", shared.name().as_str())
            .env("CROSSFADE_HOOK", hook.word())
            .env("CROSSFADE_DIRECTION", opposite(leads).as_str())
            .env("CROSSFADE_LEADER", &leader.place)
            .env("CROSSFADE_LEFT", &left.place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output();
        match tokio::time::timeout(self.timeout, running).await {
            Err(_) => Err(failed(format!(
                "did not end within {}",
                humantime::format_duration(self.timeout)
            ))),
            Ok(Err(error)) => Err(failed(format!("did not start: {error}"))),
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
                Err(failed(format!("ended with {}: {said}", output.status)))
            }
        }
    }
}

/// Pauses applications, and writes down before that somebody has to let them go on.
pub(crate) async fn pause(hooks: &Hooks, shared: &Shared, leads: Direction) -> Result<(), Failure> {
    if hooks.pause.is_none() {
        return Ok(());
    }
    let home = shared.target.session(shared.name()).await?;
    state::mark(&home, shared.name().as_str(), shared.leg + 1, Mark::Paused).await?;
    hooks.run(Hook::Pause, shared, leads).await
}

/// Lets them go on, if they were paused, by this engine or one before it.
pub(crate) async fn resume(hooks: &Hooks, shared: &Shared, leads: Direction) -> Result<(), Failure> {
    let (home, name) = (
        shared.target.session(shared.name()).await?,
        shared.name().as_str(),
    );
    let paused = state::marked(&home, name, Mark::Paused).await?.is_some();
    if paused || hooks.pause.is_none() {
        hooks.run(Hook::Resume, shared, leads).await?;
        state::unmark(&home, name, Mark::Paused).await?;
    }
    Ok(())
}

/// Leads applications over to where that leg leads, unless that was done.
pub(crate) async fn switch(
    hooks: &Hooks,
    shared: &Shared,
    (leg, leads): (i32, Direction),
) -> Result<(), Failure> {
    if hooks.switch.is_none() {
        return Ok(());
    }
    let (home, name) = (
        shared.target.session(shared.name()).await?,
        shared.name().as_str(),
    );
    if state::marked(&home, name, Mark::Switched).await? >= Some(leg) {
        return Ok(());
    }
    hooks.run(Hook::Switch, shared, leads).await?;
    Ok(state::mark(&home, name, leg, Mark::Switched).await?)
}
