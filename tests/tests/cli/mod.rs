//! What operators see and do, from other processes and through the state schema only.

mod again;
mod check;
mod cutover;
mod namesake;
mod operator;
