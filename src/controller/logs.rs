//! What the programs of a cell write, as its node tells it: asked for by a signed order, answered in chunks.
//!
//! An answer is the node's claim, unsigned; which cell may be asked about is decided by the order, which is verified.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ulid::Ulid;

use super::{Controller, ControllerError};
use crate::model::answer::{Answer, AnswerState, LogLine};
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::{Condition, Heartbeat};
use crate::model::keys::Folder;
use crate::model::order::{LogQuery, Order, OrderAction};
use crate::model::sign::Verified;
use crate::model::{CellId, Code, ObjectKey, UserName};
use crate::store::{ETag, Fetched};

/// How much longer than whoever asks waits an order counts: clocks differ.
const COUNTS_ON: TimeDelta = TimeDelta::seconds(30);

/// Between two looks at an answer; an unchanged one costs one request without a body.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Between two looks at the heartbeat while the node is silent.
const LOOK_AT_NODE: Duration = Duration::from_secs(5);

/// A node that has written nothing for so long although more was to come has stopped.
const STALLED: Duration = Duration::from_secs(4 * Answer::WRITTEN_EVERY_SECS.unsigned_abs());

/// An order for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedLogs {
    /// The cell that it is about.
    pub cell: CellId,
    /// Names the order.
    pub order: Ulid,
    /// What is asked for.
    pub query: LogQuery,
    /// Who asked.
    pub by: UserName,
    /// When, by the store's clock.
    pub at: DateTime<Utc>,
    /// Until then the node may begin.
    pub expires_at: DateTime<Utc>,
}

impl AskedLogs {
    /// # Errors
    /// [`ControllerError::NotFound`] when the order is for something else.
    fn of(cell: &CellId, order: &Verified<Order>) -> Result<Self, ControllerError> {
        match (&order.action, order.addressee().cell_id()) {
            (OrderAction::Logs(query), Some(about)) if about == *cell => Ok(Self {
                cell: about,
                order: order.id,
                query: query.clone(),
                by: order.issued_by.clone(),
                at: order.issued_at,
                expires_at: order.expires_at,
            }),
            _ => Err(gone(cell, order.id)),
        }
    }
}

fn gone(cell: &CellId, order: Ulid) -> ControllerError {
    ControllerError::not_found(cell, format!("order {order} for its logs is not there, or no more; ask again"))
}

impl Controller {
    /// Asks a node for what the programs of a cell write, to begin within `patience`. Whoever asks
    /// [takes it back](Self::take_back_logs) when it is read.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`] when that is too much; [`ControllerError::NotFound`] when there is no such cell.
    pub async fn ask_for_logs(
        &self,
        cell: &CellId,
        query: &LogQuery,
        patience: Duration,
    ) -> Result<AskedLogs, ControllerError> {
        query.check().map_err(|problem| ControllerError::invalid(cell, problem))?;
        let longest = Order::LONGEST_LOGS - COUNTS_ON;
        let counts = TimeDelta::from_std(patience).unwrap_or(longest).min(longest) + COUNTS_ON;
        let ordered = self.order(&cell.clone().into(), OrderAction::Logs(query.clone()), counts, None).await?;
        Ok(AskedLogs {
            cell: cell.clone(),
            order: ordered.id,
            query: query.clone(),
            by: self.actor().user.clone(),
            at: ordered.issued_at,
            expires_at: ordered.expires_at,
        })
    }

    /// An order for logs that was given before.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when it was taken back, or is about another cell.
    pub async fn asked_logs(&self, cell: &CellId, order: Ulid) -> Result<AskedLogs, ControllerError> {
        let found = self.find_order(&cell.node, order).await?.ok_or_else(|| gone(cell, order))?;
        AskedLogs::of(cell, &found)
    }

    /// How far the node's answer has come; None before it has begun. What the node says.
    ///
    /// # Errors
    /// [`ControllerError::Unreadable`] or [`ControllerError::Untrusted`] when it makes no sense.
    pub async fn log_answer(&self, asked: &AskedLogs) -> Result<Option<Answer>, ControllerError> {
        let found = self.find_document(&answer_key(asked)).await?;
        found.map(|answer| self.plausible(asked, answer)).transpose()
    }

