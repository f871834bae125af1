//! What becomes of a cell, in as few words as possible: the reference that agents are compared with.
//!
//! Nobody can tell how far an agent had come when the next thing happened to it, so the model is a set of states, and
//! [`Model::step`] makes it every state that an agent may have got to. Whenever the agent is given time to come to rest, only
//! those are left in which it would.

use std::collections::BTreeSet;

/// What a version consists of, by number.
pub(super) type Content = usize;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) name: String,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    Deploy { version: Version, retry: bool },
    Stop,
}

/// What became of the newest trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Owed,
    Done,
    RolledBack,
    Stuck,
}

/// A version that is in its place and may become good.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Trial {
    generation: u64,
    version: Version,
    has_failed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    asked: Asked,
    generation: u64,
    answer: Answer,
    trial: Option<Trial>,
    placed: Option<Version>,
    is_stopped: bool,
    good: Option<Version>,
    failed: BTreeSet<Content>,
    is_held: bool,
    /// Every version that became good, the newest last.
    won: Vec<Version>,
}

/// What can be seen of a cell at rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    /// And what it waits for, if it does.
    pub(super) phase: String,
    pub(super) generation: u64,
    pub(super) placed: Option<String>,
    pub(super) good: Option<String>,
    pub(super) failed: BTreeSet<Content>,
    pub(super) is_held: bool,
    /// The codes of what is told to be wrong.
    pub(super) conditions: BTreeSet<String>,
    /// The versions of which a process runs that stays.
    pub(super) alive: Vec<String>,
}

/// All that may be so.
#[derive(Debug, Default)]
pub(super) struct Model {
    states: BTreeSet<State>,
    /// The content that runs; all other ends as soon as it begins.
    works: BTreeSet<Content>,
    /// What was asked for last, stops left aside.
    pub(super) desired: Option<Version>,
}

impl Model {
    /// From now on this content runs.
    pub(super) fn make_work(&mut self, content: Content) {
        self.works.insert(content);
    }

    /// Time passes.
    pub(super) fn pass(&mut self) {
        let mut new: Vec<State> = self.states.iter().cloned().collect();
        while let Some(state) = new.pop() {
            new.extend(state.next(&self.works).into_iter().filter(|next| self.states.insert(next.clone())));
        }
    }

    /// So much time passes that nothing more happens.
    pub(super) fn rest(&mut self) {
        self.pass();
        self.states.retain(|state| state.next(&self.works).is_empty());
    }

    /// A trigger is issued.
    pub(super) fn ask(&mut self, generation: u64, asked: &Asked) {
        self.pass();
        if let Asked::Deploy { version, .. } = asked {
            self.desired = Some(version.clone());
        }
        if self.states.is_empty() {
            self.states.insert(State::new(asked.clone(), generation));
        }
        self.change(|state| {
            (state.asked, state.generation, state.answer) = (asked.clone(), generation, Answer::Owed);
        });
    }

    /// A hold is in force from now on, or no longer.
    pub(super) fn hold(&mut self, is_held: bool) {
        self.pass();
        self.change(|state| state.is_held = is_held);
    }

    fn change(&mut self, change: impl Fn(&mut State)) {
        self.states = std::mem::take(&mut self.states)
            .into_iter()
            .map(|mut state| {
                change(&mut state);
                state
            })
            .collect();
    }

    /// What may be seen of a cell at rest.
    pub(super) fn expected(&self) -> BTreeSet<Seen> {
        self.states.iter().map(|state| state.seen(&self.works)).collect()
    }

    /// This was seen at rest.
    pub(super) fn saw(&mut self, seen: &Seen) {
        let works = &self.works;
        self.states.retain(|state| state.seen(works) == *seen);
    }

    /// What may be known to be good.
    pub(super) fn good(&self) -> BTreeSet<Option<String>> {
        self.states.iter().map(|state| name(&state.good)).collect()
    }

    /// Where a rollback may lead that names no version.
    pub(super) fn ways_back(&self) -> BTreeSet<Option<Version>> {
        let Some(desired) = &self.desired else { return BTreeSet::new() };
        let other = |version: &&Version| version.content != desired.content;
        self.states.iter().map(|state| state.won.iter().rfind(other).cloned()).collect()
    }

