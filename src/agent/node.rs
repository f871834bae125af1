//! The agent as a whole: its loop and its timing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::belief::Identity;
use super::board::Board;
use super::cell::{Handle, Message};
use super::context::Context;
use super::decide::{Patience, Place};
use super::disk::{apart, read_whole};
use super::error::AgentError;
use super::figures::{Attempts, Figures, Tally};
use super::heartbeat::Heart;
use super::home::{self, Home, Resident, STATUS};
use super::onlooker::Rest;
use super::orders::{Answers, Kept, Orders};
use super::outbox::Sent;
use super::profile::Profiles;
use super::settings::AgentSettings;
use super::state::StateError;
use super::trouble::{Cure, Trouble, plain};
use crate::clock::SharedClock;
use crate::entropy;
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::{CellReport, Condition, Fault, Heartbeat, Phase};
use crate::model::{CellName, Code};
use crate::store::{ETag, in_full};

/// Changes are told at most so often.
const BETWEEN_BEATS: Duration = Duration::from_secs(1);

/// However long the store is down, it is asked again within this time.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// An attempt that waits is tried again within this time.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How long the parts get to reach their next journal step when the agent ends.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

/// The agent of one node. Many may run in one process, each with a state folder of its own.
#[derive(Debug)]
pub struct Agent {
    pub(super) context: Arc<Context>,
    pub(super) timing: Timing,
    pub(super) cells: BTreeMap<CellName, Handle>,
    /// Cells whose state cannot be used, or not yet; they are left alone.
    pub(super) unusable: BTreeMap<CellName, Fault>,
    /// What is wrong with the triggers of cells that there is nothing of on the node.
    pub(super) strangers: BTreeMap<CellName, BTreeMap<Place, Fault>>,
    /// Cells on the host that nothing is known of.
    pub(super) orphans: BTreeMap<CellName, CellReport>,
    pub(super) heart: Heart,
    pub(super) sent: Sent,
    pub(super) orders: Orders,
    pub(super) answers: Answers,
    /// The index that the cells were told of.
    pub(super) index: Option<ETag>,
    /// What is wrong with the index as a whole.
    pub(super) index_conditions: Vec<Condition>,
    pub(super) memory: Memory,
    pub(super) resident: Resident,
    /// What the node's own disk does not let the agent do.
    pub(super) disk_faults: BTreeMap<Chore, Fault>,
    /// What the last poll, the last full scan and the last heartbeat could not do.
    pub(super) poll_error: Option<Fault>,
    pub(super) scan_error: Option<Fault>,
    pub(super) beat_error: Option<Fault>,
    /// Looks at the index, and heartbeats that were written.
    pub(super) polls: Tally,
    pub(super) beats: Tally,
    pub(super) figures: watch::Sender<Figures>,
    stop: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    poll: Duration,
    heartbeat: Duration,
    full_scan: Duration,
}

/// What the agent does on the disk beside the cells' own work, and can do without for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Chore {
    Register,
    WriteStatus,
    FindOrphans,
    KeepOrders,
}

/// Whether the agent knows its floors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Memory {
    /// It has been here before; its last heartbeat has not been read yet.
    Unsure,
    /// It has been here before, and has been nowhere else since.
    Kept,
    /// Its state is new, or older than its last heartbeat, as after a restore from a backup: before any trigger is obeyed, its own last heartbeat is read.
    Lost,
    /// The floors are the bucket's; of these cells the heartbeat told something that cannot be.
    Rebuilt { implausible: Vec<CellName> },
}

