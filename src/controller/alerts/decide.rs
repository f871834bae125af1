//! From a look and the alerts as they were to the alerts as they are. Pure: the same looks always come to the same.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::observe::{Observation, Observed};
use super::rules::AlertRules;
use crate::model::alert::{Alert, AlertKey, AlertKind, Alerts, Resolved, Severity};

/// The most alerts that are open at once; more are only counted. An object of this many still is read in a moment.
pub(super) const MOST_OPEN: usize = 5_000;

/// The most resolved alerts that are kept, and for how long.
const MOST_RESOLVED: usize = 2_000;
const RESOLVED_KEPT: TimeDelta = TimeDelta::days(7);

/// What happened to an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AlertEvent {
    /// It counts as one now.
    Opened(Alert),
    /// It became worse than people were told.
    Worsened(Alert),
    /// Nobody keeps it silent any more.
    Unsilenced(Alert),
    /// It is over.
    Resolved(Resolved),
}

/// How long each thing was wrong, and each alert's reason gone, without a break. One controller's own memory: after a
/// restart it begins anew, which delays and never repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Debounce {
    at: Option<DateTime<Utc>>,
    wrong: BTreeMap<AlertKey, Streak>,
    well: BTreeMap<AlertKey, Streak>,
}

/// Looks that showed the same, in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Streak {
    since: DateTime<Utc>,
    looks: u32,
}

impl Streak {
    /// `before` and one look more.
    fn longer(before: Option<&Self>, at: DateTime<Utc>) -> Self {
        match before {
            Some(streak) => Self { looks: streak.looks.saturating_add(1), ..*streak },
            None => Self { since: at, looks: 1 },
        }
    }

    fn is_long(&self, looks: u32, time: TimeDelta, now: DateTime<Utc>) -> bool {
        self.looks >= looks && now - self.since >= time
    }
}

impl Debounce {
    /// Takes in one look, of which the alerts in `open` are open. The same look again is none.
    pub(super) fn look<'a>(&mut self, seen: &Observation, open: impl Iterator<Item = &'a Alert>) {
        if self.at == Some(seen.at) {
            return;
        }
        self.at = Some(seen.at);
        let mut wrong: BTreeMap<AlertKey, Streak> =
            seen.wrong.keys().map(|key| (key.clone(), Streak::longer(self.wrong.get(key), seen.at))).collect();
        // Of what nothing is known nothing is counted, and nothing forgotten.
        let unknown = self.wrong.iter().filter(|(key, _)| seen.is_unknown(key));
        for (key, streak) in unknown {
            wrong.entry(key.clone()).or_insert(*streak);
        }
        let mut well = BTreeMap::new();
        for key in open.map(Alert::key).filter(|key| !seen.wrong.contains_key(key)) {
            let before = self.well.get(&key);
            match seen.is_unknown(&key) {
                false => drop(well.insert(key.clone(), Streak::longer(before, seen.at))),
                true => drop(before.map(|streak| well.insert(key.clone(), *streak))),
            }
        }
        (self.wrong, self.well) = (wrong, well);
    }
}

/// The alerts after a look that `debounce` has taken in, and what happened to them.
#[must_use]
pub(super) fn step(
    rules: &AlertRules,
    seen: &Observation,
    before: &Alerts,
    debounce: &Debounce,
) -> (Alerts, Vec<AlertEvent>) {
    let now = seen.at;
    let mut after = before.clone();
    let mut events = Vec::new();
    let mut next = |sequence: &mut u64| {
        *sequence = sequence.saturating_add(1);
        *sequence
    };
    resolve(rules, now, &mut after, debounce, &mut events, &mut next);
    after.silences.retain(|silence| silence.until > now);
    keep_silent(&mut after, &mut events, &mut next);
    open(rules, seen, &mut after, debounce, &mut events, &mut next);
    if events.is_empty() && after.unlisted == before.unlisted && same_silence(before, &after) {
        // Only what people are told is worth a write: that time passed is not.
        return (before.clone(), events);
    }
    for alert in &mut after.open {
        if let Some(observed) = seen.wrong.get(&alert.key()) {
            alert.message.clone_from(&observed.message);
        }
    }
    after.resolved.retain(|resolved| now - resolved.resolved_at < RESOLVED_KEPT);
    after.resolved.truncate(MOST_RESOLVED);
    (after, events)
}

