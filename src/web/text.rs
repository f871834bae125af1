//! How text gets into a page.

use std::fmt::{self, Write};

use askama::filters::Escaper;

use crate::model::text::steers;

/// The escaper of every page: what HTML gives a meaning is escaped, and what is invisible or reorders a line is made
/// visible. Heartbeats, file names and objects are written by strangers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Page;

impl Escaper for Page {
    fn write_escaped_str<W: Write>(&self, mut page: W, text: &str) -> fmt::Result {
        let mut shown_to = 0;
        for (at, c) in text.char_indices() {
            let escaped = match c {
                '&' => "&#38;",
                '<' => "&#60;",
                '>' => "&#62;",
                '"' => "&#34;",
                '\'' => "&#39;",
                '\n' | '\t' => continue,
                c if steers(c) => "\u{fffd}",
                _ => continue,
            };
            page.write_str(&text[shown_to..at])?;
            page.write_str(escaped)?;
            shown_to = at + c.len_utf8();
        }
        page.write_str(&text[shown_to..])
    }

    fn write_escaped_char<W: Write>(&self, page: W, c: char) -> fmt::Result {
        self.write_escaped_str(page, c.encode_utf8(&mut [0; 4]))
    }
}

#[cfg(test)]
mod tests {
    use askama::Template;

    #[derive(Template)]
    #[template(source = "<b title=\"{{ text }}\">{{ text }}</b><pre>{{ text|e(\"exact\") }}</pre>", ext = "html")]
    struct Sample {
        text: &'static str,
    }

    #[test]
    fn a_page_shows_what_strangers_wrote_and_obeys_none_of_it() {
        let page = Sample { text: "<script>'\"&\u{202e}\u{1b}[2J\r\n ü" }.render().unwrap();
        let shown = "&#60;script&#62;&#39;&#34;&#38;\u{fffd}\u{fffd}[2J\u{fffd}\n ü";
        let exact = "&#60;script&#62;&#39;&#34;&#38;\u{202e}\u{1b}[2J\r\n ü";
        assert_eq!(page, format!("<b title=\"{shown}\">{shown}</b><pre>{exact}</pre>"));
    }
}
