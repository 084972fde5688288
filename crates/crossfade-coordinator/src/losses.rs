//! Connections that are lost: how long to try to get back, and when it is no accident any more.

use std::time::{Duration, Instant};

use crossfade_core::code::FailureCode;
use crossfade_core::phase::Phase;
use crossfade_core::position::Lsn;

use crate::failure::Failure;

/// The first pause before an engine begins again; it doubles up to [`PAUSE_MAX`].
pub(crate) const PAUSE: Duration = Duration::from_millis(250);
/// An engine that lived for longer was at work, and not merely away.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// So often the connections of an engine at work may be lost before anything new is durable. What ends them may be what we
/// do: a server must not be made to recover for ever, nor a table be copied for ever.
const FRUITLESS_MAX: u32 = 5;

/// How far a machine is, durably: phase, applied LSN, chunks.
pub(crate) type Mark = (Phase, Lsn, u64);

/// How far an engine was when it began, and when it lost a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) before: Mark,
    pub(crate) now: Mark,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Losses {
    since: Option<Instant>,
    fruitless: u32,
    pause: Duration,
}

impl Losses {
    pub(crate) fn new() -> Self {
        Losses {
            since: None,
            fruitless: 0,
            pause: PAUSE,
        }
    }

    /// A connection of an engine that had `lived` so long was lost; `reached`: none, if it was lost before there was a
    /// machine. Returns how long to pause before the next one.
    ///
    /// # Errors
    /// There is to be no next one.
    pub(crate) fn lost(
        &mut self,
        what: &str,
        lived: Duration,
        reached: Option<Reached>,
        reconnect_max: Duration,
    ) -> Result<Duration, Failure> {
        let worked = lived > PAUSE_MAX;
        match reached {
            // The server is away: that says nothing of the engine that was there before.
            None => {}
            Some(Reached { before, now }) if before != now => self.fruitless = 0,
            Some(_) => self.fruitless += u32::from(worked),
        }
        if self.fruitless >= FRUITLESS_MAX {
            return Err(Failure::stopped(
                FailureCode::NoProgress,
                format!(
                    "{what}; {} times in a row without getting further",
                    self.fruitless
                ),
                "Find out what ends the connection: a limit of a proxy's, or a server process that dies of a statement \
                 (see its log). Then `crossfade continue NAME`.",
            ));
        }
        if worked {
            (self.since, self.pause) = (None, PAUSE);
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() > reconnect_max {
            return Err(Failure::stopped(
                FailureCode::ServerAway,
                what,
                "When the server is back: `crossfade continue NAME`.",
            ));
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        Ok(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn reached(now: u64) -> Option<Reached> {
        let mark = |applied| (Phase::Copying, Lsn(applied), 0);
        Some(Reached {
            before: mark(1),
            now: mark(now),
        })
    }

    #[test]
    fn an_engine_that_gets_no_further_again_and_again_is_the_last() {
        let mut losses = Losses::new();
        for _ in 1..FRUITLESS_MAX {
            losses.lost("x", LONG, reached(1), LONG).unwrap();
            // The server recovers meanwhile.
            losses.lost("x", Duration::ZERO, None, LONG).unwrap();
        }
        losses.lost("x", LONG, reached(2), LONG).unwrap();
        for _ in 1..FRUITLESS_MAX {
            losses.lost("x", LONG, reached(1), LONG).unwrap();
        }
        assert!(losses.lost("x", LONG, reached(1), LONG).is_err());
    }

    #[test]
    fn a_server_that_stays_away_is_not_waited_for_any_longer() {
        let mut losses = Losses::new();
        let pauses: Vec<Duration> = (0..3)
            .map(|_| losses.lost("x", Duration::ZERO, None, LONG).unwrap())
            .collect();
        assert_eq!(pauses, [PAUSE, PAUSE * 2, PAUSE * 4]);
        assert!(losses.lost("x", Duration::ZERO, None, Duration::ZERO).is_err());
    }
}