    /// The lines of one chunk of an answer, counted from 1. What the node says, and hostile text.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such chunk.
    pub async fn log_chunk(&self, asked: &AskedLogs, chunk: u32) -> Result<Vec<LogLine>, ControllerError> {
        let key = ObjectKey::AnswerChunk(asked.cell.node.clone(), asked.order, chunk);
        let Some(object) = self.store().find(&key, Answer::CHUNK_BYTES).await? else {
            return Err(gone(&asked.cell, asked.order));
        };
        Ok(LogLine::parse_all(&String::from_utf8_lossy(&object.bytes)))
    }

    /// Takes back an order for logs: the node stops answering, and what it has answered is deleted.
    ///
    /// # Errors
    /// Why the store did not do it.
    pub async fn take_back_logs(&self, asked: &AskedLogs) -> Result<(), ControllerError> {
        let node = &asked.cell.node;
        // The order first: without it the node writes no more.
        self.delete_all(&[ObjectKey::Request(node.clone(), asked.order)]).await?;
        let answered = self.list_folder(&Folder::Answer(node.clone(), asked.order)).await?;
        self.delete_all(&answered).await
    }

    /// Reads the answer to an order from its beginning, as it comes.
    #[must_use]
    pub fn read_logs<'a>(&'a self, asked: &'a AskedLogs, patience: Duration) -> LogReader<'a> {
        let now = self.clock.monotonic();
        LogReader {
            controller: self,
            asked,
            patience,
            began: now,
            news: now,
            node: now,
            answer: None,
            read: 0,
            bytes: 0,
        }
    }

    /// An answer must be to what was asked, and no longer than one may be.
    fn plausible(&self, asked: &AskedLogs, answer: Answer) -> Result<Answer, ControllerError> {
        let is_of = (answer.fleet, &answer.node, &answer.cell, answer.order);
        let problem = if is_of != (self.fleet(), &asked.cell.node, &asked.cell.cell, asked.order) {
            format!(": it answers order {} for {}/{}", answer.order, answer.node, answer.cell)
        } else if answer.chunks > Answer::MOST_CHUNKS || answer.bytes > Answer::MOST_BYTES {
            format!(": it says that it has {} chunks and {} bytes", answer.chunks, answer.bytes)
        } else {
            return Ok(answer);
        };
        Err(ControllerError::Untrusted { key: answer_key(asked).to_string(), problem, source: None })
    }

    /// Why a node may not have answered yet, in words.
    ///
    /// # Errors
    /// [`ControllerError::LogsRefused`] when it says that it will not.
    pub async fn why_no_logs(&self, asked: &AskedLogs) -> Result<String, ControllerError> {
        let node = &asked.cell.node;
        let found = self.store().find(&ObjectKey::Heartbeat(node.clone()), Heartbeat::MAX_BYTES).await?;
        let Some(object) = found else { return Ok(format!("node {node} has never reported")) };
        let Ok(beat) = document::parse::<Heartbeat>(&object.bytes) else {
            return Ok(format!("the heartbeat of {node} cannot be read"));
        };
        let is_refused = |condition: &&Condition| condition.message.contains(&asked.order.to_string());
        if let Some(Condition { code, message }) = beat.conditions.iter().find(is_refused) {
            return Err(ControllerError::LogsRefused {
                cell: asked.cell.clone(),
                code: *code,
                message: match code {
                    Code::Unsupported => format!("its agent, {}, is too old for that: {message}", beat.agent_version),
                    _ => message.clone(),
                },
            });
        }
        let seen = object.last_modified.unwrap_or(beat.reported_at);
        if seen > asked.at
            && let Some(condition) = beat.conditions.iter().find(|it| it.code == Code::SigInvalid)
        {
            return Ok(format!("node {node} does not believe the key that signed: {}", condition.message));
        }
        let ago = (self.store_now() - seen).num_seconds().max(0);
        Ok(match u64::try_from(ago).is_ok_and(|ago| ago > 3 * beat.interval_secs) {
            true => format!("node {node} last reported {ago} s ago"),
            false => format!("node {node} reports, and answers when it looks again"),
        })
    }
}

