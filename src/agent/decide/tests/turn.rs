//! What is staged waits for its turn, and nothing else does.

use super::*;
use crate::agent::report::report;
use crate::model::heartbeat::{Phase, RunningState};

/// What a closed window says.
fn closed(walk: &Walk, seconds: u64) -> Trouble {
    let until = Some(walk.now().wall + Duration::from_secs(seconds));
    Trouble::new(Code::Window, "the activation windows of the version are closed", Cure::Turn { until })
}

/// Up to the question whether it is the newest attempt's turn.
fn asked(walk: &mut Walk) -> AttemptKey {
    for _ in 0..100 {
        if let Some(Action::Do(Deed::Ask, key)) = walk.next() {
            return key;
        }
        assert!(walk.act(Luck::Well), "it never asks: {:?}", walk.cell);
    }
    panic!("it never asks: {:?}", walk.cell);
}

/// A cell of which v0 is good and v1 waits for a window that opens in so many seconds.
fn waiting(seconds: u64) -> (Walk, AttemptKey) {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    let key = asked(&mut walk);
    assert!(walk.cell.is_protected(key));
    walk.see(Seen::StepFailed { key, trouble: closed(&walk, seconds) });
    (walk, key)
}

#[test]
fn a_version_waits_until_it_is_due_and_says_until_when() {
    let (mut walk, key) = waiting(3_600);
    let opens_at = walk.now().wall + Duration::from_secs(3_600);
    assert_eq!(walk.next(), None);
    assert_eq!(walk.placed().as_deref(), Some("v0"));
    let told = report(&walk.cell, RunningState::Unknown.into());
    let waits = told.waiting.unwrap();
    assert_eq!((told.phase, waits.reason, waits.until), (Phase::Waiting, Code::Window, Some(opens_at)));
    assert_eq!(told.last_error, None, "nothing is wrong");
    let since = waits.since;

    // It looks again before long: the clock may be set meanwhile.
    let looks = walk.cell.wakes_at().unwrap() - walk.now().monotonic;
    assert_eq!(looks, BETWEEN_TURNS);
    walk.seconds += looks.as_secs() + 1;
    assert_eq!(walk.next(), Some(Action::Do(Deed::Ask, key)));
    walk.see(Seen::StepFailed { key, trouble: closed(&walk, 5) });
    assert_eq!(walk.cell.wakes_at().unwrap() - walk.now().monotonic, Duration::from_secs(5));
    let waits = report(&walk.cell, RunningState::Unknown.into()).waiting.unwrap();
    assert_eq!(waits.since, since, "it is the same wait");

    walk.seconds += 6;
    walk.run();
    assert_eq!(walk.placed().as_deref(), Some("v1"));
    assert_eq!(report(&walk.cell, RunningState::Unknown.into()).waiting, None);
}

#[test]
fn however_often_the_agent_is_restarted_a_version_that_waits_has_not_failed() {
    // The same version again: the link points at it already, as after a crash between the switch and its record.
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(0)), Place::Index);
    let placed = walk.cell.state.placed.as_ref().map(Placed::release);
    for _ in 0..3 * MOST_RESUMES {
        let key = asked(&mut walk);
        assert!(walk.cell.is_protected(key));
        walk.see(Seen::StepFailed { key, trouble: closed(&walk, 3_600) });
        walk.cell = Cell { state: walk.cell.state.clone(), ..Cell::default() };
        walk.see(Seen::Started { current: placed.clone(), up: None });
    }
    walk.run();
    assert_eq!(walk.cell.state.verdict, None);
    assert_eq!(walk.cell.state.applied, walk.cell.state.floor.as_ref().map(|floor| floor.at));
}

#[test]
fn what_was_begun_in_a_window_is_finished_after_it() {
    let (mut walk, key) = waiting(1);
    walk.seconds += 2;
    walk.see(Seen::Due { key });
    assert_eq!(walk.next(), Some(Action::Do(Deed::Switch, key)));
    // The agent dies after the link was switched, and before it could say so.
    let release = release_of(&walk, key);
    walk.cell = Cell { state: walk.cell.state.clone(), ..Cell::default() };
    walk.see(Seen::Started { current: Some(release), up: None });
    let key = asked(&mut walk);
    assert!(!walk.cell.is_protected(key), "it would be left half done until the next window");
}

fn release_of(walk: &Walk, key: AttemptKey) -> String {
    let target = walk.cell.attempt(key).unwrap().wish.action.target().unwrap().clone();
    Placed { target, profile: "deploy".to_owned() }.release()
}

