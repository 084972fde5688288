//! `docs/errors.md`: made from the codes, so that it lacks none and says of none what is not so.

use std::fmt::Write as _;
use std::path::Path;

use crate::codes::Kind;
use crate::exit::Exit;

const BEGINNING: &str = "\
# Errors

Every code that crossfade gives, with its cause and its remedy in general. What was found, and where, is said beside the
code. `crossfade explain CODE` prints an entry of this page, `crossfade explain` lists all codes.

This page is made from the code: `cargo test -p crossfade-cli errors_page` writes it anew.
";

fn beginning_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Refusal => {
            "\
A reason why a change is not run; nothing was touched. `plan`, `check` and `run` give all of them at once, with `--json`
in `refusals`, each with `code`, `object`, `message` and `remedy`."
        }
        Kind::Notice => {
            "\
Something to know that does not stand in the way. With `--json` `check` gives notices in `notices` and `plan` in
`plan.notices`, each with `code`, `object`, `message` and, where there is something to add, `offer`."
        }
        Kind::Failure => {
            "\
Why an engine, or a command on its migration, has ended where someone must act. The code stands in brackets behind the
message, with `--json` in `code` beside `reason` and `remedy`. Commands that have not come to a migration yet, such as
`plan` and `check`, end with 11 whenever there is no session with the server, and give the same code."
        }
    }
}

fn exit(exit: Exit) -> String {
    let (code, word) = (exit.code(), exit.word());
    format!(
        "[Exit code](exit-codes.md) {code}, `{word}`: {}.\n",
        exit.meaning()
    )
}

fn render() -> String {
    let mut page = BEGINNING.to_owned();
    for kind in Kind::ALL {
        write!(page, "\n## {}\n\n{}\n", kind.heading(), beginning_of(kind)).unwrap();
        if kind == Kind::Refusal {
            write!(page, "\n{}", exit(Exit::Refused)).unwrap();
        }
        for code in kind.codes() {
            write!(page, "\n### `{}`\n\n{}\n", code.word, code.cause).unwrap();
            write!(page, "\nRemedy: {}\n", code.remedy).unwrap();
            if let (Kind::Failure, Some(ends)) = (kind, code.exit) {
                write!(page, "\n{}", exit(ends)).unwrap();
            }
        }
    }
    page
}

#[test]
fn the_page_is_what_the_code_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let page = render();
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    if found != page {
        std::fs::write(&file, page).unwrap();
        panic!("docs/errors.md was not what the code says; it is written anew: look at it and commit it");
    }
}
