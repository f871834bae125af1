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

use Deed::{Activate, Check, Restore, Run, Switch, Write};
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