impl Agent {
    /// Takes the state folder, reads what it holds and takes up what a crash interrupted. Nothing is asked of the
    /// bucket until [`Agent::run`] or [`Agent::poll_once`].
    ///
    /// # Errors
    /// [`AgentError::AlreadyRunning`], [`AgentError::StateInvalid`] or [`AgentError::Disk`].
    pub async fn open(settings: AgentSettings, clock: SharedClock) -> Result<Self, AgentError> {
        let AgentSettings { node, fleet, trust, store, state_folder, profiles, labels, onlooker, steps, .. } = settings;
        let (wanted, asked) = (node.clone(), steps.clone());
        let (home, resident, last, kept) = apart(move || {
            let home = Home::take(&state_folder, &asked)?;
            let resident = home.resident(&wanted, fleet)?;
            // What the status cannot tell is no loss: it is only where counting goes on.
            let last = home.root().read(STATUS, Heartbeat::MAX_BYTES).ok().flatten();
            let kept = Kept::load(home.root())?;
            Ok::<_, AgentError>((home, resident, last, kept))
        })
        .await?;
        let names = home.cells()?;
        let last: Option<Heartbeat> = last.and_then(|bytes| document::parse(&bytes).ok());
        let sequence = last.filter(|last| last.instance_id == resident.instance_id).map_or(0, |last| last.sequence);
        let interval_secs = settings.heartbeat_interval.as_secs().max(1);
        let heart = Heart::new(resident.instance_id, clock.now(), interval_secs, labels, sequence);
        let context = Arc::new(Context {
            identity: Identity { fleet, node, trust },
            store,
            clock,
            onlooker,
            steps,
            profiles,
            home,
            patience: Patience { first: settings.poll_interval, most: LONGEST_WAIT },
            windows: settings.windows,
            serves_logs: settings.serves_logs,
            keep_versions: settings.keep_versions,
            reserve_bytes: settings.reserve_bytes,
            parallel_downloads: settings.parallel_downloads.max(1),
            downloads: Semaphore::new(settings.parallel_downloads.max(1)),
            probing: Arc::default(),
            drift: settings.drift,
            looks: Semaphore::new(1),
            board: Board::default(),
            changed: Notify::new(),
            attempts: Mutex::new(Attempts::default()),
        });
        let timing = Timing {
            poll: settings.poll_interval,
            heartbeat: settings.heartbeat_interval,
            full_scan: settings.full_scan_interval,
        };
        let stop = CancellationToken::new();
        let mut agent = Self {
            context,
            timing,
            cells: BTreeMap::new(),
            unusable: BTreeMap::new(),
            strangers: BTreeMap::new(),
            orphans: BTreeMap::new(),
            heart,
            sent: Sent::default(),
            orders: Orders::new(kept),
            answers: Answers::new(stop.child_token()),
            index: None,
            index_conditions: Vec::new(),
            memory: if resident.settled_in { Memory::Unsure } else { Memory::Lost },
            resident,
            disk_faults: BTreeMap::new(),
            poll_error: None,
            scan_error: None,
            beat_error: None,
            polls: Tally::default(),
            beats: Tally::default(),
            figures: watch::Sender::default(),
            stop,
        };
        // None of them may start before those are known that it depends on.
        names.iter().for_each(|name| agent.context.board.announce(name));
        for name in &names {
            agent.open_cell(name).await;
        }
        names.iter().for_each(|name| agent.context.board.withdraw(name, 1));
        Ok(agent)
    }

    /// Starts the task of a cell. One whose state cannot be read is reported, and not touched; nor are the others.
    pub(super) async fn open_cell(&mut self, name: &CellName) {
        let hold = self.orders.kept.hold(Some(name), self.context.store_now());
        self.context.board.announce(name);
        let trouble = match Handle::open(&self.context, name, hold.clone(), self.stop.child_token()).await {
            Ok(handle) => {
                self.strangers.remove(name);
                self.orphans.remove(name);
                self.unusable.remove(name);
                if let Some(why) = self.held() {
                    handle.tell(Message::held(Some(why))).await;
                }
                self.orders.told.insert(name.clone(), hold);
                self.cells.insert(name.clone(), handle);
                return;
            }
            Err(StateError::Disk(error)) => Trouble::from(error),
            Err(error @ StateError::Invalid(_)) => Trouble::new(Code::StateInvalid, in_full(&error), Cure::NewerAgent),
        };
        self.context.board.withdraw(name, 1);
        let message = plain(&format!("{}; nothing of the cell is touched", trouble.message));
        let fault = Fault { code: trouble.code, message, at: self.context.clock.now() };
        let known = self.unusable.get(name);
        if known.is_none_or(|known| (known.code, &known.message) != (fault.code, &fault.message)) {
            tracing::error!(cell = %name, code = %fault.code, "{}", fault.message);
            self.unusable.insert(name.clone(), fault);
        }
    }

    /// What it runs cells with. Whoever ends the process [closes](Profiles::close) them after the agent has ended.
    #[must_use]
    pub fn profiles(&self) -> Profiles {
        self.context.profiles.clone()
    }

