//! What is to be done with a cell: pure, and total.
//!
//! [`Cell::observe`] takes in what was seen and changes what is remembered; [`Cell::next`] says what is to be done
//! next. Between the two the agent writes the state to disk, so every step is in the journal before it is taken.
//! Nothing here can stop or remove a cell but a verified trigger that says so (I6): everything else that is seen of
//! the bucket only ever adds a reason to report.

mod events;
mod neighbours;
mod reconcile;
mod results;
mod taken_off;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

pub(super) use events::{Action, Deed, Now, OnHost, Place, Seen, View};
pub(super) use neighbours::{Card, Neighbours, Presence, Ties, hindrance, in_circle, lacks};

use super::health::Vitals;
use super::profile::Activation;
use super::state::{
    Aftermath, Attempt, AttemptKey, CellState, Effort, Failed, Heard, Placed, Standing, Step, Verdict, Wish, floor_of,
};
use super::trouble::{Cure, Trouble};
use crate::model::heartbeat::{Fault, HoldReport};
use crate::model::hook::HookEvent;
use crate::model::outcome::Ending;
use crate::model::trigger::Action as Asked;
use crate::model::{Code, Floor};

/// An attempt that did not survive so many restarts of the agent counts as failed.
const MOST_RESUMES: u32 = 3;

/// What waits for its turn is looked at so often: the clock may be set, and a machine may sleep.
const BETWEEN_TURNS: Duration = Duration::from_secs(30);

/// What was brought up is looked at so often until it is good.
const BETWEEN_CHECKS: Duration = Duration::from_millis(500);

/// Failed content that is remembered: it is in every heartbeat.
const MOST_FAILED: usize = 16;

/// Releases whose order is remembered.
const MOST_ORDERED: usize = 64;

/// A cell: what is remembered, and what is only known while the agent runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    pub(super) state: CellState,
    pub(super) mind: Mind,
}

/// What is known while the agent runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Mind {
    /// Releases that are being fetched and verified.
    pub(super) staging: BTreeSet<AttemptKey>,
    /// Why attempts do not go on.
    pub(super) waits: BTreeMap<AttemptKey, Wait>,
    /// The version whose health is being watched.
    pub(super) watch: Option<Watch>,
    /// What the checks of what runs say.
    pub(super) vitals: Vitals,
    /// What is wrong with what was read last from each place in the bucket.
    pub(super) refused: BTreeMap<Place, Fault>,
    /// What else stays wrong.
    pub(super) conditions: BTreeMap<Code, String>,
    /// What was brought up last before the agent started, as the host says.
    pub(super) up: Option<Activation>,
    /// The state here may be older than what this node has done: nothing is put right by it.
    pub(super) unsure: bool,
    /// Other profiles have something of the cell, which is to go.
    pub(super) clear_others: bool,
    /// Why new deployments are not begun.
    pub(super) held: Option<String>,
    /// Who keeps what runs from being changed, and until when. What is being brought up already comes to its end.
    pub(super) hold: Option<HoldReport>,
    /// The index lags behind: the trigger itself is to be read.
    pub(super) look: bool,
    /// What should run has not been brought up since the agent started: it may have to wait for other cells.
    pub(super) resume: bool,
    /// What the other cells of the node mean for this one.
    pub(super) ties: Ties,
    /// Since when they hold it up, if they do.
    pub(super) hindered_since: Option<DateTime<Utc>>,
}

/// Why an attempt does not go on, and when it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) fault: Fault,
    pub(super) tries: u32,
    /// Until when, where that is known.
    pub(super) until: Option<DateTime<Utc>>,
    /// By the monotonic clock.
    pub(super) retry_at: Duration,
}

/// A version that was brought up and is not known to be good yet. By the monotonic clock, and so only while this agent
/// looks: neither a jump of the clock nor an agent that was away makes a version fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) key: AttemptKey,
    /// When it was brought up.
    pub(super) told: Duration,
    /// From when on it has its time to become good.
    pub(super) since: Duration,
    pub(super) look_at: Duration,
}

