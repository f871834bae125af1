//! The end of a process and of everything that it started.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Keeper, Phase, Running};
use crate::supervise::error::SupervisorError;
use crate::supervise::proc::Stat;
use crate::supervise::reaper::Ended;
use crate::supervise::restart::Then;
use crate::supervise::state::{End, Exit, ProcessState};

/// How often it is looked for what is left of a tree: at first, and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// How long after SIGKILL those who wait are told that it was in vain.
const VAIN_AFTER: Duration = Duration::from_secs(10);

/// How long a process's last words may take to reach its log before it is said to have ended: a disk that hangs must
/// not keep a process from being started again.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// A tree that is to be gone.
pub(super) struct Ending {
    /// The process itself; None if it was gone before this supervisor came.
    stat: Option<Stat>,
    /// Its end, while that is still to come.
    pub(super) ended: Option<Ended>,
    exit: Option<Exit>,
    /// What was found of it the last time.
    known: Vec<Stat>,
    since: DateTime<Utc>,
    killed_from: DateTime<Utc>,
    pub(super) kill_at: Duration,
    pub(super) was_killed: bool,
    vain_told: bool,
    /// When to look next for what is left, and how long to wait then.
    pub(super) look_at: Duration,
    pause: Duration,
    pub(super) then: Then,
}

impl Keeper {
    /// Asks what runs to end.
    pub(super) fn end(&mut self, at_once: bool, then: Then) {
        let idle = Phase::Rest(ProcessState::Stopped { since: self.shared.clock.now(), exit: None });
        let Phase::Running(Running { stat, ended, .. }) = std::mem::replace(&mut self.phase, idle) else { return };
        let now = self.shared.clock.monotonic();
        // The newest definition says how to stop it, whatever it was started by.
        let stop = self.def.stop;
        let kill_at = if at_once { now } else { now + stop.timeout() };
        self.phase = self.ending(Some(stat), Some(ended), None, kill_at, then);
        if at_once {
            return self.kill_tree();
        }
        let members = self.members(Some(stat)).unwrap_or_else(|error| {
            tracing::warn!(process = %self.name, %error, "what it started cannot be seen, and is not asked to end");
            vec![stat]
        });
        for member in members.iter().filter(|member| member.session == stat.pid) {
            if let Err(error) = member.signal(stop.signal.into()) {
                tracing::warn!(process = %self.name, pid = member.pid, %error, "it cannot be asked to end");
            }
        }
        if let Phase::Ending(ending) = &mut self.phase {
            ending.known = members;
        }
    }

    /// Kills what is left of a tree whose process has ended.
    pub(super) fn clear_away(&mut self, stat: Option<Stat>, exit: Option<Exit>, then: Then) {
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
            known: Vec::new(),
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
        let members = self.tree.members(ending.stat, &ending.known, &self.shared.reaper);
        let killed = members.as_ref().map_or_else(
            // The kernel may know what cannot be seen from here.
            |_| self.tree.kill(ending.stat.as_slice()),
            |members| self.tree.kill(members),
        );
        if let Some(error) = members.as_ref().err().or(killed.as_ref().err())
            && !ending.was_killed
        {
            tracing::warn!(process = %self.name, %error, "something of it cannot be killed");
        }
        if let Ok(members) = &members {
            ending.known.clone_from(members);
        }
        ending.was_killed = true;
        ending.look_at = now + ending.pause;
        ending.pause = (ending.pause * 2).min(LOOK_AGAIN.1);
        if now.saturating_sub(ending.kill_at) > VAIN_AFTER {
            let pids: Vec<i32> = members.iter().flatten().map(|member| member.pid).collect();
            if !std::mem::replace(&mut ending.vain_told, true) {
                tracing::error!(process = %self.name, ?pids, "it was killed and still runs");
            }
            let unkillable = || SupervisorError::Unkillable { process: self.name.clone(), pids: pids.clone() };
            let waiting = self.stoppers.drain(..).chain(self.starters.drain(..));
            self.answers.extend(waiting.map(|reply| (reply, Err(unkillable()))));
        }
    }

    /// The process itself has ended.
    pub(super) async fn ended(&mut self, exit: Exit) {
        // A disk that hangs keeps its last words; everything else goes on.
        tokio::select! {
            () = self.output.drained() => {}
            () = self.shared.clock.sleep(LAST_WORDS_WITHIN) => {}
        }
        match &mut self.phase {
            Phase::Running(Running { stat, began, ran_before, is_child, .. }) => {
                let ran_for = *ran_before + self.shared.clock.monotonic().saturating_sub(*began);
                let (stat, is_child) = (*stat, *is_child);
                let then = Then::Judge { end: End::Exited(exit), ran_for };
                // The usual case is told without looking at every process of the machine: what a child leaves behind
                // is an orphan of our own.
                let is_alone =
                    is_child && self.tree.cgroup.is_none() && self.shared.reaper.has_orphans() == Some(false);
                if is_alone || self.members(Some(stat)).is_ok_and(|members| members.is_empty()) {
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
    pub(super) fn due(&mut self) {
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
        match self.tree.members(ending.stat, &ending.known, &self.shared.reaper) {
            Ok(members) if members.is_empty() => {
                let (exit, then) = (ending.exit, std::mem::replace(&mut ending.then, Then::Rest));
                return self.after_end(exit, then);
            }
            Ok(members) => ending.known = members,
            // It is looked again.
            Err(_) => {}
        }
        if ending.kill_at <= now {
            return self.kill_tree();
        }
        ending.look_at = ending.kill_at.min(now + ending.pause);
        ending.pause = (ending.pause * 2).min(LOOK_AGAIN.1);
    }

    /// Nothing of it is left.
    pub(super) fn after_end(&mut self, exit: Option<Exit>, then: Then) {
        self.shared.reaper.is_gone(&self.tree.mark);
        self.answers.extend(self.stoppers.drain(..).map(|stopper| (stopper, Ok(()))));
        match then {
            Then::Rest => self.rest(exit),
            Then::Start => self.begin_start(),
            Then::StartAgain => self.phase = Phase::Starting { since: self.shared.clock.now() },
            Then::Judge { end, ran_for } => self.judge(end, ran_for),
        }
    }
}

impl Ending {
    /// It is killed without further ado.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.kill_at = self.kill_at.min(now);
        self.look_at = self.look_at.min(now);
    }

    pub(super) fn state(&self) -> ProcessState {
        let pid = self.stat.map_or(0, |stat| stat.pid);
        ProcessState::Stopping { pid, since: self.since, kill_at: self.killed_from }
    }
}
