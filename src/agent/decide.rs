//! What is to be done with a cell: pure, and total.
//!
//! [`Cell::observe`] takes in what was seen and changes what is remembered; [`Cell::next`] says what is to be done
//! next. Between the two the agent writes the state to disk, so every step is in the journal before it is taken.
//! Nothing here can stop or remove a cell but a verified trigger that says so (I6): everything else that is seen of
//! the bucket only ever adds a reason to report.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::state::{
    Attempt, AttemptKey, CellState, Effort, Failed, Heard, Placed, Standing, Step, Verdict, Wish, floor_of,
};
use super::trouble::{Cure, Trouble};
use crate::model::heartbeat::Fault;
use crate::model::outcome::Ending;
use crate::model::trigger::Action as Asked;
use crate::model::{Code, Floor};

/// An attempt that did not survive so many restarts of the agent counts as failed.
const MOST_RESUMES: u32 = 3;

/// Failed content that is remembered, and releases whose order is.
const MOST_REMEMBERED: usize = 64;

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
    /// What is wrong with what was read last from each place in the bucket.
    pub(super) refused: BTreeMap<Place, Fault>,
    /// What else stays wrong.
    pub(super) conditions: BTreeMap<Code, String>,
    /// Why new deployments are not begun.
    pub(super) held: Option<String>,
    /// The index lags behind: the trigger itself is to be read.
    pub(super) look: bool,
}

/// Why an attempt does not go on, and when it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) fault: Fault,
    pub(super) tries: u32,
    /// By the monotonic clock.
    pub(super) retry_at: Duration,
}

/// Where in the bucket a trigger stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Index,
    Trigger,
    History,
}

/// What was seen.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    /// The agent starts; the host's link points at this release.
    Started {
        current: Option<String>,
    },
    /// A verified trigger for this cell.
    Trigger {
        wish: Wish,
        place: Place,
    },
    /// What is at a place cannot be believed.
    Refused {
        place: Place,
        trouble: Trouble,
    },
    /// There is nothing at a place, so nothing is wrong with it. Nobody is told to do anything by that.
    NothingAt(Place),
    /// A full scan found the cell's trigger nowhere.
    Missing,
    /// The agent's own last heartbeat told of a floor, before its state was lost.
    Heard(Floor),
    /// The node must not begin deployments, or may again.
    Held(Option<String>),
    /// What the host has in the cell's place.
    Host(OnHost),
    /// The trigger itself was read, as was asked for.
    Looked,
    StagingBegan {
        key: AttemptKey,
    },
    StagingGivenUp {
        key: AttemptKey,
    },
    Staged {
        key: AttemptKey,
        profile: String,
        effort: Effort,
    },
    StagingFailed {
        key: AttemptKey,
        trouble: Trouble,
    },
    Switched {
        key: AttemptKey,
    },
    Activated {
        key: AttemptKey,
    },
    Restored {
        key: AttemptKey,
        placed: Placed,
    },
    Stopped {
        key: AttemptKey,
    },
    Removed {
        key: AttemptKey,
    },
    /// What was to be done did not succeed.
    StepFailed {
        key: AttemptKey,
        trouble: Trouble,
    },
    /// The attempt's outcome is written.
    Written {
        key: AttemptKey,
    },
}

/// What a host has in a cell's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OnHost {
    /// The link points at this release of ours.
    Release(String),
    /// There is no link, or it points at nothing.
    Nothing,
    /// Something that is not ours has the cell's name.
    Foreign(String),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Give up fetching.
    Cancel(AttemptKey),
    /// Write the outcome.
    Write(AttemptKey),
    /// Fetch and verify.
    Stage(AttemptKey),
    /// Let the link point at the attempt's release.
    Switch(AttemptKey),
    /// Bring up what the link points at.
    Activate(AttemptKey),
    /// Let the link point at the last known good release, and bring it up.
    Restore(AttemptKey),
    Stop(AttemptKey),
    Remove(AttemptKey),
    /// Read the cell's trigger.
    Look,
}