impl Watch {
    fn begin(key: AttemptKey, now: Now) -> Self {
        let now = now.monotonic;
        Self { key, told: now, since: now, look_at: now }
    }
}

/// How long to wait before trying again: doubled from the first to the longest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) first: Duration,
    pub(super) most: Duration,
}

impl Patience {
    pub(super) fn after(self, tries: u32) -> Duration {
        let doubled = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.most.max(self.first))
    }
}

impl Cell {
    /// Takes in what was seen.
    pub(super) fn observe(&mut self, seen: Seen, now: Now, patience: Patience) {
        match seen {
            Seen::Started { current, up } => {
                self.started(current.as_deref(), now);
                self.mind.vitals.begin(now);
                self.found_up(up, now);
            }
            Seen::Trigger { wish, place } => self.take_trigger(wish, place, now),
            Seen::Refused { place, trouble } => self.refuse(place, trouble.fault(now.wall)),
            Seen::NothingAt(place) => {
                self.mind.refused.remove(&place);
            }
            Seen::Missing => {
                if matches!(self.state.standing, Standing::Deployed | Standing::Stopped) {
                    let message = "its trigger is nowhere in the bucket; what runs goes on running";
                    self.mind.conditions.insert(Code::TriggerMissing, message.to_owned());
                }
            }
            Seen::Heard(floor) => self.hear(floor, now),
            Seen::Held(why) => self.mind.held = why,
            Seen::Hold(hold) => self.mind.hold = hold,
            Seen::Tied(ties) => self.tie(*ties, now),
            Seen::Resuming => {
                self.mind.resume = false;
                self.mind.vitals.begin(now);
            }
            Seen::Sure(sure) => {
                self.mind.unsure = !sure;
                self.mind.clear_others &= sure;
            }
            Seen::Host(on_host) => self.compare(on_host, now),
            Seen::Others(others) => self.compare_others(others, now),
            Seen::OthersCleared(result) => {
                // What is left is found again by the next look at the host.
                self.mind.clear_others = false;
                if let Err(trouble) = result {
                    self.state.last_error = Some(trouble.fault(now.wall));
                }
            }
            Seen::Looked => self.mind.look = false,
            Seen::StagingBegan { key } => {
                self.mind.staging.insert(key);
            }
            Seen::StagingGivenUp { key } => {
                self.mind.staging.remove(&key);
            }
            Seen::Staged { key, profile, effort, from, hooks, overlaps } => {
                self.staged(key, profile, effort, now);
                self.owe_hooks(key, from.map(|from| *from), hooks, overlaps);
            }
            Seen::HookRun { key, event } => self.hook_run(key, event, now),
            Seen::Left { key } => self.left(key, now),
            Seen::StagingFailed { key, trouble } => {
                self.mind.staging.remove(&key);
                // One that was given up has failed at nothing.
                if self.attempt(key).is_some_and(|attempt| attempt.step == Step::Fetching) {
                    self.step_failed(key, &trouble, now, patience);
                }
            }
            Seen::Due { key } => self.due(key, now),
            Seen::Switched { key } => {
                self.replace(key);
                if let Some(attempt) = self.attempt_mut(key) {
                    attempt.step = Step::Activating;
                }
                self.state.placed = self.attempt(key).and_then(placed_by).or(self.state.placed.take());
                self.state.standing = Standing::Deployed;
                self.mind.waits.remove(&key);
            }
            Seen::Activated { key, goes_on } => self.activated(key, goes_on, now),
            Seen::Passed { key } => self.succeeded(key, now),
            Seen::Pending { key, missing, deadline } => self.pending(key, &missing, deadline, now),
            Seen::NotStarted { key } => self.not_started(key, now),
            Seen::Changed => {
                if let Some(watch) = &mut self.mind.watch {
                    watch.look_at = now.monotonic;
                }
            }
            Seen::Watching { round, health } => self.mind.vitals.watch(round, *health, now),
            Seen::Probed(probe) => {
                self.mind.vitals.note(probe, now);
                if let Some(watch) = &mut self.mind.watch {
                    watch.look_at = now.monotonic;
                }
            }
            Seen::Restarted(result) => self.restarted(result, now),
            Seen::Restored { key, placed, goes_on } => self.restored(key, placed, goes_on, now),
            Seen::Stopped { key } => self.obeyed(key, Standing::Stopped, now),
            Seen::Removed { key } => {
                self.state.placed = None;
                self.state.known_good = None;
                self.state.placed_before.clear();
                self.mind.conditions.remove(&Code::Inconsistent);
                self.obeyed(key, Standing::Removed, now);
            }
            Seen::StepFailed { key, trouble } => self.step_failed(key, &trouble, now, patience),
            Seen::Written { key } => self.state.journal.retain(|attempt| attempt.key != key),
        }
        self.settle(now);
    }

