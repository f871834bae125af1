//! An answer on its way to the bucket: chunks of lines, and how far it has come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::logs::Reading;
use crate::agent::context::Context;
use crate::agent::output::{Missing, Said};
use crate::agent::trouble::{Cure, Trouble, plain};
use crate::clock::SharedClock;
use crate::model::answer::{Answer, AnswerState, LogLine};
use crate::model::document;
use crate::model::order::Order;
use crate::model::sign::Verified;
use crate::model::{CellName, Code, ObjectKey};

/// What was read is passed on after so long at the latest.
const PASS_ON_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked whether anybody still wants the answer.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// While more may come the answer is written at least so often.
const WRITTEN_EVERY: Duration = Duration::from_secs(Answer::WRITTEN_EVERY_SECS.unsigned_abs());

/// What is there already must be read within this time.
const PAST_WITHIN: Duration = Duration::from_secs(120);

/// So long what is there may take once nothing more is followed.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How often a write is tried, and how long after the last one.
const TRIES: u32 = 4;
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is in the bucket, and says how it ended.
    All,
    /// Whoever asked took the order back.
    Unwanted,
}

/// An answer that is being written.
#[derive(Debug)]
pub(super) struct Answering {
    context: Arc<Context>,
    order: Arc<Verified<Order>>,
    answer: Answer,
    /// What the next chunk has so far.
    chunk: String,
    /// When something was written last, on the monotonic clock.
    written: Duration,
}

impl Answering {
    pub(super) fn new(context: Arc<Context>, order: Arc<Verified<Order>>, cell: &CellName) -> Self {
        let (now, written) = (context.clock.now(), context.clock.monotonic());
        let answer = Answer {
            fleet: context.identity.fleet,
            node: context.identity.node.clone(),
            cell: cell.clone(),
            order: order.id,
            state: AnswerState::Running,
            started_at: now,
            written_at: now,
            chunks: 0,
            lines: 0,
            bytes: 0,
            lost_bytes: 0,
            code: None,
            message: None,
            notes: Vec::new(),
        };
        Self { context, order, answer, chunk: String::new(), written }
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.context.clock
    }

    /// Answers that it is not done.
    pub(super) async fn refuse(mut self, code: Code, message: String) -> Result<Told, Trouble> {
        let Order { id, issued_by, .. } = &**self.order;
        tracing::info!(event = "order_refused", %id, by = %issued_by, %code, "{message}");
        self.answer.state = AnswerState::Refused;
        (self.answer.code, self.answer.message) = (Some(code), Some(plain(&message)));
        self.write().await?;
        Ok(Told::All)
    }

    /// Passes on the `lines` that `reading` reads until it ends, which it does soon once `over` is cancelled: after the
    /// time of `follow`, if it follows.
    pub(super) async fn pass_on(
        mut self,
        mut lines: mpsc::Receiver<Said>,
        mut reading: Reading,
        follow: Option<Duration>,
        over: &CancellationToken,
        stop: &CancellationToken,
    ) -> Result<Told, Trouble> {
        self.write().await?;
        let clock = Arc::clone(self.clock());
        let began = clock.monotonic();
        let mut over_at = began + follow.unwrap_or(PAST_WITHIN);
        let mut ask_at = began + ASK_AGAIN;
        let state = loop {
            let mut next = over_at.min(ask_at).min(self.written + WRITTEN_EVERY);
            if !self.chunk.is_empty() {
                next = next.min(self.written + PASS_ON_WITHIN);
            }
            tokio::select! {
                said = lines.recv() => match said {
                    Some(Said::Line(line)) => if !self.take(&line).await? {
                        break AnswerState::Full;
                    }
                    Some(Said::Note(note)) => {
                        self.note(note);
                        self.write().await?;
                    }
                    None if over.is_cancelled() => break AnswerState::Time,
                    None => break AnswerState::Complete,
                },
                () = clock.sleep(next.saturating_sub(clock.monotonic())) => {
                    let now = clock.monotonic();
                    let due = if self.chunk.is_empty() { WRITTEN_EVERY } else { PASS_ON_WITHIN };
                    if now >= self.written + due {
                        self.flush().await?;
                    }
                    if now >= ask_at {
                        if self.is_unwanted().await {
                            return Ok(Told::Unwanted);
                        }
                        ask_at = clock.monotonic() + ASK_AGAIN;
                    }
                    if now >= over_at {
                        if over.is_cancelled() {
                            break AnswerState::Time;
                        }
                        over.cancel();
                        over_at = now + END_WITHIN;
                    }
                }
                () = stop.cancelled() => break AnswerState::Withdrawn,
            }
        };
        if state == AnswerState::Time && follow.is_none() {
            self.note(format!("not everything could be read in {} s", PAST_WITHIN.as_secs()));
        }
        drop(lines);
        let read = match state {
            // It ends by itself, now that nobody takes lines from it.
            AnswerState::Complete | AnswerState::Time => reading.join_next().await,
            _ => None,
        };
        self.answer.state = state;
        match read {
            None => {}
            Some(Ok(Ok(missing))) => self.miss(&missing),
            Some(Ok(Err(why))) => self.fail(&why),
            Some(Err(error)) => self.fail(&error.to_string()),
        }
        self.flush().await?;
        Ok(Told::All)
    }