    /// Polls and deploys until `shutdown` completes; then ends what is under way at its next journal step.
    ///
    /// # Errors
    /// [`AgentError::Broken`]: a part of it ended. A store that is down or a disk that is full is waited for.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            ended = self.serve() => ended.map(|never| match never {}),
        };
        self.close().await;
        ended
    }

    async fn serve(&mut self) -> Result<Infallible, AgentError> {
        let clock = Arc::clone(&self.context.clock);
        let context = Arc::clone(&self.context);
        let start = clock.monotonic();
        let (mut poll_at, mut scan_at, mut beat_at) = (start, start, start);
        let (mut polls_failed, mut scans_failed, mut beats_failed) = (0, 0, 0);
        // The first heartbeat looks whether the node is already taken.
        let mut look_at = start;
        loop {
            if clock.monotonic() >= poll_at {
                let full = clock.monotonic() >= scan_at;
                let refused = self.read_bucket(full).await?;
                let now = clock.monotonic();
                if full && refused.index.is_none() {
                    scans_failed = if refused.scan.is_none() { 0 } else { scans_failed + 1 };
                    // One object that is denied keeps nobody from polling the index.
                    scan_at = now
                        + match scans_failed {
                            0 => entropy::jittered(self.timing.full_scan),
                            failed => backoff(self.timing.poll, failed),
                        };
                }
                polls_failed = if refused.index.is_none() { 0 } else { polls_failed + 1 };
                poll_at = now + backoff(self.timing.poll, polls_failed);
            }
            let began = clock.monotonic();
            if began >= beat_at {
                let look = began >= look_at;
                let sent = self.beat(look).await;
                beats_failed = if sent { 0 } else { beats_failed + 1 };
                if sent && look {
                    look_at = began + self.timing.heartbeat;
                }
                let next = if sent { self.timing.heartbeat } else { backoff(self.timing.poll, beats_failed) };
                beat_at = began + next.max(BETWEEN_BEATS);
            }
            self.tell_holds().await;
            let next_look = poll_at.saturating_sub(clock.monotonic());
            context.onlooker.rest(&self.rest(next_look));
            self.publish_figures();
            let next = next_look.min(beat_at.saturating_sub(clock.monotonic())).min(self.next_release());
            tokio::select! {
                () = clock.sleep(next.min(context.onlooker.patience())) => {}
                () = context.changed.notified() => {
                    if beats_failed == 0 {
                        beat_at = beat_at.min(began + BETWEEN_BEATS);
                    }
                }
            }
            self.check_parts()?;
            context.onlooker.step();
        }
    }

    fn rest(&self, next_look: Duration) -> Rest {
        let phases = self.cells.values().map(|handle| handle.report.borrow().phase);
        let phases: Vec<Phase> = phases.filter(|phase| *phase != Phase::Removed).collect();
        Rest {
            cells: phases.len() + self.unusable.len(),
            up_to_date: phases.iter().filter(|phase| matches!(phase, Phase::UpToDate | Phase::Stopped)).count(),
            has_bucket: self.poll_error.is_none(),
            next_look,
        }
    }

    /// Reads everything once, carries out what can be carried out now, and writes the heartbeat that comes back.
    ///
    /// # Errors
    /// [`AgentError::Store`] when the bucket could not be read; what was owed is carried out all the same.
    pub async fn poll_once(&mut self) -> Result<Heartbeat, AgentError> {
        self.answers.follows = false;
        let refused = self.read_bucket(true).await?;
        self.tell_holds().await;
        for handle in self.cells.values() {
            handle.tell(Message::Compare { sure: self.is_sure() }).await;
        }
        self.settle().await;
        self.answers.finish().await;
        self.check_parts()?;
        let (heartbeat, sent) = self.beat_once(true).await;
        match refused.index.or(refused.scan) {
            Some(error) => Err(error.into()),
            None => sent.map(|()| heartbeat),
        }
    }

    /// Waits until no cell has anything left to do for now; false if one could not write down what it is to do.
    pub(super) async fn settle(&self) -> bool {
        let mut settled = true;
        // Each time at least one goes on that waited for others.
        for _ in 0..=self.cells.len() {
            let before = self.context.board.revision();
            for handle in self.cells.values() {
                let (sender, answer) = oneshot::channel();
                settled &= handle.tell(Message::Settle(sender)).await && answer.await.is_ok();
            }
            if self.context.board.revision() == before {
                break;
            }
        }
        settled
    }

    /// Ends every part at its next journal step, and gives the state folder back.
    pub async fn close(mut self) {
        self.stop.cancel();
        let clock = Arc::clone(&self.context.clock);
        let tasks = std::mem::take(&mut self.cells);
        let mut answers = std::mem::replace(&mut self.answers, Answers::new(CancellationToken::new()));
        let drained = async {
            answers.finish().await;
            for handle in tasks.into_values() {
                // A task that panicked has ended as well.
                let _ = handle.task.await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = clock.sleep(DRAIN_WITHIN) => tracing::warn!("not everything ended in time; the journal knows how far it came"),
        }
    }

    /// A cell whose task has ended would be forgotten silently.
    fn check_parts(&self) -> Result<(), AgentError> {
        match self.cells.iter().find(|(_, handle)| handle.task.is_finished()) {
            Some((name, _)) => Err(AgentError::Broken { part: format!("the task of cell {name}") }),
            None => Ok(()),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The interval, doubled with every failure in a row.
fn backoff(interval: Duration, failures: u32) -> Duration {
    let doubled = interval.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    entropy::jittered(doubled.min(LONGEST_BACKOFF.max(interval)))
}

/// What an agent last wrote of itself, read without the bucket and without disturbing the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The process that holds the state folder; `None` if no agent runs.
    pub pid: Option<u32>,
    /// The last heartbeat, whether it reached the bucket or not.
    pub heartbeat: Heartbeat,
}

/// Reads the status of the agent with this state folder.
///
/// # Errors
/// [`AgentError::NeverRan`], [`AgentError::StateInvalid`] or [`AgentError::Disk`].
pub fn read_status(state_folder: &Path) -> Result<Status, AgentError> {
    let pid = home::holder(state_folder)?;
    let path = home::status_path(state_folder);
    let Some(bytes) = read_whole(&path, Heartbeat::MAX_BYTES)? else {
        return Err(AgentError::NeverRan { folder: state_folder.to_owned() });
    };
    let heartbeat =
        document::parse(&bytes).map_err(|error| AgentError::StateInvalid { path, problem: in_full(&error) })?;
    Ok(Status { pid, heartbeat })
}
