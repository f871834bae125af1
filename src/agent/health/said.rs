//! The last that the programs of a version said, for whoever reads why it failed.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::log::Marks;
use crate::agent::disk::{DiskError, Folder, apart};
use crate::agent::output::files::{self, LogFile};
use crate::agent::profile::Log;
use crate::clock::SharedClock;
use crate::store::in_full;

/// Lines that are shown, of all programs together.
const MOST_LINES: usize = 10;

/// What of the end of a log is looked at for them.
const MOST_READ: u64 = 16 << 10;

/// A journal that does not answer keeps nobody from going back to what is good.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last lines that were written since `activation` was begun; none if that is not known.
///
/// # Errors
/// Why they cannot be read, for people.
pub(in crate::agent) async fn last_lines(
    home: &Folder,
    log: &Log,
    activation: &str,
    clock: &SharedClock,
) -> Result<Vec<String>, String> {
    let folder = home.clone();
    let marks = apart(move || Ok::<_, DiskError>(Marks::load(&folder))).await.map_err(|error| in_full(&error))?;
    if marks.activation != activation {
        return Ok(Vec::new());
    }
    let text = match log.clone() {
        Log::Nowhere => return Ok(Vec::new()),
        Log::Folder(folder) => {
            let read = apart(move || {
                newest(&folder, &marks).map_err(|error| DiskError::new("reading the logs in", folder, error))
            });
            read.await.map_err(|error| in_full(&error))?
        }
        Log::Journal { units, is_users } => tokio::select! {
            read = journal(&units, is_users, marks.since.timestamp()) => read.map_err(|error| format!("reading the journal: {error}"))?,
            () = clock.sleep(PATIENCE) => return Err(format!("the journal does not answer within {PATIENCE:?}")),
        },
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    Ok(lines[lines.len().saturating_sub(MOST_LINES)..].iter().map(|line| (*line).to_owned()).collect())
}

/// The end of what is new in a folder of logs; what was written to last comes last.
fn newest(folder: &Path, marks: &Marks) -> io::Result<Vec<u8>> {
    let mut new: Vec<(LogFile, u64)> = Vec::new();
    for file in files::list(folder)? {
        // What is shorter than it was has been emptied, or is another one.
        let from = marks.files.get(&file.key).copied().filter(|from| *from <= file.bytes).unwrap_or(0);
        if from < file.bytes {
            new.push((file, from));
        }
    }
    new.sort_by_key(|(file, _)| (file.written_at, file.key.clone()));
    let mut text = Vec::new();
    for (file, from) in new.iter().skip(new.len().saturating_sub(MOST_LINES)) {
        if let Some(mut open) = file.open()? {
            open.seek(SeekFrom::Start(*from.max(&file.bytes.saturating_sub(MOST_READ))))?;
            open.take(MOST_READ).read_to_end(&mut text)?;
            text.push(b'\n');
        }
    }
    Ok(text)
}

/// What the programs of these units wrote, without what systemd says of them.
async fn journal(units: &[String], is_users: bool, since: i64) -> io::Result<Vec<u8>> {
    let mut command = tokio::process::Command::new("journalctl");
    command.args([
        "--quiet",
        "--no-pager",
        "--output=cat",
        &format!("--since=@{since}"),
        &format!("--lines={MOST_LINES}"),
    ]);
    let field = if is_users { "_SYSTEMD_USER_UNIT" } else { "_SYSTEMD_UNIT" };
    command.args(units.iter().map(|unit| format!("{field}={unit}")));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut text = Vec::new();
    if let Some(output) = child.stdout.take() {
        // One line may be as long as anybody likes.
        output.take(MOST_READ).read_to_end(&mut text).await?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::agent::steps::Steps;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn only_the_last_lines_of_what_was_brought_up_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let home = Folder::open(&folder.path().join("home"), 0o700, &Steps::default()).unwrap();
        let logs = folder.path().join("logs");
        fs::create_dir(&logs).unwrap();
        fs::write(logs.join("main.log"), "of an older version\n").unwrap();
        let (log, clock) = (Log::Folder(logs.clone()), SystemClock::shared());
        super::super::mark(&home, &log, "1-2-1", clock.now()).unwrap();
        assert_eq!(last_lines(&home, &log, "1-2-1", &clock).await.unwrap(), [""; 0]);

        let lines: String = (0..30).map(|line| format!("line {line}\n\n")).collect();
        fs::write(logs.join("main.log"), format!("of an older version\n{}\n{lines}", "x".repeat(1 << 20))).unwrap();
        let told = last_lines(&home, &log, "1-2-1", &clock).await.unwrap();
        let expected: Vec<String> = (20..30).map(|line| format!("line {line}")).collect();
        assert_eq!(told, expected);
        assert_eq!(last_lines(&home, &log, "1-3-1", &clock).await.unwrap(), [""; 0], "another one wrote that");
        fs::write(logs.join("main.log"), "of an older version\nonly this\n").unwrap();
        assert_eq!(last_lines(&home, &log, "1-2-1", &clock).await.unwrap(), ["only this"]);
    }
}
