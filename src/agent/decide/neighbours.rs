//! What the cells of a node are to each other: how each stands, and what of that holds up those that depend on it.

use std::collections::BTreeMap;

use super::super::profile::Observed;
use super::super::state::{Aftermath, Attempt, Standing, Step};
use super::super::trouble::plain;
use super::{Asked, Cell, Now};
use crate::model::CellName;
use crate::model::dependencies::{Dependencies, circle, shown, way};
use crate::model::heartbeat::{ProcessState, RunningState};

/// How a cell stands, for those that depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Presence {
    /// Nothing of it is here, and nothing is under way.
    Gone,
    /// Somebody wished it to be stopped.
    Stopped,
    /// It is being brought up or changed, or what keeps it from that, such as the bucket, is tried again and again.
    OnItsWay(Option<String>),
    /// It is to be changed, but not now: a window is closed, or somebody holds it. What is there stays as it is.
    Later(String),
    Up,
    /// It should run, and does not, or not well.
    Down(String),
}

/// What a cell tells the others of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Card {
    pub(in super::super) presence: Presence,
    /// What it depends on; None while that is not known of a version that is to come.
    pub(in super::super) needs: Option<Dependencies>,
    /// It was not heard yet what it makes of what the agent has for it: it may be about to change.
    pub(in super::super) is_awaited: bool,
}

/// The cells of the node, but for those that nothing is known of.
pub(in super::super) type Neighbours = BTreeMap<CellName, Card>;

/// What the others mean for a cell, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Ties {
    /// Why what should run is not brought up yet.
    pub(in super::super) resuming: Option<String>,
    /// Why a version that is whole is not switched to yet.
    pub(in super::super) switching: Option<String>,
    /// What is not there that it requires, though it runs.
    pub(in super::super) lacks: Option<String>,
    /// The circle that it is in.
    pub(in super::super) circle: Option<String>,
}

/// What keeps `cell`, which is to start with `needs`, from doing so.
pub(in super::super) fn hindrance(cell: &CellName, needs: &Dependencies, others: &Neighbours) -> Option<String> {
    let mut why = Vec::new();
    for other in needs.all() {
        if goes_before(cell, other, needs, others) {
            continue;
        }
        let is_required = needs.requires.contains(other);
        let card = others.get(other);
        let presence = match card.map(|card| (&card.presence, card.is_awaited)) {
            None => &Presence::Gone,
            Some((Presence::Up | Presence::Gone | Presence::Later(_), true)) => &Presence::OnItsWay(None),
            Some((presence, _)) => presence,
        };
        let is_awaited = card.is_some_and(|card| card.is_awaited);
        let holds_up = is_awaited
            || match presence {
                Presence::Up => false,
                Presence::OnItsWay(_) => true,
                Presence::Gone | Presence::Stopped | Presence::Later(_) | Presence::Down(_) => is_required,
            };
        if holds_up {
            why.push(in_words(other, presence, is_required));
        }
    }
    joined(&why)
}

/// What is missing of that which `cell` requires while it runs with `needs`. What is just being changed is not.
pub(in super::super) fn lacks(needs: &Dependencies, others: &Neighbours) -> Option<String> {
    let missing = needs.requires.iter().filter_map(|other| {
        let presence = others.get(other).map_or(&Presence::Gone, |card| &card.presence);
        let is_missing = matches!(presence, Presence::Gone | Presence::Stopped | Presence::Down(_));
        is_missing.then(|| in_words(other, presence, true))
    });
    joined(&missing.collect::<Vec<_>>())
}

/// The circle that `cell` is in if it depends on `needs`, in words.
pub(in super::super) fn in_circle(cell: &CellName, needs: &Dependencies, others: &Neighbours) -> Option<String> {
    let found = circle(cell, |of| needs_of(of, cell, needs, others))?;
    let first = found.iter().min()?;
    Some(plain(&format!("{} depend on each other; {first} starts first", shown(&found))))
}

/// Of cells that depend on each other in a circle the first by name goes before the one that it depends on there. So every
/// circle is broken in one place, the same for whoever looks. Who may be about to change may be in none any more.
fn goes_before(cell: &CellName, other: &CellName, needs: &Dependencies, others: &Neighbours) -> bool {
    let settled = |of: &CellName| match others.get(of) {
        _ if of < cell => None,
        Some(card) if card.is_awaited => None,
        _ => needs_of(of, cell, needs, others),
    };
    cell < other && way(other, cell, settled).is_some()
}

fn needs_of<'a>(
    of: &CellName,
    cell: &CellName,
    needs: &'a Dependencies,
    others: &'a Neighbours,
) -> Option<&'a Dependencies> {
    if of == cell { Some(needs) } else { others.get(of)?.needs.as_ref() }
}

