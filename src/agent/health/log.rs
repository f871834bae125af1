//! Waiting for a line in what a cell says.
//!
//! Before a version is brought up it is noted how long each log file is, in a file of the agent's own. So a line that
//! an earlier version wrote does not count, one that was written before anybody looked does, and an agent that was
//! restarted forgets neither. A line that was found stays found until the next version.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use super::probe::Subject;
use crate::agent::disk::{DiskError, Folder, apart};
use crate::agent::output::files::{self, LogFile};
use crate::agent::output::journal::journalctl;
use crate::agent::profile::Log;
use crate::model::CheckName;
use crate::model::document::{self, Document};
use crate::model::health::Line;
use crate::store::in_full;

/// The name of the file in the cell's own folder.
const FILE: &str = "log-marks.json";

/// How much is read in one look; the next one goes on there.
const MOST_READ: u64 = 8 << 20;

/// Longer lines are taken for several.
const MOST_LINE: usize = 64 << 10;

/// What stands before the place in the journal at which `journalctl` ended.
const CURSOR: &str = "-- cursor: ";

/// Where the lines of a version begin.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Marks {
    /// The bringing up that they are of.
    pub(super) activation: String,
    /// When it began.
    pub(super) since: DateTime<Utc>,
    /// How long each file was, by device and inode: a rotated file keeps them.
    pub(super) files: BTreeMap<String, u64>,
    /// The checks whose line was found.
    found: BTreeMap<CheckName, String>,
}

impl Document for Marks {
    const SCHEMA: &'static str = "fleetman/agent-log-marks/1";
    const MAX_BYTES: u64 = 1 << 20;
}

impl Marks {
    /// What is noted; nothing if it cannot be read, because then every line counts.
    pub(super) fn load(home: &Folder) -> Self {
        let bytes = home.read(FILE, Self::MAX_BYTES).ok().flatten();
        bytes.and_then(|bytes| document::parse(&bytes).ok()).unwrap_or_default()
    }
}

/// Notes where the lines of what is about to be brought up begin, unless that was done already.
pub(in crate::agent) fn mark(home: &Folder, log: &Log, activation: &str, now: DateTime<Utc>) -> Result<(), DiskError> {
    if Marks::load(home).activation == activation {
        return Ok(());
    }
    let files = match log {
        Log::Folder(folder) => {
            let files = files::list(folder).map_err(|error| DiskError::new("listing", folder.clone(), error))?;
            files.into_iter().map(|file| (file.key, file.bytes)).collect()
        }
        Log::Journal { .. } | Log::Nowhere => BTreeMap::new(),
    };
    let marks = Marks { activation: activation.to_owned(), since: now, files, found: BTreeMap::new() };
    home.write(FILE, &document::render(&marks))
}

/// What is looked for, and how far it was looked.
#[derive(Debug, Clone)]
pub(super) struct Search {
    check: CheckName,
    line: Line,
    pattern: Option<Regex>,
    log: Log,
    home: Folder,
    found: Option<String>,
    /// Where each file goes on; None until the marks were read.
    files: Option<BTreeMap<String, u64>>,
    since: DateTime<Utc>,
    /// Where the journal goes on.
    cursor: Option<String>,
}

impl Search {
    pub(super) fn new(check: CheckName, line: &Line, subject: &Subject) -> Self {
        let pattern = match line {
            Line::Matches(pattern) => pattern.compiled(),
            Line::Contains(_) => None,
        };
        Self {
            check,
            pattern,
            line: line.clone(),
            log: subject.log.clone(),
            home: subject.home.clone(),
            found: None,
            files: None,
            since: DateTime::default(),
            cursor: None,
        }
    }

    pub(super) async fn ask(&mut self) -> Result<String, String> {
        if let Some(line) = &self.found {
            return Ok(line.clone());
        }
        if self.files.is_none() {
            let (home, check) = (self.home.clone(), self.check.clone());
            let marks = apart(move || Ok::<_, DiskError>(Marks::load(&home))).await;
            let marks = marks.map_err(|error| in_full(&error))?;
            (self.since, self.found) = (marks.since, marks.found.get(&check).cloned());
            self.files = Some(marks.files);
            if let Some(line) = &self.found {
                return Ok(line.clone());
            }
        }
        match self.log.clone() {
            Log::Nowhere => return Err("the profile keeps no log".to_owned()),
            Log::Folder(folder) => self.read_files(folder).await?,
            Log::Journal { units, is_users } => self.read_journal(&units, is_users).await?,
        }
        match &self.found {
            Some(line) => Ok(line.clone()),
            None => Err(format!("{} was not written yet", self.line)),
        }
    }

