//! What the checks of a cell have said, and what follows from it: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::agent::decide::{Now, Patience};
use crate::clock::to_seconds;
use crate::model::CheckName;
use crate::model::health::Health;
use crate::model::heartbeat::{CheckReport, HealthReport, HealthState};

/// How long to wait before a cell is restarted once more that goes on failing.
const RESTARTS: Patience = Patience { first: Duration::from_secs(10), most: Duration::from_secs(600) };

/// A cell that was well for so long after a restart is restarted at once the next time.
const SETTLED: Duration = Duration::from_secs(1_200);

/// What is said otherwise while the state stays the same is passed on so often at most: it is in every heartbeat.
const BETWEEN_WORDS: Duration = Duration::from_secs(10);

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct Probe {
    /// When it was asked: what was asked of an earlier bringing up counts for nothing.
    pub(in crate::agent) round: u64,
    pub(in crate::agent) name: CheckName,
    /// What was found, or what is wrong.
    pub(in crate::agent) result: Result<String, String>,
}

/// What is known of the health of what was brought up last. By the monotonic clock, and so only while this agent looks.
#[derive(Debug, Clone, Default)]
pub(in crate::agent) struct Vitals {
    round: u64,
    began: Option<Now>,
    /// What is asked; None until that was read.
    health: Option<Health>,
    checks: BTreeMap<CheckName, Vital>,
    /// Whether every check passed for long enough once.
    was_well: bool,
    /// Whether it had all its time to come up when it was asked last.
    had_time: bool,
    state: Option<(HealthState, DateTime<Utc>)>,
    restarts: u32,
    /// How many of the restarts came one after the other.
    tries: u32,
    restarted: Option<Now>,
}

/// What is known of one check.
#[derive(Debug, Clone)]
struct Vital {
    state: HealthState,
    /// What it said last.
    latest: String,
    /// What of that was passed on.
    message: String,
    since: Now,
    told_at: Duration,
    /// When it passed last.
    passed_at: Duration,
    /// Failures in a row.
    failures: u32,
}

impl Vitals {
    /// A version was brought up, or the agent begins to look at what runs.
    pub(in crate::agent) fn begin(&mut self, now: Now) {
        *self = Self { round: self.round + 1, began: Some(now), ..Self::default() };
    }

    /// What runs was restarted because of what its checks say.
    pub(in crate::agent) fn restarted(&mut self, now: Now) {
        let is_new = self.restarted.is_none_or(|last| now.monotonic.saturating_sub(last.monotonic) > SETTLED);
        *self = Self {
            round: self.round + 1,
            began: Some(now),
            state: self.state,
            restarts: self.restarts + 1,
            tries: if is_new { 1 } else { self.tries + 1 },
            restarted: Some(now),
            ..Self::default()
        };
    }

    /// Which bringing up it is.
    pub(in crate::agent) fn round(&self) -> u64 {
        self.round
    }

    /// What is asked from now on, in this round.
    pub(in crate::agent) fn watch(&mut self, round: u64, health: Health, now: Now) {
        if round != self.round {
            return;
        }
        let vital = |name: &CheckName| {
            let vital = Vital {
                state: HealthState::Unknown,
                latest: String::new(),
                message: String::new(),
                since: now,
                told_at: now.monotonic,
                passed_at: Duration::ZERO,
                failures: 0,
            };
            (name.clone(), vital)
        };
        self.checks = health.checks.keys().map(vital).collect();
        self.health = Some(health);
        self.judge(now);
    }

    /// Takes in an answer.
    pub(in crate::agent) fn note(&mut self, probe: Probe, now: Now) {
        let Probe { round, name, result } = probe;
        let Some(vital) = self.checks.get_mut(&name).filter(|_| round == self.round) else { return };
        let (state, message) = match result {
            Ok(message) => (HealthState::Passing, message),
            Err(message) => (HealthState::Failing, message),
        };
        if vital.state != state || vital.is_news(&message, now) {
            (vital.message, vital.told_at) = (message.clone(), now.monotonic);
        }
        if vital.state != state {
            (vital.state, vital.since) = (state, now);
        }
        vital.latest = message;
        match state {
            HealthState::Passing => (vital.passed_at, vital.failures) = (now.monotonic, 0),
            _ => vital.failures += 1,
        }
        self.judge(now);
    }

    /// What the answer changes, for the log of the attempt; it was not taken in yet.
    pub(in crate::agent) fn news(&self, probe: &Probe, now: Now) -> Option<String> {
        let vital = self.checks.get(&probe.name).filter(|_| probe.round == self.round)?;
        let name = &probe.name;
        let lasted = shown(now.monotonic.saturating_sub(vital.since.monotonic));
        Some(match (vital.state, &probe.result) {
            (HealthState::Failing, Err(why)) if vital.is_news(why, now) => format!("check {name} still fails: {why}"),
            (HealthState::Passing, Ok(_)) | (HealthState::Failing, Err(_)) => return None,
            (HealthState::Failing, Ok(found)) => {
                format!("check {name} passes again, after failing for {lasted}: {found}")
            }
            (_, Ok(found)) => format!("check {name} passes: {found}"),
            (HealthState::Passing, Err(why)) => format!(
                "check {name} fails, after passing for {lasted}: {why}; the time in which nothing may fail begins anew"
            ),
            (_, Err(why)) => format!("check {name} fails: {why}"),
        })
    }

