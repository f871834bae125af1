use std::io::Write as _;

use super::*;
use crate::model::order::LogQuery;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = File::options().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    fn begin(&self, query: &LogQuery, follows: bool) -> Files {
        let (folder, sieve) = (self.0.path().to_owned(), Sieve::new(query).unwrap());
        Files::begin(folder, sieve, query.lines, follows, &CancellationToken::new()).unwrap()
    }

    /// All that is there, as one answer has it.
    fn tail(&self, query: &LogQuery) -> Vec<String> {
        let mut files = self.begin(query, false);
        let mut lines = Vec::new();
        while files.look(true, &mut |line| push(&mut lines, line)).unwrap() {}
        lines
    }

    fn last(&self, lines: u32) -> Vec<String> {
        self.tail(&LogQuery::last(lines))
    }
}

fn push(lines: &mut Vec<String>, line: LogLine) -> bool {
    lines.push(format!("{}: {}", line.process.unwrap(), line.text));
    true
}

/// All that is new and whole.
fn look(files: &mut Files) -> Vec<String> {
    let mut lines = Vec::new();
    while files.look(false, &mut |line| push(&mut lines, line)).unwrap() {}
    lines
}

fn grep(text: &str) -> LogQuery {
    LogQuery { grep: Some(text.to_owned()), lines: 2, ..LogQuery::default() }
}

#[test]
fn the_last_lines_of_each_process_are_read_across_its_files_oldest_first() {
    let bench = Bench::new();
    bench.write("main.2026-01-09.2.log", "c\n");
    bench.write("main.2026-01-09.1.log", "a\nb\n");
    bench.write("main.2026-01-10.1.log", "d\ne");
    bench.write("side.log.2", "1\n");
    bench.write("side.log.10", "0\n");
    bench.write("side.log.1", "2\n");
    bench.write("side.log", "3\n");
    bench.write("other.txt", "no log\n");
    bench.write("main.2026-01-10.log", "no number\n");
    assert_eq!(bench.last(1), ["main: e", "side: 3"]);
    assert_eq!(bench.last(4), ["main: b", "main: c", "main: d", "main: e", "side: 0", "side: 1", "side: 2", "side: 3"]);
    assert_eq!(bench.last(0), [""; 0]);
    let of_side = LogQuery { process: Some("side".parse().unwrap()), ..LogQuery::last(2) };
    assert_eq!(bench.tail(&of_side), ["side: 2", "side: 3"]);
    let of_none = LogQuery { process: Some("mian".parse().unwrap()), ..LogQuery::last(2) };
    assert_eq!(bench.tail(&of_none), [""; 0]);
    let note = "no process of that name has written anything; there are main, side";
    assert_eq!(bench.begin(&of_none, false).notes(), [note]);
}

#[test]
fn the_last_lines_are_found_however_far_back_they_are() {
    let bench = Bench::new();
    bench.write("main.log.1", "needle 0\n");
    bench.write("main.log", "needle 1\n");
    let hay = format!("{}\n", "hay ".repeat(200)).repeat(2 * FIRST_WINDOW as usize / 800);
    bench.write("main.log", &hay);
    assert_eq!(bench.tail(&grep("needle")), ["main: needle 0", "main: needle 1"]);
    bench.write("main.log", "needle 2\n");
    bench.write("main.log", &hay);
    assert_eq!(bench.tail(&grep("needle")), ["main: needle 1", "main: needle 2"]);
    let pattern = LogQuery { regex: true, ..grep("^needle [02]$") };
    assert_eq!(bench.tail(&pattern), ["main: needle 0", "main: needle 2"]);
    assert!(Sieve::new(&LogQuery { regex: true, ..grep("(") }).is_err());
}

#[test]
fn what_comes_is_passed_on_once_and_whole_across_rotation_and_emptying() {
    let bench = Bench::new();
    bench.write("main.log", "old\nhalf a ");
    let mut files = bench.begin(&LogQuery::last(0), true);
    assert_eq!(look(&mut files), [""; 0]);
    bench.write("main.log", "line\nfirst\nsec");
    assert_eq!(look(&mut files), ["main: first"], "what had begun before is not wanted");
    bench.write("main.log", "ond\nunfin");
    assert_eq!(look(&mut files), ["main: second"]);
    fs::rename(bench.path("main.log"), bench.path("main.log.1")).unwrap();
    bench.write("main.log.1", "ished");
    bench.write("main.log", "third\n");
    assert_eq!(look(&mut files), ["main: unfinished", "main: third"]);
    fs::write(bench.path("main.log"), "new\n").unwrap();
    bench.write("side.log", "another\n");
    assert_eq!(look(&mut files), ["main: new", "side: another"]);
    assert_eq!(look(&mut files), [""; 0]);
    assert_eq!(files.missing(), Missing::default());
}

