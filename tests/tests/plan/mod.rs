//! What `plan` prints is what `run` executes.
