//! Copying one range: the statement and its session.
