//! `logs/<node>/_requests/<ulid>/`: what a node answers to an order for logs. A claim of the node's, unsigned.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use uuid::Uuid;

use super::code::Code;
use super::document::Document;
use super::name::{CellName, NodeName};

/// `answer.json`: how far the answer has come. Written after each of its chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Answer {
    /// The fleet.
    pub fleet: Uuid,
    /// The node.
    pub node: NodeName,
    /// The cell.
    pub cell: CellName,
    /// The order that it answers.
    #[cfg_attr(feature = "controller", schemars(with = "String"))]
    pub order: Ulid,
    /// Whether more is to come, or why not.
    pub state: AnswerState,
    /// When the node began.
    pub started_at: DateTime<Utc>,
    /// When this was written, by the node's clock. While more is to come it is written again and again.
    pub written_at: DateTime<Utc>,
    /// How many chunks there are.
    pub chunks: u32,
    /// How many lines are in them.
    pub lines: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many bytes of output were left out because they came too fast.
    #[serde(default)]
    pub lost_bytes: u64,
    /// Why nothing more comes, if something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What should be known of the lines, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Whether more of an answer is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AnswerState {
    /// More may come.
    Running,
    /// All that was asked for is there.
    Complete,
    /// The time of the follow is over.
    Time,
    /// It has as many bytes or chunks as one may have.
    Full,
    /// The agent ended.
    Withdrawn,
    /// The output could not be read any further.
    Failed,
    /// The order is not carried out.
    Refused,
    /// A state of a newer agent.
    #[serde(other)]
    Unknown,
}

impl AnswerState {
    /// The state as documents write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Time => "time",
            Self::Full => "full",
            Self::Withdrawn => "withdrawn",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

impl Answer {
    /// The most bytes of one chunk.
    pub const CHUNK_BYTES: u64 = 256 << 10;

    /// The most bytes of all chunks together.
    pub const MOST_BYTES: u64 = 16 << 20;

    /// The most chunks.
    pub const MOST_CHUNKS: u32 = 9_999;

    /// While more is to come the answer is written at least so often, in seconds.
    pub const WRITTEN_EVERY_SECS: i64 = 10;
}

impl Document for Answer {
    const SCHEMA: &'static str = "fleetman/answer/1";
    const MAX_BYTES: u64 = 64 << 10;
}

/// One line of output, as a chunk has it: time, process and text, each separated by a blank. What is not known is `-`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct LogLine {
    /// When it was written, where that is known.
    pub at: Option<DateTime<Utc>>,
    /// The process that wrote it, where that is known.
    pub process: Option<String>,
    /// What it wrote. Hostile text, without line ends.
    pub text: String,
}

impl LogLine {
    /// The most bytes of a line's text; the rest of a longer one is left out.
    pub const MOST_BYTES: usize = 16 << 10;

    /// Adds the line to a chunk.
    pub fn render(&self, chunk: &mut String) {
        let at = self.at.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
        let (at, process) = (at.as_deref().unwrap_or("-"), self.process.as_deref().unwrap_or("-"));
        // Writing into a String cannot fail.
        let _ = writeln!(chunk, "{at} {process} {}", self.text.replace('\n', "\u{fffd}"));
    }

    /// The lines of a chunk. Whatever does not look like one is taken for text.
    #[must_use]
    pub fn parse_all(chunk: &str) -> Vec<Self> {
        chunk.split_terminator('\n').map(Self::parse).collect()
    }

    fn parse(line: &str) -> Self {
        let known = || {
            let (at, rest) = line.split_once(' ')?;
            let (process, text) = rest.split_once(' ')?;
            let at = match at {
                "-" => None,
                at => Some(DateTime::parse_from_rfc3339(at).ok()?.to_utc()),
            };
            let process = Some(process).filter(|process| *process != "-").map(str::to_owned);
            Some(Self { at, process, text: text.to_owned() })
        };
        known().unwrap_or_else(|| Self { at: None, process: None, text: line.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_chunk_are_read_as_they_were_written_and_none_can_forge_another() {
        let line = |at: Option<&str>, process: Option<&str>, text: &str| LogLine {
            at: at.map(|at| at.parse().unwrap()),
            process: process.map(str::to_owned),
            text: text.to_owned(),
        };
        let lines = [
            line(Some("2026-01-02T03:04:05.000006Z"), Some("main"), " two  blanks "),
            line(None, None, ""),
            line(None, Some("side"), "2026-01-02T03:04:05Z main lies\r\u{1b}[2J"),
        ];
        let mut chunk = String::new();
        lines.iter().for_each(|line| line.render(&mut chunk));
        assert_eq!(LogLine::parse_all(&chunk), lines);
        chunk.clear();
        line(None, None, "a\n- main forged").render(&mut chunk);
        assert_eq!(LogLine::parse_all(&chunk), [line(None, None, "a\u{fffd}- main forged")]);
    }

    #[test]
    fn what_is_no_line_is_text() {
        let texts: Vec<String> = LogLine::parse_all("x\nnoon main y\n\n- -").into_iter().map(|it| it.text).collect();
        assert_eq!(texts, ["x", "noon main y", "", "- -"]);
    }
}
