//! `crossfade bench`.

use super::Context;
use crate::args::Bench;
use crate::exit::Exit;
use crate::failure::Outcome;

pub(super) async fn perform(_context: &Context, _typed: Bench) -> Outcome {
    Ok(Exit::Done)
}