    /// Since when every check passes without a failure.
    fn well_since(&self) -> Option<Now> {
        let since = |vital: &Vital| (vital.state == HealthState::Passing).then_some(vital.since);
        let since: Option<Vec<Now>> = self.checks.values().map(since).collect();
        since?.into_iter().max_by_key(|since| since.monotonic)
    }

    /// Until when every check has to pass, if all of them do.
    pub(in crate::agent) fn need_until(&self) -> Option<DateTime<Utc>> {
        let min_healthy = TimeDelta::milliseconds(i64::try_from(self.health.as_ref()?.min_healthy_ms).ok()?);
        self.well_since()?.wall.checked_add_signed(min_healthy)
    }

    /// What is missing until the version that asks for `health` is good, as far as its checks go. Each of them has to
    /// pass at both ends of the time in which nothing may fail, so that none of it is only hoped.
    pub(in crate::agent) fn missing(&self, health: &Health) -> Option<String> {
        if let Some(failing) = self.failing() {
            return Some(failing);
        }
        let is_unknown = |name: &&CheckName| self.checks.get(*name).is_none_or(|it| it.state != HealthState::Passing);
        if let Some(name) = health.checks.keys().find(is_unknown) {
            return Some(format!("check {name} has not answered yet"));
        }
        let since = self.well_since()?.monotonic;
        let proven = self.checks.values().map(|vital| vital.passed_at).min()?.saturating_sub(since);
        let left = Duration::from_millis(health.min_healthy_ms).checked_sub(proven)?;
        (!left.is_zero()).then(|| format!("every check has to pass for {} more", shown(left)))
    }

    /// The check that has failed the longest, and why.
    pub(in crate::agent) fn failing(&self) -> Option<String> {
        let name = self.failing_check()?;
        Some(format!("check {name} fails: {}", self.checks.get(name)?.latest))
    }

    /// The check that has failed the longest.
    pub(in crate::agent) fn failing_check(&self) -> Option<&CheckName> {
        let failing = self.checks.iter().filter(|(_, vital)| vital.state == HealthState::Failing);
        failing.min_by_key(|(_, vital)| vital.since.monotonic).map(|(name, _)| name)
    }

    /// A check that nothing was heard of since it is asked.
    pub(in crate::agent) fn unanswered(&self) -> Option<&CheckName> {
        self.checks.iter().find(|(_, vital)| vital.state == HealthState::Unknown).map(|(name, _)| name)
    }

    /// Whether it fails although it had all its time to come up.
    pub(in crate::agent) fn is_overdue(&self) -> bool {
        self.failing().is_some() && (self.had_time || self.was_well)
    }

    /// When what runs is to be restarted, and why, if it is. It has as long to come up as a new version.
    pub(in crate::agent) fn restart(&self) -> Option<(Duration, String)> {
        let health = self.health.as_ref()?;
        let most = health.restart_after?.get();
        let (name, vital) = self.checks.iter().find(|(_, vital)| vital.failures >= most)?;
        let came_up = self.began?.monotonic + Duration::from_millis(health.deadline_ms);
        let grace = if self.was_well { Duration::ZERO } else { came_up };
        let patience = self.restarted.map(|last| last.monotonic + RESTARTS.after(self.tries));
        let why = format!("check {name} failed {} times in a row: {}", vital.failures, vital.latest);
        Some((grace.max(patience.unwrap_or_default()), why))
    }

    fn judge(&mut self, now: Now) {
        let Some(health) = &self.health else { return };
        let all = |state| self.checks.values().all(|vital| vital.state == state);
        let state = match () {
            () if self.checks.values().any(|vital| vital.state == HealthState::Failing) => HealthState::Failing,
            () if all(HealthState::Passing) => HealthState::Passing,
            () => HealthState::Unknown,
        };
        let looked = self.began.map(|began| now.monotonic.saturating_sub(began.monotonic)).unwrap_or_default();
        self.had_time |= looked >= Duration::from_millis(health.deadline_ms);
        self.was_well |= !self.checks.is_empty() && self.missing(health).is_none();
        if self.state.is_none_or(|(known, _)| known != state) {
            self.state = Some((state, now.wall));
        }
    }

    /// In the heartbeat's words; nothing where nothing is asked. `is_watched` until the version is good.
    pub(in crate::agent) fn report(&self, is_watched: bool) -> Option<HealthReport> {
        let health = self.health.as_ref().filter(|health| !health.checks.is_empty())?;
        let (state, since) = self.state?;
        let deadline = || {
            let deadline = TimeDelta::milliseconds(i64::try_from(health.deadline_ms).ok()?);
            self.began?.wall.checked_add_signed(deadline)
        };
        let check = |(name, vital): (&CheckName, &Vital)| {
            let since = (vital.state != HealthState::Unknown).then(|| to_seconds(vital.since.wall));
            (name.clone(), CheckReport { state: vital.state, message: vital.message.clone(), since })
        };
        Some(HealthReport {
            state: if is_watched { HealthState::Starting } else { state },
            since: Some(to_seconds(if is_watched { self.began?.wall } else { since })),
            need_until: self.need_until().filter(|_| is_watched).map(to_seconds),
            deadline: deadline().filter(|_| is_watched).map(to_seconds),
            restarts: self.restarts,
            restarted_at: self.restarted.map(|restarted| to_seconds(restarted.wall)),
            checks: self.checks.iter().map(check).collect(),
        })
    }
}

impl Vital {
    /// Whether other words for the same state are to be passed on.
    fn is_news(&self, message: &str, now: Now) -> bool {
        self.message != message && now.monotonic.saturating_sub(self.told_at) >= BETWEEN_WORDS
    }
}

fn shown(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests;