    /// The rollback led there.
    pub(super) fn went_back(&mut self, to: Option<&Version>) {
        let desired = self.desired.clone().map(|desired| desired.content);
        let other = |version: &&Version| Some(version.content) != desired;
        self.states.retain(|state| state.won.iter().rfind(other) == to);
    }

    pub(super) fn is_held(&self) -> bool {
        self.states.iter().any(|state| state.is_held)
    }
}

impl State {
    fn new(asked: Asked, generation: u64) -> Self {
        Self {
            asked,
            generation,
            answer: Answer::Owed,
            trial: None,
            placed: None,
            is_stopped: false,
            good: None,
            failed: BTreeSet::new(),
            is_held: false,
            won: Vec::new(),
        }
    }

    /// What failed here once is not tried again unless it is asked to be.
    fn is_refused(&self) -> bool {
        let Asked::Deploy { version, retry } = &self.asked else { return false };
        self.answer == Answer::Owed && !retry && self.failed.contains(&version.content)
    }

    /// What the agent may do next; nothing at rest.
    fn next(&self, works: &BTreeSet<Content>) -> Vec<Self> {
        let trial = self.trial.as_ref().map(|trial| self.tried(trial, works));
        let is_begun = self.trial.as_ref().is_some_and(|trial| trial.generation == self.generation);
        let is_due = self.answer == Answer::Owed && !is_begun && !self.is_held && !self.is_refused();
        trial.into_iter().chain(is_due.then(|| self.begun())).collect()
    }

    /// What is asked for is begun. Whatever was tried before is left.
    fn begun(&self) -> Self {
        let mut next = Self { trial: None, ..self.clone() };
        match &self.asked {
            Asked::Stop => (next.is_stopped, next.answer) = (true, Answer::Done),
            Asked::Deploy { version, .. } => {
                let (generation, version) = (self.generation, version.clone());
                (next.is_stopped, next.placed) = (false, Some(version.clone()));
                next.trial = Some(Trial { generation, version, has_failed: false });
            }
        }
        next
    }

    /// What is tried becomes good or fails, and what failed is replaced by what is known to be good.
    fn tried(&self, trial: &Trial, works: &BTreeSet<Content>) -> Self {
        let mut next = Self { trial: None, ..self.clone() };
        let content = trial.version.content;
        let way_back = self.good.as_ref().filter(|good| good.content != content);
        let answer = match (trial.has_failed, way_back) {
            (false, _) if works.contains(&content) => {
                next.good = Some(trial.version.clone());
                next.won.push(trial.version.clone());
                next.failed.remove(&content);
                Answer::Done
            }
            (false, Some(_)) => {
                next.failed.insert(content);
                next.trial = Some(Trial { has_failed: true, ..trial.clone() });
                return next;
            }
            (false, None) => {
                next.failed.insert(content);
                Answer::Stuck
            }
            (true, _) => {
                next.placed = self.good.clone();
                Answer::RolledBack
            }
        };
        if trial.generation == self.generation {
            next.answer = answer;
        }
        next
    }

    fn seen(&self, works: &BTreeSet<Content>) -> Seen {
        let phase = match self.answer {
            Answer::Owed if self.is_refused() => "waiting failed_before",
            Answer::Owed => "waiting hold",
            Answer::Done if self.is_stopped => "stopped",
            Answer::Done => "up_to_date",
            Answer::RolledBack => "rolled_back",
            Answer::Stuck => "failed",
        };
        let is_stuck = self.answer == Answer::Stuck;
        let alive = self.placed.iter().filter(|version| !self.is_stopped && works.contains(&version.content));
        Seen {
            phase: phase.to_owned(),
            generation: self.generation,
            placed: name(&self.placed),
            good: name(&self.good),
            failed: self.failed.clone(),
            is_held: self.is_held,
            conditions: is_stuck.then(|| "needs_operator".to_owned()).into_iter().collect(),
            alive: alive.map(|version| version.name.clone()).collect(),
        }
    }
}

fn name(version: &Option<Version>) -> Option<String> {
    version.as_ref().map(|version| version.name.clone())
}