    /// What is to be done next; None until something else is seen, or until [`Cell::wakes_at`].
    pub(super) fn next(&self, now: Duration) -> Option<Action> {
        let open = |key: &AttemptKey| self.attempt(*key).is_some_and(|attempt| attempt.step == Step::Fetching);
        if let Some(key) = self.mind.staging.iter().find(|key| !open(key)) {
            return Some(Action::Cancel(*key));
        }
        if self.is_to_resume() && self.mind.ties.resuming.is_none() {
            return Some(Action::Resume);
        }
        for attempt in &self.state.journal {
            let key = attempt.key;
            if self.mind.waits.get(&key).is_some_and(|wait| wait.retry_at > now) || self.is_barred(attempt) {
                continue;
            }
            let action = match attempt.step {
                Step::Fetching if !self.mind.staging.contains(&key) => Action::Stage(key),
                Step::Fetching => continue,
                Step::Staged => Action::Do(Deed::Ask, key),
                Step::Switching => Action::Do(self.before_the_switch(attempt), key),
                Step::Activating => Action::Do(Deed::Activate, key),
                Step::Checking if let Some(event) = attempt.owes(&[HookEvent::AfterActivate]) => {
                    Action::Do(Deed::Run(event), key)
                }
                Step::Checking if self.watch(key).is_some_and(|watch| watch.look_at > now) => continue,
                Step::Checking => Action::Do(Deed::Check, key),
                Step::RollingBack { .. } => match attempt.owes(&[HookEvent::OnFailure, HookEvent::OnRollback]) {
                    Some(event) => Action::Do(Deed::Run(event), key),
                    None => Action::Do(Deed::Restore, key),
                },
                Step::Stopping => Action::Do(Deed::Stop, key),
                Step::Removing => Action::Do(Deed::Remove, key),
                Step::Ended { ending: Ending::Failed, .. }
                    if let Some(event) = attempt.owes(&[HookEvent::OnFailure]) =>
                {
                    Action::Do(Deed::Run(event), key)
                }
                Step::Ended { .. } => Action::Do(Deed::Write, key),
            };
            let begins = matches!(attempt.step, Step::Staged | Step::Switching) || matches!(action, Action::Stage(_));
            if self.mind.held.is_none() || !begins {
                return Some(action);
            }
        }
        if self.mind.clear_others && !self.is_held() {
            return Some(Action::ClearOthers);
        }
        if self.restarts_at().is_some_and(|at| at <= now) {
            return Some(Action::Restart);
        }
        self.mind.look.then_some(Action::Look)
    }

    /// What is still to be done before the link may point at the attempt's release, or else that. What a version runs
    /// beside is told that it stops once that is good, and so is not told here.
    fn before_the_switch(&self, attempt: &Attempt) -> Deed {
        let leaving = self.state.leaving.is_some();
        if leaving && !attempt.overlaps {
            return Deed::Leave;
        }
        let events = match attempt.overlaps && !leaving {
            true => &[HookEvent::BeforeActivate][..],
            false => &[HookEvent::Stop, HookEvent::BeforeActivate],
        };
        attempt.owes(events).map_or(Deed::Switch, Deed::Run)
    }

    /// The attempts that come to their end although something newer waits: while the cell is held nothing can take
    /// their place, and a version that is up would stay without anybody to look after it.
    fn sheltered(&self) -> BTreeSet<AttemptKey> {
        let is_up = |attempt: &&Attempt| match attempt.step {
            Step::Activating | Step::Checking | Step::RollingBack { .. } => !attempt.is_held_up(),
            _ => false,
        };
        self.open().filter(|attempt| self.is_held() && is_up(attempt)).map(|attempt| attempt.key).collect()
    }