    /// Adds what should be known of the lines.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.answer.notes.push(note.into());
    }

    fn fail(&mut self, why: &str) {
        self.answer.state = AnswerState::Failed;
        (self.answer.code, self.answer.message) = (Some(Code::Io), Some(plain(why)));
    }

    fn miss(&mut self, missing: &Missing) {
        self.answer.lost_bytes = missing.lost_bytes;
        if missing.cut_lines > 0 {
            self.note(format!(
                "{} lines are cut that are longer than {} bytes",
                missing.cut_lines,
                LogLine::MOST_BYTES
            ));
        }
    }

    /// Takes a line into the next chunk; false if the answer is full.
    async fn take(&mut self, line: &LogLine) -> Result<bool, Trouble> {
        let before = self.chunk.len();
        line.render(&mut self.chunk);
        let length = self.chunk.len() - before;
        if self.chunk.len() as u64 > Answer::CHUNK_BYTES {
            let next = self.chunk.split_off(before);
            self.flush().await?;
            self.chunk = next;
        }
        let is_full =
            self.answer.bytes + length as u64 > Answer::MOST_BYTES || self.answer.chunks >= Answer::MOST_CHUNKS;
        if is_full {
            self.chunk.truncate(self.chunk.len() - length);
            return Ok(false);
        }
        self.answer.bytes += length as u64;
        self.answer.lines += 1;
        Ok(true)
    }

    /// Writes what there is.
    async fn flush(&mut self) -> Result<(), Trouble> {
        if !self.chunk.is_empty() {
            let chunk = Bytes::from(std::mem::take(&mut self.chunk));
            let number = self.answer.chunks + 1;
            self.put(ObjectKey::AnswerChunk(self.order.node.clone(), self.order.id, number), chunk).await?;
            self.answer.chunks = number;
        }
        self.write().await
    }

    /// Writes how far the answer has come.
    async fn write(&mut self) -> Result<(), Trouble> {
        self.answer.written_at = self.clock().now();
        let key = ObjectKey::Answer(self.order.node.clone(), self.order.id);
        self.put(key, document::render(&self.answer).into()).await?;
        self.written = self.clock().monotonic();
        Ok(())
    }

    async fn put(&self, key: ObjectKey, bytes: Bytes) -> Result<(), Trouble> {
        let mut tries = 1;
        loop {
            match self.context.store.put_own(&key, bytes.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_transient() && tries < TRIES => {
                    tries += 1;
                    self.clock().sleep(TRY_AGAIN).await;
                }
                Err(error) => {
                    let trouble = Trouble::from(error);
                    let message = format!("order {} for logs cannot be answered: {}", self.order.id, trouble.message);
                    return Err(Trouble::new(trouble.code, message, Cure::Time));
                }
            }
        }
    }

    /// Whether the order was taken back, although the index may still have it. As long as that cannot be told, somebody
    /// may wait.
    pub(super) async fn is_unwanted(&self) -> bool {
        let key = ObjectKey::Request(self.order.node.clone(), self.order.id);
        matches!(self.context.store.head(&key).await, Ok(None))
    }
}
