use std::num::NonZeroU32;

use super::*;
use crate::model::health::{Check, FileCheck};

fn name(text: &str) -> CheckName {
    CheckName::new(text).unwrap()
}

/// Two checks that have to pass for 10 s within 60 s.
fn health() -> Health {
    let check = Check::File(FileCheck { path: "x".to_owned(), newer_than_ms: None });
    Health {
        min_healthy_ms: 10_000,
        deadline_ms: 60_000,
        checks: ["a", "b"].map(|it| (name(it), check.clone())).into(),
        restart_after: NonZeroU32::new(3),
        ..Health::default()
    }
}

/// The time, so many milliseconds after the version was brought up.
fn at(millis: u64) -> Now {
    let wall = DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::milliseconds(millis.cast_signed());
    Now { wall, monotonic: Duration::from_millis(1_000_000 + millis) }
}

struct Walk(Vitals);

impl Walk {
    fn new() -> Self {
        let mut vitals = Vitals::default();
        vitals.begin(at(0));
        vitals.watch(vitals.round(), health(), at(0));
        Self(vitals)
    }

    fn probe(&self, check: &str, passes: bool) -> Probe {
        let result = if passes { Ok("fine".to_owned()) } else { Err("down".to_owned()) };
        Probe { round: self.0.round(), name: name(check), result }
    }

    fn note(&mut self, check: &str, passes: bool, millis: u64) {
        self.0.note(self.probe(check, passes), at(millis));
    }

    fn both(&mut self, passes: bool, millis: u64) {
        self.note("a", passes, millis);
        self.note("b", passes, millis);
    }

    fn missing(&self) -> Option<String> {
        self.0.missing(&health())
    }

    fn restart_at(&self) -> Option<u64> {
        self.0.restart().map(|(time, _)| u64::try_from(time.as_millis()).unwrap().saturating_sub(1_000_000))
    }
}

#[test]
fn every_check_has_to_pass_from_the_last_that_began_to_until_the_first_that_did_for_long_enough() {
    let mut walk = Walk::new();
    assert_eq!(walk.missing().unwrap(), "check a has not answered yet");
    walk.note("a", true, 1_000);
    assert_eq!(walk.missing().unwrap(), "check b has not answered yet");
    walk.note("b", true, 3_000);
    assert_eq!(walk.missing().unwrap(), "every check has to pass for 10.0 s more");
    walk.both(true, 9_000);
    assert_eq!(walk.missing().unwrap(), "every check has to pass for 4.0 s more");
    walk.note("a", true, 20_000);
    assert_eq!(walk.missing().unwrap(), "every check has to pass for 4.0 s more", "the other did not say so");
    walk.note("b", true, 12_999);
    assert!(walk.missing().is_some());
    walk.note("b", true, 13_000);
    assert_eq!(walk.missing(), None);
}

#[test]
fn any_failure_makes_the_time_begin_anew() {
    let mut walk = Walk::new();
    for second in 0..10 {
        walk.both(true, second * 1_000);
    }
    walk.note("b", false, 9_500);
    assert_eq!(walk.missing().unwrap(), "check b fails: down");
    walk.both(true, 10_000);
    assert_eq!(walk.missing().unwrap(), "every check has to pass for 10.0 s more");
    walk.both(true, 19_999);
    assert!(walk.missing().is_some());
    walk.both(true, 20_000);
    assert_eq!(walk.missing(), None);
}

#[test]
fn what_was_asked_of_another_bringing_up_counts_for_nothing() {
    let mut walk = Walk::new();
    let old = walk.probe("a", true);
    walk.0.begin(at(5));
    walk.0.note(old.clone(), at(6));
    walk.0.watch(old.round, Health::default(), at(7));
    assert_eq!((walk.0.report(true), walk.missing().unwrap().as_str()), (None, "check a has not answered yet"));
    walk.0.watch(walk.0.round(), health(), at(8));
    walk.0.note(old.clone(), at(9));
    assert_eq!(walk.0.news(&old, at(9)), None);
    assert_eq!(walk.missing().unwrap(), "check a has not answered yet");
}

#[test]
fn a_stranger_reads_what_changed_and_for_how_long_it_was_so() {
    let mut walk = Walk::new();
    let told = |walk: &Walk, passes, millis| walk.0.news(&walk.probe("a", passes), at(millis));
    assert_eq!(told(&walk, false, 100).unwrap(), "check a fails: down");
    walk.note("a", false, 100);
    assert_eq!(told(&walk, false, 200), None);
    assert_eq!(told(&walk, true, 2_600).unwrap(), "check a passes again, after failing for 2.5 s: fine");
    walk.note("a", true, 2_600);
    assert_eq!(told(&walk, true, 3_000), None);
    let expected = "check a fails, after passing for 1.0 s: down; the time in which nothing may fail begins anew";
    assert_eq!(told(&walk, false, 3_600).unwrap(), expected);
    walk.note("a", false, 3_600);
    let other = Probe { result: Err("half down".to_owned()), ..walk.probe("a", false) };
    assert_eq!(walk.0.news(&other, at(13_599)), None);
    assert_eq!(walk.0.news(&other, at(13_600)).unwrap(), "check a still fails: half down");
    walk.0.note(other, at(4_000));
    assert_eq!(walk.missing().unwrap(), "check a fails: half down", "what it says by now is why it failed");
}

