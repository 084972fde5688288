//! An error and what caused it, for people.

use std::error::Error;

/// All of it in one line. What an error has said of its cause already is not said again.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Told {
        said: &'static str,
        #[source]
        cause: Option<Box<Told>>,
    }

    fn told(said: &'static str, cause: Option<Told>) -> Told {
        let cause = cause.map(Box::new);
        Told { said, cause }
    }

    #[test]
    fn each_cause_is_told_once() {
        let whole = told("open f: no such file", Some(told("no such file", None)));
        assert_eq!(in_one_line(&whole), "open f: no such file");
        let parts = told("read f", Some(told("open f", Some(told("no such file", None)))));
        assert_eq!(in_one_line(&parts), "read f: open f: no such file");
    }
}
