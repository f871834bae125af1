//! What follows from how a step went.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    Aftermath, Attempt, AttemptKey, BETWEEN_CHECKS, BETWEEN_TURNS, Cell, CellState, Code, Cure, Effort, Ending, Failed,
    Fault, MOST_FAILED, MOST_ORDERED, MOST_RESUMES, Now, Patience, Placed, Standing, Step, Trouble, Verdict, Wait,
    Watch, placed_by,
};
use crate::model::health::Health;
use crate::model::hook::HookEvent;

impl Cell {
    pub(super) fn staged(&mut self, key: AttemptKey, profile: String, effort: Effort, now: Now) {
        self.mind.staging.remove(&key);
        self.mind.waits.remove(&key);
        let Some(attempt) = self.attempt_mut(key) else { return };
        if attempt.step != Step::Fetching {
            return;
        }
        attempt.step = Step::Staged;
        attempt.profile = Some(profile);
        attempt.effort = effort;
        // One that was switched to already is watched on until this one is due.
        let waits = |step: &Step| matches!(step, Step::Fetching | Step::Staged);
        self.supersede(|other| other.key.at < key.at && waits(&other.step), now);
    }

    /// From now on it is finished, whatever comes in the way.
    pub(super) fn due(&mut self, key: AttemptKey, now: Now) {
        self.mind.waits.remove(&key);
        if let Some(attempt) = self.attempt_mut(key).filter(|attempt| attempt.step == Step::Staged) {
            attempt.step = Step::Switching;
            self.mind.resume = false;
            self.supersede(|other| other.key.at < key.at, now);
        }
    }

    /// Whether what runs is to be protected from the attempt: it is good, and was not touched by the attempt yet.
    /// Nothing stands in the way of what makes a cell run at all, or run as it was told to run before.
    pub(in super::super) fn is_protected(&self, key: AttemptKey) -> bool {
        let Some(attempt) = self.attempt(key) else { return false };
        let others = self.open().filter(|other| other.key != key);
        let is_tried = others.into_iter().any(|other| matches!(other.step, Step::Activating | Step::Checking));
        let good = self.state.known_good.as_ref();
        let is_good = good.is_some() && (good == self.state.placed.as_ref() || is_tried);
        self.state.standing == Standing::Deployed && is_good && attempt.resumed == 0 && attempt.repairs.is_none()
    }

    /// Whether it is known already that the attempt waits for this.
    pub(in super::super) fn knows(&self, key: AttemptKey, trouble: &Trouble) -> bool {
        let wait = self.mind.waits.get(&key);
        wait.is_some_and(|wait| (wait.fault.code, &wait.fault.message) == (trouble.code, &trouble.message))
    }

    /// What is owed once is not owed anew by an agent that takes the attempt up again.
    pub(super) fn owe_hooks(
        &mut self,
        key: AttemptKey,
        from: Option<Placed>,
        hooks: BTreeSet<HookEvent>,
        overlaps: bool,
    ) {
        if let Some(attempt) = self.attempt_mut(key).filter(|attempt| attempt.hooks.is_none()) {
            attempt.overlaps = overlaps && from.is_some();
            attempt.from = from;
            attempt.hooks = Some(hooks);
        }
    }

    pub(super) fn hook_run(&mut self, key: AttemptKey, event: HookEvent, now: Now) {
        self.mind.waits.remove(&key);
        let Some(attempt) = self.attempt_mut(key) else { return };
        if let Some(hooks) = &mut attempt.hooks {
            hooks.remove(&event);
        }
        if event == HookEvent::AfterActivate {
            self.mind.watch = None;
        }
        self.look_again(key, now);
    }

    /// Notes what the link points at until it points at the attempt's release.
    pub(super) fn replace(&mut self, key: AttemptKey) {
        let placed = self.state.placed.clone().filter(|_| self.state.standing == Standing::Deployed);
        let CellState { journal, leaving, started_from, .. } = &mut self.state;
        let switching = |attempt: &&mut Attempt| attempt.key == key && attempt.step == Step::Switching;
        if let Some(attempt) = journal.iter_mut().find(switching) {
            attempt.replace(placed.clone(), leaving);
            *started_from = started_from.take().or(placed);
        }
    }

    /// Nothing that still runs beside what the link points at is to be told any more.
    pub(super) fn left(&mut self, key: AttemptKey, now: Now) {
        self.state.leaving = None;
        self.mind.waits.remove(&key);
        self.look_again(key, now);
    }

    /// The time that a version has to become good begins when nothing more is done to it.
    fn look_again(&mut self, key: AttemptKey, now: Now) {
        if self.attempt(key).is_some_and(|attempt| attempt.step == Step::Checking) {
            let told = self.watch(key).map_or(now.monotonic, |watch| watch.told);
            self.mind.watch = Some(Watch { told, ..Watch::begin(key, now) });
        }
    }

