//! What units of systemd write into the journal, as `journalctl` reads it out.

use std::io;
use std::process::Stdio;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Missing, Said, Sieve, text};
use crate::model::answer::LogLine;

/// The most bytes of an entry as `journalctl` writes it. A text that the journal takes can become six times as long.
const MOST_ENTRY: usize = 512 << 10;

const BLOCK_BYTES: usize = 32 << 10;

/// `journalctl` for the entries of these units.
pub(in crate::agent) fn journalctl(units: &[String], is_users: bool) -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager"]);
    let option = if is_users { "--user-unit" } else { "--unit" };
    command.args(units.iter().map(|unit| format!("{option}={unit}")));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// The lines of units that a sieve lets through.
#[derive(Debug)]
pub(in crate::agent) struct Journal {
    units: Vec<String>,
    is_users: bool,
    sieve: Sieve,
    missing: Missing,
}

/// Where the wanted entries begin.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Begin {
    /// With this one.
    Entry(String),
    /// With the first one from then on.
    Time(DateTime<Utc>),
}

impl Journal {
    pub(in crate::agent) fn new(units: Vec<String>, is_users: bool, sieve: Sieve) -> Self {
        Self { units, is_users, sieve, missing: Missing::default() }
    }

    /// Passes on the last `lines`, and with `follows` what comes until `over` is cancelled or nobody wants more.
    ///
    /// # Errors
    /// In words, why the journal cannot be read.
    pub(in crate::agent) async fn read(
        mut self,
        lines: u32,
        follows: bool,
        now: DateTime<Utc>,
        sender: &mpsc::Sender<Said>,
        over: &CancellationToken,
    ) -> Result<Missing, String> {
        let begin = match lines {
            0 => None,
            lines => self.begin(lines, over).await?,
        };
        let begin = match begin {
            Some(entry) => Begin::Entry(entry),
            // What is written while it is looked for is not missed.
            None if follows => Begin::Time(now),
            None => {
                let units = self.units.join(" and ");
                let note = format!("the journal has no such lines of {units}, or the agent may not read them");
                // Whoever takes no note wants nothing any more.
                let _ = sender.send(Said::Note(note)).await;
                return Ok(self.missing);
            }
        };
        if begin == Begin::Time(now) {
            self.sieve.since = self.sieve.since.max(Some(now));
        }
        let mut command = self.command();
        match begin {
            Begin::Entry(cursor) => command.arg(format!("--cursor={cursor}")),
            Begin::Time(time) => command.arg(format!("--since=@{}", (time - TimeDelta::seconds(1)).timestamp())),
        };
        if follows {
            command.args(["--follow", "--no-tail"]);
        }
        let (mut child, output) = start(command)?;
        let mut entries = Entries::new(output);
        loop {
            let entry = tokio::select! {
                entry = entries.next() => entry.map_err(|error| broken(&error))?,
                () = over.cancelled() => break,
            };
            let Some(entry) = entry else {
                if follows {
                    return Err("journalctl has ended by itself".to_owned());
                }
                break;
            };
            let Some(entry) = Entry::parse(&entry) else { continue };
            for line in entry.lines(&self.sieve, &mut self.missing.cut_lines) {
                if sender.send(Said::Line(line)).await.is_err() {
                    return Ok(self.missing);
                }
            }
        }
        self.missing.cut_lines += entries.left_out;
        end(&mut child).await?;
        Ok(self.missing)
    }

    fn command(&self) -> Command {
        let mut command = journalctl(&self.units, self.is_users);
        command.args(["--output=json", "--all", "--output-fields=MESSAGE,SYSLOG_IDENTIFIER"]);
        command
    }

    /// The entry with which the last `lines` begin; None if there are no such lines.
    async fn begin(&self, lines: u32, over: &CancellationToken) -> Result<Option<String>, String> {
        let mut command = self.command();
        command.arg("--reverse");
        if let Some(since) = self.sieve.since {
            command.arg(format!("--since=@{}", since.timestamp()));
        }
        let (mut child, output) = start(command)?;
        let mut entries = Entries::new(output);
        let (mut found, mut cursor) = (0, None);
        while found < u64::from(lines) {
            let entry = tokio::select! {
                entry = entries.next() => entry.map_err(|error| broken(&error))?,
                () = over.cancelled() => break,
            };
            let Some(entry) = entry else { break };
            let Some(entry) = Entry::parse(&entry) else { continue };
            let wanted = entry.lines(&self.sieve, &mut 0).len() as u64;
            if wanted > 0 {
                found += wanted;
                cursor = Some(entry.cursor);
            }
        }
        end(&mut child).await?;
        Ok(cursor)
    }
}

fn start(mut command: Command) -> Result<(Child, ChildStdout), String> {
    let mut child = command.spawn().map_err(|error| format!("starting journalctl: {error}"))?;
    let output = child.stdout.take().ok_or("journalctl says nothing")?;
    Ok((child, output))
}

async fn end(child: &mut Child) -> Result<(), String> {
    // It may have ended by itself. How does not matter: it also ends badly when there is no line at all.
    child.kill().await.map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> String {
    format!("reading the journal: {error}")
}

/// What `journalctl` writes, entry by entry.
struct Entries<R> {
    output: R,
    block: Vec<u8>,
    /// What was read of `block` and not passed on yet.
    rest: std::ops::Range<usize>,
    /// Entries that were too long.
    left_out: u64,
}

impl<R: AsyncRead + Unpin> Entries<R> {
    fn new(output: R) -> Self {
        Self { output, block: vec![0; BLOCK_BYTES], rest: 0..0, left_out: 0 }
    }

    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (mut entry, mut is_too_long) = (Vec::new(), false);
        loop {
            if self.rest.is_empty() {
                let read = self.output.read(&mut self.block).await?;
                if read == 0 {
                    return Ok(None);
                }
                self.rest = 0..read;
            }
            let piece = &self.block[self.rest.clone()];
            let end = piece.iter().position(|byte| *byte == b'\n');
            let bytes = &piece[..end.unwrap_or(piece.len())];
            is_too_long |= entry.len() + bytes.len() > MOST_ENTRY;
            if !is_too_long {
                entry.extend_from_slice(bytes);
            }
            self.rest.start += bytes.len() + usize::from(end.is_some());
            if end.is_some() {
                if !is_too_long {
                    return Ok(Some(entry));
                }
                self.left_out += 1;
                (entry, is_too_long) = (Vec::new(), false);
            }
        }
    }
}