fn same_silence(before: &Alerts, after: &Alerts) -> bool {
    let silenced = |alerts: &Alerts| alerts.open.iter().map(|alert| alert.silenced).collect::<Vec<_>>();
    before.silences.len() == after.silences.len() && silenced(before) == silenced(after)
}

type Next<'a> = &'a mut dyn FnMut(&mut u64) -> u64;

fn resolve(
    rules: &AlertRules,
    now: DateTime<Utc>,
    after: &mut Alerts,
    debounce: &Debounce,
    events: &mut Vec<AlertEvent>,
    next: Next<'_>,
) {
    let (over, open) = std::mem::take(&mut after.open).into_iter().partition(|alert| {
        let rule = rules.of(alert.kind);
        let is_long =
            |streak: &Streak| streak.is_long(rule.clear_looks, rules.clear_after(alert.kind, alert.returns), now);
        !rule.enabled || debounce.well.get(&alert.key()).is_some_and(is_long)
    });
    after.open = open;
    let over: Vec<Alert> = over;
    for alert in over {
        let resolved = Resolved { alert, resolved_at: now, sequence: next(&mut after.sequence) };
        events.push(AlertEvent::Resolved(resolved.clone()));
        after.resolved.insert(0, resolved);
    }
}

/// Silences what is covered, and tells again of what no longer is.
fn keep_silent(after: &mut Alerts, events: &mut Vec<AlertEvent>, next: Next<'_>) {
    for alert in &mut after.open {
        let is_covered = after.silences.iter().any(|silence| silence.scope.covers(alert.kind, &alert.subject));
        if alert.silenced && !is_covered {
            alert.sequence = next(&mut after.sequence);
            events.push(AlertEvent::Unsilenced(Alert { silenced: false, ..alert.clone() }));
        }
        alert.silenced = is_covered;
    }
}

fn open(
    rules: &AlertRules,
    seen: &Observation,
    after: &mut Alerts,
    debounce: &Debounce,
    events: &mut Vec<AlertEvent>,
    next: Next<'_>,
) {
    let known: BTreeSet<AlertKey> = after.open.iter().map(Alert::key).collect();
    for alert in &mut after.open {
        let severity = seen.wrong.get(&alert.key()).map(|observed| severity(rules, alert.kind, observed));
        if let Some(severity) = severity.filter(|severity| *severity < alert.severity) {
            alert.severity = severity;
            alert.sequence = next(&mut after.sequence);
            events.push(AlertEvent::Worsened(alert.clone()));
        }
    }
    // Of several of one name the newest counts, which is the first in the list.
    let lately: BTreeMap<AlertKey, (DateTime<Utc>, u64)> = after
        .resolved
        .iter()
        .rev()
        .map(|resolved| (resolved.alert.key(), (resolved.resolved_at, resolved.alert.returns)))
        .collect();
    after.unlisted = 0;
    for (key, observed) in seen.wrong.iter().filter(|(key, _)| !known.contains(key)) {
        let rule = rules.of(key.kind);
        let Some(streak) = debounce.wrong.get(key).filter(|streak| streak.is_long(rule.looks, rule.after, seen.at))
        else {
            continue;
        };
        if !rule.enabled {
            continue;
        }
        if after.open.len() >= MOST_OPEN {
            after.unlisted += 1;
            continue;
        }
        let came_back = lately.get(key).filter(|(resolved_at, _)| seen.at - *resolved_at < rules.flap_window);
        let alert = Alert {
            kind: key.kind,
            subject: key.subject.clone(),
            severity: severity(rules, key.kind, observed),
            message: observed.message.clone(),
            labels: observed.labels.clone(),
            since: streak.since,
            opened_at: seen.at,
            sequence: next(&mut after.sequence),
            returns: came_back.map_or(0, |(_, returns)| returns.saturating_add(1)),
            silenced: after.silences.iter().any(|silence| silence.scope.covers(key.kind, &key.subject)),
            told: false,
            acknowledged: None,
        };
        events.push(AlertEvent::Opened(alert.clone()));
        after.open.push(alert);
    }
}

fn severity(rules: &AlertRules, kind: AlertKind, observed: &Observed) -> Severity {
    rules.of(kind).severity.unwrap_or(observed.severity)
}
