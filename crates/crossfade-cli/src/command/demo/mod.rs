//! `crossfade demo`.

use super::Context;
use crate::args::Demo;
use crate::exit::Exit;
use crate::failure::Outcome;

pub(super) async fn perform(_context: &Context, _typed: Demo) -> Outcome {
    Ok(Exit::Done)
}
