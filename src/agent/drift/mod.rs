//! Whether what is on the host is still what was deployed there, looked at now and then, and put back if it is to be.
//!
//! ```text
//! mod     when a cell is looked at, and what is told of it
//! round   one look, and what is done about what it finds
//! walk    the release's files, in slices
//! found   what was found, bounded
//! mend    files are put back
//! ledger  what was put back, across restarts
//! ```
//! It stands behind everything else: a look waits until nothing is to be done to the cell, is given up when something
//! is, reads in slices with pauses, and is made for one cell of the node at a time. Nothing is ever restarted for it
//! (I6), and what is not ours is told and left alone (I7).

mod found;
mod ledger;
mod mend;
mod round;
mod walk;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::round::{End, Round};
use self::walk::Prints;
use super::context::Context;
use super::decide::Cell;
use super::home::CellHome;
use super::state::{Placed, Step};
use crate::entropy;
use crate::model::drift::{DriftMode, DriftReport};
use crate::model::heartbeat::{CellReport, Condition};
use crate::model::{CellName, Code};

/// How a cell is looked at whose version does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriftSettings {
    /// What is done about what is found.
    pub mode: DriftMode,
    /// How long after one look the next one begins, give or take a fifth.
    pub interval: Duration,
    /// How often in an hour something is put back at most.
    pub repairs_per_hour: u32,
}

impl Default for DriftSettings {
    fn default() -> Self {
        Self { mode: DriftMode::Report, interval: Duration::from_secs(15 * 60), repairs_per_hour: 3 }
    }
}

/// A cell that is new here is looked at within this time.
const FIRST_WITHIN: Duration = Duration::from_secs(60);

/// Of so many looks in a row one reads every file, whatever the file system tells of it.
const FULL_EVERY: u32 = 24;

/// The findings that a condition names.
const MOST_NAMED: usize = 3;

/// Looks at one cell now and then.
#[derive(Debug)]
pub(super) struct Patrol {
    context: Arc<Context>,
    cell: CellName,
    home: CellHome,
    /// What is looked at, and what of it is known.
    placed: Option<Placed>,
    known: Known,
    prints: Arc<Prints>,
    /// Looks since the last one that read everything.
    looks: u32,
    /// When the next one is due, by the monotonic clock.
    due: Duration,
    running: Option<(JoinHandle<Option<End>>, CancellationToken)>,
}

/// What is known of what is placed.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    /// Nothing yet.
    Nothing,
    /// Nobody is to look.
    Off,
    Report(Box<DriftReport>),
}

impl Patrol {
    pub(super) fn new(context: Arc<Context>, cell: CellName, home: CellHome) -> Self {
        Self {
            context,
            cell,
            home,
            placed: None,
            known: Known::Nothing,
            prints: Arc::default(),
            looks: 0,
            due: Duration::ZERO,
            running: None,
        }
    }

    /// Looks when it is time to; completes when there is something to tell. It may be dropped and asked again at any
    /// time, and goes on where it was.
    pub(super) async fn turn(&mut self, subject: Option<(Placed, bool)>) {
        let Some((placed, may_mend)) = subject else { return pending().await };
        let now = self.context.clock.monotonic();
        if self.placed.as_ref() != Some(&placed) {
            self.interrupt().await;
            let first = entropy::jittered(self.context.drift.interval.min(FIRST_WITHIN));
            (self.known, self.prints, self.looks, self.due) = (Known::Nothing, Arc::default(), 0, now + first);
            self.placed = Some(placed.clone());
        }
        if self.running.is_none() {
            self.context.clock.sleep(self.due.saturating_sub(now)).await;
            let stop = CancellationToken::new();
            let round = Round {
                context: Arc::clone(&self.context),
                cell: self.cell.clone(),
                home: self.home.clone(),
                placed,
                before: if self.looks == 0 { Arc::default() } else { Arc::clone(&self.prints) },
                known: match &self.known {
                    Known::Report(report) => Some(report.clone()),
                    Known::Nothing | Known::Off => None,
                },
                may_mend,
                stop: stop.clone(),
            };
            self.running = Some((tokio::spawn(round.run()), stop));
        }
        let Some((task, _)) = &mut self.running else { return };
        let ended = task.await;
        self.running = None;
        let now = self.context.clock.monotonic();
        match ended {
            Ok(Some(End { report, prints, interval })) => {
                self.known = report.map_or(Known::Off, |report| Known::Report(Box::new(report)));
                self.prints = Arc::new(prints);
                self.looks = (self.looks + 1) % FULL_EVERY;
                self.due = now + entropy::jittered(interval);
            }
            Ok(None) => self.due = now + entropy::jittered(self.context.drift.interval),
            Err(error) => {
                tracing::error!(cell = %self.cell, %error, "a look for drift ended unexpectedly");
                self.due = now + entropy::jittered(self.context.drift.interval);
            }
        }
    }

    /// Gives up the look that is under way, if one is, before something else is done to the cell. It is made up for as
    /// soon as there is time.
    pub(super) async fn interrupt(&mut self) {
        if let Some((task, stop)) = self.running.take() {
            stop.cancel();
            // Whatever it has found by then is found again.
            let _ = task.await;
        }
    }

    /// Adds what is known to what is told of the cell.
    pub(super) fn tell(&self, cell: &Cell, report: &mut CellReport) {
        let Some(placed) = cell.should_run() else { return };
        let drift = match &self.known {
            _ if self.placed.as_ref() != Some(placed) => DriftReport::unknown(),
            Known::Nothing => DriftReport::unknown(),
            Known::Off => return,
            Known::Report(report) => DriftReport::clone(report),
        };
        let problem = drift.problem.iter();
        report
            .conditions
            .extend(problem.map(|problem| Condition { code: problem.code, message: problem.message.clone() }));
        if !drift.findings.is_empty() {
            report.conditions.push(Condition { code: Code::Drifted, message: in_words(&drift) });
        }
        report.drift = Some(Box::new(drift));
    }
}

/// What may be looked at now, and whether it may be put back.
pub(super) fn subject(cell: &Cell) -> Option<(Placed, bool)> {
    let rests = |step: &Step| matches!(step, Step::Fetching | Step::Staged | Step::Ended { .. });
    let is_still = cell.mind.staging.is_empty() && cell.state.journal.iter().all(|attempt| rests(&attempt.step));
    let placed = cell.should_run().filter(|_| is_still)?;
    let is_free = cell.mind.held.is_none() && cell.mind.hold.is_none() && !cell.mind.unsure;
    Some((placed.clone(), is_free))
}

/// Whether two reports say the same, but for when the cell was looked at last: that alone is no news.
pub(super) fn is_news(known: &CellReport, report: &CellReport) -> bool {
    let without_time = |report: &CellReport| {
        let mut report = report.clone();
        if let Some(drift) = &mut report.drift {
            drift.checked_at = None;
        }
        report
    };
    without_time(known) != without_time(report)
}

fn in_words(drift: &DriftReport) -> String {
    let named = drift.findings.iter().take(MOST_NAMED);
    let named: Vec<String> = named.map(|finding| format!("{} {}", finding.code.words(), finding.path)).collect();
    let more = drift.count() - named.len() as u64;
    let named = named.join(", ");
    if more == 0 { named } else { format!("{named}, and {more} more") }
}
