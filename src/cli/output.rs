//! What a command writes: data on standard output, talk on standard error.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::exit::Exit;
use super::failure::Failure;
use crate::model::text;

/// How data is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table, for people.
    #[default]
    Table,
    /// JSON, for programs.
    Json,
    /// YAML, for both.
    Yaml,
}

/// The colours that there are: few, and never the only carrier of a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warn,
    Bad,
    Faint,
}

/// Where a command writes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    out_is_terminal: bool,
    colour: bool,
}

impl Output {
    /// Asks the environment what the two streams are.
    pub(crate) fn new(format: Format) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let out_is_terminal = io::stdout().is_terminal();
        Self { format, out_is_terminal, colour: out_is_terminal && !plain }
    }

    /// An output that is no terminal.
    #[cfg(test)]
    pub(crate) fn plain(format: Format) -> Self {
        Self { format, out_is_terminal: false, colour: false }
    }

    /// An output that somebody looks at.
    #[cfg(all(test, feature = "controller"))]
    pub(crate) fn terminal() -> Self {
        Self { format: Format::Table, out_is_terminal: true, colour: false }
    }

    /// `word` in a colour, if there are colours.
    pub(crate) fn paint(self, tone: Tone, word: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31;1",
            Tone::Faint => "2",
        };
        self.in_colour(code, word)
    }

    fn in_colour(self, code: &str, word: &str) -> String {
        let word = text::line(word);
        if self.colour { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word }
    }

    /// Writes a value: as `table` says for people, as it is for programs.
    pub(crate) fn show<T: Serialize>(self, value: &T, table: impl FnOnce(Self) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.trusted(&table(self)),
            Format::Json => {
                let json = serde_json::to_string_pretty(value).map_err(|error| unwritable(&error))?;
                self.data(&json)
            }
            Format::Yaml => self.data(&yaml(value)?),
        }
    }

    /// Writes data that strangers may have written. A terminal is protected from it; a program gets it as it is.
    pub(crate) fn data(self, data: &str) -> Result<(), Failure> {
        if self.out_is_terminal { self.trusted(&text::lines(data)) } else { self.trusted(data) }
    }

    /// Writes what was made safe before, with a line end behind it.
    fn trusted(self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        written(writeln!(out, "{text}").and_then(|()| out.flush()))
    }

    /// Tells people something on standard error.
    pub(crate) fn say(self, message: &str) {
        // Nobody is left to be told that nobody listens.
        let _ = writeln!(io::stderr().lock(), "{}", text::lines(message));
    }

    /// Tells of a failure.
    pub(crate) fn fail(self, failure: &Failure) {
        match self.format {
            Format::Table => self.say(&failure.for_people()),
            Format::Json | Format::Yaml => self.say(&failure.for_programs()),
        }
    }
}

#[cfg(any(feature = "agent", feature = "controller"))]
impl Output {
    /// Whether somebody looks on, who must be protected from what strangers wrote.
    pub(crate) fn is_terminal(self) -> bool {
        self.out_is_terminal
    }

    /// `word` in one of several colours that mean nothing, to tell things apart.
    pub(crate) fn paint_apart(self, number: usize, word: &str) -> String {
        const CODES: [&str; 5] = ["36", "35", "34", "32", "33"];
        self.in_colour(CODES[number % CODES.len()], word)
    }
}

#[cfg(feature = "controller")]
impl Output {
    /// Writes a value that people read best as YAML, too. Asked for by name YAML is data; here it is a view.
    pub(crate) fn show_whole<T: Serialize>(self, value: &T) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.trusted(&text::lines(&yaml(value)?)),
            Format::Json | Format::Yaml => self.show(value, |_| String::new()),
        }
    }

    /// The same without colours, for what is said rather than shown.
    pub(crate) fn uncoloured(self) -> Self {
        Self { colour: false, ..self }
    }

    /// Writes some of what goes on, as it is; false if nobody reads any more.
    pub(crate) fn stream(self, bytes: &[u8]) -> Result<bool, Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::local("writing the output", &error)),
        }
    }

    /// How data is written.
    pub(crate) fn format(self) -> Format {
        self.format
    }

    /// Writes bytes as they are, unless a terminal would have to show them.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        if !self.out_is_terminal {
            return written(io::stdout().write_all(bytes));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.data(text.trim_end_matches('\n')),
            Err(_) => Err(Failure::usage("these bytes are no text; send them to a file or a program")),
        }
    }
}

fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_yaml::to_string(value).map(|text| text.trim_end().to_owned()).map_err(|error| unwritable(&error))
}

fn unwritable(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Internal, "output", error.to_string())
}

/// A reader that has had enough, such as `head`, is no failure.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::local("writing the output", &error)),
        _ => Ok(()),
    }
}

/// Rows under a head, for people. Every cell is made safe here.
pub(crate) struct Rows {
    output: Output,
    rows: Vec<Vec<Shown>>,
    /// What would be beyond so many columns of the terminal is left out.
    most: usize,
}