    /// Whether somebody or something else than its own progress keeps an attempt where it is.
    fn is_barred(&self, attempt: &Attempt) -> bool {
        let is_down = attempt.step == Step::Checking && self.is_to_resume();
        (self.is_held() && attempt.is_held_up()) || self.is_hindered(attempt) || is_down
    }

    /// Whether nothing that runs may be changed.
    pub(super) fn is_held(&self) -> bool {
        self.mind.hold.is_some()
    }

    /// When [`Cell::next`] may have something to do although nothing was seen.
    pub(super) fn wakes_at(&self) -> Option<Duration> {
        let is_barred = |key: AttemptKey| self.attempt(key).is_some_and(|attempt| self.is_barred(attempt));
        let waits = self.mind.waits.iter().filter(|(key, _)| !self.mind.staging.contains(key) && !is_barred(**key));
        let watch = self.mind.watch.filter(|watch| !self.mind.waits.contains_key(&watch.key) && !is_barred(watch.key));
        let times = waits.map(|(_, wait)| wait.retry_at).chain(watch.map(|watch| watch.look_at));
        times.chain(self.restarts_at()).min()
    }

    /// When what runs is to be restarted because of what its checks say. Until a version is good, that is for its
    /// deadline to decide.
    fn restarts_at(&self) -> Option<Duration> {
        let is_moving = self.open().any(|attempt| !matches!(attempt.step, Step::Fetching | Step::Staged));
        let is_settled = self.should_run().is_some() && !is_moving && !self.is_held();
        self.mind.vitals.restart().filter(|_| is_settled).map(|(at, _)| at)
    }

    /// What is up, and whose checks are to be asked; and which bringing up of it that is.
    pub(super) fn up(&self) -> Option<(&Placed, u64)> {
        self.stands().filter(|_| !self.mind.resume).map(|placed| (placed, self.mind.vitals.round()))
    }

    /// What should run, unless it is just being changed.
    fn stands(&self) -> Option<&Placed> {
        let waits = |attempt: &Attempt| self.is_held() && attempt.is_held_up();
        let moves = |attempt: &Attempt| !matches!(attempt.step, Step::Fetching | Step::Staged | Step::Checking);
        let is_moving = self.open().any(|attempt| moves(attempt) && !waits(attempt));
        self.should_run().filter(|_| !is_moving)
    }

    /// The attempt whose release is whole, and waits for its turn.
    pub(super) fn in_line(&self) -> Option<AttemptKey> {
        self.open().find(|attempt| attempt.step == Step::Staged).map(|attempt| attempt.key)
    }

    /// The attempt whose version is being watched.
    pub(super) fn watched(&self) -> Option<&Attempt> {
        self.state.journal.iter().find(|attempt| attempt.step == Step::Checking)
    }

    fn watch(&self, key: AttemptKey) -> Option<Watch> {
        self.mind.watch.filter(|watch| watch.key == key)
    }

    /// What is to run whatever the bucket says. What a trigger stops or removes is not brought up once more for that.
    pub(super) fn should_run(&self) -> Option<&Placed> {
        let ends = self.open().any(|attempt| matches!(attempt.step, Step::Stopping | Step::Removing));
        self.state.placed.as_ref().filter(|_| self.state.standing == Standing::Deployed && !ends)
    }

    /// Whether the content that the wish names failed here before and the wish does not say to try again.
    pub(super) fn failed_before(&self) -> Option<&Failed> {
        let wish = self.state.wish.as_ref()?;
        let target = wish.action.target()?;
        if wish.options.retry {
            return None;
        }
        self.state.failed.iter().find(|failed| failed.content_sha256 == target.content_sha256)
    }

    /// The floor's place, if what it asks for is still owed.
    pub(super) fn owed(&self) -> Option<Floor> {
        let floor = self.state.floor.as_ref()?.at;
        (self.state.applied != Some(floor) && self.state.verdict.is_none()).then_some(floor)
    }

