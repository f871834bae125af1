//! The log files of a process: how they are called, which there are, and which are too old.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;

use super::LogSettings;

/// The name of a log file, `<process>.<yyyy-mm-dd>.<number>.log`, without the process. In the order in which they are
/// written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label {
    /// The day on which it was begun, in UTC.
    pub(super) day: NaiveDate,
    /// Counts from 1 on each day.
    pub(super) number: u32,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.log", self.day.format("%Y-%m-%d"), self.number)
    }
}

impl Label {
    pub(super) fn file_name(self, process: &str) -> String {
        format!("{process}.{self}")
    }

    /// The label in the name of a log file of exactly this process.
    fn parse(process: &str, file_name: &str) -> Option<Self> {
        let label = file_name.strip_prefix(process)?.strip_prefix('.')?;
        let (day, number) = label.strip_suffix(".log")?.split_once('.')?;
        let parsed = Self { day: day.parse().ok()?, number: number.parse().ok()? };
        // Only what is written back the same: nothing else that a lenient parser takes is ours.
        (parsed.number > 0 && parsed.to_string() == label).then_some(parsed)
    }
}

/// Everything in `folder` that is called like a log file of `process`, oldest first.
pub(super) fn labels(folder: &Path, process: &str) -> io::Result<Vec<Label>> {
    let mut labels = Vec::new();
    for entry in fs::read_dir(folder)? {
        labels.extend(entry?.file_name().to_str().and_then(|name| Label::parse(process, name)));
    }
    labels.sort_unstable();
    Ok(labels)
}

/// Removes the log files of `process` that are too old or too many by `settings`, but never `current`.
pub(super) fn expire(
    settings: &LogSettings,
    process: &str,
    today: NaiveDate,
    current: Option<Label>,
) -> io::Result<()> {
    let labels = labels(&settings.folder, process)?;
    let too_many = labels.len().saturating_sub(settings.limits.max_files.get());
    for (index, label) in labels.into_iter().enumerate() {
        let age_days = today.signed_duration_since(label.day).num_days();
        let expired = index < too_many || age_days > i64::from(settings.limits.max_age_days);
        if expired && Some(label) != current {
            match fs::remove_file(settings.folder.join(label.file_name(process))) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A log file that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// How long it was when the folder was listed.
    pub bytes: u64,
}

/// The log files of one process, oldest first.
#[derive(Debug, Clone)]
pub struct LogFiles(pub(super) Vec<LogFile>);

impl LogFiles {
    /// What stands in `folder` now of the process called `name`. Links and whatever else is no plain file are left
    /// out.
    ///
    /// # Errors
    /// `folder` cannot be read. A process that wrote nothing has no files, which is no error.
    pub fn of(folder: &Path, name: &str) -> io::Result<Self> {
        let mut files = Vec::new();
        for label in labels(folder, name)? {
            let path = folder.join(label.file_name(name));
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_file() => files.push(LogFile { path, bytes: found.len() }),
                Ok(_) => {}
                // It expired since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(files))
    }

    /// The files, oldest first.
    #[must_use]
    pub fn files(&self) -> &[LogFile] {
        &self.0
    }
}
