//! What is written into the files of a folder, which are rotated, emptied and removed meanwhile.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};
use tokio_util::sync::CancellationToken;

use super::{Missing, Sieve, text, told_time};
use crate::model::answer::LogLine;

/// Files of a folder of logs that are looked at.
const MOST_FILES: usize = 1_000;

/// How much of the end of a file is looked through first for where the wanted lines begin; more only if that is not
/// enough.
const FIRST_WINDOW: u64 = 256 << 10;

/// How much of a process's output is read in one look; the next one goes on there.
const MOST_READ: u64 = 1 << 20;

const BLOCK_BYTES: usize = 32 << 10;

/// A log file.
#[derive(Debug, Clone)]
pub(in crate::agent) struct LogFile {
    /// Its device and inode: a rotated file keeps them.
    pub(in crate::agent) key: String,
    path: PathBuf,
    /// How long it was when the folder was listed.
    pub(in crate::agent) bytes: u64,
    pub(in crate::agent) written_at: Option<DateTime<Utc>>,
}

/// The regular files of a folder; none if there is no folder.
pub(in crate::agent) fn list(folder: &Path) -> io::Result<Vec<LogFile>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries.take(MOST_FILES) {
        let path = entry?.path();
        // One that was rotated away meanwhile is found under its new name.
        if let Ok(meta) = fs::symlink_metadata(&path)
            && meta.is_file()
        {
            let written_at = DateTime::from_timestamp(meta.mtime(), 0);
            files.push(LogFile { key: key(&meta), path, bytes: meta.len(), written_at });
        }
    }
    Ok(files)
}

fn key(meta: &fs::Metadata) -> String {
    format!("{}:{}", meta.dev(), meta.ino())
}

impl LogFile {
    /// Opens the file; None if it is gone, or another one is in its place by now.
    pub(in crate::agent) fn open(&self) -> io::Result<Option<File>> {
        let no_wait = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        let flags = i32::try_from(no_wait.bits()).unwrap_or_default();
        let file = match File::options().read(true).custom_flags(flags).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A link has taken its place.
            Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::LOOP) => return Ok(None),
            file => file?,
        };
        Ok((key(&file.metadata()?) == self.key).then_some(file))
    }

    fn place(&self) -> Option<(&str, Age)> {
        let name = self.path.file_name()?.to_str()?;
        let (process, rest) = name.split_once('.')?;
        let age = match rest.strip_prefix("log") {
            Some("") => Age::Current,
            Some(older) => Age::Rotated(Reverse(older.strip_prefix('.')?.parse().ok()?)),
            None => {
                let (day, number) = rest.strip_suffix(".log")?.split_once('.')?;
                Age::Dated(day.parse().ok()?, number.parse().ok()?)
            }
        };
        Some((process, age))
    }
}

/// The place of a file among those of its process, the oldest first: `<process>.log.<n>` and `<process>.log` as
/// supervisord calls them, `<process>.<day>.<n>.log` as our own supervisor does. No name of a process has a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Rotated(Reverse<u32>),
    Dated(NaiveDate, u32),
    Current,
}

/// What is where in a folder, by process, each one's oldest file first.
fn by_process(folder: &Path) -> io::Result<BTreeMap<String, Vec<LogFile>>> {
    let mut files: Vec<(String, Age, LogFile)> = Vec::new();
    for file in list(folder)? {
        if let Some((process, age)) = file.place() {
            files.push((process.to_owned(), age, file));
        }
    }
    files.sort_by(|(a, x, _), (b, y, _)| (a, x).cmp(&(b, y)));
    let mut processes: BTreeMap<String, Vec<LogFile>> = BTreeMap::new();
    for (process, _, file) in files {
        processes.entry(process).or_default().push(file);
    }
    Ok(processes)
}

/// Bytes on their way to lines.
#[derive(Debug, Clone, Default)]
struct Splitter {
    /// Where the next byte is.
    at: u64,
    /// Where the line began.
    begin: u64,
    /// The line so far, as far as anybody wants to have it.
    held: Vec<u8>,
    /// Whether the line began before it was read.
    is_rest: bool,
}

impl Splitter {
    fn at(at: u64, is_rest: bool) -> Self {
        Self { at, begin: at, held: Vec::new(), is_rest }
    }

