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

use super::MARK;
use super::definition::{ProcessDef, SignalName};
use super::error::SupervisorError;
use super::home::Former;
use super::output::Output;
use super::proc::Stat;
use super::reaper::{Ended, wait_for_stranger};
use super::restart::{Count, Next};
use super::service::Shared;
use super::spawn::{Launch, Record, launch};
use super::state::{End, Exit, ProcessState, ProcessStatus};
use super::tree::Tree;

/// How often it is looked for what is left of a tree: at first, and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// How long after SIGKILL those who wait are told that it was in vain.
const VAIN_AFTER: Duration = Duration::from_secs(10);

/// How long a process's last words may take to reach its log before it is said to have ended: a disk that hangs must
/// not keep a process from being started again.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

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
}

/// How a process comes into the care of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// It is to run if it starts with its service, whatever it did before.
    Fresh,
    /// What the supervisor before did is gone on with.
    Resume,
    /// It is to end.
    End,
}

enum Phase {
    Rest(ProcessState),
    Starting { since: DateTime<Utc> },
    Running { stat: Stat, ended: Ended, since: DateTime<Utc>, began: Duration },
    Ending(Ending),
    Backoff { since: DateTime<Utc>, until: DateTime<Utc>, wake: Duration, end: End },
}

/// A tree that is to be gone.
struct Ending {
    /// The process itself; None if it was gone before this supervisor came.
    stat: Option<Stat>,
    /// Its end, while that is still to come.
    ended: Option<Ended>,
    exit: Option<Exit>,
    since: DateTime<Utc>,
    killed_from: DateTime<Utc>,
    kill_at: Duration,
    was_killed: bool,
    vain_told: bool,
    /// When to look next for what is left, and how long to wait then.
    look_at: Duration,
    pause: Duration,
    then: Then,
}

/// What comes once the tree is gone.
enum Then {
    Rest,
    Start,
    /// It was under way to be started before: its restarts go on being counted.
    StartAgain,
    /// What its restart policy says of this end.
    Judge {
        end: End,
        ran_for: Duration,
    },
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
}

