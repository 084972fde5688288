//! What goes wrong on the side of the server or of the applications: failures that other tools shipped, each a test
//! named after its line in `docs/failures.md`.

mod again;
mod chunks;
mod copy;
mod cutover;
mod kinds;
mod objects;
mod publication;
mod refused;
mod scene;
mod server;
mod steps;
mod stream;
mod unexpected;
mod values;
mod writers;