fn in_words(other: &CellName, presence: &Presence, is_required: bool) -> String {
    let tie = if is_required { "which it requires" } else { "which it starts after" };
    let how = match presence {
        Presence::Gone => "is not on this node".to_owned(),
        Presence::Stopped => "is stopped".to_owned(),
        Presence::OnItsWay(None) => "is on its way up".to_owned(),
        Presence::OnItsWay(Some(why)) => format!("is on its way up: {why}"),
        Presence::Later(why) => format!("is to be changed first: {why}"),
        Presence::Up => "is up".to_owned(),
        Presence::Down(why) => format!("is down: {why}"),
    };
    format!("{other}, {tie}, {how}")
}

fn joined(why: &[String]) -> Option<String> {
    (!why.is_empty()).then(|| plain(&why.join("; ")))
}

impl Cell {
    /// How it stands for others, if its profile sees `observed`. `is_resuming` while what should run is being brought up.
    pub(in super::super) fn presence(&self, observed: &Observed, is_resuming: bool) -> Presence {
        if let Some(attempt) = self.open().last() {
            return self.presence_of(attempt);
        }
        if is_resuming || self.is_to_resume() {
            return Presence::OnItsWay(self.mind.ties.resuming.clone());
        }
        let deploys = self.state.wish.as_ref().is_some_and(|wish| matches!(wish.action, Asked::Deploy(_)));
        if let Some(why) = self.mind.held.as_ref().filter(|_| deploys && self.owed().is_some()) {
            return Presence::Later(why.clone());
        }
        match self.state.standing {
            Standing::Absent | Standing::Removed => Presence::Gone,
            Standing::Stopped => Presence::Stopped,
            Standing::Deployed => self.presence_at_rest(observed),
        }
    }

    fn presence_of(&self, attempt: &Attempt) -> Presence {
        if let Some(hold) = self.mind.hold.as_ref().filter(|_| attempt.is_held_up()) {
            return Presence::Later(format!("{} holds it", hold.by));
        }
        match attempt.step {
            Step::Stopping => return Presence::Stopped,
            Step::Removing => return Presence::Gone,
            _ => {}
        }
        let is_untouched = matches!(attempt.step, Step::Fetching | Step::Staged);
        let wait = self.mind.waits.get(&attempt.key).filter(|_| !self.mind.staging.contains(&attempt.key));
        match wait {
            // It has tried nothing in vain: it waits for its turn.
            Some(wait) if wait.tries == 0 && is_untouched => Presence::Later(wait.fault.message.clone()),
            Some(wait) => Presence::OnItsWay(Some(wait.fault.message.clone())),
            None => Presence::OnItsWay(self.mind.ties.switching.clone().filter(|_| self.is_hindered(attempt))),
        }
    }

    fn presence_at_rest(&self, observed: &Observed) -> Presence {
        let verdict = self.state.verdict.as_ref();
        if let Some(verdict) = verdict.filter(|verdict| verdict.aftermath == Aftermath::Stuck) {
            return Presence::Down(verdict.fault.message.clone());
        }
        match &observed.state {
            RunningState::Running { .. } | RunningState::NotApplicable => {}
            RunningState::Failed { reason } => return Presence::Down(reason.clone()),
            RunningState::Starting => return Presence::OnItsWay(None),
            RunningState::Unknown => return Presence::OnItsWay(Some("nobody can tell whether it runs".to_owned())),
            RunningState::Stopped => {
                let mut processes = observed.processes.values().peekable();
                let has_run = processes.peek().is_some();
                if !(has_run && processes.all(|process| process.state == ProcessState::Completed)) {
                    return Presence::Down("it does not run".to_owned());
                }
            }
        }
        match (self.mind.vitals.failing_check(), self.mind.vitals.unanswered()) {
            (Some(check), _) if self.mind.vitals.is_overdue() => Presence::Down(format!("check {check} fails")),
            (Some(check), _) => Presence::OnItsWay(Some(format!("check {check} fails"))),
            (None, Some(check)) => Presence::OnItsWay(Some(format!("check {check} has not answered yet"))),
            (None, None) => Presence::Up,
        }
    }

    /// Whether what should run is still to be brought up, once nothing holds it up.
    pub(in super::super) fn is_to_resume(&self) -> bool {
        self.mind.resume && self.stands().is_some()
    }

    /// Whether a version that is whole is kept from being switched to by other cells. What is only put back as it was
    /// waits for nobody.
    pub(in super::super) fn is_hindered(&self, attempt: &Attempt) -> bool {
        attempt.step == Step::Staged && attempt.repairs.is_none() && self.mind.ties.switching.is_some()
    }

    /// Takes in what the others mean.
    pub(super) fn tie(&mut self, ties: Ties, now: Now) {
        let is_held_up = ties.resuming.is_some() || ties.switching.is_some();
        self.mind.hindered_since = is_held_up.then(|| self.mind.hindered_since.unwrap_or(now.wall));
        self.mind.ties = ties;
    }
}