    /// Passes on each line that ends, with where it began, until `take` wants no more.
    fn push(&mut self, block: &[u8], take: &mut impl FnMut(u64, &[u8]) -> bool) -> bool {
        for piece in block.split_inclusive(|byte| *byte == b'\n') {
            self.at += piece.len() as u64;
            let whole = piece.strip_suffix(b"\n");
            let bytes = whole.unwrap_or(piece);
            // One byte too many tells that it was cut.
            let room = (LogLine::MOST_BYTES + 1).saturating_sub(self.held.len());
            self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if whole.is_some() && !self.end(take) {
                return false;
            }
        }
        true
    }

    /// The line ends here, with or without a line end.
    fn end(&mut self, take: &mut impl FnMut(u64, &[u8]) -> bool) -> bool {
        let goes_on = self.is_rest || take(self.begin, &self.held);
        self.held.clear();
        (self.begin, self.is_rest) = (self.at, false);
        goes_on
    }

    /// Whether a line has begun that has not ended.
    fn is_within(&self) -> bool {
        self.at > self.begin
    }
}

/// How far a file was read.
#[derive(Debug, Clone)]
struct Reading {
    splitter: Splitter,
    /// How long it was when it was seen last.
    bytes: u64,
    /// Past this nobody wants to read.
    end: u64,
    /// Whether the last line that told its time was too old: so are those after it that tell none.
    is_old: bool,
}

/// The lines of a folder's files that a sieve lets through.
#[derive(Debug)]
pub(in crate::agent) struct Files {
    folder: PathBuf,
    sieve: Sieve,
    reading: BTreeMap<String, Reading>,
    /// Whether files count that were not there at the beginning, and what is added to the others.
    follows: bool,
    notes: Vec<String>,
    missing: Missing,
}

impl Files {
    /// Finds where the last `lines` of each process begin. Only what is there already is read unless it `follows`.
    ///
    /// # Errors
    /// The folder or a file in it cannot be read.
    pub(in crate::agent) fn begin(
        folder: PathBuf,
        sieve: Sieve,
        lines: u32,
        follows: bool,
        quit: &CancellationToken,
    ) -> io::Result<Self> {
        let mut files =
            Self { folder, sieve, reading: BTreeMap::new(), follows, notes: Vec::new(), missing: Missing::default() };
        let processes = by_process(&files.folder)?;
        if processes.is_empty() {
            files.notes.push("its programs have written nothing yet".to_owned());
        } else if !processes.keys().any(|process| files.sieve.takes_process(process)) {
            let known: Vec<&str> = processes.keys().map(String::as_str).collect();
            let note = format!("no process of that name has written anything; there are {}", known.join(", "));
            files.notes.push(note);
        }
        if files.sieve.since.is_some() {
            let note = "a line's age is known only where it begins with a time such as 2026-01-02T03:04:05Z; of \
                        others whole files are left out that were last written before";
            files.notes.push(note.to_owned());
        }
        for (_, logs) in processes.iter().filter(|(process, _)| files.sieve.takes_process(process)) {
            let mut wanted = usize::try_from(lines).unwrap_or(usize::MAX);
            for file in logs.iter().rev() {
                let is_too_old = file.written_at.is_some_and(|at| files.sieve.is_too_old(at));
                let begin = match wanted {
                    0 => Begin::end_of(file)?,
                    _ if is_too_old => Begin::end_of(file)?,
                    wanted => Begin::find(file, &files.sieve, wanted, quit)?,
                };
                wanted -= begin.lines.min(wanted);
                let reading = Reading {
                    splitter: Splitter::at(begin.at, begin.is_rest),
                    bytes: file.bytes,
                    end: if follows { u64::MAX } else { file.bytes },
                    is_old: false,
                };
                files.reading.insert(file.key.clone(), reading);
            }
        }
        Ok(files)
    }

    /// What should be known of the lines before they are read.
    pub(in crate::agent) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is missing of what was read.
    pub(in crate::agent) fn missing(self) -> Missing {
        self.missing
    }