    pub(super) fn activated(&mut self, key: AttemptKey, goes_on: bool, now: Now) {
        self.forget(key);
        if let Some(attempt) = self.attempt_mut(key).filter(|attempt| attempt.step == Step::Activating) {
            attempt.step = Step::Checking;
            attempt.goes_on = goes_on;
            self.state.started_from.take_if(|_| !goes_on);
            self.mind.vitals.begin(now);
            self.state.leaving.take_if(|_| goes_on);
            self.mind.watch = Some(Watch::begin(key, now));
        }
    }

    pub(super) fn pending(&mut self, key: AttemptKey, missing: &str, deadline: Duration, now: Now) {
        if self.attempt(key).is_none_or(|attempt| attempt.step != Step::Checking) {
            return;
        }
        if let Some(trouble) = self.overdue(key, missing, deadline, now) {
            return self.failed(key, trouble.fault(now.wall), now);
        }
        let look_at = now.monotonic + BETWEEN_CHECKS;
        match self.mind.waits.get_mut(&key) {
            // For how long a hook has put this off counts on, however the version does meanwhile.
            Some(wait) if wait.fault.code == Code::HookWaits => wait.retry_at = look_at,
            _ => {
                self.mind.waits.remove(&key);
            }
        }
        let watch = self.watch(key).unwrap_or_else(|| Watch::begin(key, now));
        self.mind.watch = Some(Watch { look_at, ..watch });
    }

    /// What is wrong with a version that is not good yet, if its time is up.
    pub(in super::super) fn overdue(
        &self,
        key: AttemptKey,
        missing: &str,
        deadline: Duration,
        now: Now,
    ) -> Option<Trouble> {
        let watched = now.monotonic.saturating_sub(self.watch(key)?.since);
        let message = || format!("it is not healthy after {deadline:?}: {missing}");
        (watched >= deadline).then(|| Trouble::new(Code::Unhealthy, message(), Cure::OtherContent))
    }

    /// How long what went on as the attempt's version still has to do so before that is good, by the time since it was
    /// told of it.
    pub(in super::super) fn has_to_bear(&self, attempt: &Attempt, health: &Health, now: Duration) -> Option<Duration> {
        let told = self.watch(attempt.key).map_or(now, |watch| watch.told);
        let left = Duration::from_millis(health.min_healthy_ms).saturating_sub(now.saturating_sub(told));
        Some(left).filter(|left| attempt.goes_on && !left.is_zero())
    }

    /// Brings it up once more; not for ever, or a version that never stays would never fail.
    pub(super) fn not_started(&mut self, key: AttemptKey, now: Now) {
        self.forget(key);
        let Some(attempt) = self.attempt_mut(key).filter(|attempt| attempt.step == Step::Checking) else { return };
        attempt.resumed += 1;
        if attempt.resumed <= MOST_RESUMES {
            attempt.step = Step::Activating;
            return;
        }
        let message = format!("it was brought up {MOST_RESUMES} times, and something else runs each time");
        let trouble = Trouble::new(Code::ActivationFailed, message, Cure::OtherContent);
        self.failed(key, trouble.fault(now.wall), now);
    }

    pub(super) fn succeeded(&mut self, key: AttemptKey, now: Now) {
        let Some(attempt) = self.attempt(key) else { return };
        let (is_open, repairs) = (!matches!(attempt.step, Step::Ended { .. }), attempt.repairs.clone());
        let Some(placed) = placed_by(attempt) else { return };
        self.state.failed.retain(|failed| failed.content_sha256 != placed.target.content_sha256);
        self.state.placed_before.retain(|other| *other != placed);
        self.state.placed_before.push(placed.clone());
        let excess = self.state.placed_before.len().saturating_sub(MOST_ORDERED);
        self.state.placed_before.drain(..excess);
        self.state.known_good = Some(placed);
        self.state.leaving = None;
        self.mind.conditions.remove(&Code::Inconsistent);
        if is_open {
            self.state.applied = self.state.applied.max(Some(key.at));
            self.end(key, Ending::Succeeded, repairs, now);
        }
    }

    pub(super) fn restored(&mut self, key: AttemptKey, placed: Placed, goes_on: bool, now: Now) {
        let replaced = self.state.placed.replace(placed);
        self.state.leaving = None;
        self.mind.resume = false;
        self.state.started_from = self.state.started_from.take().or(replaced).filter(|_| goes_on);
        self.mind.vitals.begin(now);
        self.mind.conditions.remove(&Code::Inconsistent);
        let Some(Attempt { step: Step::RollingBack { fault }, repairs, .. }) = self.attempt(key) else { return };
        let (fault, is_repair) = (fault.clone(), repairs.is_some());
        if !is_repair {
            self.judge(key, fault.clone(), Aftermath::RolledBack);
        }
        self.end(key, Ending::RolledBack, Some(fault), now);
    }

    /// Whatever came of it counts as a restart: what cannot be restarted must not be tried without end either.
    pub(super) fn restarted(&mut self, result: Result<(), Trouble>, now: Now) {
        let why = self.mind.vitals.restart().map(|(_, why)| why).unwrap_or_default();
        let trouble = match result {
            Ok(()) => Trouble::new(Code::Unhealthy, format!("it was restarted, because {why}"), Cure::Time),
            Err(Trouble { code, message, cure }) => {
                Trouble::new(code, format!("it was to be restarted, because {why}: {message}"), cure)
            }
        };
        self.state.last_error = Some(trouble.fault(now.wall));
        self.mind.vitals.restarted(now);
    }

