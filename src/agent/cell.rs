//! The task of one cell: takes in what is seen, writes down what follows, does it.

use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{self, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::board::Watch;
use super::context::Context;
use super::decide::{Action, Card, Cell, Mind, OnHost, Seen, Ties, View, hindrance, in_circle, lacks};
use super::disk::apart;
use super::drift::{self, Patrol};
use super::health::{Probe, Prober};
use super::home::CellHome;
use super::hooks::Reason;
use super::narrate::narrate;
use super::perform::{Performer, under_way};
use super::place::Plot;
use super::profile::{Observed, Profile, Work};
use super::report::report;
use super::stage::{Staged, Staging};
use super::state::{AttemptKey, CellState, Placed, Standing, StateError, Step};
use super::survey::view;
use super::trouble::{Cure, Trouble};
use crate::model::dependencies::Dependencies;
use crate::model::heartbeat::{CellReport, HoldReport, RunningState};
use crate::model::{CellName, Code};

/// Messages that wait for a cell; whoever sends more waits as well.
const INBOX: usize = 64;

/// What a cell's task is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Something was seen.
    Seen(Seen),
    /// Look at the host and compare. Nothing is put right by a state that is not `sure` to be the newest.
    Compare { sure: bool },
    /// That was all that was announced for it this time.
    Told,
    /// Answer once there is nothing left to do for now.
    Settle(oneshot::Sender<()>),
}

impl Message {
    pub(super) fn held(why: Option<String>) -> Self {
        Self::Seen(Seen::Held(why))
    }
}

/// A cell whose task runs.
#[derive(Debug)]
pub(super) struct Handle {
    inbox: mpsc::Sender<Message>,
    pub(super) report: watch::Receiver<CellReport>,
    pub(super) task: JoinHandle<()>,
}

impl Handle {
    /// Reads the cell's state and starts its task, which ends at a journal step once `stop` is cancelled. It takes in
    /// what was announced for it before.
    pub(super) async fn open(
        context: &Arc<Context>,
        name: &CellName,
        hold: Option<HoldReport>,
        stop: CancellationToken,
    ) -> Result<Self, StateError> {
        let (shared, cell) = (Arc::clone(context), name.clone());
        let (home, state, view) = apart(move || {
            let home = shared.home.cell(&cell)?;
            let state = CellState::load(&home.folder, &shared.identity, &cell)?;
            sweep(&shared, &cell, &state)?;
            let view = view(&shared, &cell, &state)?;
            Ok::<_, StateError>((home, state, view))
        })
        .await?;
        let performer = Performer::new(Arc::clone(context), name.clone(), home.clone(), stop.clone());
        // From the very beginning: what is owed may be to stop it.
        let mut cell = Cell { state, mind: Mind { hold, ..Mind::default() } };
        let saved = cell.state.render();
        let current = match view.linked {
            OnHost::Release(release) => Some(release),
            OnHost::Nothing | OnHost::Foreign(_) => None,
        };
        let started = Seen::Started { current, up: view.up };
        narrate(name, &cell, &started, context.now());
        cell.observe(started, context.now(), context.patience);
        let (inbox, receiver) = mpsc::channel(INBOX);
        let (sender, report) = watch::channel(report(&cell, RunningState::Unknown.into()));
        let needs = Needs::of(&performer, &cell).await;
        let waits = !needs.list.is_empty() && starts(context, name, &cell).await;
        cell.mind.resume = waits;
        let resuming = if waits { None } else { resume(context, name, &cell) };
        let patrol = Patrol::new(Arc::clone(context), name.clone(), home.clone());
        let task = Task {
            context: Arc::clone(context),
            name: name.clone(),
            home,
            cell,
            saved,
            inbox: receiver,
            report: sender,
            performer,
            stagings: JoinSet::new(),
            cancels: HashMap::new(),
            resuming,
            probing: None,
            patrol,
            needs,
            others: context.board.watch(),
            taken: 1,
            settled: Vec::new(),
            stop,
        };
        Ok(Self { inbox, report, task: tokio::spawn(task.run()) })
    }

    /// Tells the task something; false if it has ended.
    pub(super) async fn tell(&self, message: Message) -> bool {
        self.inbox.send(message).await.is_ok()
    }
}