    /// Passes on what was not read yet, as far as one look goes, until `pass` wants no more; true if there is more.
    /// With `is_last` an unfinished line is one.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(in crate::agent) fn look(&mut self, is_last: bool, pass: &mut dyn FnMut(LogLine) -> bool) -> io::Result<bool> {
        let mut known = std::mem::take(&mut self.reading);
        let mut more = false;
        for (process, logs) in by_process(&self.folder)? {
            if !self.sieve.takes_process(&process) {
                continue;
            }
            let mut left = MOST_READ;
            let newest = logs.last().map(|file| file.key.clone());
            for file in logs {
                let mut reading = match known.remove(&file.key) {
                    Some(reading) => reading,
                    None if self.follows => {
                        Reading { splitter: Splitter::default(), bytes: 0, end: u64::MAX, is_old: false }
                    }
                    None => continue,
                };
                // What is shorter than it was has been emptied.
                if file.bytes < reading.splitter.at {
                    reading.splitter = Splitter::default();
                }
                reading.bytes = file.bytes;
                // An older file goes first, and nothing is added to its last line any more.
                if left > 0 {
                    let is_final = is_last || newest.as_ref() != Some(&file.key);
                    let goes_on = self.read(&process, &file, &mut reading, &mut left, is_final, pass)?;
                    more |= left == 0;
                    if !goes_on {
                        return Ok(false);
                    }
                }
                self.reading.insert(file.key, reading);
            }
        }
        // What is no longer there can never be read to its end.
        self.missing.lost_bytes +=
            known.values().map(|gone| gone.bytes.min(gone.end).saturating_sub(gone.splitter.at)).sum::<u64>();
        Ok(more)
    }

    fn read(
        &mut self,
        process: &str,
        file: &LogFile,
        reading: &mut Reading,
        left: &mut u64,
        is_final: bool,
        pass: &mut dyn FnMut(LogLine) -> bool,
    ) -> io::Result<bool> {
        let end = file.bytes.min(reading.end);
        let Reading { splitter, is_old, .. } = reading;
        let (sieve, cut_lines) = (&self.sieve, &mut self.missing.cut_lines);
        let mut take = |_: u64, line: &[u8]| {
            let (text, is_cut) = text(line);
            if let Some(at) = told_time(&text) {
                *is_old = sieve.is_too_old(at);
            }
            if *is_old || !sieve.takes_text(&text) {
                return true;
            }
            *cut_lines += u64::from(is_cut);
            pass(LogLine { at: None, process: Some(process.to_owned()), text })
        };
        if splitter.at < end {
            let Some(open) = file.open()? else { return Ok(true) };
            let mut block = vec![0; BLOCK_BYTES];
            while splitter.at < end && *left > 0 {
                let most = (end - splitter.at).min(*left).min(block.len() as u64);
                let read = open.read_at(&mut block[..usize::try_from(most).unwrap_or(BLOCK_BYTES)], splitter.at)?;
                if read == 0 {
                    break;
                }
                *left -= read as u64;
                if !splitter.push(&block[..read], &mut take) {
                    return Ok(false);
                }
            }
        }
        if is_final && splitter.at >= end && splitter.is_within() {
            return Ok(splitter.end(&mut take));
        }
        Ok(true)
    }
}

/// Where the wanted lines of a file begin.
#[derive(Debug)]
struct Begin {
    at: u64,
    /// Whether a line has begun before, which is not wanted.
    is_rest: bool,
    /// How many of them there are.
    lines: usize,
}

impl Begin {
    /// Behind all that is there.
    fn end_of(file: &LogFile) -> io::Result<Self> {
        let mut last = [b'\n'];
        if file.bytes > 0
            && let Some(open) = file.open()?
        {
            let _ = open.read_at(&mut last, file.bytes - 1)?;
        }
        Ok(Self { at: file.bytes, is_rest: last != *b"\n", lines: 0 })
    }

    fn find(file: &LogFile, sieve: &Sieve, wanted: usize, stop: &CancellationToken) -> io::Result<Self> {
        let Some(open) = file.open()? else { return Self::end_of(file) };
        let mut window = FIRST_WINDOW;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let start = file.bytes.saturating_sub(window);
            let mut splitter = Splitter::at(start, start > 0);
            let mut begins: VecDeque<u64> = VecDeque::new();
            let mut is_old = false;
            let mut take = |begin: u64, line: &[u8]| {
                let (text, _) = text(line);
                if let Some(at) = told_time(&text) {
                    is_old = sieve.is_too_old(at);
                }
                if !is_old && sieve.takes_text(&text) {
                    if begins.len() == wanted {
                        begins.pop_front();
                    }
                    begins.push_back(begin);
                }
                true
            };
            while splitter.at < file.bytes && !stop.is_cancelled() {
                let most = usize::try_from(file.bytes - splitter.at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
                let read = open.read_at(&mut block[..most], splitter.at)?;
                if read == 0 {
                    break;
                }
                splitter.push(&block[..read], &mut take);
            }
            if splitter.is_within() {
                splitter.end(&mut take);
            }
            if begins.len() == wanted || start == 0 || stop.is_cancelled() {
                return match begins.front() {
                    Some(at) => Ok(Self { at: *at, is_rest: false, lines: begins.len() }),
                    None => Self::end_of(file),
                };
            }
            window = window.saturating_mul(16);
        }
    }
}

#[cfg(test)]
mod tests;
