//! One process, from its first start to its removal: a task that owns it, takes commands, and waits for what comes.
//!
//! ```text
//! Rest ──start──▶ Starting ──what it comes after is up──▶ Running ──ends by itself──▶ Ending ──▶ Backoff ──▶ Running
//!   ▲                                                       │                           │
//!   └───────────────── the whole tree is gone ── Ending ◀──stop                         └──▶ Rest
//! ```
//! Every command can come in every phase. One that wants the opposite of what is under way overrules it, and whoever
//! asked for that is told so; no command is ever dropped.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{mpsc, oneshot};

mod ending;

use self::ending::Ending;
use super::MARK;
use super::begin::{Begin, Plan, plan};
use super::definition::{ProcessDef, SignalName};
use super::error::SupervisorError;
use super::home::{Former, at};
use super::output::Output;
use super::proc::Stat;
use super::reaper::{Ended, wait_for_stranger};
use super::restart::{Count, Next, Then};
use super::service::Shared;
use super::spawn::{Handing, Launch, Record, in_full, launch};
use super::state::{End, Exit, ProcessState, ProcessStatus};
use super::tree::Tree;

/// Who waits for a command.
pub(super) type Reply = oneshot::Sender<Result<(), SupervisorError>>;

/// What a process is told.
#[derive(Debug)]
pub(super) enum Command {
    Start(Reply),
    Stop(Reply),
    Restart(Reply),
    Kill(Reply),
    Signal(SignalName, Reply),
    /// It is to be run by this definition from its next start on.
    Define(Box<ProcessDef>, Reply),
    /// The same, and what runs counts as started by it, just now.
    Redefine(Box<ProcessDef>, Reply),
}

enum Phase {
    Rest(ProcessState),
    Starting { since: DateTime<Utc> },
    Running(Running),
    Ending(Ending),
    Backoff { since: DateTime<Utc>, until: DateTime<Utc>, wake: Duration, end: End },
}

/// A process that runs.
struct Running {
    stat: Stat,
    ended: Ended,
    since: DateTime<Utc>,
    /// Since when it has been watched here, and how long it had run by then.
    began: Duration,
    ran_before: Duration,
    /// Whether it was started here. What a child leaves behind becomes our own; what another one leaves does not.
    is_child: bool,
}

/// What a keeper waits for.
enum Happened {
    Told(Option<Command>),
    Up,
    Ended(Exit),
    Due,
}

/// Takes care of one process.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    name: String,
    def: ProcessDef,
    /// What the process that runs was started by.
    started_by: ProcessDef,
    commands: mpsc::Receiver<Command>,
    record: Record,
    output: Output,
    tree: Tree,
    mark: String,
    phase: Phase,
    count: Count,
    last_end: Option<End>,
    /// Who waits for it to run, and who for it to be gone.
    starters: Vec<Reply>,
    stoppers: Vec<Reply>,
    /// Answers that are given once what they speak of is written down.
    answers: Vec<(Reply, Result<(), SupervisorError>)>,
    /// What an earlier supervisor left running.
    left: Option<(Stat, Ended)>,
}

impl Keeper {
    /// A keeper of a process at rest. Nothing is done yet, but for what may fail.
    ///
    /// # Errors
    /// It cannot be known whether the process runs, or nothing could be written down of it.
    pub(super) fn new(
        shared: Arc<Shared>,
        name: &str,
        def: ProcessDef,
        commands: mpsc::Receiver<Command>,
        output: Output,
        pipe: (u64, u64),
    ) -> Result<Self, SupervisorError> {
        let mark = shared.home.mark(&shared.service, name);
        let record = shared.home.record(name)?;
        let path = shared.home.record_path(name);
        let left = match record.read().map_err(at("reading", &path))? {
            Some(stat) if stat.lives().map_err(at("looking for the process of", &path))? => {
                let ended = wait_for_stranger(&stat).map_err(at("watching the process of", &path))?;
                ended.map(|ended| (stat, ended))
            }
            _ => None,
        };
        let cgroup = shared.cgroup.as_ref().map(|cgroup| cgroup.child(name)).transpose();
        let cgroup = cgroup.unwrap_or_else(|error| {
            tracing::warn!(process = name, %error, "it gets no control group; what it starts is found by its marks");
            None
        });
        let tree = Tree { mark: format!("{MARK}={mark}").into_bytes(), output: pipe, cgroup };
        let since = shared.clock.now();
        Ok(Self {
            shared,
            name: name.to_owned(),
            started_by: def.clone(),
            def,
            commands,
            record,
            output,
            tree,
            mark,
            phase: Phase::Rest(ProcessState::Stopped { since, exit: None }),
            count: Count::default(),
            last_end: None,
            starters: Vec::new(),
            stoppers: Vec::new(),
            answers: Vec::new(),
            left,
        })
    }

