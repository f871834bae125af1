//! Between being up and being good.

use super::*;
use crate::agent::report::report;
use crate::model::heartbeat::{Phase, RunningState};

impl Walk {
    /// Does everything up to `deed`.
    pub(super) fn run_to(&mut self, deed: Deed) -> AttemptKey {
        for _ in 0..100 {
            match self.next() {
                Some(Action::Do(next, key)) if next == deed => return key,
                _ => assert!(self.act(Luck::Well), "{deed:?} is never done: {:?}", self.cell),
            }
        }
        panic!("{deed:?} is never done: {:?}", self.cell);
    }

    fn pending(&mut self, key: AttemptKey) {
        self.see(Seen::Pending { key, missing: "web: not yet".to_owned(), deadline: DEADLINE });
    }

    pub(super) fn restart(&mut self, current: Option<String>) {
        self.cell = Cell { state: self.cell.state.clone(), ..Cell::default() };
        self.see(Seen::Started { current, up: None });
    }

    pub(super) fn linked(&self) -> Option<String> {
        self.cell.state.placed.as_ref().map(Placed::release)
    }

    fn known_good(&self) -> Option<String> {
        self.cell.state.known_good.as_ref().map(|placed| placed.target.version.to_string())
    }

    fn phase(&self) -> Phase {
        report(&self.cell, RunningState::Unknown.into()).phase
    }

    fn step(&self, key: AttemptKey) -> Option<Step> {
        self.cell.attempt(key).map(|attempt| attempt.step.clone())
    }
}

/// v0 is good, and v1 is up and being watched.
fn checking() -> (Walk, AttemptKey) {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    let key = walk.run_to(Deed::Check);
    (walk, key)
}

#[test]
fn what_is_up_is_good_only_once_it_passes() {
    let (mut walk, key) = checking();
    for _ in 0..3 {
        walk.pending(key);
        assert_eq!((walk.placed().as_deref(), walk.known_good().as_deref()), (Some("v1"), Some("v0")));
        assert_eq!((walk.phase(), walk.cell.owed()), (Phase::Checking, Some(key.at)));
        walk.seconds += 1;
    }
    walk.see(Seen::Passed { key });
    walk.run();
    assert_eq!((walk.known_good().as_deref(), walk.phase()), (Some("v1"), Phase::UpToDate));
    assert_eq!(walk.cell.state.applied, Some(key.at));
}

#[test]
fn it_is_looked_at_every_half_second_and_at_once_when_something_changed() {
    let (mut walk, key) = checking();
    walk.pending(key);
    let at = |millis| walk.now().monotonic + Duration::from_millis(millis);
    assert_eq!((walk.cell.next(at(499)), walk.cell.wakes_at()), (None, Some(at(500))));
    assert_eq!(walk.cell.next(at(500)), Some(Action::Do(Deed::Check, key)));
    walk.see(Seen::Changed);
    assert_eq!(walk.next(), Some(Action::Do(Deed::Check, key)));
    walk.see(Seen::Passed { key });
    walk.run();
    assert_eq!(walk.cell.wakes_at(), None, "nothing is watched any more");
    walk.see(Seen::Changed);
    assert_eq!(walk.next(), None);
}

#[test]
fn what_is_not_good_in_time_is_rolled_back_once_and_remembered() {
    let (mut walk, key) = checking();
    walk.pending(key);
    walk.seconds += DEADLINE.as_secs() - 1;
    walk.pending(key);
    assert_eq!(walk.step(key), Some(Step::Checking));
    walk.seconds += 1;
    walk.pending(key);
    assert_eq!(walk.next(), Some(Action::Do(Deed::Restore, key)));
    walk.run();
    assert_eq!((walk.placed().as_deref(), walk.phase()), (Some("v0"), Phase::RolledBack));
    let fault = walk.cell.state.last_error.clone().unwrap();
    assert_eq!(fault.code, Code::Unhealthy);
    assert!(fault.message.contains("120s: web: not yet"), "{}", fault.message);
    walk.trigger(&wish(1, 3, Ask::Deploy(1)), Place::Index);
    assert_eq!(walk.next(), None, "the content failed here before");
}

#[test]
fn a_first_version_that_is_not_good_has_nothing_to_go_back_to() {
    let mut walk = Walk::new();
    walk.trigger(&wish(1, 1, Ask::Deploy(0)), Place::Index);
    walk.run_to(Deed::Check);
    walk.act(Luck::BadContent);
    walk.run();
    assert_eq!((walk.phase(), walk.known_good()), (Phase::Failed, None));
    assert!(walk.cell.state.verdict.as_ref().is_some_and(|verdict| verdict.aftermath == Aftermath::Stuck));
}

