//! Commands that pages show, to be copied into a shell.

/// A word as a shell takes it: quoted if it has to be. Names of files and objects are written by strangers.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-:@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_word_for_a_shell() {
        assert_eq!(quoted("cells/n1/web"), "cells/n1/web");
        assert_eq!(quoted("a b$(c)'d"), "'a b$(c)'\\''d'");
        assert_eq!(quoted(""), "''");
    }
}