/// Removes what an earlier run of the agent left unfinished, but for what goes on now.
fn sweep(context: &Context, cell: &CellName, state: &CellState) -> Result<(), StateError> {
    for profile in context.profiles.iter() {
        match Plot::find(profile.placement(cell), &context.owner(cell), &context.steps)? {
            Some(plot) => plot.tidy(&BTreeSet::new(), &under_way(state), &[], usize::MAX)?,
            None => Plot::sweep_husk(&profile.placement(cell), &context.steps)?,
        }
    }
    Ok(())
}

/// Brings up what should run of the cell, if something should.
fn resume(context: &Context, name: &CellName, cell: &Cell) -> Option<Work<'static, ()>> {
    let profile = Arc::clone(context.profiles.get(&cell.should_run()?.profile)?);
    let name = name.clone();
    Some(Box::pin(async move { profile.resume(&name).await }))
}

/// Whether what should run of the cell would be started, and does not run already.
async fn starts(context: &Context, name: &CellName, cell: &Cell) -> bool {
    match cell.should_run().and_then(|placed| context.profiles.get(&placed.profile)) {
        Some(profile) => profile.starts(name).await,
        None => false,
    }
}

/// What a release depends on.
#[derive(Default)]
struct Needs {
    /// Of which release.
    of: Option<Placed>,
    list: Dependencies,
}

impl Needs {
    /// Those of what the link points at.
    async fn of(performer: &Performer, cell: &Cell) -> Self {
        let Some(placed) = &cell.state.placed else { return Self::default() };
        let list = performer.dependencies(&placed.target).await.unwrap_or_else(|Trouble { code, message, .. }| {
            tracing::warn!(%code, "what version {} depends on is not known: {message}", placed.target.version);
            Dependencies::default()
        });
        Self { of: Some(placed.clone()), list }
    }
}

/// What is asked about what runs.
struct Probing {
    placed: Placed,
    round: u64,
    /// None where there is nothing to ask.
    prober: Option<Prober>,
}

impl Probing {
    async fn end(self) {
        if let Some(prober) = self.prober {
            prober.end().await;
        }
    }
}

/// The next answer of a check; never without any.
async fn answer(probing: &mut Option<Probing>) -> Probe {
    match probing.as_mut().and_then(|probing| probing.prober.as_mut()) {
        Some(prober) => prober.next().await,
        None => pending().await,
    }
}

