//! The checks of a cell's health: asked again and again, as long as what they ask about is to run.
//!
//! ```text
//! vitals  what the answers mean: pure, and part of the cell's decisions
//! probe   one question, of whichever kind; `net`, `http`, `exec`, `file` and `log` ask it
//! said    the last lines of a version that failed
//! log     which lines are new since a version was brought up, on disk, so that a restart of the agent forgets none
//! ```
//! Everything that a check is told is hostile text: it is read up to a bound, within a time, and shown cut and without
//! control characters. A cell without checks has no prober and costs nothing.

mod exec;
mod file;
mod http;
mod log;
mod net;
mod probe;
mod said;
mod vitals;

use std::future::pending;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(super) use self::http::Tls;
pub(super) use self::log::mark;
pub(super) use self::probe::Subject;
pub(super) use self::said::last_lines;
pub(super) use self::vitals::{Probe, Vitals};
use crate::clock::SharedClock;
use crate::model::health::Health;

/// Programs that checks run at once, of all cells: each costs a process.
const MOST_PROGRAMS: usize = 8;

/// Answers that wait to be taken in; whoever has another one waits as well.
const INBOX: usize = 16;

/// What the checks of all cells share.
#[derive(Debug)]
pub(super) struct Means {
    programs: Semaphore,
    tls: Tls,
}

impl Default for Means {
    fn default() -> Self {
        Self { programs: Semaphore::new(MOST_PROGRAMS), tls: Tls::default() }
    }
}

/// Asks what there is to ask of what a cell runs, until it is dropped.
#[derive(Debug)]
pub(super) struct Prober {
    answers: mpsc::Receiver<Probe>,
    tasks: JoinSet<()>,
    stop: DropGuard,
}

impl Prober {
    /// Begins to ask; `None` if there is nothing to ask. The answers carry `round`.
    pub(super) fn start(
        subject: Subject,
        health: &Health,
        round: u64,
        means: &Arc<Means>,
        clock: &SharedClock,
    ) -> Option<Self> {
        if health.checks.is_empty() {
            return None;
        }
        let (sender, answers) = mpsc::channel(INBOX);
        let (subject, stop) = (Arc::new(subject), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for (name, check) in &health.checks {
            let asked = probe::Asked::new(check, Arc::clone(&subject), health, Arc::clone(means), clock.clone(), name);
            tasks.spawn(asked.run(round, sender.clone(), stop.clone()));
        }
        Some(Self { answers, tasks, stop: stop.drop_guard() })
    }

    /// The next answer.
    pub(super) async fn next(&mut self) -> Probe {
        match self.answers.recv().await {
            Some(probe) => probe,
            None => pending().await,
        }
    }

    /// Stops asking. Programs that are still running for a check are killed before it completes.
    pub(super) async fn end(self) {
        let Self { answers, mut tasks, stop } = self;
        drop((answers, stop));
        while tasks.join_next().await.is_some() {}
    }
}