    pub(super) fn attempt(&self, key: AttemptKey) -> Option<&Attempt> {
        self.state.journal.iter().find(|attempt| attempt.key == key)
    }

    fn attempt_mut(&mut self, key: AttemptKey) -> Option<&mut Attempt> {
        self.state.journal.iter_mut().find(|attempt| attempt.key == key)
    }

    fn take_trigger(&mut self, wish: Wish, place: Place, now: Now) {
        let at = floor_of(&wish);
        let digest = wish.signed_sha256();
        let floor = self.state.floor.as_ref();
        match floor.map_or(std::cmp::Ordering::Greater, |floor| at.cmp(&floor.at)) {
            std::cmp::Ordering::Less => {
                let (code, what) = match place {
                    Place::Index => (Code::IndexStale, "the index"),
                    Place::Trigger | Place::History => (Code::TriggerStale, "the bucket"),
                };
                let floor = floor.map(|floor| floor.at.to_string()).unwrap_or_default();
                let message = format!("{what} has generation {at}, below the floor {floor}; it is ignored");
                self.refuse(place, Fault { code, message, at: now.wall });
                self.mind.look |= place == Place::Index;
                return;
            }
            std::cmp::Ordering::Equal => {
                let known = floor.and_then(|floor| floor.signed_sha256);
                if known.is_some_and(|known| known != digest) {
                    let message = format!("there are two different triggers of generation {at}; the first one is held");
                    return self.refuse(place, Fault { code: Code::Conflict, message, at: now.wall });
                }
                if let Some(heard) = &mut self.state.floor {
                    heard.signed_sha256 = Some(digest);
                }
                self.state.wish.get_or_insert(wish);
            }
            std::cmp::Ordering::Greater => self.accept(wish, now),
        }
        self.mind.refused.remove(&place);
        self.mind.conditions.remove(&Code::TriggerMissing);
        self.mind.conditions.remove(&Code::FloorRebuilt);
    }

    fn accept(&mut self, wish: Wish, now: Now) {
        let at = floor_of(&wish);
        self.state.floor = Some(Heard { at, signed_sha256: Some(wish.signed_sha256()), since: now.wall });
        self.state.wish = Some(wish);
        self.state.attempts = 0;
        self.state.verdict = None;
        self.mind.clear_others = false;
    }

    /// A floor that only the bucket knows of: what is owed is what stands there, and nothing below it any more.
    fn hear(&mut self, floor: Floor, now: Now) {
        if self.state.floor.as_ref().is_some_and(|known| known.at >= floor) {
            return;
        }
        self.state.floor = Some(Heard { at: floor, signed_sha256: None, since: now.wall });
        self.state.wish = None;
        self.state.attempts = 0;
        self.state.verdict = None;
        self.mind.clear_others = false;
        self.supersede(|_| true, now);
    }

    fn refuse(&mut self, place: Place, fault: Fault) {
        let known = self.mind.refused.get(&place);
        if known.is_some_and(|known| (known.code, &known.message) == (fault.code, &fault.message)) {
            return;
        }
        // What is merely late is no error of anybody.
        if !matches!(fault.code, Code::IndexStale | Code::TriggerStale) {
            self.state.last_error = Some(fault.clone());
        }
        self.mind.refused.insert(place, fault);
    }

    /// Brings the journal in line with what is owed.
    fn settle(&mut self, now: Now) {
        let (Some(wish), Some(floor)) = (self.state.wish.clone(), self.state.floor.as_ref().map(|floor| floor.at))
        else {
            return;
        };
        if wish.unsupported().is_some() {
            return self.supersede(|_| true, now);
        }
        match &wish.action {
            Asked::Stop => self.obey(&wish, floor, Step::Stopping, now),
            Asked::Remove => self.obey(&wish, floor, Step::Removing, now),
            Asked::Deploy(_) => self.pursue(&wish, floor, now),
            // `unsupported` names unknown actions.
            Asked::Unknown(_) => {}
        }
    }