    /// Takes the process from where it was left.
    pub(super) fn begin(&mut self, begin: Begin, former: Option<Former>) {
        let (now, began) = (self.shared.clock.now(), self.shared.clock.monotonic());
        let left = self.left.take();
        let plan = plan(begin, &self.def, former.as_ref(), left.is_some(), now);
        let since = match former.as_ref().map(|former| &former.status.state) {
            Some(ProcessState::Running { pid, since, .. }) if left.as_ref().is_some_and(|left| left.0.pid == *pid) => {
                *since
            }
            _ => now,
        };
        if let Some(former) = former {
            if begin != Begin::Fresh {
                self.count = Count { total: former.restarts, in_a_row: former.restarts_in_a_row };
            }
            self.last_end = former.status.last_end;
            self.started_by = former.def;
        }
        self.shared.reaper.runs(&self.tree.mark);
        if let Some((stat, ended)) = left {
            let ran_before = (now - since).to_std().unwrap_or_default();
            self.phase = Phase::Running(Running { stat, ended, since, began, ran_before, is_child: false });
        }
        match plan {
            Plan::Keep => {}
            Plan::Stop(then) => self.end(false, then),
            Plan::Rest(state) => {
                self.shared.reaper.is_gone(&self.tree.mark);
                self.phase = Phase::Rest(state);
            }
            Plan::Clear(then) => match self.members(None) {
                Ok(members) if members.is_empty() => self.after_end(None, then),
                _ => self.clear_away(None, None, then),
            },
        }
        self.tell();
    }

    /// What runs of the process and of all that it started.
    fn members(&self, main: Option<Stat>) -> std::io::Result<Vec<Stat>> {
        self.tree.members(main, &[], &self.shared.reaper)
    }