impl Keeper {
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
        // Without a group of its own it is found by its marks.
        let cgroup = shared.cgroup.as_ref().and_then(|cgroup| cgroup.child(name).ok());
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
        })
    }

    /// Finds out what there is of the process, and takes it from there.
    pub(super) fn begin(&mut self, begin: Begin, former: Option<Former>) {
        if let Some(former) = &former {
            self.count = Count { total: former.restarts, in_a_row: former.restarts_in_a_row };
            self.last_end.clone_from(&former.status.last_end);
            self.started_by = former.def.clone();
        }
        let was = former.as_ref().map(|former| &former.status.state);
        let to_run = match begin {
            Begin::Fresh => self.def.autostart,
            Begin::Resume => was.map_or(self.def.autostart, |was| !was.is_at_rest() && !was.is_stopping()),
            Begin::End => false,
        };
        let live = self.record.read().filter(Stat::lives);
        if let Some((stat, ended)) = live.and_then(|stat| Some((stat, wait_for_stranger(&stat)?))) {
            let since = match was {
                Some(ProcessState::Running { pid, since, .. }) if *pid == stat.pid => *since,
                _ => self.shared.clock.now(),
            };
            self.phase = Phase::Running { stat, ended, since, began: self.shared.clock.monotonic() };
            if !to_run {
                self.end(false, Then::Rest);
            } else if !self.def.starts_like(&self.started_by) {
                self.end(false, Then::Start);
            } else if begin == Begin::Fresh {
                self.count = Count::default();
            }
            return;
        }
        let then = match (begin, was) {
            // Nothing was left of it before it was said to be at rest.
            (Begin::Resume, Some(was)) if was.is_at_rest() => return self.phase = Phase::Rest(was.clone()),
            // It ended unseen.
            (Begin::Resume, Some(ProcessState::Running { since, .. })) => {
                let ran_for = (self.shared.clock.now() - *since).to_std().unwrap_or_default();
                Then::Judge { end: End::Exited(Exit::Unknown), ran_for }
            }
            (Begin::Resume, Some(_)) if to_run => Then::StartAgain,
            _ if to_run => Then::Start,
            _ => Then::Rest,
        };
        if self.tree.members(None).is_empty() {
            self.after_end(None, then);
        } else {
            self.clear_away(None, None, then);
        }
    }

    /// Takes commands and waits for what comes, until nobody is left to give commands. What runs then goes on running.
    pub(super) async fn run(mut self) {
        self.tell();
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
                Phase::Running { ended, .. } => Happened::Ended(ended.await),
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
                if let Phase::Running { .. } = self.phase {
                    self.starters.push(reply);
                    self.end(false, Then::Start);
                } else {
                    self.told_to_start(reply);
                }
            }
            Command::Signal(signal, reply) => answer(reply, self.signal(signal)),
            Command::Define(def, reply) => {
                self.def = *def;
                // It may wait for other processes from now on.
                answer(reply, Ok(()));
            }
        }
    }

    fn told_to_start(&mut self, reply: Reply) {
        match &mut self.phase {
            Phase::Running { .. } => return answer(reply, Ok(())),
            Phase::Starting { .. } => {}
            Phase::Ending(ending) => {
                ending.then = Then::Start;
                overrule(&self.name, &mut self.stoppers, "start");
            }
            Phase::Rest(_) | Phase::Backoff { .. } => self.begin_start(),
        }
        self.starters.push(reply);
    }

    fn told_to_stop(&mut self, reply: Reply, at_once: bool) {
        overrule(&self.name, &mut self.starters, "stop");
        match &mut self.phase {
            Phase::Rest(ProcessState::Stopped { .. }) => return answer(reply, Ok(())),
            Phase::Rest(_) | Phase::Starting { .. } | Phase::Backoff { .. } => {
                self.rest(None);
                return answer(reply, Ok(()));
            }
            Phase::Ending(ending) => {
                ending.then = Then::Rest;
                if at_once {
                    (ending.kill_at, ending.look_at) = (Duration::ZERO, Duration::ZERO);
                }
            }
            Phase::Running { .. } => self.end(at_once, Then::Rest),
        }
        self.stoppers.push(reply);
    }

    fn signal(&self, signal: SignalName) -> Result<(), SupervisorError> {
        let not_running = || SupervisorError::NotRunning { process: self.name.clone() };
        let Phase::Running { stat, .. } = &self.phase else { return Err(not_running()) };
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
        let spawned = self.shared.reaper.start(|| {
            // A description of its own, because a program expects its output to block.
            let output = std::fs::File::options().read(true).write(true).open(self.shared.home.pipe_path(&self.name));
            let output = output.map_err(|error| format!("opening its output: {error}"))?;
            let door = self.tree.cgroup.as_ref().map(|cgroup| cgroup.door()).transpose();
            let door = door.map_err(|error| format!("opening its control group: {error}"))?;
            launch(Launch { def: &self.def, mark: &self.mark, output: output.into(), record: &self.record, door })
        });
        match spawned {
            Ok((pid, ended)) => {
                let pid = pid.as_raw_nonzero().get();
                // Written by the process itself, so it is there even if the process has gone already.
                let stat = self.record.read().filter(|stat| stat.pid == pid);
                let stat = stat.unwrap_or(Stat { pid, parent: 0, session: pid, is_zombie: false, start: 0 });
                self.phase = Phase::Running { stat, ended, since: clock.now(), began: clock.monotonic() };
                self.started_by = self.def.clone();
                self.starters.drain(..).for_each(|reply| answer(reply, Ok(())));
            }
            Err(reason) => {
                let end = End::NotStarted(reason.clone());
                for reply in self.starters.drain(..) {
                    let process = self.name.clone();
                    answer(reply, Err(SupervisorError::NotStarted { process, reason: reason.clone() }));
                }
                self.judge(end, Duration::ZERO);
            }
        }
    }

    /// Asks what runs to end.
    fn end(&mut self, at_once: bool, then: Then) {
        let idle = Phase::Rest(ProcessState::Stopped { since: self.shared.clock.now(), exit: None });
        let Phase::Running { stat, ended, .. } = std::mem::replace(&mut self.phase, idle) else { return };
        let now = self.shared.clock.monotonic();
        // The newest definition says how to stop it, whatever it was started by.
        let stop = self.def.stop;
        let kill_at = if at_once { now } else { now + stop.timeout() };
        self.phase = self.ending(Some(stat), Some(ended), None, kill_at, then);
        if at_once {
            return self.kill_tree();
        }
        let group = self.tree.members(Some(stat)).into_iter().filter(|member| member.session == stat.pid);
        for member in group {
            if let Err(error) = member.signal(stop.signal.into()) {
                tracing::warn!(process = %self.name, pid = member.pid, %error, "it cannot be asked to end");
            }
        }
    }

    /// Kills what is left of a tree whose process has ended.
    fn clear_away(&mut self, stat: Option<Stat>, exit: Option<Exit>, then: Then) {
        self.phase = self.ending(stat, None, exit, self.shared.clock.monotonic(), then);
        self.kill_tree();
    }

    fn ending(
        &self,
        stat: Option<Stat>,
        ended: Option<Ended>,
        exit: Option<Exit>,
        kill_at: Duration,
        then: Then,
    ) -> Phase {
        let clock = &self.shared.clock;
        let since = clock.now();
        let left = kill_at.saturating_sub(clock.monotonic());
        Phase::Ending(Ending {
            stat,
            ended,
            exit,
            since,
            killed_from: since + TimeDelta::from_std(left).unwrap_or_default(),
            kill_at,
            was_killed: false,
            vain_told: false,
            look_at: kill_at,
            pause: LOOK_AGAIN.0,
            then,
        })
    }

    fn kill_tree(&mut self) {
        let now = self.shared.clock.monotonic();
        let Phase::Ending(ending) = &mut self.phase else { return };
        let members = self.tree.members(ending.stat);
        if let Err(error) = self.tree.kill(&members) {
            tracing::warn!(process = %self.name, %error, "something of it cannot be killed");
        }
        ending.was_killed = true;
        ending.look_at = now + ending.pause;
        ending.pause = (ending.pause * 2).min(LOOK_AGAIN.1);
        if now.saturating_sub(ending.kill_at) > VAIN_AFTER && !ending.vain_told {
            ending.vain_told = true;
            let pids: Vec<i32> = members.iter().map(|member| member.pid).collect();
            tracing::error!(process = %self.name, ?pids, "it was killed and still runs");
            for reply in self.stoppers.drain(..).chain(self.starters.drain(..)) {
                let process = self.name.clone();
                answer(reply, Err(SupervisorError::Unkillable { process, pids: pids.clone() }));
            }
        }
    }

    /// The process itself has ended.
    async fn ended(&mut self, exit: Exit) {
        // A disk that hangs keeps its last words; everything else goes on.
        tokio::select! {
            () = self.output.drained() => {}
            () = self.shared.clock.sleep(LAST_WORDS_WITHIN) => {}
        }
        match &mut self.phase {
            Phase::Running { stat, began, .. } => {
                let (stat, ran_for) = (*stat, self.shared.clock.monotonic().saturating_sub(*began));
                let then = Then::Judge { end: End::Exited(exit), ran_for };
                // The usual case is told without looking at every process of the machine.
                let is_alone = self.tree.cgroup.is_none() && self.shared.reaper.has_orphans() == Some(false);
                if is_alone || self.tree.members(Some(stat)).is_empty() {
                    self.after_end(Some(exit), then);
                } else {
                    self.clear_away(Some(stat), Some(exit), then);
                }
            }
            Phase::Ending(ending) => {
                ending.ended = None;
                ending.exit = Some(exit);
                ending.look_at = Duration::ZERO;
                ending.pause = LOOK_AGAIN.0;
                self.look_for_rest();
            }
            _ => {}
        }
    }

    /// A time has come.
    fn due(&mut self) {
        let now = self.shared.clock.monotonic();
        match &self.phase {
            Phase::Backoff { .. } => self.phase = Phase::Starting { since: self.shared.clock.now() },
            Phase::Ending(ending) if ending.ended.is_none() => self.look_for_rest(),
            Phase::Ending(ending) if ending.kill_at <= now => self.kill_tree(),
            _ => {}
        }
    }

    /// The process itself is gone: what it started gets the rest of its time, and is killed then.
    fn look_for_rest(&mut self) {
        let now = self.shared.clock.monotonic();
        let Phase::Ending(ending) = &mut self.phase else { return };
        if self.tree.members(ending.stat).is_empty() {
            let (exit, then) = (ending.exit, std::mem::replace(&mut ending.then, Then::Rest));
            return self.after_end(exit, then);
        }
        if ending.kill_at <= now {
            return self.kill_tree();
        }
        ending.look_at = ending.kill_at.min(now + ending.pause);
        ending.pause = (ending.pause * 2).min(LOOK_AGAIN.1);
    }

    /// Nothing of it is left.
    fn after_end(&mut self, exit: Option<Exit>, then: Then) {
        self.stoppers.drain(..).for_each(|reply| answer(reply, Ok(())));
        match then {
            Then::Rest => self.rest(exit),
            Then::Start => self.begin_start(),
            Then::StartAgain => self.phase = Phase::Starting { since: self.shared.clock.now() },
            Then::Judge { end, ran_for } => self.judge(end, ran_for),
        }
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
        self.shared.tell(&self.name, status, &self.started_by, self.count);
    }

    fn state(&self) -> ProcessState {
        let restarts = self.count.total;
        match &self.phase {
            Phase::Rest(state) => state.clone(),
            Phase::Starting { since } => ProcessState::Starting { since: *since },
            Phase::Running { stat, since, .. } => ProcessState::Running { pid: stat.pid, since: *since, restarts },
            Phase::Ending(ending) => {
                let pid = ending.stat.map_or(0, |stat| stat.pid);
                ProcessState::Stopping { pid, since: ending.since, kill_at: ending.killed_from }
            }
            Phase::Backoff { since, until, end, .. } => {
                ProcessState::Backoff { since: *since, until: *until, end: end.clone(), restarts }
            }
        }
    }
}

fn answer(reply: Reply, result: Result<(), SupervisorError>) {
    // Whoever asked may have stopped waiting.
    let _ = reply.send(result);
}

fn overrule(process: &str, replies: &mut Vec<Reply>, instead: &'static str) {
    for reply in replies.drain(..) {
        answer(reply, Err(SupervisorError::Overruled { process: process.to_owned(), instead }));
    }
}

/// A random number from 0 to 1. The hasher's seed is random, and nothing here needs to be secret.
fn roll() -> f64 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