    /// A stop or a remove pre-empts whatever is under way.
    fn obey(&mut self, wish: &Wish, floor: Floor, step: Step, now: Now) {
        let sheltered = self.sheltered();
        self.supersede(|attempt| attempt.key.at != floor && !sheltered.contains(&attempt.key), now);
        if self.owed().is_some() && !self.is_open(floor) {
            self.begin(wish, floor, step, None, now);
        }
    }

    /// A newer deploy lets an older one that is being fetched go on until it is staged itself.
    fn pursue(&mut self, wish: &Wish, floor: Floor, now: Now) {
        // A stop that was not carried out yet is no longer asked for.
        self.supersede(|attempt| matches!(attempt.step, Step::Stopping | Step::Removing), now);
        // Nor is an older version, once the newest has failed; but what was switched to already comes to its end.
        if self.state.verdict.is_some() || self.failed_before().is_some() {
            let is_untouched = |step: &Step| matches!(step, Step::Fetching | Step::Staged);
            let is_older = |attempt: &Attempt| attempt.key.at != floor && attempt.resumed == 0;
            self.supersede(|attempt| is_older(attempt) && is_untouched(&attempt.step), now);
            return;
        }
        if self.owed().is_none() || self.is_open(floor) || self.mind.held.is_some() {
            return;
        }
        let goes_on = |attempt: &&Attempt| match attempt.step {
            // Two of the same release would be in each other's way.
            Step::Fetching => {
                self.mind.staging.contains(&attempt.key) && attempt.wish.action.target() != wish.action.target()
            }
            _ => true,
        };
        let under_way = self.open().find(goes_on).map(|attempt| attempt.key);
        self.supersede(|attempt| Some(attempt.key) != under_way, now);
        self.take_over(floor);
        self.begin(wish, floor, Step::Fetching, None, now);
    }

    fn is_open(&self, floor: Floor) -> bool {
        self.open().any(|attempt| attempt.key.at == floor)
    }

    fn open(&self) -> impl Iterator<Item = &Attempt> {
        self.state.journal.iter().filter(|attempt| !matches!(attempt.step, Step::Ended { .. }))
    }

    fn begin(&mut self, wish: &Wish, at: Floor, step: Step, repairs: Option<Fault>, now: Now) {
        // Where the cell stands is the attempt's to say from now on.
        self.mind.clear_others = false;
        self.state.attempts += 1;
        let key = AttemptKey { at, number: self.state.attempts };
        let (wish, started_at, effort) = (wish.clone(), now.wall, Effort::default());
        self.state.journal.push(Attempt {
            key,
            wish,
            started_at,
            step,
            profile: None,
            repairs,
            resumed: 0,
            effort,
            from: None,
            replaces: None,
            overlaps: false,
            goes_on: false,
            hooks: None,
        });
    }

    fn end(&mut self, key: AttemptKey, ending: Ending, fault: Option<Fault>, now: Now) {
        self.forget(key);
        if let Some(attempt) = self.attempt_mut(key) {
            attempt.step = Step::Ended { ended_at: now.wall, ending, fault };
        }
    }

    /// Forgets what is only known of the attempt's present step.
    fn forget(&mut self, key: AttemptKey) {
        self.mind.waits.remove(&key);
        self.mind.watch.take_if(|watch| watch.key == key);
    }

    fn supersede(&mut self, which: impl Fn(&Attempt) -> bool, now: Now) {
        let keys: Vec<AttemptKey> = self.open().filter(|attempt| which(attempt)).map(|attempt| attempt.key).collect();
        for key in keys {
            let waited = self.mind.waits.get(&key).map(|wait| wait.fault.clone());
            let message = || "a newer trigger came first".to_owned();
            let fault = waited.unwrap_or_else(|| Fault { code: Code::Interrupted, message: message(), at: now.wall });
            self.end(key, Ending::Superseded, Some(fault), now);
        }
    }
}

/// What an attempt puts in place; None before its manifest was read.
fn placed_by(attempt: &Attempt) -> Option<Placed> {
    let target = attempt.wish.action.target()?.clone();
    Some(Placed { target, profile: attempt.profile.clone()? })
}

#[cfg(test)]
mod tests;