    /// Takes commands and waits for what comes, until nobody is left to give commands. What runs then goes on running.
    pub(super) async fn run(mut self) {
        loop {
            let happened = self.wait().await;
            match happened {
                Happened::Told(Some(command)) => self.take(command),
                Happened::Told(None) => break,
                Happened::Up => self.launch(),
                Happened::Ended(exit) => self.ended(exit).await,
                Happened::Due => self.due(),
            }
            self.tell();
            for (reply, result) in self.answers.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(result);
            }
        }
    }

    async fn wait(&mut self) -> Happened {
        let Self { shared, def, commands, phase, .. } = self;
        let clock = &shared.clock;
        let until = |at: Duration| clock.sleep(at.saturating_sub(clock.monotonic()));
        let happens = async {
            match phase {
                Phase::Rest(_) => std::future::pending().await,
                Phase::Starting { .. } => {
                    shared.all_up(&def.after).await;
                    Happened::Up
                }
                Phase::Running(running) => Happened::Ended((&mut running.ended).await),
                Phase::Backoff { wake, .. } => {
                    until(*wake).await;
                    Happened::Due
                }
                Phase::Ending(Ending { ended: Some(ended), kill_at, was_killed, look_at, .. }) => {
                    let due = if *was_killed { *look_at } else { *kill_at };
                    tokio::select! {
                        exit = ended => Happened::Ended(exit),
                        () = until(due) => Happened::Due,
                    }
                }
                Phase::Ending(Ending { look_at, .. }) => {
                    until(*look_at).await;
                    Happened::Due
                }
            }
        };
        tokio::select! {
            // So that a process that ends again and again cannot keep commands from being heard.
            biased;
            command = commands.recv() => Happened::Told(command),
            happened = happens => happened,
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Start(reply) => self.told_to_start(reply),
            Command::Stop(reply) => self.told_to_stop(reply, false),
            Command::Kill(reply) => self.told_to_stop(reply, true),
            Command::Restart(reply) => {
                if let Phase::Running(_) = self.phase {
                    self.starters.push(reply);
                    self.end(false, Then::Start);
                } else {
                    self.told_to_start(reply);
                }
            }
            Command::Signal(signal, reply) => {
                let result = self.signal(signal);
                self.answers.push((reply, result));
            }
            Command::Define(def, reply) => {
                self.def = *def;
                self.answers.push((reply, Ok(())));
            }
            Command::Redefine(def, reply) => {
                self.started_by = (*def).clone();
                self.def = *def;
                if let Phase::Running(_) = self.phase {
                    self.count = Count::default();
                    self.last_end = None;
                }
                self.answers.push((reply, Ok(())));
            }
        }
    }

    fn told_to_start(&mut self, reply: Reply) {
        match &mut self.phase {
            Phase::Running(_) => return self.answers.push((reply, Ok(()))),
            Phase::Starting { .. } => {}
            Phase::Ending(ending) => {
                ending.then = Then::Start;
                self.overrule_stoppers();
            }
            Phase::Rest(_) | Phase::Backoff { .. } => self.begin_start(),
        }
        self.starters.push(reply);
    }

    fn told_to_stop(&mut self, reply: Reply, at_once: bool) {
        let overruled = || SupervisorError::Overruled { process: self.name.clone(), instead: "stop" };
        self.answers.extend(self.starters.drain(..).map(|starter| (starter, Err(overruled()))));
        match &mut self.phase {
            Phase::Rest(ProcessState::Stopped { .. }) => return self.answers.push((reply, Ok(()))),
            Phase::Rest(_) | Phase::Starting { .. } | Phase::Backoff { .. } => {
                self.rest(None);
                return self.answers.push((reply, Ok(())));
            }
            Phase::Ending(ending) => {
                ending.then = Then::Rest;
                if at_once {
                    ending.hurry(self.shared.clock.monotonic());
                }
            }
            Phase::Running(_) => self.end(at_once, Then::Rest),
        }
        self.stoppers.push(reply);
    }

    fn overrule_stoppers(&mut self) {
        let overruled = || SupervisorError::Overruled { process: self.name.clone(), instead: "start" };
        self.answers.extend(self.stoppers.drain(..).map(|stopper| (stopper, Err(overruled()))));
    }

    fn signal(&self, signal: SignalName) -> Result<(), SupervisorError> {
        let not_running = || SupervisorError::NotRunning { process: self.name.clone() };
        let Phase::Running(Running { stat, .. }) = &self.phase else { return Err(not_running()) };
        stat.signal(signal.into()).map_err(|source| {
            let path = format!("/proc/{}", stat.pid).into();
            SupervisorError::Disk { doing: "sending a signal to", path, source }
        })
    }

    fn begin_start(&mut self) {
        self.count = Count::default();
        self.last_end = None;
        self.phase = Phase::Starting { since: self.shared.clock.now() };
    }

    /// Starts the program; everything that it comes after is up.
    fn launch(&mut self) {
        let clock = &self.shared.clock;
        self.shared.reaper.runs(&self.tree.mark);
        let spawned = self.shared.reaper.start(|| {
            // A description of its own, because a program expects its output to block.
            let output = std::fs::File::options().read(true).write(true).open(self.shared.home.pipe_path(&self.name));
            let output = output.map_err(|error| format!("opening its output: {error}"))?;
            let door = self.tree.cgroup.as_ref().map(|cgroup| cgroup.door()).transpose();
            let door = door.map_err(|error| format!("opening its control group: {error}"))?;
            let handing = self.handing()?;
            let (def, mark, record, output) = (&self.def, &self.mark, &self.record, output.into());
            launch(Launch { def, mark, output, handing, record, door })
        });
        match spawned {
            Ok((pid, ended)) => {
                let pid = pid.as_raw_nonzero().get();
                // Written by the process itself before it became the program, and its number is its own until its
                // end is seen here.
                let written = self.record.read().ok().flatten().filter(|stat| stat.pid == pid);
                let stat = written.or_else(|| Stat::read(pid).ok().flatten());
                let stat = stat.unwrap_or(Stat { pid, parent: 0, session: pid, is_zombie: false, start: 0 });
                let (since, began) = (clock.now(), clock.monotonic());
                let running = Running { stat, ended, since, began, ran_before: Duration::ZERO, is_child: true };
                self.phase = Phase::Running(running);
                self.started_by = self.def.clone();
                self.answers.extend(self.starters.drain(..).map(|starter| (starter, Ok(()))));
            }
            Err(reason) => {
                self.shared.reaper.is_gone(&self.tree.mark);
                for reply in self.starters.drain(..) {
                    let (process, reason) = (self.name.clone(), reason.clone());
                    self.answers.push((reply, Err(SupervisorError::NotStarted { process, reason })));
                }
                self.judge(End::NotStarted(reason), Duration::ZERO);
            }
        }
    }

    /// Puts the sockets that it is given on their way.
    fn handing(&self) -> Result<Option<Handing<'_>>, String> {
        let sockets = &self.def.sockets;
        if sockets.is_empty() {
            return Ok(None);
        }
        let taker = self.shared.taker.as_deref();
        let taker = taker.ok_or_else(|| "this supervisor was given no program that takes sockets".to_owned())?;
        let listens = sockets.iter().map(|socket| &socket.listen);
        self.shared.sockets.hold(listens, || self.shared.home.running()).map_err(|error| in_full(&error))?;
        let from = self.shared.sockets.hand(sockets).map_err(|error| format!("passing its sockets on: {error}"))?;
        Ok(Some(Handing { taker, from }))
    }

    fn rest(&mut self, exit: Option<Exit>) {
        self.phase = Phase::Rest(ProcessState::Stopped { since: self.shared.clock.now(), exit });
    }

    /// It ended by itself, or could not be started.
    fn judge(&mut self, end: End, ran_for: Duration) {
        let clock = &self.shared.clock;
        let since = clock.now();
        self.last_end = Some(end.clone());
        let restarts = self.count.total;
        self.phase = match self.count.after(self.def.kind, &self.def.restart, &end, ran_for, roll()) {
            Next::Again(Duration::ZERO) => Phase::Starting { since },
            Next::Again(delay) => {
                let until = since + TimeDelta::from_std(delay).unwrap_or_default();
                Phase::Backoff { since, until, wake: clock.monotonic() + delay, end }
            }
            Next::Complete => Phase::Rest(ProcessState::Completed { since }),
            Next::Crashed => Phase::Rest(ProcessState::Crashed { since, end }),
            Next::Failed => Phase::Rest(ProcessState::Failed { since, end, restarts }),
        };
    }

    /// Tells everybody what it does now.
    fn tell(&self) {
        let status = ProcessStatus {
            kind: self.def.kind,
            state: self.state(),
            last_end: self.last_end.clone(),
            lost_log_bytes: self.output.lost().bytes,
        };
        let then = match &self.phase {
            Phase::Ending(ending) => Some(ending.then.clone()),
            _ => None,
        };
        let (def, Count { total: restarts, in_a_row: restarts_in_a_row }) = (self.started_by.clone(), self.count);
        self.shared.tell(&self.name, Former { def, status, restarts, restarts_in_a_row, then });
    }

    fn state(&self) -> ProcessState {
        let restarts = self.count.total;
        match &self.phase {
            Phase::Rest(state) => state.clone(),
            Phase::Starting { since } => ProcessState::Starting { since: *since },
            Phase::Running(Running { stat, since, .. }) => {
                ProcessState::Running { pid: stat.pid, since: *since, restarts }
            }
            Phase::Ending(ending) => ending.state(),
            Phase::Backoff { since, until, end, .. } => {
                // The one that it waits for is counted, and was not made yet.
                let restarts = restarts.saturating_sub(1);
                ProcessState::Backoff { since: *since, until: *until, end: end.clone(), restarts }
            }
        }
    }
}

/// A random number from 0 to 1. The hasher's seed is random, and nothing here needs to be secret.
fn roll() -> f64 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
