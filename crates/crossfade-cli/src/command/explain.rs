//! `crossfade explain`: the cause and the remedy of a code, or all codes there are.

use serde_json::{Value, json};

use super::Context;
use crate::args::Explain;
use crate::codes::{self, Code, Kind};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{FAINT, HEADING};

pub(super) fn perform(context: &Context, typed: &Explain) -> Outcome {
    let all = codes::all();
    let (shown, text) = match &typed.code {
        None => (all, list()),
        Some(word) => {
            let found: Vec<Code> = all.iter().copied().filter(|code| code.word == word).collect();
            if found.is_empty() {
                return Err(unknown(word, &all));
            }
            let text = found.iter().map(entry).collect::<Vec<_>>().join("\n");
            (found, text)
        }
    };
    context.console.object(&json!({
        "outcome": Exit::Done.word(),
        "exit_code": Exit::Done.code(),
        "codes": shown.iter().map(object).collect::<Vec<_>>(),
    }));
    context.console.result(&text);
    Ok(Exit::Done)
}

fn list() -> String {
    let lines = |kind: Kind| {
        let words: String = kind
            .codes()
            .iter()
            .map(|code| format!("  {}\n", code.word))
            .collect();
        format!("{HEADING}{}{HEADING:#}\n{words}", kind.heading())
    };
    Kind::ALL.map(lines).join("\n")
}

fn entry(code: &Code) -> String {
    let exit = code
        .exit
        .map_or(String::new(), |exit| format!(", exit code {}", exit.code()));
    format!(
        "{HEADING}{}{HEADING:#}  {}{exit}\n  {}\n  {FAINT}Remedy:{FAINT:#} {}\n",
        code.word,
        code.kind.word(),
        code.cause,
        code.remedy
    )
}

/// For programs.
fn object(code: &Code) -> Value {
    json!({
        "kind": code.kind,
        "code": code.word,
        "cause": code.cause,
        "remedy": code.remedy,
        "exit_code": code.exit.map(Exit::code),
    })
}

fn unknown(word: &str, all: &[Code]) -> Failure {
    let nearest = all
        .iter()
        .map(|code| code.word)
        .min_by_key(|known| distance(known, word));
    let meant = nearest.filter(|known| distance(known, word) <= known.len() / 3);
    let meant = meant.map_or(String::new(), |known| format!("Is it `{known}`? "));
    Failure::usage(anyhow::anyhow!("find the code `{word}`"))
        .next(format!("{meant}`crossfade explain` lists all."))
}

/// How many characters must be changed, left out or put in to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, typed) in one.chars().enumerate() {
        let mut before = row[0];
        row[0] = line + 1;
        for (place, wanted) in other.iter().enumerate() {
            let changed = before + usize::from(typed != *wanted);
            before = row[place + 1];
            row[place + 1] = changed.min(before + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_near_that_differ_in_few_characters() {
        assert_eq!(distance("slot_missing", "slot_missing"), 0);
        assert_eq!(distance("slot_mising", "slot_missing"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_word_of_two_kinds_has_two_entries() {
        let all = codes::all();
        let found: Vec<Kind> = all
            .iter()
            .filter(|code| code.word == "prepared_transaction")
            .map(|code| code.kind)
            .collect();
        assert_eq!(found, [Kind::Refusal, Kind::Notice]);
    }
}