#[test]
fn a_stop_comes_before_the_gate_and_bars_the_rollback() {
    for result in [Luck::Well, Luck::NotYet, Luck::BadContent, Luck::TooOld] {
        let (mut walk, key) = checking();
        walk.pending(key);
        walk.trigger(&wish(1, 3, Ask::Stop), Place::Index);
        // A look that had begun before ends after it.
        let seen = match result {
            Luck::Well => Seen::Passed { key },
            Luck::NotYet => Seen::Pending { key, missing: String::new(), deadline: Duration::ZERO },
            Luck::BadContent => {
                Seen::StepFailed { key, trouble: Trouble::new(Code::Unhealthy, "bad", Cure::OtherContent) }
            }
            Luck::TooOld => Seen::NotStarted { key },
        };
        walk.see(seen);
        while let Some(action) = walk.next() {
            assert!(!matches!(action, Action::Do(Deed::Restore | Deed::Activate | Deed::Check, _)), "{action:?}");
            walk.act(Luck::Well);
        }
        assert_eq!(walk.phase(), Phase::Stopped);
    }
}

#[test]
fn a_newer_version_is_fetched_meanwhile_and_ends_the_watch_once_it_is_due() {
    let (mut walk, key) = checking();
    walk.pending(key);
    walk.trigger(&wish(1, 3, Ask::Deploy(2)), Place::Index);
    assert!(matches!(walk.next(), Some(Action::Stage(newer)) if newer > key));
    walk.act(Luck::Well);
    walk.see(Seen::Changed);
    assert_eq!(walk.next(), Some(Action::Do(Deed::Check, key)), "it is watched until then");
    walk.pending(key);
    walk.act(Luck::Well);
    assert_eq!(walk.step(key), Some(Step::Checking), "the newer one is whole, and may still have to wait");
    walk.act(Luck::Well);
    assert!(matches!(walk.step(key), Some(Step::Ended { ending: Ending::Superseded, .. })), "{:?}", walk.step(key));
    walk.run_to(Deed::Check);
    walk.act(Luck::BadContent);
    walk.run();
    assert_eq!(walk.placed().as_deref(), Some("v0"), "what was never good is nothing to go back to");
}

#[test]
fn what_passes_while_a_newer_version_is_fetched_is_what_to_go_back_to() {
    let (mut walk, key) = checking();
    walk.pending(key);
    walk.trigger(&wish(1, 3, Ask::Deploy(2)), Place::Index);
    walk.act(Luck::Well);
    walk.see(Seen::Passed { key });
    assert_eq!(walk.known_good().as_deref(), Some("v1"));
    walk.run_to(Deed::Activate);
    walk.act(Luck::BadContent);
    walk.run();
    assert_eq!((walk.placed().as_deref(), walk.phase()), (Some("v1"), Phase::RolledBack));
}

#[test]
fn a_newer_version_that_cannot_be_had_does_not_end_the_watch() {
    let (mut walk, key) = checking();
    walk.pending(key);
    walk.trigger(&wish(1, 3, Ask::Deploy(2)), Place::Index);
    walk.act(Luck::Well);
    walk.act(Luck::BadContent);
    walk.seconds += 1;
    assert_eq!(walk.run_to(Deed::Check), key);
    walk.act(Luck::Well);
    walk.run();
    assert_eq!(walk.known_good().as_deref(), Some("v1"));
}

#[test]
fn a_restarted_agent_watches_on_and_does_nothing_else() {
    let (mut walk, key) = checking();
    walk.pending(key);
    for _ in 0..2 * MOST_RESUMES {
        walk.restart(walk.linked());
        assert_eq!(walk.phase(), Phase::Checking);
        assert_eq!(walk.next(), Some(Action::Do(Deed::Check, key)), "not fetched, switched or activated again");
        walk.pending(key);
        assert_eq!(walk.next(), None);
        // However long the agent was away, it was not the version that took its time.
        walk.seconds += 10 * DEADLINE.as_secs();
    }
    walk.restart(walk.linked());
    walk.pending(key);
    walk.seconds += DEADLINE.as_secs();
    walk.pending(key);
    assert_eq!(walk.next(), Some(Action::Do(Deed::Restore, key)), "the deadline is kept all the same");
}

