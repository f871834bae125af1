//! What is shown of the fleet, and what keys do to that.

use super::look::Look;
use super::table::{self, Sort, View};
use crate::cli::fleetman::status;
use crate::cli::output::{Output, Tone, fitting};
use crate::cli::terminal::{Key, Size};
use crate::model::CellId;
use crate::web::views::Cell;

/// The longest text that names are searched for.
const MOST_SEARCHED: usize = 64;

/// What a key asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    GoOn,
    End,
}

/// What is looked at, and how.
#[derive(Debug)]
pub(super) struct Board {
    bucket: String,
    view: View,
    sort: Sort,
    /// What names must have in them.
    search: String,
    is_searching: bool,
    only_trouble: bool,
    is_paused: bool,
    /// The row that is marked, which stays so when others come and go.
    marked: Option<String>,
    /// The place of that row, and of the first one that is shown.
    place: usize,
    top: usize,
    /// The cell that is shown in full.
    open: Option<CellId>,
    /// How many rows fit, when they were shown last.
    page: usize,
}

impl Board {
    pub(super) fn new(nodes: bool, bucket: String) -> Self {
        let view = if nodes { View::Nodes } else { View::Cells };
        Self {
            bucket,
            view,
            sort: Sort::Trouble,
            search: String::new(),
            is_searching: false,
            only_trouble: false,
            is_paused: false,
            marked: None,
            place: 0,
            top: 0,
            open: None,
            page: 1,
        }
    }

