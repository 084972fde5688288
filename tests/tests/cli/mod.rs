//! What operators see and do, from other processes and through the state schema only.

mod again;
mod cutover;
mod namesake;
mod operator;