#[test]
fn what_is_watched_is_verified_again_if_the_link_leads_elsewhere_after_a_restart() {
    for current in [None, Some("v9-0123456789ab".to_owned())] {
        let (mut walk, key) = checking();
        walk.restart(current);
        assert_eq!(walk.next(), Some(Action::Stage(key)));
        assert_eq!(walk.run_to(Deed::Activate), key, "the same attempt, so the same activation");
    }
}

#[test]
fn what_runs_instead_is_replaced_by_the_same_activation_but_not_for_ever() {
    let (mut walk, key) = checking();
    for _ in 0..MOST_RESUMES {
        walk.see(Seen::NotStarted { key });
        assert_eq!(walk.next(), Some(Action::Do(Deed::Activate, key)));
        walk.act(Luck::Well);
        assert_eq!(walk.next(), Some(Action::Do(Deed::Check, key)));
    }
    walk.see(Seen::NotStarted { key });
    assert_eq!(walk.next(), Some(Action::Do(Deed::Restore, key)));
    assert_eq!(walk.cell.state.last_error.as_ref().unwrap().code, Code::ActivationFailed);
}

#[test]
fn a_look_that_cannot_be_taken_is_taken_later() {
    let (mut walk, key) = checking();
    walk.pending(key);
    walk.see(Seen::StepFailed { key, trouble: Trouble::new(Code::Io, "not now", Cure::Time) });
    assert_eq!((walk.next(), walk.phase()), (None, Phase::Waiting));
    let retry_at = walk.now().monotonic + PATIENCE.first;
    assert_eq!(walk.cell.wakes_at(), Some(retry_at), "and nothing wakes the cell before");
    walk.seconds = retry_at.as_secs();
    assert_eq!(walk.next(), Some(Action::Do(Deed::Check, key)));
    walk.pending(key);
    assert_eq!(walk.phase(), Phase::Checking);
}

#[test]
fn going_back_is_another_activation_than_what_failed_and_the_same_after_a_crash() {
    let (mut walk, key) = checking();
    assert_eq!(key.activation().to_string(), "1-2-1");
    assert_eq!(key.activation().restoring().to_string(), "1-2-1-restore");
    walk.act(Luck::BadContent);
    assert_eq!(walk.next(), Some(Action::Do(Deed::Restore, key)));
    walk.restart(walk.linked());
    assert_eq!(walk.run_to(Deed::Restore), key);
    // What is put right later is a bringing up of its own.
    walk.run();
    walk.see(Seen::Host(OnHost::Nothing));
    assert_eq!(walk.run_to(Deed::Restore).activation().restoring().to_string(), "1-2-2-restore");
}

#[test]
fn only_what_no_trigger_ends_is_to_run_before_the_bucket_is_asked() {
    let version = |walk: &Walk| walk.cell.should_run().map(|placed| placed.target.version.to_string());
    assert_eq!(version(&Walk::new()), None);
    let (mut walk, _) = checking();
    assert_eq!(version(&walk).as_deref(), Some("v1"), "also before it is good");
    walk.trigger(&wish(1, 3, Ask::Newer), Place::Index);
    assert_eq!(version(&walk).as_deref(), Some("v1"), "also when it is held");
    for (generation, ask) in [(4, Ask::Stop), (5, Ask::Remove)] {
        walk.trigger(&wish(1, generation, ask), Place::Index);
        assert_eq!(version(&walk), None, "{ask:?} has only begun");
        walk.restart(walk.linked());
        assert_eq!(version(&walk), None, "{ask:?} has only begun");
        walk.run();
        assert_eq!(version(&walk), None, "{ask:?}");
    }
}

#[test]
fn what_was_switched_to_before_the_agent_ended_comes_to_its_end_although_something_that_failed_before_is_asked_for() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(2)), Place::Index);
    let key = walk.run_to(Deed::Check);
    walk.see(Seen::StepFailed { key, trouble: trouble_of(Luck::BadContent).unwrap() });
    walk.run();
    walk.trigger(&wish(1, 3, Ask::Deploy(1)), Place::Index);
    walk.run_to(Deed::Activate);
    walk.restart(walk.linked());
    walk.trigger(&wish(1, 4, Ask::Deploy(2)), Place::Index);
    walk.run();
    assert_eq!((walk.placed().as_deref(), walk.known_good().as_deref()), (Some("v1"), Some("v1")));
    assert_eq!(walk.phase(), Phase::Waiting);
}
