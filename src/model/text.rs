//! What strangers wrote, made safe to show: on a terminal, and in a page.
//!
//! Heartbeats, reasons, names of foreign objects and whatever a store says in an error come from outside. A terminal
//! obeys control characters in them, and a reader is misled by characters that reorder a line.

/// What stands in the place of a character that is not shown.
const INSTEAD: char = '\u{fffd}';

/// `text` on one line, without anything that steers a terminal.
pub(crate) fn line(text: &str) -> String {
    text.chars().map(|c| if steers(c) { INSTEAD } else { c }).collect()
}

/// The same for text of several lines: line ends and tabs stay.
pub(crate) fn lines(text: &str) -> String {
    text.chars().map(|c| if steers(c) && c != '\n' && c != '\t' { INSTEAD } else { c }).collect()
}

/// [`line()`], cut to `most` characters.
pub(crate) fn short(text: &str, most: usize) -> String {
    let text = line(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Control characters, and those that are invisible or reorder what stands around them.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let hostile = "a\u{1b}[2J\u{9b}31m\rb\nc\td\u{202e}e\u{7}\u{feff}f\u{200b}";
        assert_eq!(line(hostile), "a�[2J�31m�b�c�d�e��f�");
        assert_eq!(lines("a\tb\n\u{1b}c"), "a\tb\n�c");
        assert_eq!(line("Grüße, 世界 ✓"), "Grüße, 世界 ✓");
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(short("äöüß", 3), "äö…");
        assert_eq!(short("äöü", 3), "äöü");
    }
}
