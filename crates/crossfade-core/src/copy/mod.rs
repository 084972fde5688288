//! What the copy reads next: the decisions of copying, apart from the migration around it.

mod ranges;

pub(crate) use ranges::Ranges;
