//! What the copy reads next: the decisions of copying, apart from the migration around it.

mod chunks;
mod ranges;

pub(crate) use chunks::{Chunks, SourceRewritten};
pub(crate) use ranges::Ranges;
