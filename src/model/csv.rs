//! Lists for spreadsheets: CSV (RFC 4180), of words that strangers wrote.

use super::text::steers;

/// A record. No cell of it is a formula, wherever the spreadsheet that opens it cuts lines into cells: some cut at
/// semicolons or tabs. Where a formula could begin stands a `'`, which makes it text. Line ends and tabs stay; whatever
/// else steers a terminal or reorders a line is shown as a sign of its own.
pub(crate) fn record<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|text| cell(text.as_ref())).collect();
    format!("{}\r\n", cells.join(","))
}

fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    // White space at the front is skipped by some spreadsheets.
    if text.starts_with(['\t', '\r', '\n']) {
        safe.push('\'');
    }
    let mut could_begin = true;
    let mut is_quoted = false;
    for c in text.chars() {
        if could_begin && begins_formula(c) {
            safe.push('\'');
        }
        // Blanks and quotes before a formula do not keep it from being one.
        could_begin = ends_cell(c) || (could_begin && matches!(c, ' ' | '"'));
        is_quoted |= c == '"' || ends_cell(c);
        match c {
            '"' => safe.push_str("\"\""),
            '\n' | '\r' | '\t' => safe.push(c),
            c if steers(c) => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    if is_quoted { format!("\"{safe}\"") } else { safe }
}

/// Also as they are written full width.
fn begins_formula(c: char) -> bool {
    matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠')
}

/// What ends a cell for one spreadsheet or another.
fn ends_cell(c: char) -> bool {
    matches!(c, ',' | ';' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_every_cell_is_one_cell() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("a-b=c@d", "a-b=c@d"),
            ("=HYPERLINK(\"http://x\")", "\"'=HYPERLINK(\"\"http://x\"\")\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1", "'＝1"),
            ("\t=1", "\"'\t'=1\""),
            ("\r=1", "\"'\r'=1\""),
            (" =1", " '=1"),
            ("\"=1", "\"\"\"'=1\""),
            ("a,b", "\"a,b\""),
            ("a;=1+1;b", "\"a;'=1+1;b\""),
            ("a; \"=1", "\"a; \"\"'=1\""),
            ("a\tb\r\nc", "\"a\tb\r\nc\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("\u{1b}[2J\u{202e}", "\u{fffd}[2J\u{fffd}"),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
        assert_eq!(record(["a", "b c", "d,e"]), "a,b c,\"d,e\"\r\n");
    }

    proptest::proptest! {
        #[test]
        fn a_reader_of_csv_finds_the_cells_again(texts in proptest::collection::vec(".*", 1..4)) {
            let line = record(&texts);
            let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
            let mut chars = line.strip_suffix("\r\n").unwrap().chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '"' if is_quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
                    '"' => is_quoted = !is_quoted,
                    ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
                    c => cell.push(c),
                }
            }
            cells.push(cell);
            // But for what was put in to make it safe.
            let is_kept = |c: &char| !steers(*c) && !matches!(c, '\'' | '\u{fffd}');
            let kept = |texts: &[String]| -> Vec<String> {
                texts.iter().map(|text| text.chars().filter(is_kept).collect()).collect()
            };
            proptest::prop_assert_eq!(kept(&cells), kept(&texts));
        }
    }
}
