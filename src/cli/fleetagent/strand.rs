//! The output of one process on its way to a reader: as it is, or in lines that say whose they are, and harmless on a
//! terminal.

use std::borrow::Cow;

use crate::model::text;

/// Where a line is broken that does not end by itself.
const MOST_LINE: usize = 16 * 1024;

/// The output of one process, piece by piece.
#[derive(Debug)]
pub(super) struct Strand {
    /// What each line begins with; empty if there is only one process to read of.
    prefix: String,
    /// Whether a terminal reads it, which obeys control characters.
    is_shown: bool,
    /// What cannot be passed on yet: a line without its end, or the beginning of a character.
    held: Vec<u8>,
}

impl Strand {
    /// `prefix` is passed on as it is.
    pub(super) fn new(prefix: String, is_shown: bool) -> Self {
        Self { prefix, is_shown, held: Vec::new() }
    }

    /// Passes on to `out` what can be of `bytes`, and of what came before.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.prefix.is_empty() && !self.is_shown {
            return out.extend_from_slice(bytes);
        }
        self.held.extend_from_slice(bytes);
        if self.prefix.is_empty() {
            let ready = self.held.len() - unfinished(&self.held);
            out.extend_from_slice(&self.safe(&self.held[..ready]));
            self.held.drain(..ready);
            return;
        }
        let mut begin = 0;
        while let Some(length) = line(&self.held[begin..]) {
            let end = begin + length;
            self.line(&self.held[begin..end], out);
            // A line that is broken has no end to leave out.
            begin = end + usize::from(self.held.get(end) == Some(&b'\n'));
        }
        self.held.drain(..begin);
    }

    /// Passes on what was held back; nothing continues it.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        if self.prefix.is_empty() {
            out.extend_from_slice(&self.safe(&held));
        } else if !held.is_empty() {
            self.line(&held, out);
        }
    }

    fn line(&self, line: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(&self.safe(line.strip_suffix(b"\r").filter(|_| self.is_shown).unwrap_or(line)));
        out.push(b'\n');
    }

    fn safe<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match self.is_shown {
            false => Cow::Borrowed(bytes),
            true => Cow::Owned(text::lines(&String::from_utf8_lossy(bytes).replace("\r\n", "\n")).into_bytes()),
        }
    }
}

/// The length of the first line, without its end; None if it is not there in full yet.
fn line(bytes: &[u8]) -> Option<usize> {
    let most = &bytes[..bytes.len().min(MOST_LINE)];
    let end = most.iter().position(|byte| *byte == b'\n');
    end.or_else(|| (bytes.len() > MOST_LINE).then_some(MOST_LINE))
}

/// How many bytes at the end may become something else with what comes next: a part of a character, or of a line end.
fn unfinished(bytes: &[u8]) -> usize {
    if bytes.last() == Some(&b'\r') {
        return 1;
    }
    let last = bytes.utf8_chunks().last().map(|chunk| chunk.invalid()).unwrap_or_default();
    let is_cut = std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    if is_cut { last.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(strand: &mut Strand, pieces: &[&[u8]]) -> String {
        let mut out = Vec::new();
        for piece in pieces {
            strand.push(piece, &mut out);
        }
        strand.end(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_program_gets_every_byte_as_it_is() {
        let mut out = Vec::new();
        let mut strand = Strand::new(String::new(), false);
        strand.push(b"\x1b[2J\xff\r\nx", &mut out);
        assert_eq!(out, b"\x1b[2J\xff\r\nx", "and at once");
    }

    #[test]
    fn a_terminal_is_not_steered_and_gets_what_is_whole_at_once() {
        let mut strand = Strand::new(String::new(), true);
        let mut out = Vec::new();
        strand.push("10 %\r20 %\u{1b}]0;owned\u{7}Gr\u{fc}".as_bytes().split_last().unwrap().1, &mut out);
        assert_eq!(String::from_utf8(out.clone()).unwrap(), "10 %�20 %�]0;owned�Gr");
        strand.push(b"\xbc\xc3\x9fe\r", &mut out);
        strand.push(b"\n\xff.", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "10 %�20 %�]0;owned�Grüße\n�.");
        assert_eq!(passed(&mut Strand::new(String::new(), true), &[b"cut \xc3"]), "cut �");
    }

    #[test]
    fn every_line_says_whose_it_is() {
        let mut strand = Strand::new("web | ".to_owned(), false);
        assert_eq!(
            passed(&mut strand, &[b"on", b"e\n\ntwo\r\nth", b"ree"]),
            "web | one\nweb | \nweb | two\r\nweb | three\n"
        );
        let mut shown = Strand::new("web | ".to_owned(), true);
        assert_eq!(passed(&mut shown, &[b"a\r\n\x1b[2Jb\rx | c\n"]), "web | a\nweb | �[2Jb�x | c\n");
    }

    #[test]
    fn a_line_without_an_end_is_broken() {
        let mut strand = Strand::new("> ".to_owned(), false);
        let mut out = Vec::new();
        strand.push(&vec![b'x'; MOST_LINE * 2 + 5], &mut out);
        assert_eq!(strand.held.len(), 5, "no more than a line is held back");
        strand.push(b"\ny\n", &mut out);
        let expected = format!("> {0}\n> {0}\n> xxxxx\n> y\n", "x".repeat(MOST_LINE));
        assert!(out == expected.as_bytes());
    }

    proptest! {
        #[test]
        fn where_pieces_end_makes_no_difference(
            text in "[aü\r\n\u{1b}🙂]{0,40}", is_shown: bool, prefix in "(> )?", cuts in prop::collection::vec(0_usize..200, 0..4),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let strand = || Strand::new(prefix.clone(), is_shown);
            prop_assert_eq!(passed(&mut strand(), &pieces), passed(&mut strand(), &[bytes]));
        }
    }
}
