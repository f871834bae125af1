//! What follows from what the checks of a cell say.

use std::num::NonZeroU32;

use super::*;
use crate::agent::health::Probe;
use crate::agent::report::report;
use crate::model::CheckName;
use crate::model::health::{Check, FileCheck, Health};
use crate::model::heartbeat::{CellReport, HealthState, RunningState};

fn web() -> CheckName {
    CheckName::new("web").unwrap()
}

fn health() -> Health {
    let check = Check::File(FileCheck { path: "x".to_owned(), newer_than_ms: None });
    let checks = BTreeMap::from([(web(), check)]);
    Health { checks, deadline_ms: 60_000, restart_after: NonZeroU32::new(2), ..Health::default() }
}

impl Walk {
    /// What is up is asked from now on.
    fn watch(&mut self) {
        let (_, round) = self.cell.up().expect("something is up");
        self.see(Seen::Watching { round, health: Box::new(health()) });
    }

    fn probe(&mut self, passes: bool) {
        let result = if passes { Ok("fine".to_owned()) } else { Err("down".to_owned()) };
        let round = self.cell.mind.vitals.round();
        self.see(Seen::Probed(Probe { round, name: web(), result }));
    }

    fn report_of(&self, state: RunningState) -> CellReport {
        report(&self.cell, state.into())
    }

    fn health(&self) -> Option<HealthState> {
        self.report_of(RunningState::Unknown).health.map(|health| health.state)
    }
}

/// v0 is good, and v1 is up and being watched.
fn checking() -> (Walk, AttemptKey) {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    for _ in 0..100 {
        if let Some(Action::Do(Deed::Check, key)) = walk.next() {
            walk.watch();
            return (walk, key);
        }
        assert!(walk.act(Luck::Well));
    }
    panic!("{:?}", walk.cell);
}

#[test]
fn every_answer_has_a_version_looked_at_that_is_being_watched() {
    let (mut walk, key) = checking();
    walk.see(Seen::Pending { key, missing: "web".to_owned(), deadline: DEADLINE });
    assert_eq!(walk.next(), None);
    walk.probe(true);
    assert_eq!(walk.next(), Some(Action::Do(Deed::Check, key)));
    assert_eq!(walk.health(), Some(HealthState::Starting));
}

#[test]
fn while_a_version_is_watched_nothing_is_restarted() {
    let (mut walk, key) = checking();
    walk.probe(true);
    walk.seconds += 10;
    walk.probe(true);
    for _ in 0..5 {
        walk.probe(false);
        walk.see(Seen::Pending { key, missing: "web".to_owned(), deadline: DEADLINE });
        assert_eq!(walk.next(), None);
    }
    walk.see(Seen::Passed { key });
    let restarts = |action| matches!(action, Some(Action::Restart));
    while !restarts(walk.next()) {
        assert!(walk.act(Luck::Well));
    }
}

/// v0 is good, was well, and its check fails twice.
fn failing() -> Walk {
    let mut walk = deployed(0);
    walk.watch();
    walk.probe(true);
    walk.seconds += 10;
    walk.probe(true);
    assert_eq!((walk.health(), walk.next()), (Some(HealthState::Passing), None));
    walk.probe(false);
    assert_eq!((walk.health(), walk.next()), (Some(HealthState::Failing), None));
    walk.probe(false);
    walk
}

#[test]
fn what_goes_on_failing_is_restarted_and_never_rolled_back() {
    let mut walk = failing();
    let before = walk.cell.state.clone();
    assert_eq!(walk.next(), Some(Action::Restart));
    walk.see(Seen::Restarted(Ok(())));
    assert_eq!((walk.next(), walk.health()), (None, None), "what was known is of what ran before");
    walk.watch();
    let report = walk.report_of(RunningState::Unknown);
    assert_eq!(report.health.map(|health| health.restarts), Some(1));
    assert_eq!(report.last_error.unwrap().message, "it was restarted, because check web failed 2 times in a row: down");
    let after = &walk.cell.state;
    assert_eq!((&after.known_good, &after.placed, &after.verdict), (&before.known_good, &before.placed, &None));
    assert!(after.failed.is_empty() && after.journal.is_empty());
}

#[test]
fn what_cannot_be_restarted_is_not_tried_without_end() {
    let mut walk = failing();
    walk.see(Seen::Restarted(Err(Trouble::new(Code::Io, "no", Cure::Time))));
    walk.watch();
    for _ in 0..5 {
        walk.probe(false);
    }
    assert_eq!(walk.next(), None);
    let at = walk.cell.wakes_at().unwrap();
    assert_eq!(at, walk.now().monotonic + Duration::from_secs(60));
    assert_eq!(walk.cell.next(at), Some(Action::Restart));
    let message = walk.cell.state.last_error.unwrap().message;
    assert_eq!(message, "it was to be restarted, because check web failed 2 times in a row: down: no");
}

#[test]
fn what_is_held_is_asked_on_and_not_restarted_until_it_is_released() {
    let mut walk = failing();
    walk.see(Seen::Hold(Some(super::hold::of_alice())));
    walk.trigger(&wish(1, 9, Ask::Deploy(2)), Place::Index);
    walk.run();
    assert!(walk.cell.up().is_some(), "what runs is asked on");
    assert_eq!(walk.cell.open().count(), 1, "the newer version waits");
    let mut walk = failing();
    walk.see(Seen::Hold(Some(super::hold::of_alice())));
    walk.seconds += 3_600;
    assert_eq!(walk.next(), None);
    walk.see(Seen::Hold(None));
    assert!(matches!(walk.next(), Some(Action::Restart)));
}

#[test]
fn a_newer_trigger_comes_before_a_restart() {
    let mut walk = failing();
    walk.trigger(&wish(1, 2, Ask::Stop), Place::Index);
    assert!(matches!(walk.next(), Some(Action::Do(Deed::Stop, _))));
    assert_eq!(walk.cell.wakes_at(), None);
    walk.run();
    assert_eq!(walk.health(), None, "what is stopped is not asked");
}

#[test]
fn what_was_gone_back_to_and_is_not_well_either_needs_somebody() {
    let needs = |report: CellReport| report.conditions.into_iter().find(|it| it.code == Code::NeedsOperator);
    let (mut walk, key) = checking();
    let why = "check web fails: down";
    walk.see(Seen::StepFailed { key, trouble: Trouble::new(Code::Unhealthy, why, Cure::OtherContent) });
    walk.run();
    assert_eq!(walk.placed().as_deref(), Some("v0"));
    assert_eq!(needs(walk.report_of(RunningState::Unknown)), None);
    let told = needs(walk.report_of(RunningState::Failed { reason: "exit code 1".to_owned() })).unwrap();
    assert_eq!(told.message, "the version that was gone back to is not well either: exit code 1");
    walk.watch();
    walk.probe(false);
    assert_eq!(needs(walk.report_of(RunningState::Unknown)), None, "it may still come up");
    walk.seconds += 60;
    walk.probe(false);
    let told = needs(walk.report_of(RunningState::Unknown)).unwrap();
    assert_eq!(told.message, "the version that was gone back to is not well either: check web fails: down");
    walk.probe(true);
    assert_eq!(needs(walk.report_of(RunningState::Unknown)), None);
}