#[test]
fn the_heartbeat_tells_each_check_and_does_not_change_with_every_answer() {
    let mut walk = Walk::new();
    let report = walk.0.report(true).unwrap();
    assert_eq!(
        (report.state, report.need_until, report.deadline),
        (HealthState::Starting, None, Some(at(60_000).wall))
    );
    assert_eq!(
        report.checks[&name("a")],
        CheckReport { state: HealthState::Unknown, message: String::new(), since: None }
    );
    walk.note("a", true, 1_000);
    walk.note("b", true, 3_000);
    let report = walk.0.report(true).unwrap();
    assert_eq!(report.need_until, Some(at(13_000).wall));
    let (name_a, round) = (name("a"), walk.0.round());
    let again = |result: &str, passes: bool| Probe {
        round,
        name: name("a"),
        result: if passes { Ok(result.to_owned()) } else { Err(result.to_owned()) },
    };
    walk.0.note(again("other words", true), at(10_999));
    assert_eq!(walk.0.report(true).unwrap(), report);
    walk.0.note(again("other words", true), at(11_000));
    assert_eq!(walk.0.report(true).unwrap().checks[&name_a].message, "other words");
    walk.0.note(again("other words", false), at(62_000));
    let failing = walk.0.report(false).unwrap();
    assert_eq!((failing.state, failing.since), (HealthState::Failing, Some(at(62_000).wall)));
    assert_eq!((failing.need_until, failing.deadline), (None, None));
    let check = &failing.checks[&name_a];
    assert_eq!((check.state, check.since), (HealthState::Failing, Some(at(62_000).wall)));
    walk.note("a", true, 63_000);
    assert_eq!(walk.0.report(false).unwrap().state, HealthState::Passing);
}

#[test]
fn what_goes_on_failing_is_restarted_with_patience_and_gets_its_time_to_come_up() {
    let mut walk = Walk::new();
    for second in 0..5 {
        walk.note("a", false, second * 1_000);
    }
    assert_eq!(walk.restart_at(), Some(60_000), "it was never well, and may still become so");
    walk.both(true, 10_000);
    walk.both(true, 20_000);
    assert_eq!(walk.restart_at(), None);
    walk.note("a", false, 21_000);
    walk.note("b", false, 21_000);
    walk.note("a", false, 22_000);
    assert_eq!(walk.restart_at(), None, "two in a row");
    walk.note("a", false, 23_000);
    assert_eq!(walk.restart_at(), Some(0), "at once");
    assert_eq!(walk.0.restart().unwrap().1, "check a failed 3 times in a row: down");
    walk.0.restarted(at(23_000));
    assert_eq!(walk.restart_at(), None);
    walk.0.watch(walk.0.round(), health(), at(23_000));
    for second in 24..30 {
        walk.note("a", false, second * 1_000);
    }
    assert_eq!(walk.restart_at(), Some(83_000), "as long as a new version");
    let report = walk.0.report(false).unwrap();
    assert_eq!((report.restarts, report.restarted_at), (1, Some(at(23_000).wall)));
    walk.0.begin(at(90_000));
    walk.0.watch(walk.0.round(), health(), at(90_000));
    assert_eq!(walk.0.report(true).unwrap().restarts, 0, "of another version");
}

#[test]
fn restarts_come_less_and_less_often_until_one_helps() {
    let mut walk = Walk::new();
    let (mut now, mut waits) = (0, Vec::new());
    for _ in 0..9 {
        walk.0.restarted(at(now));
        walk.0.watch(walk.0.round(), Health { deadline_ms: 1, min_healthy_ms: 0, ..health() }, at(now));
        for _ in 0..3 {
            walk.note("a", false, now + 2);
        }
        let next = walk.restart_at().unwrap();
        waits.push((next - now) / 1_000);
        now = next;
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    now += 1_200_001;
    walk.0.restarted(at(now));
    walk.0.watch(walk.0.round(), Health { deadline_ms: 1, ..health() }, at(now));
    for _ in 0..3 {
        walk.note("a", false, now + 2);
    }
    assert_eq!(walk.restart_at(), Some(now + 10_000));
}

#[test]
fn what_fails_is_overdue_once_it_had_its_time_or_was_well() {
    let mut walk = Walk::new();
    walk.both(false, 59_999);
    assert!(!walk.0.is_overdue());
    walk.note("a", false, 60_000);
    assert!(walk.0.is_overdue());
    walk.both(true, 61_000);
    assert!(!walk.0.is_overdue());
    let mut walk = Walk::new();
    walk.both(true, 2_000);
    walk.both(true, 12_000);
    assert!(!walk.0.is_overdue());
    walk.note("a", false, 13_000);
    assert!(walk.0.is_overdue());
}
