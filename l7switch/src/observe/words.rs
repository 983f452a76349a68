// SPDX-License-Identifier: MIT
//! Failures in words for people.

use std::io;
use std::time::Duration;

/// An error of the system without its number, in lower case: `connection refused`.
pub fn io_error(error: &io::Error) -> String {
    let text = error.to_string();
    let words = match error.raw_os_error() {
        Some(number) => text
            .strip_suffix(&format!(" (os error {number})"))
            .unwrap_or(&text),
        None => &text,
    };
    let mut rest = words.chars();
    match (rest.next(), rest.clone().next()) {
        // Not what is written in capitals.
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(rest).collect()
        }
        _ => words.to_owned(),
    }
}

/// A time with its unit: `2 s`, `1.5 s`, `200 ms`.
pub fn time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{} s", time.as_secs_f64())
    }
}

/// A text of at most so many bytes, and a mark where it was longer.
pub fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push('\u{2026}');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_said_in_words() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(io_error(&refused), "connection refused");
        assert_eq!(io_error(&io::Error::other("TLS alert")), "TLS alert");
        assert_eq!(io_error(&io::Error::other("")), "");
        assert_eq!(time(Duration::from_secs(2)), "2 s");
        assert_eq!(time(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(time(Duration::from_millis(200)), "200 ms");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("short".to_owned(), 5), "short");
        assert_eq!(cut("aüb".to_owned(), 2), "a…");
    }
}
