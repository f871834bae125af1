//! What follows from what is found on the host.

use super::*;

fn at(generation: u64) -> Floor {
    Floor::new(Epoch::FIRST, Generation::new(generation).unwrap())
}

fn started(current: Option<&str>, up: Option<Activation>) -> Seen {
    Seen::Started { current: current.map(str::to_owned), up }
}

fn condition(walk: &Walk, code: Code) -> Option<&str> {
    walk.cell.mind.conditions.get(&code).map(String::as_str)
}

/// Looks at the host, on which the cell's place is as it should be.
fn look(walk: &mut Walk, others: &[&str]) {
    let linked = walk.cell.state.placed.as_ref().map_or(OnHost::Nothing, |placed| OnHost::Release(placed.release()));
    walk.see(Seen::Host(linked));
    walk.see(Seen::Others(others.iter().map(|name| (*name).to_owned()).collect()));
}

#[test]
fn what_runs_as_it_is_wanted_is_taken_over_as_the_attempt_that_it_is() {
    let attempts = |up: Activation| {
        let mut walk = Walk::new();
        walk.see(started(None, Some(up)));
        walk.trigger(&wish(1, 5, Ask::Deploy(1)), Place::Index);
        walk.run();
        assert_eq!(walk.placed().unwrap(), "v1");
        walk.begun.iter().map(|key| key.activation().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(attempts(Activation::new(at(5), 3)), ["1-5-3"]);
    assert_eq!(attempts(Activation::new(at(4), 3)), ["1-5-1"], "an older trigger's");
    assert_eq!(attempts(Activation::new(at(5), 3).restoring()), ["1-5-1"], "what was gone back to");
}

#[test]
fn what_is_taken_over_counts_once() {
    let mut walk = Walk::new();
    walk.see(started(None, Some(Activation::new(at(1), 2))));
    walk.trigger(&wish(1, 1, Ask::Deploy(0)), Place::Index);
    walk.run();
    walk.see(Seen::Host(OnHost::Nothing));
    walk.run();
    let numbers: Vec<u32> = walk.begun.iter().map(|key| key.number).collect();
    assert_eq!(numbers, [2, 3], "what is put right later is another attempt");
}

#[test]
fn a_host_that_runs_something_newer_than_the_state_knows_of_is_not_led_back() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    // The state is of before generation 4, which runs.
    walk.see(started(Some("v3-0123456789ab"), Some(Activation::new(at(4), 1))));
    assert!(condition(&walk, Code::FloorRebuilt).unwrap().contains("generation 4"), "{:?}", walk.cell.mind.conditions);
    walk.run();
    walk.see(Seen::Host(OnHost::Release("v3-0123456789ab".to_owned())));
    walk.trigger(&wish(1, 3, Ask::Remove), Place::Index);
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v0", "nothing was done");
    walk.trigger(&wish(1, 4, Ask::Deploy(3)), Place::Index);
    walk.run();
    assert_eq!((walk.placed().unwrap().as_str(), condition(&walk, Code::FloorRebuilt)), ("v3", None));
}

#[test]
fn a_state_that_may_be_old_puts_nothing_right() {
    let mut walk = deployed(0);
    walk.see(Seen::Sure(false));
    walk.see(Seen::Host(OnHost::Nothing));
    walk.see(Seen::Others(vec!["process".to_owned()]));
    assert_eq!(walk.next(), None);
    assert!(condition(&walk, Code::Inconsistent).is_some(), "it is reported");
    walk.see(Seen::Sure(true));
    walk.see(Seen::Host(OnHost::Nothing));
    assert!(matches!(walk.next(), Some(Action::Stage(_))));
}

#[test]
fn a_cell_that_stands_under_two_profiles_ends_up_under_the_one_that_it_is_placed_under() {
    let mut walk = deployed(0);
    look(&mut walk, &["process"]);
    assert!(condition(&walk, Code::Inconsistent).unwrap().contains("process"));
    assert_eq!(walk.next(), Some(Action::ClearOthers));
    walk.act(Luck::NotYet);
    assert_eq!(walk.cell.state.last_error.as_ref().unwrap().code, Code::Io);
    assert_eq!(walk.next(), None, "it is tried again with the next look, not at once");
    look(&mut walk, &["process"]);
    assert_eq!(walk.next(), Some(Action::ClearOthers));
    walk.act(Luck::Well);
    look(&mut walk, &[]);
    assert_eq!((walk.next(), condition(&walk, Code::Inconsistent)), (None, None));
    assert_eq!(walk.begun.len(), 1, "what runs is not touched");
}

#[test]
fn what_there_is_to_go_back_to_is_not_cleared() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    while !matches!(walk.next(), Some(Action::Do(Deed::Check, _))) {
        walk.act(Luck::Well);
    }
    walk.trigger(&wish(1, 3, Ask::Stop), Place::Index);
    // The version under the other profile was never known to be good.
    walk.cell.state.placed.as_mut().unwrap().profile = "process".to_owned();
    walk.run();
    look(&mut walk, &["deploy"]);
    assert_eq!((walk.next(), condition(&walk, Code::Inconsistent)), (None, None));
    look(&mut walk, &["deploy", "systemd"]);
    assert_eq!(walk.next(), Some(Action::ClearOthers));
}