/// An entry of the journal.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    cursor: String,
    at: Option<DateTime<Utc>>,
    identifier: Option<String>,
    message: Vec<u8>,
}

impl Entry {
    fn parse(entry: &[u8]) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_slice(entry).ok()?;
        let mut field = |name| fields.remove(name).and_then(bytes);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let micros = field("__REALTIME_TIMESTAMP").and_then(|micros| text(micros).parse().ok());
        Some(Self {
            cursor: text(field("__CURSOR")?),
            at: micros.and_then(DateTime::from_timestamp_micros),
            // In a chunk it ends at the first blank.
            identifier: field("SYSLOG_IDENTIFIER").map(|name| text(name).split_whitespace().collect()),
            message: field("MESSAGE")?,
        })
    }

    /// The lines that a sieve lets through.
    fn lines(&self, sieve: &Sieve, cut_lines: &mut u64) -> Vec<LogLine> {
        if self.at.is_some_and(|at| sieve.is_too_old(at))
            || !sieve.takes_process(self.identifier.as_deref().unwrap_or_default())
        {
            return Vec::new();
        }
        let mut lines = Vec::new();
        for line in self.message.strip_suffix(b"\n").unwrap_or(&self.message).split(|byte| *byte == b'\n') {
            let (text, is_cut) = text(line);
            if sieve.takes_text(&text) {
                *cut_lines += u64::from(is_cut);
                lines.push(LogLine { at: self.at, process: self.identifier.clone().filter(|it| !it.is_empty()), text });
            }
        }
        lines
    }
}

/// A field as `journalctl` writes it: a text, the bytes of what is none, or several of which the first counts.
fn bytes(field: Value) -> Option<Vec<u8>> {
    match field {
        Value::String(text) => Some(text.into_bytes()),
        Value::Array(values) => {
            let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
            match values.iter().map(byte).collect() {
                Some(bytes) => Some(bytes),
                None => bytes(values.into_iter().next()?),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::LogQuery;

    fn sieve(query: LogQuery) -> Sieve {
        Sieve::new(&query).unwrap()
    }

    #[test]
    fn entries_are_read_in_every_form_that_journalctl_writes() {
        let texts = |message: &str| {
            let entry = format!(
                r#"{{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1767323045000006","SYSLOG_IDENTIFIER":"my app","MESSAGE":{message}}}"#
            );
            let entry = Entry::parse(entry.as_bytes()).unwrap();
            let lines = entry.lines(&sieve(LogQuery::last(1)), &mut 0);
            assert!(lines.iter().all(|line| line.process.as_deref() == Some("myapp")));
            assert_eq!(lines[0].at.unwrap().to_rfc3339(), "2026-01-02T03:04:05.000006+00:00");
            lines.into_iter().map(|line| line.text).collect::<Vec<_>>()
        };
        assert_eq!(texts(r#""ready""#), ["ready"]);
        assert_eq!(texts(r#""one\ntwo\n""#), ["one", "two"]);
        assert_eq!(texts("[255,27,10,65]"), ["\u{fffd}\u{1b}", "A"]);
        assert_eq!(texts(r#"["first","second"]"#), ["first"]);
        for bad in ["7", r#"{"MESSAGE":"x"}"#, r#"{"__CURSOR":"s","MESSAGE":null}"#, ""] {
            assert_eq!(Entry::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn only_lines_of_the_process_the_time_and_the_text_are_let_through() {
        let entry = Entry {
            cursor: "s".to_owned(),
            at: DateTime::from_timestamp(100, 0),
            identifier: Some("web".to_owned()),
            message: b"ready\nfailed".to_vec(),
        };
        let count = |query: LogQuery| entry.lines(&sieve(query), &mut 0).len();
        assert_eq!(count(LogQuery::default()), 2);
        assert_eq!(count(LogQuery { process: Some("web".parse().unwrap()), ..LogQuery::default() }), 2);
        assert_eq!(count(LogQuery { process: Some("other".parse().unwrap()), ..LogQuery::default() }), 0);
        assert_eq!(count(LogQuery { grep: Some("fail".to_owned()), ..LogQuery::default() }), 1);
        assert_eq!(count(LogQuery { since: DateTime::from_timestamp(100, 0), ..LogQuery::default() }), 2);
        assert_eq!(count(LogQuery { since: DateTime::from_timestamp(101, 0), ..LogQuery::default() }), 0);
    }

    #[tokio::test]
    async fn an_entry_of_any_length_costs_bounded_memory_and_spoils_none_after_it() {
        let mut output = b"{\"a\":1}\n".to_vec();
        output.extend(vec![b'x'; MOST_ENTRY + 1]);
        output.extend(b"\nlast\nunfinished");
        let mut entries = Entries::new(&output[..]);
        assert_eq!(entries.next().await.unwrap().unwrap(), b"{\"a\":1}");
        assert_eq!(entries.next().await.unwrap().unwrap(), b"last");
        assert_eq!((entries.next().await.unwrap(), entries.left_out), (None, 1));
    }
}
