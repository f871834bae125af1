//! Orders for what a cell's programs write: each is answered by a task of its own, so that it holds up nothing else.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer::{Answering, Told};
use crate::agent::context::Context;
use crate::agent::disk::{DiskError, apart};
use crate::agent::output::files::Files;
use crate::agent::output::journal::Journal;
use crate::agent::output::{Missing, Said, Sieve};
use crate::agent::profile::Log;
use crate::agent::trouble::Trouble;
use crate::clock::SharedClock;
use crate::model::Code;
use crate::model::heartbeat::Condition;
use crate::model::order::{LogQuery, Order, OrderAction};
use crate::model::sign::Verified;
use crate::store::in_full;

/// Orders for logs that are carried out at a time; of more the newest are refused.
const MOST_AT_ONCE: usize = 4;

/// Between two looks at files that are followed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// So long a store that does not answer may hold up the end of the agent.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Lines on their way to the bucket; whoever reads more waits.
const LINES: usize = 256;

/// Orders for logs that are being carried out.
#[derive(Debug)]
pub(in crate::agent) struct Answers {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    /// Whether what comes is waited for.
    pub(in crate::agent) follows: bool,
    /// Why the last answer could not be written, until one can (I8).
    trouble: Arc<Mutex<Option<Condition>>>,
}

impl Answers {
    /// None yet; all of them end when `stop` is cancelled.
    pub(in crate::agent) fn new(stop: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), stop, follows: true, trouble: Arc::default() }
    }

    /// Begins to answer an order that was taken, if it is for logs, of a cell that is run under `profile`.
    pub(super) fn begin(&mut self, context: &Arc<Context>, order: Arc<Verified<Order>>, profile: Option<String>) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "an answer to an order for logs was broken off");
            }
        }
        let OrderAction::Logs(mut query) = order.action.clone() else { return };
        let Some(cell) = order.cell.clone() else { return };
        let log = match profile.and_then(|profile| context.profiles.get(&profile)) {
            _ if !context.serves_logs => {
                let message = "the node's owner lets nobody read what its cells write: `orders: {logs: false}` in the \
                               agent's config";
                Err((Code::LogsOff, message.to_owned()))
            }
            _ if self.tasks.len() >= MOST_AT_ONCE => {
                let message =
                    format!("{MOST_AT_ONCE} others are reading logs of the node; ask again when one has ended");
                Err((Code::OrderRefused, message))
            }
            None => Err((Code::OrderRefused, format!("nothing of cell {cell} is deployed on the node"))),
            Some(profile) => match profile.log(&cell) {
                Log::Nowhere => {
                    let name = profile.name();
                    Err((
                        Code::NoLog,
                        format!("the {name} profile runs no programs, so there is nothing that they write"),
                    ))
                }
                log => Sieve::new(&query).map(|sieve| (log, sieve)).map_err(|why| (Code::OrderRefused, why)),
            },
        };
        let mut answering = Answering::new(Arc::clone(context), order, &cell);
        if !self.follows && query.follow_secs.take().is_some() {
            answering.note("the agent looks once and ends, so nothing is followed");
        }
        let (stop, trouble) = (self.stop.clone(), Arc::clone(&self.trouble));
        let clock = Arc::clone(&context.clock);
        self.tasks.spawn(async move {
            let told = async {
                match log {
                    _ if answering.is_unwanted().await => Ok(Told::Unwanted),
                    Ok((log, sieve)) => answer(answering, log, sieve, &query, &stop).await,
                    Err((code, message)) => answering.refuse(code, message).await,
                }
            };
            let told = tokio::select! {
                told = told => told,
                () = async { stop.cancelled().await; clock.sleep(END_WITHIN).await } => return,
            };
            let condition = told.err().map(|trouble| {
                tracing::warn!(code = %trouble.code, "{}", trouble.message);
                Condition { code: trouble.code, message: trouble.message }
            });
            *trouble.lock().unwrap_or_else(PoisonError::into_inner) = condition;
        });
    }

    /// What keeps answers from the bucket.
    pub(in crate::agent) fn trouble(&self) -> Option<Condition> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until all of them have ended.
    pub(in crate::agent) async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Answers with the lines of `log`.
async fn answer(
    answering: Answering,
    log: Log,
    sieve: Sieve,
    query: &LogQuery,
    stop: &CancellationToken,
) -> Result<Told, Trouble> {
    let (sender, lines) = mpsc::channel(LINES);
    let quit = CancellationToken::new();
    // Nobody reads on for an answer that has ended, however it did.
    let _ends = quit.clone().drop_guard();
    let follow = query.follow_secs.map(|secs| Duration::from_secs(secs.into()));
    let reader = Reader {
        sender,
        past: query.lines,
        follows: follow.is_some(),
        clock: Arc::clone(answering.clock()),
        over: quit.child_token(),
        quit,
    };
    let over = reader.over.clone();
    let mut reading = JoinSet::new();
    reading.spawn(reader.read(log, sieve));
    answering.pass_on(lines, reading, follow, &over, stop).await
}

/// Reads what a cell writes.
struct Reader {
    sender: mpsc::Sender<Said>,
    /// So many of the last lines.
    past: u32,
    follows: bool,
    clock: SharedClock,
    /// Cancelled when nothing more is waited for.
    over: CancellationToken,
    /// Cancelled when nothing more is wanted.
    quit: CancellationToken,
}

impl Reader {
    async fn read(self, log: Log, sieve: Sieve) -> Result<Missing, String> {
        match log {
            Log::Nowhere => Ok(Missing::default()),
            Log::Folder(folder) => self.files(folder, sieve).await,
            Log::Journal { units, is_users } => {
                let journal = Journal::new(units, is_users, sieve);
                journal.read(self.past, self.follows, self.clock.now(), &self.sender, &self.over).await
            }
        }
    }

    async fn files(&self, folder: PathBuf, sieve: Sieve) -> Result<Missing, String> {
        let refused = {
            let folder = folder.clone();
            move |error| DiskError::new("reading the logs in", folder.clone(), error)
        };
        let (past, follows, quit, refuse) = (self.past, self.follows, self.quit.clone(), refused.clone());
        let begun = apart(move || Files::begin(folder, sieve, past, follows, &quit).map_err(refuse)).await;
        let mut files = begun.map_err(|error| in_full(&error))?;
        for note in files.notes() {
            if self.sender.send(Said::Note(note.clone())).await.is_err() {
                return Ok(Missing::default());
            }
        }
        loop {
            let is_last = !self.follows || self.over.is_cancelled();
            let (sender, refuse) = (self.sender.clone(), refused.clone());
            let looked = apart(move || {
                let more =
                    files.look(is_last, &mut |line| sender.blocking_send(Said::Line(line)).is_ok()).map_err(refuse)?;
                Ok::<_, DiskError>((more, files))
            });
            let more;
            (more, files) = looked.await.map_err(|error| in_full(&error))?;
            if self.sender.is_closed() || (is_last && !more) {
                return Ok(files.missing());
            }
            if !more {
                tokio::select! {
                    () = self.clock.sleep(LOOK_EVERY) => {}
                    () = self.over.cancelled() => {}
                }
            }
        }
    }
}

/// What comes of a reader.
pub(super) type Reading = JoinSet<Result<Missing, String>>;
