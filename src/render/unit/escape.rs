//! Text in unit files: one function for each way in which systemd reads a value, so that what a version says arrives
//! byte for byte, or is refused, and never becomes a directive of its own. See `systemd.syntax(7)`.

use std::fmt::Write as _;

use crate::model::systemd::{check_characters, check_line};

/// A text that no unit file can hold so that systemd reads it back as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub(crate) struct Unwritable {
    pub(crate) field: String,
    pub(crate) problem: &'static str,
}

impl Unwritable {
    pub(crate) fn new(field: impl Into<String>, problem: &'static str) -> Self {
        Self { field: field.into(), problem }
    }
}

type Escaped = Result<String, &'static str>;

/// systemd gives up the whole file over a longer line, `LONG_LINE_MAX` in its sources.
pub(super) const LONGEST_LINE: usize = (1 << 20) - 1;

/// A word of a command line that is not its first: read with C escapes, specifiers and variables.
pub(super) fn argument(text: &str) -> Escaped {
    quoted(text, "$$")
}

/// The first word of a command line: systemd takes neither escapes nor variables in it.
pub(super) fn program(text: &str) -> Escaped {
    if !text.starts_with('/') {
        return Err("is no absolute path");
    }
    if text.contains(|c: char| c.is_control() || "$\"'\\".contains(c)) {
        return Err("has a control character, a quote, `\\` or `$` in it, which systemd takes in no program's path");
    }
    quoted(text, "$")
}

/// `NAME=value` as a word of `Environment=`, whose name is plain: read with C escapes and specifiers.
pub(super) fn assignment(name: &str, value: &str) -> Escaped {
    if value.contains(|c: char| c.is_control() && !"\t\n".contains(c)) {
        return Err("has a control character in it, which systemd passes in no variable");
    }
    quoted(&format!("{name}={value}"), "$")
}

/// An absolute path as a word of a list of paths: read with escapes and specifiers.
pub(super) fn path_word(text: &str) -> Escaped {
    if text.contains(char::is_control) {
        return Err("has a control character in it, which systemd takes in no path");
    }
    if text.starts_with('/') { quoted(text, "$") } else { Err("is no absolute path") }
}

/// A value that is the rest of its line: read with specifiers.
pub(super) fn rest_of_line(text: &str) -> Escaped {
    check_line(text)?;
    Ok(text.replace('%', "%%"))
}

/// In double quotes nothing but these is special.
fn quoted(text: &str, dollar: &str) -> Escaped {
    check_characters(text)?;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' => quoted.push_str("%%"),
            '$' => quoted.push_str(dollar),
            '\0' => return Err("has a NUL character in it, which no program can be given"),
            c if c.is_ascii_control() => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_quotes() {
        assert_eq!(argument("a b").unwrap(), r#""a b""#);
        assert_eq!(argument("").unwrap(), r#""""#);
        assert_eq!(argument("\"\\%n$HOME\n;\t\x1b").unwrap(), r#""\"\\%%n$$HOME\x0a;\x09\x1b""#);
        assert_eq!(assignment("A", "x\\").unwrap(), r#""A=x\\""#);
        assert_eq!(assignment("A", "$B\n[Service]").unwrap(), r#""A=$B\x0a[Service]""#);
        assert_eq!(path_word("/a b\"").unwrap(), r#""/a b\"""#);
        assert_eq!(program("/a %b/é").unwrap(), r#""/a %%b/é""#);
        assert_eq!(rest_of_line("100% \"of\" it").unwrap(), "100%% \"of\" it");
    }

    #[test]
    fn what_systemd_would_change_is_refused() {
        for text in ["a\0b", "\u{fdd0}", "\u{fffe}", "\u{10ffff}"] {
            assert!(argument(text).is_err(), "{text:?}");
        }
        for text in ["\x01", "\x7f", "\u{85}", "a\rb"] {
            assert!(assignment("A", text).is_err(), "{text:?}");
        }
        for text in ["bin/x", "/a'b", "/a\"b", "/a\\b", "/a$b", "/a\nb"] {
            assert!(program(text).is_err(), "{text:?}");
        }
        for text in ["a\nUser=root", "a\\", " a", "a ", "\u{a0}a", "\u{fffe}", ""] {
            assert!(rest_of_line(text).is_err(), "{text:?}");
        }
        assert!(path_word("a").is_err() && path_word("/a\n").is_err());
    }
}
