//! Refusals: all of them, each with code, object, message and remedy.

use std::fmt::Write as _;

use crossfade_core::refusal::Refusal;

use super::{BAD, FAINT};

/// For people.
pub(crate) fn render(refusals: &[Refusal]) -> String {
    let reasons = match refusals.len() {
        1 => "1 reason".to_owned(),
        several => format!("{several} reasons"),
    };
    let mut text = format!("{BAD}Refused{BAD:#}, for {reasons}; nothing was touched.\n");
    for refusal in refusals {
        // Writing to a String cannot fail.
        write!(
            text,
            "\n  {BAD}{}{BAD:#}  {}\n    {}\n    {FAINT}Remedy:{FAINT:#} {}\n",
            refusal.code, refusal.object, refusal.message, refusal.remedy
        )
        .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use crossfade_core::code::RefusalCode;

    use super::*;

    #[test]
    fn refusals_are_shown_whole() {
        let refusals = [Refusal {
            code: RefusalCode::NoUsableKey,
            object: "public.orders".to_owned(),
            message: "It has no primary key.".to_owned(),
            remedy: "Add one.".to_owned(),
        }];
        insta::assert_snapshot!(anstream::adapter::strip_str(&render(&refusals)), @"
        Refused, for 1 reason; nothing was touched.

          no_usable_key  public.orders
            It has no primary key.
            Remedy: Add one.
        ");
    }
}