    fn matches(&self, line: &str) -> bool {
        match (&self.line, &self.pattern) {
            (Line::Contains(text), _) => line.contains(text),
            (Line::Matches(_), Some(pattern)) => pattern.is_match(line),
            (Line::Matches(_), None) => false,
        }
    }

    async fn read_files(&mut self, folder: PathBuf) -> Result<(), String> {
        let mut search = self.clone();
        let looked = apart(move || {
            search.look(&folder).map_err(|error| DiskError::new("reading", folder, error))?;
            Ok::<_, DiskError>(search)
        });
        *self = looked.await.map_err(|error| in_full(&error))?;
        self.note().await
    }

    /// Looks through what is new in a folder of logs.
    fn look(&mut self, folder: &Path) -> io::Result<()> {
        let mut left = MOST_READ;
        let known = self.files.take().unwrap_or_default();
        let mut now = BTreeMap::new();
        for file in files::list(folder)? {
            // What is shorter than it was has been emptied, or is another one.
            let from = known.get(&file.key).copied().filter(|from| *from <= file.bytes).unwrap_or(0);
            let to = match self.found {
                None if left > 0 && from < file.bytes => self.look_at(&file, from, &mut left)?,
                _ => from,
            };
            now.insert(file.key, to);
        }
        self.files = Some(now);
        Ok(())
    }

    /// Looks through a file from there on, and says where the next look begins.
    fn look_at(&mut self, file: &LogFile, from: u64, left: &mut u64) -> io::Result<u64> {
        let Some(mut file) = file.open()? else { return Ok(from) };
        file.seek(SeekFrom::Start(from))?;
        let (mut reader, mut line, mut at) = (BufReader::new(file), Vec::new(), from);
        while *left > 0 {
            line.clear();
            let read = reader.by_ref().take(MOST_LINE as u64).read_until(b'\n', &mut line)?;
            // The rest of a line may still be written.
            if read == 0 || (!line.ends_with(b"\n") && read < MOST_LINE) {
                break;
            }
            at += read as u64;
            *left = left.saturating_sub(read as u64);
            if self.take(&line) {
                break;
            }
        }
        Ok(at)
    }

    /// Takes in a line; true if it is the one.
    fn take(&mut self, line: &[u8]) -> bool {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if self.matches(line) {
            self.found = Some(crate::agent::trouble::plain(line));
        }
        self.found.is_some()
    }

    async fn read_journal(&mut self, units: &[String], is_users: bool) -> Result<(), String> {
        let mut command = journalctl(units, is_users);
        command.args(["--output=cat", "--show-cursor"]);
        command.arg(match &self.cursor {
            Some(cursor) => format!("--after-cursor={cursor}"),
            None => format!("--since=@{}", self.since.timestamp()),
        });
        let mut child = command.spawn().map_err(|error| format!("starting journalctl: {error}"))?;
        let broken = |error: io::Error| format!("reading the journal: {error}");
        let mut output = child.stdout.take().ok_or("journalctl says nothing")?;
        let (mut block, mut line, mut last) = (vec![0; 32 << 10], Vec::new(), String::new());
        loop {
            let read = output.read(&mut block).await.map_err(broken)?;
            for byte in &block[..read] {
                if *byte == b'\n' || line.len() >= MOST_LINE {
                    last = String::from_utf8_lossy(&line).into_owned();
                    let is_cursor = last.starts_with(CURSOR);
                    if !is_cursor && self.take(&line) {
                        return self.note().await;
                    }
                    line.clear();
                }
                if *byte != b'\n' {
                    line.push(*byte);
                }
            }
            if read == 0 {
                break;
            }
        }
        // It also ends badly when there is no line at all.
        child.wait().await.map_err(broken)?;
        if let Some(cursor) = last.strip_prefix(CURSOR) {
            self.cursor = Some(cursor.to_owned());
        }
        Ok(())
    }