/// Completes when `work` does; never without any.
async fn done(work: &mut Option<Work<'static, ()>>) {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}

struct Task {
    context: Arc<Context>,
    name: CellName,
    home: CellHome,
    cell: Cell,
    /// The state as the file has it.
    saved: Vec<u8>,
    inbox: mpsc::Receiver<Message>,
    report: watch::Sender<CellReport>,
    performer: Performer,
    stagings: JoinSet<Result<Staged, Trouble>>,
    /// Which task stages which attempt, and how it is given up.
    cancels: HashMap<task::Id, (AttemptKey, CancellationToken)>,
    /// What should run is being brought up from what the node itself knows. Until then nothing else is done, but
    /// everything is taken in: nobody who tells this cell something waits for it.
    resuming: Option<Work<'static, ()>>,
    probing: Option<Probing>,
    patrol: Patrol,
    /// What it depends on as the link points now.
    needs: Needs,
    others: Watch,
    /// How much of what was announced for it was taken in and not told yet.
    taken: usize,
    /// Who waits for the cell to have nothing left to do.
    settled: Vec<oneshot::Sender<()>>,
    stop: CancellationToken,
}

impl Task {
    async fn run(mut self) {
        while !self.stop.is_cancelled() && self.turn().await.is_some() {}
        for (_, cancel) in self.cancels.values() {
            cancel.cancel();
        }
        while self.stagings.join_next().await.is_some() {}
        if let Some(probing) = self.probing.take() {
            probing.end().await;
        }
        self.patrol.interrupt().await;
    }

    /// Takes in, writes down, acts or waits. None once a test has stopped the agent or nobody is left to speak to.
    async fn turn(&mut self) -> Option<()> {
        while let Ok(message) = self.inbox.try_recv() {
            self.take(message).await?;
        }
        self.look_around().await;
        if let Err(trouble) = self.save().await {
            return self.wait_for_disk(trouble).await;
        }
        self.tend().await;
        self.publish().await;
        match self.cell.next(self.context.clock.monotonic()).filter(|_| self.resuming.is_none()) {
            Some(action) => self.act(action).await,
            None => self.wait().await,
        }
    }

    /// Takes in how the other cells of the node stand, as far as it depends on them.
    async fn look_around(&mut self) {
        if self.needs.of != self.cell.state.placed {
            self.needs = Needs::of(&self.performer, &self.cell).await;
        }
        let switching = self.cell.in_line().and_then(|key| Some((key, self.performer.needs(key)?.clone())));
        let (name, needs) = (&self.name, &self.needs.list);
        let ties = match &switching {
            // Nobody has to be looked at.
            None if needs.is_empty() => Ties::default(),
            _ => self.others.look(|others| {
                let to_switch = switching.as_ref().map(|(_, needs)| needs);
                let is_up = self.cell.up().is_some();
                Ties {
                    resuming: hindrance(name, needs, others).filter(|_| self.cell.is_to_resume()),
                    switching: to_switch.and_then(|needs| hindrance(name, needs, others)),
                    lacks: lacks(needs, others).filter(|_| is_up),
                    circle: in_circle(name, to_switch.unwrap_or(needs), others),
                }
            }),
        };
        if ties == self.cell.mind.ties {
            return;
        }
        if let Some((key, _)) = switching {
            self.performer.tell(key, ties.switching.as_deref().unwrap_or("no other cell holds it up any more"));
        }
        self.observe(Seen::Tied(Box::new(ties)));
    }

    /// What others that depend on it go by.
    fn card(&self, observed: &Observed) -> Card {
        let presence = self.cell.presence(observed, self.resuming.is_some());
        let placed = self.cell.state.placed.as_ref().map(|placed| &placed.target);
        let needs = match self.cell.state.journal.iter().rev().find(|it| !matches!(it.step, Step::Ended { .. })) {
            Some(attempt) => match self.performer.needs(attempt.key) {
                Some(needs) => Some(needs.clone()),
                None if attempt.wish.action.target() == placed => Some(self.needs.list.clone()),
                None => None,
            },
            None => Some(self.needs.list.clone()),
        };
        Card { presence, needs, is_awaited: false }
    }

    /// Has what is up asked whether it is well, and nothing else.
    async fn tend(&mut self) {
        let up = self.cell.up().filter(|_| self.resuming.is_none());
        let asked = self.probing.as_ref().map(|probing| (&probing.placed, probing.round));
        if up == asked {
            return;
        }
        let up = up.map(|(placed, round)| (placed.clone(), round));
        if let Some(probing) = self.probing.take() {
            probing.end().await;
        }
        let Some((placed, round)) = up else { return };
        let prober = match self.performer.probe(&placed, round).await {
            Ok((prober, watching)) => {
                self.observe(watching);
                prober
            }
            // A version that is being watched fails for the same reason.
            Err(Trouble { code, message, .. }) => {
                tracing::warn!(cell = %self.name, %code, "what its checks are is not known: {message}");
                None
            }
        };
        self.probing = Some(Probing { placed, round, prober });
    }

    fn observe(&mut self, seen: Seen) {
        let now = self.context.now();
        if let Seen::Probed(probe) = &seen
            && let Some(attempt) = self.cell.watched()
            && let Some(news) = self.cell.mind.vitals.news(probe, now)
        {
            self.performer.tell(attempt.key, &news);
        }
        narrate(&self.name, &self.cell, &seen, now);
        self.cell.observe(seen, now, self.context.patience);
    }

    async fn take(&mut self, message: Message) -> Option<()> {
        match message {
            Message::Seen(seen) => self.observe(seen),
            Message::Told => self.taken += 1,
            Message::Settle(sender) => self.settled.push(sender),
            Message::Compare { sure } => {
                self.observe(Seen::Sure(sure));
                let (context, name, state) = (Arc::clone(&self.context), self.name.clone(), self.cell.state.clone());
                match apart(move || view(&context, &name, &state)).await {
                    Ok(View { linked, others, .. }) => {
                        self.observe(Seen::Host(linked));
                        self.observe(Seen::Others(others));
                    }
                    Err(error) if error.is_killed() => return None,
                    Err(error) => {
                        let Trouble { code, message, .. } = Trouble::from(error);
                        tracing::warn!(cell = %self.name, %code, "the host cannot be looked at: {message}");
                    }
                }
            }
        }
        Some(())
    }

    /// Writes the state down, if it has changed: every step is in the journal before it is taken.
    async fn save(&mut self) -> Result<(), Trouble> {
        let rendered = self.cell.state.render();
        if rendered == self.saved {
            return Ok(());
        }
        let (folder, bytes) = (self.home.folder.clone(), rendered.clone());
        apart(move || CellState::save(&folder, &bytes)).await?;
        self.saved = rendered;
        Ok(())
    }

    /// Without a journal nothing may be done: what runs goes on running, and this is tried again.
    async fn wait_for_disk(&mut self, trouble: Trouble) -> Option<()> {
        if trouble.cure == Cure::Killed {
            return None;
        }
        tracing::error!(cell = %self.name, code = %trouble.code, "the state cannot be written: {}", trouble.message);
        self.cell.state.last_error = Some(trouble.fault(self.context.clock.now()));
        self.publish().await;
        self.settled.clear();
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.context.clock.sleep(self.context.patience.first) => {}
        }
        Some(())
    }

    async fn publish(&mut self) {
        let observed = match self.profile() {
            Some(profile) => profile.state(&self.name).await,
            None if self.cell.state.placed.is_some() => RunningState::Unknown.into(),
            None => RunningState::NotApplicable.into(),
        };
        self.context.board.put(&self.name, self.card(&observed), std::mem::take(&mut self.taken));
        let mut report = report(&self.cell, observed);
        self.patrol.tell(&self.cell, &mut report);
        let changed = self.report.send_if_modified(|known| {
            let changed = *known != report && drift::is_news(known, &report);
            *known = report;
            changed
        });
        if changed {
            self.context.changed.notify_one();
        }
    }

    /// What the cell is placed under.
    fn profile(&self) -> Option<Arc<dyn Profile>> {
        let placed = self.cell.state.placed.as_ref()?;
        self.context.profiles.get(&placed.profile).cloned()
    }

    async fn act(&mut self, action: Action) -> Option<()> {
        // Whatever is to be done comes before a look for drift.
        self.patrol.interrupt().await;
        let seen = match action {
            Action::Stage(key) => self.begin_staging(key).await,
            Action::Cancel(key) => self.cancel(key).await,
            Action::Look => self.performer.look().await,
            Action::Resume => {
                self.resuming = resume(&self.context, &self.name, &self.cell);
                vec![Seen::Resuming]
            }
            Action::ClearOthers => match &self.cell.state.placed {
                Some(placed) => vec![Seen::OthersCleared(self.performer.clear_others(&placed.profile).await)],
                None => vec![Seen::OthersCleared(Ok(()))],
            },
            Action::Restart => vec![Seen::Restarted(self.performer.restart(&self.cell.state).await)],
            Action::Do(deed, key) => match self.cell.attempt(key) {
                Some(attempt) => vec![self.performer.perform(&self.cell, attempt, deed).await],
                None => Vec::new(),
            },
        };
        // A newer trigger that came meanwhile decides what the result means.
        while let Ok(message) = self.inbox.try_recv() {
            self.take(message).await?;
        }
        for seen in seen {
            if let Seen::StepFailed { trouble, .. }
            | Seen::StagingFailed { trouble, .. }
            | Seen::OthersCleared(Err(trouble)) = &seen
                && trouble.cure == Cure::Killed
            {
                return None;
            }
            self.observe(seen);
        }
        Some(())
    }

    async fn begin_staging(&mut self, key: AttemptKey) -> Vec<Seen> {
        let Some((attempt, target)) = self.cell.attempt(key).and_then(|attempt| {
            let target = attempt.wish.action.target()?.clone();
            Some((attempt, target))
        }) else {
            return Vec::new();
        };
        let log = match self.performer.log(attempt).await {
            Ok(log) => log,
            Err(trouble) => return vec![Seen::StagingFailed { key, trouble }],
        };
        let (context, cell, home) = (Arc::clone(&self.context), self.name.clone(), self.home.clone());
        let stands = self.cell.state.placed.as_ref().filter(|_| self.cell.state.standing == Standing::Deployed);
        let waits = self.cell.mind.waits.get(&key).filter(|wait| wait.fault.code == Code::HookWaits);
        let staging = Staging {
            context,
            cell,
            home,
            target,
            log,
            at: key.at,
            reason: Reason::of(attempt),
            from: stands.cloned(),
            waits_since: waits.map(|wait| wait.fault.at),
            is_prepared: self.performer.is_prepared(key),
            may_wait: !attempt.wish.options.override_windows && attempt.repairs.is_none(),
        };
        let cancel = CancellationToken::new();
        let cancelled = cancel.clone();
        let task = self.stagings.spawn(staging.run(cancelled));
        self.cancels.insert(task.id(), (key, cancel));
        vec![Seen::StagingBegan { key }]
    }

    async fn cancel(&mut self, key: AttemptKey) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some((_, cancel)) = self.cancels.values().find(|(other, _)| *other == key) {
            cancel.cancel();
            match self.stagings.join_next_with_id().await {
                Some(joined) => seen.extend(self.joined(joined)),
                None => break,
            }
        }
        seen.push(Seen::StagingGivenUp { key });
        seen
    }

    /// What a staging that ended has brought.
    fn joined(&mut self, joined: Result<(task::Id, Result<Staged, Trouble>), task::JoinError>) -> Option<Seen> {
        let (id, result) = joined.unwrap_or_else(|error| {
            tracing::error!(cell = %self.name, %error, "fetching a release ended unexpectedly");
            (error.id(), Err(Trouble::new(Code::Io, error.to_string(), Cure::Time)))
        });
        let (key, _) = self.cancels.remove(&id)?;
        Some(match result {
            Ok(Staged { manifest, effort, hooks, overlaps }) => {
                let profile = manifest.profile.name().to_owned();
                self.performer.remember(key, manifest);
                let state = &self.cell.state;
                let from = state.placed.clone().filter(|_| state.standing == Standing::Deployed).map(Box::new);
                Seen::Staged { key, profile, effort, from, hooks, overlaps }
            }
            Err(trouble) => {
                if !self.cell.knows(key, &trouble) {
                    self.performer.note(key, &trouble);
                }
                Seen::StagingFailed { key, trouble }
            }
        })
    }

    async fn wait(&mut self) -> Option<()> {
        if self.cell.mind.staging.is_empty() && self.resuming.is_none() {
            for sender in self.settled.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = sender.send(());
            }
        }
        let clock = Arc::clone(&self.context.clock);
        let now = clock.monotonic();
        let wakes = self.cell.wakes_at().filter(|_| self.resuming.is_none()).map(|at| at.saturating_sub(now));
        let subject = drift::subject(&self.cell).filter(|_| self.resuming.is_none());
        let depends = !self.needs.list.is_empty() || self.cell.in_line().is_some();
        let (profile, name) = (self.profile(), self.name.clone());
        let changed = profile.as_ref().map_or_else(|| Box::pin(pending()) as Work<'_, ()>, |it| it.changed(&name));
        let seen = tokio::select! {
            message = self.inbox.recv() => return self.take(message?).await,
            Some(joined) = self.stagings.join_next_with_id() => self.joined(joined),
            () = done(&mut self.resuming) => {
                self.resuming = None;
                None
            }
            () = self.patrol.turn(subject) => None,
            probe = answer(&mut self.probing) => Some(Seen::Probed(probe)),
            () = changed => Some(Seen::Changed),
            () = self.others.changed(), if depends => None,
            () = clock.sleep(wakes.unwrap_or_default()), if wakes.is_some() => None,
            () = self.stop.cancelled() => None,
        };
        if let Some(Seen::StagingFailed { trouble: Trouble { cure: Cure::Killed, .. }, .. }) = seen {
            return None;
        }
        seen.into_iter().for_each(|seen| self.observe(seen));
        Some(())
    }
}
