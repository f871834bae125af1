//! What cells write, as their nodes answer it, for page and API: how far an answer is, and its lines, of which those
//! that were read are kept for a while, because a page that follows shows the same again and again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use ulid::Ulid;

use super::caller::Caller;
use super::failure::Failure;
use crate::access::AccessError;
use crate::controller::{AskedLogs, ControllerError};
use crate::model::Code;
use crate::model::answer::{Answer, AnswerState, LogLine};

/// So long a node may take to begin.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// The most bytes of lines that are kept.
const MOST_BYTES: usize = 16 << 20;

/// Chunks that are read at once.
const READS: usize = 4;

/// What an order for logs has come to.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// `waiting` before the node has begun, and then what the answer says.
    pub(super) state: &'static str,
    /// Whether more may come.
    pub(super) goes_on: bool,
    pub(super) chunks: u32,
    pub(super) lost_bytes: u64,
    pub(super) code: Option<Code>,
    pub(super) message: Option<String>,
    pub(super) notes: Vec<String>,
}

impl Standing {
    /// Looks how far it is.
    pub(super) async fn of(caller: &Caller, asked: &AskedLogs) -> Result<Self, Failure> {
        if let Some(answer) = caller.may.log_answer(asked).await? {
            return Ok(answer.into());
        }
        let none = Self {
            state: "waiting",
            goes_on: true,
            chunks: 0,
            lost_bytes: 0,
            code: None,
            message: None,
            notes: Vec::new(),
        };
        match caller.may.why_no_logs(asked).await {
            Ok(why) => Ok(Self { message: Some(why), ..none }),
            Err(AccessError::Controller(ControllerError::LogsRefused { code, message, .. })) => {
                let state = AnswerState::Refused.as_str();
                Ok(Self { state, goes_on: false, code: Some(code), message: Some(message), ..none })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl From<Answer> for Standing {
    fn from(answer: Answer) -> Self {
        let Answer { state, chunks, lost_bytes, code, message, notes, .. } = answer;
        let goes_on = state == AnswerState::Running;
        Self { state: state.as_str(), goes_on, chunks, lost_bytes, code, message, notes }
    }
}

/// The lines of the chunks from `first` to `last`.
pub(super) async fn lines(
    caller: &Caller,
    asked: &AskedLogs,
    first: u32,
    last: u32,
) -> Result<Vec<Arc<Vec<LogLine>>>, Failure> {
    let read = async |chunk| {
        let kept = &caller.fleet.output;
        if let Some(lines) = kept.get(asked.order, chunk) {
            return Ok(lines);
        }
        let lines = Arc::new(caller.may.log_chunk(asked, chunk).await?);
        kept.keep(asked.order, chunk, &lines);
        Ok::<_, Failure>(lines)
    };
    stream::iter(first..=last).map(read).buffered(READS).try_collect().await
}

/// Chunks that were read. One that is there never changes.
#[derive(Debug, Default)]
pub(super) struct Chunks(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    chunks: BTreeMap<(Ulid, u32), Arc<Vec<LogLine>>>,
    /// The oldest first.
    order: VecDeque<(Ulid, u32)>,
    bytes: usize,
}

impl Chunks {
    fn get(&self, order: Ulid, chunk: u32) -> Option<Arc<Vec<LogLine>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).chunks.get(&(order, chunk)).cloned()
    }

    fn keep(&self, order: Ulid, chunk: u32, lines: &Arc<Vec<LogLine>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (order, chunk);
        if kept.chunks.insert(key, Arc::clone(lines)).is_none() {
            kept.order.push_back(key);
            kept.bytes += size(lines);
        }
        while kept.bytes > MOST_BYTES
            && let Some(oldest) = kept.order.pop_front()
        {
            let gone = kept.chunks.remove(&oldest);
            kept.bytes = kept.bytes.saturating_sub(gone.map_or(0, |lines| size(&lines)));
        }
    }
}

/// What lines take in memory.
fn size(lines: &[LogLine]) -> usize {
    lines.iter().map(|line| size_of::<LogLine>() + line.text.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_kept_within_bounds_and_the_oldest_goes_first() {
        let chunks = Chunks::default();
        let line = LogLine { at: None, process: None, text: "x".repeat(MOST_BYTES / 3) };
        let lines = Arc::new(vec![line]);
        for chunk in 1..=3 {
            chunks.keep(Ulid::nil(), chunk, &lines);
        }
        let kept = [1, 2, 3].map(|chunk| chunks.get(Ulid::nil(), chunk).is_some());
        assert_eq!(kept, [false, true, true]);
        assert!(chunks.get(Ulid::from_parts(1, 1), 2).is_none(), "another answer is another one");
        chunks.keep(Ulid::nil(), 2, &lines);
        assert_eq!(chunks.0.lock().unwrap().order.len(), 2, "what is there already is not counted twice");
    }
}