#[test]
fn what_is_removed_before_it_was_read_is_counted() {
    let bench = Bench::new();
    bench.write("main.log", "");
    let mut files = bench.begin(&LogQuery::last(0), true);
    let line = format!("{}\n", "x".repeat(999));
    bench.write("main.log", line.repeat(2 * MOST_READ as usize / 1000));
    assert!(files.look(false, &mut |_| true).unwrap(), "one look does not reach the end");
    fs::remove_file(bench.path("main.log")).unwrap();
    assert!(!files.look(false, &mut |_| true).unwrap());
    let lost = files.missing().lost_bytes;
    assert_eq!(lost, 2 * MOST_READ / 1000 * 1000 - MOST_READ);
}

#[test]
fn of_several_files_of_a_process_the_older_is_read_to_its_end_first() {
    let bench = Bench::new();
    bench.write("main.log", "");
    let mut files = bench.begin(&LogQuery::last(0), true);
    bench.write("main.log", "1\n".repeat(MOST_READ as usize));
    fs::rename(bench.path("main.log"), bench.path("main.log.1")).unwrap();
    bench.write("main.log", "2\n");
    let mut lines = Vec::new();
    let mut looks = 1;
    while files.look(false, &mut |line| push(&mut lines, line)).unwrap() {
        looks += 1;
    }
    assert_eq!((looks, lines.len()), (3, MOST_READ as usize + 1));
    assert_eq!(lines.last().unwrap(), "main: 2");
}

#[test]
fn a_tail_ends_where_the_files_ended_when_it_began() {
    let bench = Bench::new();
    bench.write("main.log", "a\n");
    let mut files = bench.begin(&LogQuery::last(9), false);
    bench.write("main.log", "b\n");
    bench.write("side.log", "c\n");
    let mut lines = look(&mut files);
    files.look(true, &mut |line| push(&mut lines, line)).unwrap();
    assert_eq!(lines, ["main: a"]);
}

#[test]
fn hostile_bytes_and_endless_lines_become_bounded_text() {
    let bench = Bench::new();
    bench.write("main.log", b"\xff\x00\x1b[2J\r\n");
    bench.write("main.log", vec![b'x'; 3 * LogLine::MOST_BYTES]);
    bench.write("main.log", "\nlast\n");
    let mut files = bench.begin(&LogQuery::last(9), false);
    let lines = look(&mut files);
    assert_eq!((lines[0].as_str(), lines[2].as_str()), ("main: \u{fffd}\0\u{1b}[2J", "main: last"));
    assert_eq!(lines[1].len(), "main: ".len() + LogLine::MOST_BYTES);
    assert_eq!(files.missing().cut_lines, 1);
}

#[test]
fn lines_that_tell_an_older_time_are_left_out_with_those_that_belong_to_them() {
    let bench = Bench::new();
    bench.write("old.log", "whatever\n");
    let before = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    File::options().append(true).open(bench.path("old.log")).unwrap().set_times(before).unwrap();
    let lines = "2026-01-02T03:00:00Z early\n  at x\n2026-01-02T04:00:00Z late\n  at y\n";
    bench.write("main.log", lines);
    let since = LogQuery { since: Some("2026-01-02T03:30:00Z".parse().unwrap()), ..LogQuery::last(100) };
    assert_eq!(bench.tail(&since), ["main: 2026-01-02T04:00:00Z late", "main:   at y"]);
    assert_eq!(bench.last(100).len(), 5);
    assert_eq!(bench.begin(&since, false).notes().len(), 1);
}

#[test]
fn links_are_not_followed_and_whoever_wants_no_more_is_given_no_more() {
    let bench = Bench::new();
    bench.write("secret", "secret\n");
    std::os::unix::fs::symlink(bench.path("secret"), bench.path("main.log")).unwrap();
    assert_eq!(bench.last(9), [""; 0]);
    let note = "its programs have written nothing yet";
    assert_eq!(bench.begin(&LogQuery::last(9), false).notes(), [note]);
    bench.write("side.log", "1\n2\n3\n");
    let mut count = 0;
    let mut files = bench.begin(&LogQuery::last(9), true);
    let more = files.look(false, &mut |_| {
        count += 1;
        count < 2
    });
    assert_eq!((more.unwrap(), count), (false, 2));
    fs::remove_dir_all(bench.0.path()).unwrap();
    assert_eq!(bench.last(9), [""; 0], "a folder that is gone has no lines");
}