#[test]
fn a_stop_comes_at_once_and_what_waited_is_given_up() {
    let (mut walk, _) = waiting(3_600);
    walk.trigger(&wish(1, 3, Ask::Stop), Place::Index);
    assert!(matches!(walk.next(), Some(Action::Do(Deed::Write | Deed::Stop, _))));
    walk.run();
    assert_eq!((walk.cell.state.standing, walk.placed().as_deref()), (Standing::Stopped, Some("v0")));
}

#[test]
fn a_newer_version_takes_the_place_of_one_that_waits() {
    let (mut walk, older) = waiting(3_600);
    walk.trigger(&wish(1, 3, Ask::Deploy(2)), Place::Index);
    let newer = asked(&mut walk);
    assert!(newer > older);
    walk.see(Seen::StepFailed { key: newer, trouble: closed(&walk, 3_600) });
    assert!(walk.cell.open().all(|attempt| attempt.key == newer), "the older one is over");
}

#[test]
fn a_version_that_waits_is_given_up_although_what_is_asked_for_instead_failed_before() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(2)), Place::Index);
    while walk.cell.state.failed.is_empty() {
        walk.act(if matches!(walk.next(), Some(Action::Do(Deed::Check, _))) { Luck::BadContent } else { Luck::Well });
    }
    walk.run();
    walk.trigger(&wish(1, 3, Ask::Deploy(1)), Place::Index);
    let older = asked(&mut walk);
    walk.see(Seen::StepFailed { key: older, trouble: closed(&walk, 60) });
    walk.trigger(&wish(1, 4, Ask::Deploy(2)), Place::Index);
    walk.seconds += 120;
    walk.run();
    assert_eq!(walk.placed().as_deref(), Some("v0"), "nobody asks for version 1 any more");
    let told = report(&walk.cell, RunningState::Unknown.into());
    assert_eq!(told.waiting.unwrap().reason, Code::FailedBefore);
}

#[test]
fn nothing_keeps_a_cell_from_running_at_all() {
    // It was never deployed.
    let mut walk = Walk::new();
    walk.trigger(&wish(1, 1, Ask::Deploy(0)), Place::Index);
    let key = asked(&mut walk);
    assert!(!walk.cell.is_protected(key));

    // Its first version failed, so there is nothing to protect.
    while walk.cell.state.verdict.is_none() {
        let is_up = matches!(walk.next(), Some(Action::Do(Deed::Activate, _)));
        walk.act(if is_up { Luck::BadContent } else { Luck::Well });
    }
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    let key = asked(&mut walk);
    assert!(!walk.cell.is_protected(key));

    // It is stopped.
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Stop), Place::Index);
    walk.run();
    walk.trigger(&wish(1, 3, Ask::Deploy(1)), Place::Index);
    let key = asked(&mut walk);
    assert!(!walk.cell.is_protected(key));

    // Somebody has moved its link by hand.
    let mut walk = deployed(0);
    walk.see(Seen::Host(OnHost::Nothing));
    let key = asked(&mut walk);
    assert!(walk.cell.attempt(key).unwrap().repairs.is_some() && !walk.cell.is_protected(key));
}

#[test]
fn a_newer_version_waits_also_while_the_one_before_it_is_being_watched() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    while !matches!(walk.next(), Some(Action::Do(Deed::Check, _))) {
        walk.act(Luck::Well);
    }
    walk.act(Luck::NotYet);
    walk.trigger(&wish(1, 3, Ask::Deploy(2)), Place::Index);
    let key = asked(&mut walk);
    assert!(walk.cell.is_protected(key));
}

#[test]
fn what_failed_goes_back_without_asking() {
    let (mut walk, key) = waiting(1);
    walk.see(Seen::Due { key });
    while !matches!(walk.next(), Some(Action::Do(Deed::Activate, _))) {
        walk.act(Luck::Well);
    }
    walk.act(Luck::BadContent);
    assert_eq!(walk.next(), Some(Action::Do(Deed::Restore, key)));
    walk.run();
    assert_eq!(walk.placed().as_deref(), Some("v0"));
}

#[test]
fn what_is_changed_by_hand_during_a_wait_is_put_right_and_the_version_waits_on() {
    let (mut walk, key) = waiting(3_600);
    walk.see(Seen::Host(OnHost::Release("v9-0123456789ab".to_owned())));
    let Some(Action::Do(Deed::Restore, repair)) = walk.next() else { panic!("{:?}", walk.next()) };
    assert_ne!(repair, key);
    while walk.act(Luck::Well) {}
    assert_eq!(walk.placed().as_deref(), Some("v0"));
    let waits = report(&walk.cell, RunningState::Unknown.into()).waiting.unwrap();
    assert_eq!(waits.reason, Code::Window, "it waits as before");
    assert_eq!(walk.cell.state.verdict, None);
    walk.seconds += 3_601;
    walk.run();
    assert_eq!(walk.placed().as_deref(), Some("v1"));
}