#[test]
fn what_a_newer_trigger_may_want_is_not_cleared() {
    let mut walk = deployed(0);
    look(&mut walk, &["process"]);
    walk.see(Seen::Heard(at(9)));
    assert_eq!(walk.next(), None);
    look(&mut walk, &["process"]);
    assert_eq!(walk.next(), None);
    assert!(condition(&walk, Code::Inconsistent).is_some());
}

#[test]
fn without_a_trigger_what_is_found_is_an_orphan() {
    let mut walk = Walk::new();
    walk.see(Seen::Heard(at(2)));
    look(&mut walk, &["process"]);
    assert!(condition(&walk, Code::Orphaned).unwrap().contains("process"));
    assert_eq!(walk.next(), None);
}

#[test]
fn what_is_found_of_a_cell_that_was_removed_is_removed() {
    for found in [
        vec![Seen::Host(OnHost::Release("v0-0123456789ab".to_owned()))],
        vec![Seen::Host(OnHost::Nothing), Seen::Others(vec!["process".to_owned()])],
    ] {
        let mut walk = deployed(0);
        walk.trigger(&wish(1, 2, Ask::Remove), Place::Index);
        walk.run();
        look(&mut walk, &[]);
        assert_eq!(walk.next(), None);
        found.into_iter().for_each(|seen| walk.see(seen));
        assert!(matches!(walk.next(), Some(Action::Do(Deed::Remove, _))), "{:?}", walk.cell);
        walk.run();
        assert_eq!(walk.cell.state.standing, Standing::Removed);
    }
}

#[test]
fn what_was_taken_off_by_hand_is_owed_again_and_nothing_below_its_floor() {
    let mut walk = deployed(0);
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    walk.act(Luck::Well);
    walk.runs = None;
    walk.cell.taken_off(false, walk.now());
    let state = &walk.cell.state;
    assert_eq!((&state.placed, &state.known_good, state.standing), (&None, &None, Standing::Absent));
    assert_eq!(state.floor.as_ref().unwrap().at, at(2));
    walk.cell.mind.staging.clear();
    walk.see(started(None, None));
    walk.trigger(&wish(1, 1, Ask::Stop), Place::Index);
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v1");
    let numbers: Vec<u32> = walk.written.keys().filter(|key| key.at == at(2)).map(|key| key.number).collect();
    assert_eq!(numbers, [1, 2], "each attempt has its outcome");
}

#[test]
fn what_is_held_by_hand_waits_for_a_newer_trigger() {
    let mut walk = deployed(0);
    walk.runs = None;
    walk.cell.taken_off(true, walk.now());
    assert_eq!(walk.cell.state.verdict.as_ref().unwrap().fault.code, Code::Reset);
    walk.see(started(None, None));
    walk.trigger(&wish(1, 1, Ask::Deploy(0)), Place::Index);
    look(&mut walk, &[]);
    walk.run();
    assert_eq!(walk.placed(), None);
    walk.trigger(&wish(1, 2, Ask::Deploy(0)), Place::Index);
    walk.run();
    assert_eq!(walk.placed().unwrap(), "v0");
}

#[test]
fn a_cell_that_was_removed_or_stopped_cannot_be_held() {
    for (ask, standing) in [(Ask::Stop, Standing::Absent), (Ask::Remove, Standing::Removed)] {
        let mut walk = deployed(0);
        walk.trigger(&wish(1, 2, ask), Place::Index);
        walk.run();
        walk.runs = None;
        walk.cell.taken_off(true, walk.now());
        assert_eq!((walk.cell.state.standing, &walk.cell.state.verdict), (standing, &None));
    }
}
