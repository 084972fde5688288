//! The stable words of whatever stands in the way, should be known or has failed, each with cause and remedy:
//! what `docs/errors.md` and `crossfade explain` show.
//!
//! An enum and its table are one text: no code is without a cause and a remedy. Words are never changed, since programs
//! compare them; what was seen in one case is said beside the code, by whoever gives it.

use serde::{Deserialize, Serialize};

/// An enum of codes with its table, sorted by word.
macro_rules! codes {
    (
        $(#[$meta:meta])*
        $name:ident, a $kind:literal:
        $($variant:ident $word:literal cause: $cause:literal remedy: $remedy:literal;)+
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum $name {
            $(#[doc = concat!($cause, "\n\n", $remedy)] $variant,)+
        }

        impl $name {
            /// All, sorted by word.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What programs compare.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// What is the case, in general.
            pub fn cause(self) -> &'static str {
                match self {
                    $(Self::$variant => $cause,)+
                }
            }

            /// What to do about it, in general.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$variant => $remedy,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownCode;

            fn from_str(word: &str) -> Result<Self, UnknownCode> {
                let found = Self::ALL.iter().find(|code| code.word() == word);
                found.copied().ok_or_else(|| UnknownCode {
                    kind: $kind,
                    word: word.to_owned(),
                })
            }
        }

        impl TryFrom<String> for $name {
            type Error = UnknownCode;

            fn try_from(word: String) -> Result<Self, UnknownCode> {
                word.parse()
            }
        }

        impl From<$name> for &'static str {
            fn from(code: $name) -> Self {
                code.word()
            }
        }
    };
}

mod failure;
mod notice;
mod refusal;

pub use self::failure::{Ending, FailureCode};
pub use self::notice::NoticeCode;
pub use self::refusal::RefusalCode;

/// A word that this release does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read `{word}` as the code of a {kind}: this release has none of that name")]
pub struct UnknownCode {
    kind: &'static str,
    word: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one enum: words, causes and remedies.
    fn is_in_order(all: impl Iterator<Item = (&'static str, &'static str, &'static str)>) {
        let all: Vec<_> = all.collect();
        assert!(all.is_sorted_by(|(one, ..), (other, ..)| one < other));
        for (word, cause, remedy) in all {
            let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(is_word(word), "{word}");
            for text in [cause, remedy] {
                assert!(text.ends_with('.') && text.trim() == text, "{word}: {text}");
                assert!(!text.contains("  ") && !text.contains('\n'), "{word}: {text}");
            }
        }
    }

    #[test]
    fn the_tables_are_sorted_and_hold_sentences() {
        let row = |code: &RefusalCode| (code.word(), code.cause(), code.remedy());
        is_in_order(RefusalCode::ALL.iter().map(row));
        let row = |code: &NoticeCode| (code.word(), code.cause(), code.remedy());
        is_in_order(NoticeCode::ALL.iter().map(row));
        let row = |code: &FailureCode| (code.word(), code.cause(), code.remedy());
        is_in_order(FailureCode::ALL.iter().map(row));
    }

    #[test]
    fn a_word_is_read_as_the_code_that_it_was() {
        for code in RefusalCode::ALL {
            assert_eq!(code.to_string().parse(), Ok(*code));
        }
        let unknown = "no_such_word".parse::<NoticeCode>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "read `no_such_word` as the code of a notice: this release has none of that name"
        );
    }
}