impl Rows {
    pub(crate) fn new(output: Output, head: &[&str]) -> Self {
        let head = head.iter().map(|word| Shown { text: word.to_uppercase(), tone: Some(Tone::Faint) }).collect();
        Self { output, rows: vec![head], most: usize::MAX }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Shown; N]) {
        self.rows.push(cells.into());
    }

    /// Lines that are no longer than `most` columns of the terminal.
    #[cfg(feature = "controller")]
    pub(crate) fn within(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Whether there is nothing below the head.
    #[cfg(feature = "controller")]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(Shown::width).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let lines = self.rows.iter().map(|row| {
            let mut line = String::new();
            // Spaces are only written in front of the next cell, so that no line ends in them.
            let (mut owed, mut left) = (0, self.most);
            for (cell, width) in row.iter().zip(&widths) {
                if !cell.text.is_empty() && left > owed {
                    left -= owed;
                    line.extend(std::iter::repeat_n(' ', owed));
                    let text = cut(&cell.text, left);
                    left -= text.width();
                    line.push_str(&cell.tone.map_or_else(|| text.to_string(), |tone| self.output.paint(tone, &text)));
                    owed = 0;
                }
                owed += width - cell.width() + Self::GAP;
            }
            line
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Spaces between two columns.
    const GAP: usize = 2;
}

/// The longest beginning of `text` that has room in so many columns of a terminal.
pub(crate) fn begin(text: &str, most: usize) -> &str {
    let mut left = most;
    let end = text.char_indices().find(|(_, c)| match left.checked_sub(c.width().unwrap_or(0)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// `text` on one line that is safe to show and has room in so many columns.
#[cfg(feature = "controller")]
pub(crate) fn fitting(text: &str, most: usize) -> String {
    cut(&text::line(text), most).into_owned()
}

/// The same of what is safe already.
fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match (text.width() <= most, most) {
        (true, _) => text.into(),
        (false, 0) => "".into(),
        (false, most) => format!("{}…", begin(text, most - 1)).into(),
    }
}

/// A cell of a table: one line that is safe to show.
#[derive(Debug)]
pub(crate) struct Shown {
    text: String,
    tone: Option<Tone>,
}

impl Shown {
    /// The longest text in a cell, in characters.
    const MOST: usize = 100;

    pub(crate) fn toned(self, tone: Tone) -> Self {
        Self { tone: Some(tone), ..self }
    }

    /// A last cell that is shown in full, however long: it says what to do.
    #[cfg(feature = "controller")]
    pub(crate) fn whole(text: &str) -> Self {
        Self { text: text::line(text), tone: None }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

impl<T: std::fmt::Display> From<T> for Shown {
    fn from(value: T) -> Self {
        Self { text: text::short(&value.to_string(), Self::MOST), tone: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_safe() {
        let mut rows = Rows::new(Output::plain(Format::Table), &["node", "why", "more"]);
        rows.row(["n1".into(), "bad\u{1b}[2J\nnews".into(), "x".into()]);
        rows.row(["node-2".into(), "".into(), "".into()]);
        rows.row(["世界".into(), "".into(), "y".into()]);
        assert_eq!(
            rows.render(),
            "NODE    WHY           MORE\nn1      bad�[2J�news  x\nnode-2\n世界                  y"
        );
    }

    #[test]
    fn what_has_no_room_is_cut_and_does_not_wrap() {
        let rows = |most| {
            let mut rows = Rows::new(Output::plain(Format::Table), &["a", "b"]).within(most);
            rows.row(["世界世".into(), "wide".into()]);
            rows.render().split('\n').nth(1).unwrap().to_owned()
        };
        assert_eq!(rows(12), "世界世  wide");
        assert_eq!(rows(11), "世界世  wi…");
        assert_eq!(rows(9), "世界世  …");
        assert_eq!(rows(8), "世界世");
        assert_eq!(rows(4), "世…");
        assert_eq!(rows(1), "…");
        assert_eq!(rows(0), "");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let output = Output { colour: true, ..Output::plain(Format::Table) };
        let mut rows = Rows::new(output, &["a", "b"]);
        rows.row([Shown::from("dead").toned(Tone::Bad), "x".into()]);
        let line = rows.render().lines().nth(1).map(str::to_owned);
        assert_eq!(line.as_deref(), Some("\u{1b}[31;1mdead\u{1b}[0m  x"));
    }

    #[test]
    fn without_a_terminal_nothing_is_painted() {
        assert_eq!(Output::plain(Format::Table).paint(Tone::Bad, "dead"), "dead");
        let output = Output { colour: true, ..Output::plain(Format::Table) };
        assert_eq!(output.paint(Tone::Bad, "de\u{1b}ad"), "\u{1b}[31;1mde�ad\u{1b}[0m");
    }
}