/// The time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) wall: DateTime<Utc>,
    pub(super) monotonic: Duration,
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
            Seen::Started { current } => self.started(current.as_deref(), now),
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
            Seen::Heard(floor) => {
                if self.state.floor.is_none() {
                    self.state.floor = Some(Heard { at: floor, signed_sha256: None, since: now.wall });
                }
            }
            Seen::Held(why) => self.mind.held = why,
            Seen::Host(on_host) => self.compare(on_host, now),
            Seen::Looked => self.mind.look = false,
            Seen::StagingBegan { key } => {
                self.mind.staging.insert(key);
            }
            Seen::StagingGivenUp { key } => {
                self.mind.staging.remove(&key);
            }
            Seen::Staged { key, profile, effort } => self.staged(key, profile, effort, now),
            Seen::StagingFailed { key, trouble } => {
                self.mind.staging.remove(&key);
                // One that was given up has failed at nothing.
                if self.attempt(key).is_some_and(|attempt| attempt.step == Step::Fetching) {
                    self.step_failed(key, &trouble, now, patience);
                }
            }
            Seen::Switched { key } => {
                if let Some(attempt) = self.attempt_mut(key) {
                    attempt.step = Step::Activating;
                }
                self.state.placed = self.attempt(key).and_then(placed_by).or(self.state.placed.take());
                self.state.standing = Standing::Deployed;
                self.mind.waits.remove(&key);
            }
            Seen::Activated { key } => self.succeeded(key, now),
            Seen::Restored { key, placed } => self.restored(key, placed, now),
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
        for attempt in &self.state.journal {
            let key = attempt.key;
            if self.mind.waits.get(&key).is_some_and(|wait| wait.retry_at > now) {
                continue;
            }
            let action = match attempt.step {
                Step::Fetching if !self.mind.staging.contains(&key) => Action::Stage(key),
                Step::Switching => Action::Switch(key),
                Step::Activating => Action::Activate(key),
                Step::RollingBack { .. } => Action::Restore(key),
                Step::Stopping => Action::Stop(key),
                Step::Removing => Action::Remove(key),
                Step::Ended { .. } => Action::Write(key),
                Step::Fetching => continue,
            };
            if self.mind.held.is_none() || !matches!(action, Action::Stage(_) | Action::Switch(_)) {
                return Some(action);
            }
        }
        self.mind.look.then_some(Action::Look)
    }

    /// When [`Cell::next`] may have something to do although nothing was seen.
    pub(super) fn wakes_at(&self) -> Option<Duration> {
        let waits = self.mind.waits.iter().filter(|(key, _)| !self.mind.staging.contains(key));
        waits.map(|(_, wait)| wait.retry_at).min()
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

    /// After a restart every attempt before its end is taken up again from its release's verification, which holds
    /// for the ones that had switched already, too.
    fn started(&mut self, current: Option<&str>, now: Now) {
        for attempt in &mut self.state.journal {
            if !matches!(attempt.step, Step::Switching | Step::Activating) {
                continue;
            }
            // The crash came between the switch and the journal's word of it.
            if let Some(placed) = placed_by(attempt).filter(|placed| Some(placed.release().as_str()) == current) {
                self.state.placed = Some(placed);
                self.state.standing = Standing::Deployed;
                attempt.resumed += 1;
            }
            attempt.step = Step::Fetching;
        }
        // Nothing is under way any more, so what had not switched yet leaves the field to what is newer.
        let newest = self.open().last().map(|attempt| (attempt.key, attempt.wish.action.target().cloned()));
        if let Some((newest, target)) = newest {
            let yields = |attempt: &Attempt| {
                let same = attempt.wish.action.target() == target.as_ref();
                attempt.key < newest && attempt.step == Step::Fetching && (attempt.resumed == 0 || same)
            };
            self.supersede(yields, now);
        }
        let worn: Vec<_> = self.state.journal.iter().filter(|attempt| attempt.resumed > MOST_RESUMES).collect();
        let worn: Vec<AttemptKey> = worn.into_iter().map(|attempt| attempt.key).collect();
        for key in worn {
            let message = format!("the agent did not survive bringing it up, {MOST_RESUMES} times");
            let trouble = Trouble::new(Code::ActivationFailed, message, Cure::OtherContent);
            self.failed(key, trouble.fault(now.wall), now);
        }
        // A newer agent may know what an older one did not.
        if self.state.verdict.as_ref().is_some_and(|verdict| verdict.fault.code == Code::Unsupported) {
            self.state.verdict = None;
        }
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
    }

    fn accept(&mut self, wish: Wish, now: Now) {
        let at = floor_of(&wish);
        self.state.floor = Some(Heard { at, signed_sha256: Some(wish.signed_sha256()), since: now.wall });
        self.state.wish = Some(wish);
        self.state.attempts = 0;
        self.state.verdict = None;
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
        self.supersede(|attempt| attempt.key.at != floor, now);
        if self.owed().is_some() && !self.is_open(floor) {
            self.begin(wish, floor, step, None, now);
        }
    }

    /// A newer deploy lets an older one that is being fetched go on until it is staged itself.
    fn pursue(&mut self, wish: &Wish, floor: Floor, now: Now) {
        // A stop that was not carried out yet is no longer asked for.
        self.supersede(|attempt| matches!(attempt.step, Step::Stopping | Step::Removing), now);
        if self.owed().is_none() || self.is_open(floor) || self.failed_before().is_some() || self.mind.held.is_some() {
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
        self.begin(wish, floor, Step::Fetching, None, now);
    }

    fn is_open(&self, floor: Floor) -> bool {
        self.open().any(|attempt| attempt.key.at == floor)
    }

    fn open(&self) -> impl Iterator<Item = &Attempt> {
        self.state.journal.iter().filter(|attempt| !matches!(attempt.step, Step::Ended { .. }))
    }

    fn begin(&mut self, wish: &Wish, at: Floor, step: Step, repairs: Option<Fault>, now: Now) {
        self.state.attempts += 1;
        let key = AttemptKey { at, number: self.state.attempts };
        let (wish, started_at, effort) = (wish.clone(), now.wall, Effort::default());
        let attempt = Attempt { key, wish, started_at, step, profile: None, repairs, resumed: 0, effort };
        self.state.journal.push(attempt);
    }

    fn end(&mut self, key: AttemptKey, ending: Ending, fault: Option<Fault>, now: Now) {
        self.mind.waits.remove(&key);
        if let Some(attempt) = self.attempt_mut(key) {
            attempt.step = Step::Ended { ended_at: now.wall, ending, fault };
        }
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

    fn staged(&mut self, key: AttemptKey, profile: String, effort: Effort, now: Now) {
        self.mind.staging.remove(&key);
        self.mind.waits.remove(&key);
        let Some(attempt) = self.attempt_mut(key) else { return };
        if attempt.step != Step::Fetching {
            return;
        }
        attempt.step = Step::Switching;
        attempt.profile = Some(profile);
        attempt.effort = effort;
        self.supersede(|other| other.key.at < key.at, now);
    }

    fn succeeded(&mut self, key: AttemptKey, now: Now) {
        let Some(attempt) = self.attempt(key) else { return };
        let (is_open, repairs) = (!matches!(attempt.step, Step::Ended { .. }), attempt.repairs.clone());
        let Some(placed) = placed_by(attempt) else { return };
        self.state.failed.retain(|failed| failed.content_sha256 != placed.target.content_sha256);
        self.state.placed_before.retain(|other| *other != placed);
        self.state.placed_before.push(placed.clone());
        let excess = self.state.placed_before.len().saturating_sub(MOST_REMEMBERED);
        self.state.placed_before.drain(..excess);
        self.state.known_good = Some(placed);
        self.mind.conditions.remove(&Code::Inconsistent);
        self.mind.conditions.remove(&Code::NeedsOperator);
        if is_open {
            self.state.applied = self.state.applied.max(Some(key.at));
            self.end(key, Ending::Succeeded, repairs, now);
        }
    }

    fn restored(&mut self, key: AttemptKey, placed: Placed, now: Now) {
        self.state.placed = Some(placed);
        self.mind.conditions.remove(&Code::Inconsistent);
        let Some(Attempt { step: Step::RollingBack { fault }, repairs, .. }) = self.attempt(key) else { return };
        let (fault, is_repair) = (fault.clone(), repairs.is_some());
        if !is_repair {
            self.judge(key, fault.clone(), true);
        }
        self.end(key, Ending::RolledBack, Some(fault), now);
    }

    fn obeyed(&mut self, key: AttemptKey, standing: Standing, now: Now) {
        self.state.standing = standing;
        if self.open().any(|attempt| attempt.key == key) {
            self.state.applied = self.state.applied.max(Some(key.at));
            self.end(key, Ending::Succeeded, None, now);
        }
    }

    fn step_failed(&mut self, key: AttemptKey, trouble: &Trouble, now: Now, patience: Patience) {
        let fault = trouble.fault(now.wall);
        let Some(attempt) = self.attempt(key) else { return };
        let rolls_back = matches!(attempt.step, Step::RollingBack { .. });
        let late = attempt.step == Step::Fetching && self.open().any(|other| other.key.at > key.at);
        match trouble.cure {
            Cure::Killed => {}
            Cure::Time => {
                let tries = self.mind.waits.get(&key).map_or(0, |wait| wait.tries) + 1;
                let same = self.mind.waits.remove(&key).filter(|wait| wait.fault.code == fault.code);
                let since = same.map_or(now.wall, |wait| wait.fault.at);
                self.state.last_error = Some(fault.clone());
                let fault = Fault { at: since, ..fault };
                let retry_at = now.monotonic + patience.after(tries);
                self.mind.waits.insert(key, Wait { fault, tries, retry_at });
                if late {
                    self.supersede(|attempt| attempt.key == key, now);
                }
            }
            Cure::NewerAgent => {
                self.judge(key, fault.clone(), false);
                self.end(key, Ending::Failed, Some(fault), now);
            }
            Cure::OtherContent if rolls_back => {
                self.mind.conditions.insert(Code::NeedsOperator, fault.message.clone());
                self.judge(key, fault.clone(), false);
                self.end(key, Ending::Failed, Some(fault), now);
            }
            Cure::OtherContent => self.failed(key, fault, now),
        }
    }

    /// The content itself failed: it is remembered, and what ran before is put back.
    fn failed(&mut self, key: AttemptKey, fault: Fault, now: Now) {
        let Some(attempt) = self.attempt(key) else { return };
        let is_open = !matches!(attempt.step, Step::Ended { .. });
        let Some(target) = attempt.wish.action.target().cloned() else { return };
        let content_sha256 = target.content_sha256;
        if !self.state.failed.iter().any(|failed| failed.content_sha256 == content_sha256) {
            self.state.failed.push(Failed { content_sha256, fault: fault.clone() });
            let excess = self.state.failed.len().saturating_sub(MOST_REMEMBERED);
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
            self.mind.waits.remove(&key);
            if let Some(attempt) = self.attempt_mut(key) {
                attempt.step = Step::RollingBack { fault };
            }
            return;
        }
        if switched {
            self.mind
                .conditions
                .insert(Code::NeedsOperator, "it failed, and there is nothing to go back to".to_owned());
        }
        self.judge(key, fault.clone(), false);
        self.end(key, Ending::Failed, Some(fault), now);
    }

    /// Records that the floor's trigger came to nothing, if it is the floor's.
    fn judge(&mut self, key: AttemptKey, fault: Fault, rolled_back: bool) {
        self.state.last_error = Some(fault.clone());
        if self.state.floor.as_ref().is_some_and(|floor| floor.at == key.at) {
            self.state.verdict = Some(Verdict { fault, rolled_back });
        }
    }

    /// Compares what the host has with what is remembered. What was changed by hand is put right, unless it is not
    /// ours (I7).
    fn compare(&mut self, on_host: OnHost, now: Now) {
        if self.open().next().is_some() {
            return;
        }
        for code in [Code::Inconsistent, Code::UnitNotOwned, Code::Orphaned] {
            self.mind.conditions.remove(&code);
        }
        // What failed to be put back stands where it was left.
        let failed = self.state.verdict.as_ref().is_some_and(|verdict| !verdict.rolled_back);
        let good = self.state.known_good.as_ref().filter(|_| failed);
        if let Some(good) = good.filter(|good| on_host == OnHost::Release(good.release())) {
            self.state.placed = Some(good.clone());
        }
        let (placed, conditions) = (self.state.placed.clone(), &mut self.mind.conditions);
        let message = match (self.state.standing, placed, on_host) {
            (Standing::Deployed | Standing::Stopped, Some(placed), OnHost::Release(release)) => {
                if release == placed.release() {
                    return;
                }
                format!("the link points at {release}, expected {}", placed.release())
            }
            (Standing::Deployed | Standing::Stopped, Some(placed), OnHost::Nothing) => {
                format!("the link is gone or points at nothing, expected {}", placed.release())
            }
            (Standing::Deployed | Standing::Stopped, _, OnHost::Foreign(what)) => {
                conditions.insert(Code::UnitNotOwned, what);
                return;
            }
            (_, None, OnHost::Release(release)) if self.state.wish.is_none() => {
                conditions.insert(Code::Orphaned, format!("{release} is deployed here, and no trigger asks for it"));
                return;
            }
            _ => return,
        };
        conditions.insert(Code::Inconsistent, message.clone());
        let fault = Fault { code: Code::Inconsistent, message, at: now.wall };
        if self.state.standing == Standing::Deployed {
            self.state.last_error = Some(fault.clone());
            self.repair(fault, now);
        }
    }

    fn repair(&mut self, fault: Fault, now: Now) {
        let (Some(wish), Some(heard)) = (self.state.wish.clone(), self.state.floor.clone()) else { return };
        let placed = self.state.placed.as_ref();
        let wished = wish.action.target().filter(|_| self.state.verdict.is_none());
        if wished.is_some() && wished == placed.map(|placed| &placed.target) {
            self.begin(&wish, heard.at, Step::Fetching, Some(fault), now);
        } else if placed.is_some() && placed == self.state.known_good.as_ref() {
            self.begin(&wish, heard.at, Step::RollingBack { fault: fault.clone() }, Some(fault), now);
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
