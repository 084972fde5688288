//! The harness of the scenarios: a server, a role without superuser, the `crossfade` binary as users run it, an
//! application that writes meanwhile, and a look at what is left behind.
//!
//! Everything goes through the binary, the state schema and the server's own views: what the tests see is what an
//! operator could see. Nothing here sleeps to let something happen; it polls a condition, with a deadline.

pub mod app;
pub mod balancer;
pub mod binary;
pub mod gate;
pub mod log;
pub mod memory;
pub mod moving;
pub mod planted;
pub mod process;
pub mod proxy;
pub mod scenario;
pub mod soak;
pub mod split;
pub mod stage;
pub mod until;
