//! The examples of `docs/examples` under writers (see [`crossfade_tests::split`]), and what goes wrong with a split.

mod back;
mod examples;
mod found;
mod keep;
mod readers;
mod view;