    pub(super) fn obeyed(&mut self, key: AttemptKey, standing: Standing, now: Now) {
        self.state.standing = standing;
        self.state.started_from = None;
        self.state.leaving = None;
        if self.open().any(|attempt| attempt.key == key) {
            self.state.applied = self.state.applied.max(Some(key.at));
            self.end(key, Ending::Succeeded, None, now);
        }
    }

    pub(super) fn step_failed(&mut self, key: AttemptKey, trouble: &Trouble, now: Now, patience: Patience) {
        let fault = trouble.fault(now.wall);
        let Some(attempt) = self.attempt(key) else { return };
        let rolls_back = matches!(attempt.step, Step::RollingBack { .. });
        let late = attempt.step == Step::Fetching && self.open().any(|other| other.key.at > key.at);
        match trouble.cure {
            Cure::Killed => {}
            Cure::Turn { until } => {
                let same = self.mind.waits.remove(&key).filter(|wait| wait.fault.code == fault.code);
                let since = same.map_or(now.wall, |wait| wait.fault.at);
                let left = until.map_or(BETWEEN_TURNS, |until| (until - now.wall).to_std().unwrap_or_default());
                let retry_at = now.monotonic + left.clamp(BETWEEN_CHECKS, BETWEEN_TURNS);
                self.mind.waits.insert(key, Wait { fault: Fault { at: since, ..fault }, tries: 0, until, retry_at });
                if late {
                    self.supersede(|attempt| attempt.key == key, now);
                }
            }
            Cure::Time => {
                let tries = self.mind.waits.get(&key).map_or(0, |wait| wait.tries) + 1;
                let same = self.mind.waits.remove(&key).filter(|wait| wait.fault.code == fault.code);
                let since = same.map_or(now.wall, |wait| wait.fault.at);
                self.state.last_error = Some(fault.clone());
                let fault = Fault { at: since, ..fault };
                let retry_at = now.monotonic + patience.after(tries);
                // The gate was passed when it was asked.
                if fault.code == Code::HookWaits {
                    self.look_again(key, now);
                }
                self.mind.waits.insert(key, Wait { fault, tries, until: None, retry_at });
                if late {
                    self.supersede(|attempt| attempt.key == key, now);
                }
            }
            Cure::NewerAgent => {
                self.judge(key, fault.clone(), Aftermath::Untouched);
                self.end(key, Ending::Failed, Some(fault), now);
            }
            Cure::OtherContent if rolls_back => {
                self.judge(key, fault.clone(), Aftermath::Stuck);
                self.end(key, Ending::Failed, Some(fault), now);
            }
            Cure::OtherContent => self.failed(key, fault, now),
        }
    }

    /// The content itself failed: it is remembered, and what ran before is put back.
    pub(super) fn failed(&mut self, key: AttemptKey, fault: Fault, now: Now) {
        let Some(attempt) = self.attempt(key) else { return };
        let is_open = !matches!(attempt.step, Step::Ended { .. });
        let Some(target) = attempt.wish.action.target().cloned() else { return };
        let content_sha256 = target.content_sha256;
        if !self.state.failed.iter().any(|failed| failed.content_sha256 == content_sha256) {
            self.state.failed.push(Failed { content_sha256, fault: fault.clone() });
            let excess = self.state.failed.len().saturating_sub(MOST_FAILED);
            self.state.failed.drain(..excess);
        }
        // What is asked for once more meanwhile has failed as well, unless it is to be tried again.
        let again = self.open().filter(|other| {
            let same = other.wish.action.target().is_some_and(|other| other.content_sha256 == content_sha256);
            other.key != key && same && !other.wish.options.retry
        });
        for other in again.map(|other| other.key).collect::<Vec<_>>() {
            let fault = Fault { code: Code::FailedBefore, ..fault.clone() };
            self.end(other, Ending::Failed, Some(fault), now);
        }
        // A stop that came meanwhile bars the rollback.
        if !is_open {
            return;
        }
        let switched = self.state.placed.as_ref().is_some_and(|placed| placed.target == target);
        let good = self.state.known_good.as_ref().is_some_and(|good| good.target.content_sha256 != content_sha256);
        if switched && good {
            self.state.last_error = Some(fault.clone());
            self.forget(key);
            if let Some(attempt) = self.attempt_mut(key) {
                attempt.step = Step::RollingBack { fault };
            }
            return;
        }
        self.judge(key, fault.clone(), if switched { Aftermath::Stuck } else { Aftermath::Untouched });
        self.end(key, Ending::Failed, Some(fault), now);
    }

    /// Records that the floor's trigger came to nothing, if it is the floor's.
    fn judge(&mut self, key: AttemptKey, fault: Fault, aftermath: Aftermath) {
        self.state.last_error = Some(fault.clone());
        if self.state.floor.as_ref().is_some_and(|floor| floor.at == key.at) {
            self.state.verdict = Some(Verdict { fault, aftermath });
        }
    }
}