fn answer_key(asked: &AskedLogs) -> ObjectKey {
    ObjectKey::Answer(asked.cell.node.clone(), asked.order)
}

/// What is new of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogNews {
    /// These lines. Hostile text.
    Lines(Vec<LogLine>),
    /// Nothing more comes; how it ended.
    Ended(Box<Answer>),
}

/// An answer that is read as it comes.
#[derive(Debug)]
pub struct LogReader<'a> {
    controller: &'a Controller,
    asked: &'a AskedLogs,
    /// So long the node may be silent before it begins.
    patience: Duration,
    began: Duration,
    /// When there was news last, and when the heartbeat was looked at, on the monotonic clock.
    news: Duration,
    node: Duration,
    answer: Option<(Answer, ETag)>,
    /// Chunks that were read, and their bytes.
    read: u32,
    bytes: u64,
}

impl LogReader<'_> {
    /// Waits for what is new. After [`LogNews::Ended`] nothing is.
    ///
    /// # Errors
    /// [`ControllerError::LogsRefused`] when the node does not do it, [`ControllerError::NoLogs`] when it is silent.
    pub async fn next(&mut self) -> Result<LogNews, ControllerError> {
        let clock = &self.controller.clock;
        loop {
            if let Some((answer, _)) = &self.answer {
                if self.read < answer.chunks {
                    return self.chunk().await;
                }
                match answer.state {
                    AnswerState::Running => {}
                    AnswerState::Refused => {
                        return Err(ControllerError::LogsRefused {
                            cell: self.asked.cell.clone(),
                            code: answer.code.unwrap_or(Code::OrderRefused),
                            message: answer.message.clone().unwrap_or_default(),
                        });
                    }
                    _ => return Ok(LogNews::Ended(Box::new(answer.clone()))),
                }
            }
            if self.look().await? {
                continue;
            }
            let now = clock.monotonic();
            let silent = |why| ControllerError::NoLogs {
                cell: self.asked.cell.clone(),
                waited: now.saturating_sub(self.news),
                why,
            };
            if self.answer.is_some() {
                if now >= self.news + STALLED {
                    return Err(silent("it had begun, and has stopped".to_owned()));
                }
            } else if now >= self.began + self.patience {
                return Err(silent(self.controller.why_no_logs(self.asked).await?));
            } else if now >= self.node + LOOK_AT_NODE {
                // It may say that it will not.
                self.controller.why_no_logs(self.asked).await?;
                self.node = now;
            }
            clock.sleep(LOOK_AGAIN).await;
        }
    }

    /// Reads how far the answer is; true if that is news.
    async fn look(&mut self) -> Result<bool, ControllerError> {
        let key = answer_key(self.asked);
        let known = self.answer.as_ref().map(|(_, etag)| etag);
        match self.controller.store().get_if_changed(&key, known, Answer::MAX_BYTES).await? {
            Fetched::Changed(object) => {
                let answer = document::parse(&object.bytes)
                    .map_err(|source| ControllerError::Unreadable { key: key.to_string(), source })?;
                self.answer = Some((self.controller.plausible(self.asked, answer)?, object.etag));
                self.news = self.controller.clock.monotonic();
                Ok(true)
            }
            Fetched::Unchanged => Ok(false),
            Fetched::Absent if self.answer.is_some() => Err(gone(&self.asked.cell, self.asked.order)),
            Fetched::Absent => Ok(false),
        }
    }

    async fn chunk(&mut self) -> Result<LogNews, ControllerError> {
        let lines = self.controller.log_chunk(self.asked, self.read + 1).await?;
        self.read += 1;
        self.bytes += lines.iter().map(|line| line.text.len() as u64).sum::<u64>();
        if self.bytes > Answer::MOST_BYTES {
            let problem = format!(": it has more than {} bytes", Answer::MOST_BYTES);
            return Err(ControllerError::Untrusted { key: answer_key(self.asked).to_string(), problem, source: None });
        }
        Ok(LogNews::Lines(lines))
    }
}
