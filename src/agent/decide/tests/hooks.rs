//! What is run around a deployment, and when.

use super::*;

/// v0 is good, v1 is wanted, and every version has all hooks.
fn wanted() -> Walk {
    let mut walk = deployed(0);
    walk.has.extend(HookEvent::ALL.into_iter().filter(|event| *event != HookEvent::BeforeStage));
    walk.trigger(&wish(1, 2, Ask::Deploy(1)), Place::Index);
    walk
}

/// Goes on until nothing is left to do; `bad` is what does not go well. What was done, in its order.
fn deeds(walk: &mut Walk, bad: Deed) -> Vec<Deed> {
    let mut done = Vec::new();
    for _ in 0..100 {
        let luck = match walk.next() {
            Some(Action::Do(deed, _)) => {
                done.push(deed);
                if deed == bad { Luck::BadContent } else { Luck::Well }
            }
            _ => Luck::Well,
        };
        if !walk.act(luck) {
            return done;
        }
    }
    panic!("it never comes to rest: {:?}", walk.cell);
}

use Deed::{Activate, Check, Leave, Restore, Run, Switch, Write};
use HookEvent::{AfterActivate, BeforeActivate, OnFailure, OnRollback, Stop};

#[test]
fn what_runs_is_told_before_it_is_replaced_and_what_replaces_it_before_and_after() {
    let done = deeds(&mut wanted(), Deed::Remove);
    assert_eq!(done, [Deed::Ask, Run(Stop), Run(BeforeActivate), Switch, Activate, Run(AfterActivate), Check, Write]);
}

#[test]
fn a_hook_that_fails_before_the_switch_leaves_everything_as_it_is() {
    let mut walk = wanted();
    let done = deeds(&mut walk, Run(BeforeActivate));
    assert_eq!(done, [Deed::Ask, Run(Stop), Run(BeforeActivate), Run(OnFailure), Write]);
    assert_eq!(walk.placed().as_deref(), Some("v0"));
    assert_eq!(walk.cell.state.verdict.as_ref().map(|verdict| verdict.aftermath), Some(Aftermath::Untouched));
}

#[test]
fn what_fails_after_the_switch_is_told_that_it_failed_and_that_it_is_left() {
    for bad in [Run(AfterActivate), Check] {
        let mut walk = wanted();
        let done = deeds(&mut walk, bad);
        let at = done.iter().position(|deed| *deed == bad).unwrap();
        assert_eq!(done[at + 1..], [Run(OnFailure), Run(OnRollback), Restore, Write]);
        assert_eq!(walk.placed().as_deref(), Some("v0"));
    }
}

#[test]
fn an_agent_that_is_killed_between_two_hooks_does_not_run_the_first_once_more() {
    let mut walk = wanted();
    walk.run_to(Run(BeforeActivate));
    walk.restart(walk.linked());
    let done = deeds(&mut walk, Deed::Remove);
    assert_eq!(done, [Deed::Ask, Run(BeforeActivate), Switch, Activate, Run(AfterActivate), Check, Write]);
    // Nor what comes before the switch once it has switched.
    let mut walk = wanted();
    walk.run_to(Run(AfterActivate));
    walk.restart(walk.linked());
    let done = deeds(&mut walk, Deed::Remove);
    assert_eq!(done, [Run(AfterActivate), Check, Write]);
}

#[test]
fn a_hook_that_asks_for_later_is_waited_for_and_anything_newer_comes_first() {
    let mut walk = wanted();
    let key = walk.run_to(Run(BeforeActivate));
    let later = Trouble::new(Code::HookWaits, "later", Cure::Time);
    walk.see(Seen::StepFailed { key, trouble: later });
    assert_eq!(walk.next(), None);
    assert_eq!(walk.cell.mind.waits[&key].fault.code, Code::HookWaits);
    walk.trigger(&wish(1, 3, Ask::Stop), Place::Index);
    walk.run();
    assert_eq!(walk.cell.state.standing, Standing::Stopped);
}

#[test]
fn the_time_to_become_good_begins_after_the_last_hook() {
    let mut walk = wanted();
    let key = walk.run_to(Run(AfterActivate));
    walk.seconds += 2 * DEADLINE.as_secs();
    walk.see(Seen::HookRun { key, event: AfterActivate });
    walk.see(Seen::Pending { key, missing: "web".to_owned(), deadline: DEADLINE });
    assert_eq!(walk.cell.attempt(key).unwrap().step, Step::Checking);
}

#[test]
fn a_held_cell_is_told_nothing() {
    let mut walk = wanted();
    walk.run_to(Run(Stop));
    walk.see(Seen::Held(Some("held".to_owned())));
    assert_eq!(walk.next(), None);
}

/// The same, and the two can run at once.
fn beside() -> Walk {
    let mut walk = wanted();
    walk.overlaps = true;
    walk
}

fn leaving(walk: &Walk) -> Option<String> {
    walk.cell.state.leaving.as_ref().map(|leaving| leaving.target.version.to_string())
}