    /// Notes what was found for whoever comes after this agent.
    async fn note(&mut self) -> Result<(), String> {
        let Some(line) = self.found.clone() else { return Ok(()) };
        let (home, check) = (self.home.clone(), self.check.clone());
        let noted = apart(move || {
            // Each check of a cell notes its own.
            let mut marks = Marks::load(&home);
            marks.found.insert(check, line);
            home.write(FILE, &document::render(&marks))
        });
        noted.await.map_err(|error: DiskError| in_full(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;

    use super::*;
    use crate::agent::steps::Steps;

    struct Bench {
        _folder: tempfile::TempDir,
        home: Folder,
        logs: PathBuf,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let home = Folder::open(&folder.path().join("home"), 0o700, &Steps::default()).unwrap();
            Self { home, logs: folder.path().join("logs"), _folder: folder }
        }

        fn write(&self, name: &str, text: &str) {
            fs::create_dir_all(&self.logs).unwrap();
            let mut file = File::options().append(true).create(true).open(self.logs.join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn mark(&self, activation: &str) {
            mark(&self.home, &Log::Folder(self.logs.clone()), activation, DateTime::UNIX_EPOCH).unwrap();
        }

        fn search(&self, line: Line) -> Search {
            let subject = Subject {
                release: PathBuf::new(),
                data: PathBuf::new(),
                owner: (None, None),
                variables: Vec::new(),
                log: Log::Folder(self.logs.clone()),
                home: self.home.clone(),
            };
            Search::new(CheckName::new("ready").unwrap(), &line, &subject)
        }
    }

    fn ready() -> Line {
        Line::Contains("ready".to_owned())
    }

    #[tokio::test]
    async fn only_lines_since_the_version_was_brought_up_count_wherever_they_are_rotated_to() {
        let bench = Bench::new();
        bench.write("main.log", "ready\n");
        bench.mark("1");
        let mut search = bench.search(ready());
        assert_eq!(search.ask().await.unwrap_err(), "a line with \"ready\" in it was not written yet");
        fs::rename(bench.logs.join("main.log"), bench.logs.join("main.log.1")).unwrap();
        bench.write("main.log.1", "starting\nalmost rea");
        assert!(search.ask().await.is_err());
        bench.write("main.log.1", "dy\n");
        assert_eq!(search.ask().await.unwrap(), "almost ready");
        // For another version it counts no more, nor for another agent that goes on with this one.
        bench.mark("1");
        assert_eq!(bench.search(ready()).ask().await.unwrap(), "almost ready");
        bench.mark("2");
        assert!(bench.search(ready()).ask().await.is_err());
        bench.write("main.log", "ready at last\n");
        assert_eq!(bench.search(ready()).ask().await.unwrap(), "ready at last");
        fs::remove_dir_all(&bench.logs).unwrap();
        assert!(bench.search(ready()).ask().await.is_ok(), "it was found once");
    }

    #[tokio::test]
    async fn expressions_match_and_more_than_a_look_takes_is_gone_on_with() {
        let bench = Bench::new();
        bench.mark("1");
        let mut search = bench.search(Line::Matches("^listening on .*:[0-9]+$".parse().unwrap()));
        bench.write("main.log", &"x".repeat(3 * MOST_READ as usize / 2));
        bench.write("main.log", "\nlistening on port\n\u{fffd}listening on [::]:80\nlistening on [::]:80\n");
        assert!(search.ask().await.is_err(), "one look does not reach it");
        assert_eq!(search.ask().await.unwrap(), "listening on [::]:80");
    }

    #[tokio::test]
    async fn a_log_that_is_emptied_is_read_from_its_beginning() {
        let bench = Bench::new();
        bench.write("main.log", "something long\n");
        bench.mark("1");
        let mut search = bench.search(ready());
        assert!(search.ask().await.is_err());
        fs::write(bench.logs.join("main.log"), "ready\n").unwrap();
        assert_eq!(search.ask().await.unwrap(), "ready");
    }
}