    /// Whether what is shown stays as it is.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Does what a key asks for.
    pub(super) fn press(&mut self, key: Key, look: &Look) -> Asked {
        if self.is_searching {
            return self.type_in(key);
        }
        match key {
            Key::Char('q') if self.open.is_none() => return Asked::End,
            Key::Char('q') | Key::Escape if self.open.is_some() => self.close(),
            Key::Escape => self.search_for(String::new()),
            Key::Char('p' | ' ') => self.is_paused = !self.is_paused,
            Key::Up | Key::Char('k') => self.go(look, |place, _| place.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.go(look, |place, _| place + 1),
            Key::PageUp => self.go(look, |place, page| place.saturating_sub(page)),
            Key::PageDown => self.go(look, |place, page| place + page),
            Key::Home | Key::Char('g') => self.go(look, |_, _| 0),
            Key::End | Key::Char('G') => self.go(look, |_, _| usize::MAX),
            _ if self.open.is_some() => {}
            Key::Tab => self.turn(self.view.other(), String::new()),
            Key::Char('/') => self.is_searching = true,
            Key::Char('s') => self.sort = self.sort.next(self.view),
            Key::Char('a') => self.only_trouble = !self.only_trouble,
            Key::Enter => self.enter(look),
            _ => {}
        }
        Asked::GoOn
    }

    fn type_in(&mut self, key: Key) -> Asked {
        let mut search = self.search.clone();
        match key {
            Key::Enter => self.is_searching = false,
            Key::Escape => {
                self.is_searching = false;
                search.clear();
            }
            Key::Backspace => drop(search.pop()),
            Key::Char(c) if search.len() < MOST_SEARCHED => search.push(c),
            _ => {}
        }
        self.search_for(search);
        Asked::GoOn
    }

    fn search_for(&mut self, search: String) {
        if search != self.search {
            self.search = search;
            (self.place, self.top, self.marked) = (0, 0, None);
        }
    }

    fn turn(&mut self, view: View, search: String) {
        (self.view, self.sort, self.only_trouble) = (view, Sort::Trouble, false);
        (self.place, self.top, self.marked) = (0, 0, None);
        self.search = search;
    }

    fn close(&mut self) {
        self.open = None;
        self.top = 0;
    }

    /// A node leads to its cells, a cell to all that is known of it.
    fn enter(&mut self, look: &Look) {
        let names = self.names(look);
        let Some(name) = names.get(self.settle(&names)) else { return };
        match self.view {
            View::Nodes => self.turn(View::Cells, format!("{name}/")),
            View::Cells => {
                self.open = name.parse().ok();
                self.top = 0;
            }
        }
    }

    /// Marks another row, or shows another part of a cell.
    fn go(&mut self, look: &Look, to: impl Fn(usize, usize) -> usize) {
        if self.open.is_some() {
            self.top = to(self.top, self.page);
            return;
        }
        let names = self.names(look);
        let place = to(self.settle(&names), self.page).min(names.len().saturating_sub(1));
        self.marked = names.get(place).cloned();
        self.place = place;
    }

    fn names(&self, look: &Look) -> Vec<String> {
        table::names(look, self.view, self.sort, &self.search, self.only_trouble)
    }

    /// Where the marked row is now; where it is gone, the one that took its place.
    fn settle(&mut self, names: &[String]) -> usize {
        let marked = self.marked.as_ref().and_then(|marked| names.iter().position(|name| name == marked));
        self.place = marked.unwrap_or(self.place).min(names.len().saturating_sub(1));
        self.place
    }

    /// What is to be seen: as many lines as there is room for, each short enough.
    pub(super) fn lines(&mut self, look: &Look, size: Size, output: Output) -> Vec<String> {
        let mut lines = vec![fitting(&self.title(look), size.columns)];
        if let Some(problem) = &look.problem {
            let told = format!("The store does not answer, and is asked again: {problem}");
            lines.push(output.paint(Tone::Bad, &fitting(&told, size.columns)));
        }
        let (plain, painted) = (status::head(&look.fleet, output.uncoloured()), status::head(&look.fleet, output));
        // Where there is no room for all of a line it goes without colours, which could not be cut.
        let head = plain.lines().zip(painted.lines()).map(|(plain, painted)| match fitting(plain, size.columns) {
            whole if whole == plain => painted.to_owned(),
            cut => cut,
        });
        lines.extend(head);
        lines.push(String::new());
        // The last line names the keys.
        self.page = size.rows.saturating_sub(lines.len() + 2).max(1);
        let keys = match &self.open {
            Some(cell) => self.in_full(cell.clone(), look, size, output, &mut lines),
            None => self.rows(look, size, output, &mut lines),
        };
        lines.truncate(size.rows.saturating_sub(1));
        lines.resize(size.rows.saturating_sub(1), String::new());
        lines.push(output.paint(Tone::Faint, &fitting(&keys, size.columns)));
        lines
    }

    fn title(&self, look: &Look) -> String {
        let how = if self.is_paused { "  paused" } else { "" };
        format!("{}  {}{how}", self.bucket, look.fleet.at.format("%H:%M:%SZ"))
    }

    fn rows(&mut self, look: &Look, size: Size, output: Output, lines: &mut Vec<String>) -> String {
        let names = self.names(look);
        let place = self.settle(&names);
        self.top = self.top.clamp((place + 1).saturating_sub(self.page), place);
        let shown = &names[self.top.min(names.len())..names.len().min(self.top + self.page)];
        let (mark, width) = (place - self.top, size.columns.saturating_sub(2));
        for (number, line) in table::render(look, self.view, shown, width, output).into_iter().enumerate() {
            // The head is no row.
            let is_marked = number == mark + 1 && !shown.is_empty();
            lines.push(format!("{} {line}", if is_marked { '>' } else { ' ' }));
        }
        if shown.is_empty() {
            lines.push(format!("  {}", self.nothing(look)));
        }
        if self.is_searching {
            return format!("/{}_  Enter keep  Esc all", self.search);
        }
        let of = format!("{}/{}", names.len().min(place + 1), names.len());
        let search = if self.search.is_empty() { "/ search".to_owned() } else { format!("/{} Esc all", self.search) };
        let trouble = if self.only_trouble { "a all" } else { "a attention" };
        let (other, sort) = (self.view.other().word(), self.sort.word());
        format!("{of}  q quit  Tab {other}  Enter more  {search}  s sort: {sort}  {trouble}  p pause")
    }

    fn nothing(&self, look: &Look) -> &'static str {
        match self.view {
            _ if !self.search.is_empty() => "nothing has this in its name; Esc shows all",
            _ if self.only_trouble => "nothing needs attention; a shows all",
            View::Nodes if look.fleet.nodes.is_empty() => {
                "no agent has reported yet; `fleetman init` prints the config for one"
            }
            View::Nodes => "there is no such node",
            View::Cells => "there is no such cell; `fleetman apply -f` makes some",
        }
    }