#[test]
fn what_goes_on_beside_the_new_version_is_told_once_that_is_good() {
    let mut walk = beside();
    let key = walk.run_to(Activate);
    assert_eq!(leaving(&walk).as_deref(), Some("v0"));
    let done = deeds(&mut walk, Deed::Remove);
    // Once to find it good and tell the old one, and once more to end that.
    assert_eq!(done, [Activate, Run(AfterActivate), Check, Check, Write]);
    assert!(!walk.hooks.contains(&(key, Stop)) && leaving(&walk).is_none());
}

#[test]
fn what_goes_on_is_told_once_however_often_the_agent_is_killed() {
    let mut walk = beside();
    for deed in [Switch, Activate, Run(AfterActivate), Check] {
        walk.run_to(deed);
        walk.restart(walk.linked());
        assert_eq!(leaving(&walk).as_deref(), (deed != Switch).then_some("v0"), "{deed:?}");
    }
    // The crash may come between the switch and the journal's word of it.
    let mut walk = beside();
    let key = walk.run_to(Switch);
    let linked = walk.cell.attempt(key).and_then(placed_by).map(|placed| placed.release());
    walk.restart(linked);
    assert_eq!(leaving(&walk).as_deref(), Some("v0"));
    let key = walk.run_to(Check);
    walk.see(Seen::Left { key });
    walk.restart(walk.linked());
    let done = deeds(&mut walk, Deed::Remove);
    assert_eq!((done, leaving(&walk)), (vec![Check, Write], None));
}

#[test]
fn what_has_to_stop_first_after_all_is_told_before_and_not_once_more() {
    let mut walk = beside();
    let key = walk.run_to(Activate);
    walk.see(Seen::Left { key });
    walk.restart(walk.linked());
    let done = deeds(&mut walk, Deed::Remove);
    assert_eq!(done, [Deed::Ask, Switch, Activate, Run(AfterActivate), Check, Write]);
}

#[test]
fn what_fails_beside_another_one_has_told_that_nothing() {
    for bad in [Run(AfterActivate), Check] {
        let mut walk = beside();
        let done = deeds(&mut walk, bad);
        assert!(!done.contains(&Run(Stop)) && !done.contains(&Leave), "{done:?}");
        assert_eq!((walk.placed().as_deref(), leaving(&walk)), (Some("v0"), None));
    }
}

#[test]
fn a_newer_version_tells_the_one_that_never_became_good_before_it_starts_and_the_good_one_after() {
    for overlaps in [true, false] {
        let mut walk = beside();
        let key = walk.run_to(Check);
        walk.see(Seen::Pending { key, missing: "web".to_owned(), deadline: DEADLINE });
        walk.overlaps = overlaps;
        walk.trigger(&wish(1, 3, Ask::Deploy(2)), Place::Index);
        let key = walk.run_to(Switch);
        assert!(walk.hooks.contains(&(key, Stop)), "v1 ends as v2 is brought up");
        assert_eq!(leaving(&walk).as_deref(), overlaps.then_some("v0"), "what cannot go on beside v2 is told before");
        walk.run();
        assert_eq!((walk.placed().as_deref(), leaving(&walk)), (Some("v2"), None));
    }
}

#[test]
fn a_version_that_waits_for_the_old_one_is_given_up_for_a_newer_one_and_ends_with_a_stop() {
    let mut walk = beside();
    let key = walk.run_to(Check);
    walk.see(Seen::StepFailed { key, trouble: Trouble::new(Code::HookWaits, "later", Cure::Time) });
    assert_eq!(walk.next(), None);
    walk.trigger(&wish(1, 3, Ask::Stop), Place::Index);
    walk.run();
    assert_eq!((walk.cell.state.standing, leaving(&walk)), (Standing::Stopped, None));
}

#[test]
fn how_long_a_hook_puts_it_off_counts_on_while_the_version_flaps_and_its_deadline_begins_anew() {
    let mut walk = wanted();
    let key = walk.run_to(Check);
    walk.seconds += 2 * DEADLINE.as_secs();
    let later = || Trouble::new(Code::HookWaits, "later", Cure::Time);
    walk.see(Seen::StepFailed { key, trouble: later() });
    let since = walk.cell.mind.waits[&key].fault.at;
    walk.seconds += PATIENCE.first.as_secs();
    walk.see(Seen::Pending { key, missing: "web".to_owned(), deadline: DEADLINE });
    assert_eq!(walk.cell.attempt(key).unwrap().step, Step::Checking, "it was good when the hook was asked");
    assert_eq!(walk.next(), None, "it is looked at again, but not at once");
    walk.seconds += 1;
    assert_eq!(walk.next(), Some(Action::Do(Check, key)));
    walk.see(Seen::StepFailed { key, trouble: later() });
    assert_eq!(walk.cell.mind.waits[&key].fault.at, since);
    walk.seconds += DEADLINE.as_secs();
    walk.see(Seen::Pending { key, missing: "web".to_owned(), deadline: DEADLINE });
    assert!(matches!(walk.cell.attempt(key).unwrap().step, Step::RollingBack { .. }));
}
