//! The log: lines on stderr, warnings unless asked for more.

use tracing_subscriber::EnvFilter;

use crate::args::Arguments;

/// Our crates; others stay at warnings.
const OURS: [&str; 6] = [
    "crossfade_coordinator",
    "crossfade_replication",
    "crossfade_copier",
    "crossfade_applier",
    "crossfade_postgres",
    "crossfade_lab",
];

/// Starts it as the arguments say.
pub(crate) fn start(arguments: &Arguments) {
    let filter = match &arguments.log {
        Some(text) => EnvFilter::new(text),
        None => EnvFilter::new(of_verbosity(arguments.verbose, arguments.quiet)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

fn of_verbosity(verbose: u8, quiet: bool) -> String {
    let ours = match (verbose, quiet) {
        (0, true) => return "error".to_owned(),
        (0, false) => return "warn".to_owned(),
        (1, _) => "info",
        (2, _) => "debug",
        _ => "trace",
    };
    OURS.iter().fold("warn".to_owned(), |filter, name| {
        format!("{filter},{name}={ours}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbosity_reaches_our_crates_only() {
        assert_eq!(of_verbosity(0, false), "warn");
        assert_eq!(of_verbosity(0, true), "error");
        assert!(of_verbosity(1, false).starts_with("warn,crossfade_coordinator=info"));
    }
}