    fn in_full(&mut self, cell: CellId, look: &Look, size: Size, output: Output, lines: &mut Vec<String>) -> String {
        let Some(view) = look.fleet.cell(&cell) else {
            lines.push(format!("{cell} is gone."));
            return "q back".to_owned();
        };
        let mut told = Vec::new();
        if let Some(trouble) = look.trouble(&cell.to_string()) {
            let since = trouble.since.map(|since| format!(", since {}", since.format("%Y-%m-%d %H:%M:%SZ")));
            told.extend(wrapped(&format!("{}{}", trouble.why, since.unwrap_or_default()), size.columns));
            told.push(String::new());
        }
        let whole = status::in_full(&[Cell::from(view)], output.uncoloured());
        told.extend(whole.lines().flat_map(|line| wrapped(line, size.columns)));
        told.extend([String::new(), format!("fleetman describe cell {cell}"), format!("fleetman logs {cell} -f")]);
        self.top = self.top.min(told.len().saturating_sub(self.page));
        lines.extend(told.into_iter().skip(self.top).take(self.page + 1));
        "q back  ↑ ↓ scroll  p pause".to_owned()
    }
}

/// A line in pieces that are short enough.
fn wrapped(line: &str, columns: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut left = crate::model::text::line(line);
    while !left.is_empty() && columns > 1 {
        let piece = crate::cli::output::begin(&left, columns).to_owned();
        left.drain(..piece.len());
        pieces.push(piece);
    }
    if pieces.is_empty() { vec![String::new()] } else { pieces }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::fleetman::select::Filter;
    use crate::cli::output::Format;
    use crate::controller::fleet_sample::{Wish, desired, fleet, node, up_to_date};

    const SIZE: Size = Size { rows: 14, columns: 150 };

    fn wish() -> Wish {
        Wish { about: None, desired: Some(desired("deploy", Some("v1"), 600)), problem: None }
    }

    fn look() -> Look {
        let running = |restarts: u32, since: &str| {
            let mut said = up_to_date("v1");
            said["processes"] = json!({"main": {"state": "running", "restarts": restarts, "since": since}});
            said
        };
        let failed = json!({"phase": "failed", "state": {"state": "stopped"}, "last_error":
            {"code": "unhealthy", "message": "no\u{1b}[2J answer", "at": "2026-01-02T03:00:00Z"}});
        let host = |free: u64| {
            json!({"hostname": "h", "os": "o", "kernel": "k", "arch": "a", "cpus": 1, "memory_bytes": 100,
            "memory_available_bytes": free, "disk_bytes": 100, "disk_free_bytes": 100 - free})
        };
        let said = |free: u64, cells: Value| Some((5, json!({"cells": cells, "host": host(free)})));
        let one = said(80, json!({"a": running(0, "2026-01-02T03:59:00Z"), "b": running(7, "2026-01-02T03:58:00Z")}));
        let two = said(5, json!({"z": failed}));
        let cells = [("a", wish()), ("b", wish())];
        Look::new(fleet(vec![node("n1", one, cells), node("n2", two, [("z", wish())])]), Filter::default())
    }

    fn press(board: &mut Board, look: &Look, keys: &str) -> Asked {
        let mut asked = Asked::GoOn;
        for key in keys.chars() {
            let key = match key {
                '\n' => Key::Enter,
                '\t' => Key::Tab,
                '\u{1b}' => Key::Escape,
                '\u{8}' => Key::Backspace,
                key => Key::Char(key),
            };
            asked = board.press(key, look);
        }
        asked
    }

    fn shown(board: &mut Board, look: &Look) -> Vec<String> {
        let lines = board.lines(look, SIZE, Output::plain(Format::Table));
        assert_eq!(lines.len(), SIZE.rows);
        lines
    }

    /// The first word of each row, with the mark before the marked one.
    fn rows(board: &mut Board, look: &Look) -> Vec<String> {
        let lines = shown(board, look);
        let rows = lines[5..SIZE.rows - 1].iter().filter(|line| !line.is_empty());
        rows.map(|line| line[..2].replace("  ", "") + line[2..].split(' ').next().unwrap()).collect()
    }

    #[test]
    fn the_worst_comes_first_and_says_why() {
        let (look, mut board) = (look(), Board::new(false, "s3://b".to_owned()));
        assert_eq!(rows(&mut board, &look), ["> n2/z", "n1/b", "n1/a"]);
        let lines = shown(&mut board, &look);
        assert_eq!(lines[0], "s3://b  04:00:00Z");
        assert!(lines[1].starts_with("Nodes  2  2 active"), "{lines:#?}");
        assert!(lines[5].contains("unhealthy: no\u{fffd}[2J answer"), "{lines:#?}");
        assert!(lines[SIZE.rows - 1].starts_with("1/3  q quit  Tab nodes"), "{lines:#?}");
        press(&mut board, &look, "a");
        assert_eq!(rows(&mut board, &look), ["> n2/z", "n1/b"]);
    }

    #[test]
    fn rows_come_in_the_order_that_is_asked_for() {
        let (look, mut board) = (look(), Board::new(false, String::new()));
        let mut orders = Vec::new();
        for _ in 0..5 {
            orders.push(rows(&mut board, &look).concat().replace("> ", ""));
            press(&mut board, &look, "s");
        }
        assert_eq!(orders, ["n2/zn1/bn1/a", "n1/an1/bn2/z", "n1/bn1/an2/z", "n1/an1/bn2/z", "n2/zn1/bn1/a"]);
        press(&mut board, &look, "\tss");
        assert_eq!(rows(&mut board, &look), ["> n2", "n1"], "by memory");
        assert!(shown(&mut board, &look)[5].contains("95 %"));
        press(&mut board, &look, "s");
        assert_eq!(rows(&mut board, &look), ["> n1", "n2"], "by disk");
    }

    #[test]
    fn the_mark_stays_at_its_row_and_never_leaves_the_list() {
        let (look, mut board) = (look(), Board::new(false, String::new()));
        press(&mut board, &look, "j");
        assert_eq!(rows(&mut board, &look), ["n2/z", "> n1/b", "n1/a"]);
        press(&mut board, &look, "s");
        assert_eq!(rows(&mut board, &look), ["n1/a", "> n1/b", "n2/z"]);
        press(&mut board, &look, "G");
        assert_eq!(rows(&mut board, &look).last().unwrap(), "> n2/z");
        press(&mut board, &look, "jk");
        assert_eq!(rows(&mut board, &look), ["n1/a", "> n1/b", "n2/z"]);
        press(&mut board, &look, "kkk");
        assert_eq!(rows(&mut board, &look)[0], "> n1/a");
        // What is marked is always to be seen.
        let small = Size { rows: 7, columns: 20 };
        press(&mut board, &look, "G");
        let lines = board.lines(&look, small, Output::plain(Format::Table));
        assert!(lines[5].starts_with("> n2/z"), "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 20), "{lines:#?}");
    }

    #[test]
    fn names_are_searched_for_and_a_node_leads_to_its_cells_and_a_cell_to_all_of_it() {
        let (look, mut board) = (look(), Board::new(true, String::new()));
        press(&mut board, &look, "/n1x\u{8}");
        assert_eq!(rows(&mut board, &look), ["> n1"]);
        assert!(shown(&mut board, &look)[SIZE.rows - 1].starts_with("/n1_"));
        press(&mut board, &look, "\n\n");
        assert_eq!(rows(&mut board, &look), ["> n1/b", "n1/a"]);
        press(&mut board, &look, "/q");
        assert_eq!(rows(&mut board, &look), ["nothing"]);
        press(&mut board, &look, "\u{1b}");
        assert_eq!(rows(&mut board, &look).len(), 3);
        press(&mut board, &look, "\n");
        let lines = shown(&mut board, &look);
        assert!(lines.iter().any(|line| line == "fleetman describe cell n2/z"), "{lines:#?}");
        assert_eq!(press(&mut board, &look, "q"), Asked::GoOn, "back");
        assert_eq!(rows(&mut board, &look).len(), 3);
        assert_eq!(press(&mut board, &look, "q"), Asked::End);
    }

    #[test]
    fn what_was_seen_last_stays_while_the_store_does_not_answer() {
        let (look, mut board) = (look(), Board::new(false, String::new()));
        let mut away = look;
        away.problem = Some("refused\n\u{1b}[1m".to_owned());
        let lines = shown(&mut board, &away);
        assert_eq!(lines[1], "The store does not answer, and is asked again: refused\u{fffd}\u{fffd}[1m");
        assert!(lines[6].starts_with("> n2/z"), "{lines:#?}");
        assert!(!board.is_paused());
        press(&mut board, &away, "p");
        assert!(board.is_paused() && shown(&mut board, &away)[0].ends_with("paused"));
    }
}
