//! What a hold keeps from being changed.

use super::*;

/// A hold of the cell.
pub(super) fn of_alice() -> HoldReport {
    HoldReport {
        order: ulid::Ulid::nil(),
        by: UserName::new("alice").unwrap(),
        reason: "debugging".to_owned(),
        since: DateTime::UNIX_EPOCH,
        until: DateTime::UNIX_EPOCH + Duration::from_secs(3_600),
        whole_node: false,
    }
}

fn hold(walk: &mut Walk) {
    walk.see(Seen::Hold(Some(of_alice())));
}

fn release(walk: &mut Walk) {
    walk.see(Seen::Hold(None));
}

fn steps(walk: &Walk) -> Vec<Step> {
    walk.cell.open().map(|attempt| attempt.step.clone()).collect()
}

#[test]
fn a_held_cell_is_fetched_for_and_switched_once_it_is_released() {
    let mut walk = deployed(0);
    hold(&mut walk);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    walk.run();
    assert_eq!((walk.placed().unwrap().as_str(), steps(&walk)), ("v0", vec![Step::Staged]));
    let report = crate::agent::report::report(&walk.cell, crate::model::heartbeat::RunningState::Unknown.into());
    let waiting = report.waiting.unwrap();
    assert_eq!((report.phase.as_str(), waiting.reason), ("waiting", Code::Hold));
    assert_eq!(waiting.message, "alice holds it until 1970-01-01T01:00:00Z: debugging");
    assert_eq!(report.hold, Some(of_alice()));
    release(&mut walk);
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v1");
}

#[test]
fn a_held_cell_is_neither_stopped_nor_removed() {
    for ask in [Ask::Stop, Ask::Remove] {
        let mut walk = deployed(0);
        hold(&mut walk);
        walk.trigger(&wish(1, 2, ask), Place::Index);
        walk.run();
        assert_eq!(walk.cell.state.standing, Standing::Deployed);
        release(&mut walk);
        walk.run();
        assert_ne!(walk.cell.state.standing, Standing::Deployed);
    }
}

#[test]
fn what_was_changed_by_hand_on_a_held_cell_is_put_right_only_afterwards() {
    let mut walk = deployed(0);
    hold(&mut walk);
    walk.see(Seen::Host(OnHost::Nothing));
    walk.see(Seen::Others(vec!["process".to_owned()]));
    assert_eq!(walk.next(), None);
    assert!(walk.cell.mind.conditions.contains_key(&Code::Inconsistent), "it is told");
    release(&mut walk);
    walk.see(Seen::Host(OnHost::Nothing));
    assert!(matches!(walk.next(), Some(Action::Stage(_))));
}

/// A cell on which version 1 is up and not known to be good.
fn checking() -> Walk {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    while !matches!(walk.next(), Some(Action::Do(Deed::Check, _))) {
        walk.act(Luck::Well);
    }
    walk
}

#[test]
fn what_is_being_brought_up_when_the_hold_comes_ends_well_or_goes_back() {
    for (luck, expected) in [(Luck::Well, "v1"), (Luck::BadContent, "v0")] {
        let mut walk = checking();
        hold(&mut walk);
        walk.act(luck);
        walk.run();
        assert_eq!((walk.placed().unwrap().as_str(), steps(&walk)), (expected, vec![]));
    }
}

#[test]
fn what_is_being_brought_up_is_watched_on_although_something_newer_waits() {
    for newer in [Ask::Stop, Ask::Deploy(2)] {
        let mut walk = checking();
        hold(&mut walk);
        walk.trigger(&wish(1, 3, newer), Place::Index);
        walk.run();
        assert_eq!(walk.placed().unwrap(), "v1");
        let good = walk.cell.state.known_good.as_ref().unwrap();
        assert_eq!(good.target.version.as_str(), "v1", "it was watched until it was good");
        assert_eq!(steps(&walk).len(), 1, "the newer one waits");
        release(&mut walk);
        walk.run();
        assert_eq!((walk.cell.owed().is_none(), steps(&walk)), (true, vec![]));
    }
}

#[test]
fn what_waited_for_the_hold_comes_before_what_is_still_watched_when_it_ends() {
    let mut walk = checking();
    hold(&mut walk);
    walk.trigger(&wish(1, 3, Ask::Deploy(2)), Place::Index);
    // Nothing is good yet, and the newer one is staged.
    while walk.cell.open().all(|attempt| attempt.step != Step::Staged) {
        walk.act(Luck::NotYet);
        if walk.cell.mind.staging.len() == 1 {
            walk.finish_staging(Luck::Well);
        }
    }
    assert_eq!(steps(&walk), [Step::Checking, Step::Staged]);
    release(&mut walk);
    while !matches!(walk.next(), Some(Action::Do(Deed::Ask, _))) {
        walk.act(Luck::NotYet);
    }
    walk.act(Luck::Well);
    assert_eq!(steps(&walk), [Step::Switching]);
}

#[test]
fn an_attempt_that_had_switched_before_the_agent_ended_goes_on_although_it_is_held() {
    let mut walk = checking();
    let linked = walk.cell.state.placed.as_ref().map(Placed::release);
    walk.cell.state.journal[0].step = Step::Activating;
    let mind = Mind { hold: Some(of_alice()), ..Mind::default() };
    walk.cell = Cell { state: walk.cell.state.clone(), mind };
    walk.see(Seen::Started { current: linked, up: None });
    walk.run();
    let good = walk.cell.state.known_good.as_ref().unwrap();
    assert_eq!((good.target.version.as_str(), steps(&walk)), ("v1", vec![]));
}
