//! What befalls a run.

use std::fmt;
use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt as _};

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of the engine.
    KillEngine,
    /// Ctrl-C.
    Interrupt,
    /// The engine's process is stopped for a while.
    FreezeEngine(Duration),
    /// One session of the engine is ended by the server.
    EndBackend,
    /// The server crashes and recovers.
    CrashServer,
    /// Every connection of the engine is cut.
    Cut,
    /// Nothing comes through for a while.
    Stall(Duration),
    /// Nothing comes through for a while, then every connection is cut.
    StallAndCut(Duration),
    /// Everything takes longer, for two seconds.
    Slow(Duration),
    /// The next COMMIT does not reach the server.
    LoseCommit,
    /// The next COMMIT does, and its answer does not come back.
    LoseAnswer,
}

impl Fault {
    /// Any of them.
    pub fn choose(random: &mut impl Rng) -> Fault {
        let while_ms = Duration::from_millis(random.random_range(200..4_000));
        let all = [
            Fault::KillEngine,
            Fault::KillEngine,
            Fault::Interrupt,
            Fault::FreezeEngine(while_ms),
            Fault::EndBackend,
            Fault::EndBackend,
            Fault::CrashServer,
            Fault::Cut,
            Fault::Stall(while_ms),
            Fault::StallAndCut(while_ms),
            Fault::Slow(Duration::from_millis(random.random_range(1..40))),
            Fault::LoseCommit,
            Fault::LoseAnswer,
            Fault::LoseAnswer,
        ];
        *all.choose(random).unwrap_or(&Fault::KillEngine)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::KillEngine => write!(f, "kill -9"),
            Fault::Interrupt => write!(f, "Ctrl-C"),
            Fault::FreezeEngine(time) => write!(f, "engine stopped for {} ms", time.as_millis()),
            Fault::EndBackend => write!(f, "a session ended"),
            Fault::CrashServer => write!(f, "server crashed"),
            Fault::Cut => write!(f, "connections cut"),
            Fault::Stall(time) => write!(f, "network still for {} ms", time.as_millis()),
            Fault::StallAndCut(time) => write!(f, "network still for {} ms, then cut", time.as_millis()),
            Fault::Slow(delay) => write!(f, "network slower by {} ms", delay.as_millis()),
            Fault::LoseCommit => write!(f, "a COMMIT lost"),
            Fault::LoseAnswer => write!(f, "an answer to COMMIT lost"),
        }
    }
}
