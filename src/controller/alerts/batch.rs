//! From alerts to messages: each receiver is told of what concerns it, not more often than it likes, and of a thousand
//! alerts at once in one message. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use ulid::Ulid;
use uuid::Uuid;

use crate::model::alert::{
    Alert, AlertKind, AlertSubject, Alerts, Delivery, FinishedDelivery, Notice, NoticePart, Noticed, ReceiverMark,
    Severity, Taken,
};
use crate::model::text::short;
use crate::model::users::CellPattern;

/// So many alerts are listed in a message; the others are counted.
const MOST_LISTED: usize = 20;

/// The most messages that wait at once.
const MOST_WAITING: usize = 200;

/// The most messages that are remembered after they were sent or given up.
const MOST_FINISHED: usize = 100;

/// The most receivers that are remembered.
const MOST_MARKS: usize = 100;

/// The most between two tries.
const MOST_WAIT: TimeDelta = TimeDelta::minutes(10);

/// A message that could not be sent for so long is given up.
const GIVEN_UP_AFTER: TimeDelta = TimeDelta::hours(24);

/// For so long a controller has a message to itself: longer than sending may take.
const TAKEN_FOR: TimeDelta = TimeDelta::seconds(90);

/// Who is told of what, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverRules {
    /// The receiver's name.
    pub name: String,
    /// What it is told of: what fits any of these, or everything if there is none.
    pub only: Vec<AlertFilter>,
    /// How long more is waited for before a message is made.
    pub group_wait: TimeDelta,
    /// How long at least lies between two messages.
    pub group_interval: TimeDelta,
    /// How long is waited after a first try that failed; doubled after each, up to ten minutes.
    pub retry_wait: TimeDelta,
    /// Whether it is told that somebody has seen an alert.
    pub acknowledged: bool,
}

/// Which alerts: those that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Of one of these types; of any if empty.
    pub kinds: Vec<AlertKind>,
    /// At least as bad as this.
    pub severity: Option<Severity>,
    /// About these cells, or nodes that have such.
    pub cells: Option<CellPattern>,
    /// With these labels.
    pub labels: BTreeMap<String, String>,
}

impl AlertFilter {
    fn fits(&self, alert: &Alert) -> bool {
        let is_there = |pattern: &CellPattern| match &alert.subject {
            AlertSubject::Bucket => pattern.is_everything(),
            AlertSubject::Node(node) => pattern.touches(node),
            AlertSubject::Cell(cell) => pattern.fits(cell),
        };
        (self.kinds.is_empty() || self.kinds.contains(&alert.kind))
            && self.severity.is_none_or(|least| alert.severity <= least)
            && self.cells.as_ref().is_none_or(is_there)
            && self.labels.iter().all(|(name, value)| alert.labels.get(name) == Some(value))
    }
}

impl ReceiverRules {
    /// Whether the receiver is told of `alert`.
    #[must_use]
    pub fn wants(&self, alert: &Alert) -> bool {
        self.only.is_empty() || self.only.iter().any(|filter| filter.fits(alert))
    }
}

/// What became of a try to send a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it.
    Sent,
    /// It may go better later.
    Later(String),
    /// It will not go better.
    Never(String),
}

/// Makes the messages that are due. `id` gives each its own.
pub(super) fn make(
    alerts: &mut Alerts,
    receivers: &[ReceiverRules],
    now: DateTime<Utc>,
    mut id: impl FnMut() -> Option<Ulid>,
) {
    for receiver in receivers {
        let mark = alerts.receivers.get(&receiver.name);
        let told_to = mark.map_or(0, |mark| mark.sequence);
        let opened: Vec<&Alert> = alerts
            .open
            .iter()
            .filter(|alert| alert.sequence > told_to && !alert.silenced && receiver.wants(alert))
            .collect();
        // What was over before anybody was told of it is nobody's concern, nor what a new receiver never heard of.
        let resolved: Vec<_> = alerts
            .resolved
            .iter()
            .filter(|it| mark.is_some() && it.sequence > told_to && it.alert.told && receiver.wants(&it.alert))
            .collect();
        // Whoever is only now told of an alert reads there that it was seen.
        let is_news = |alert: &Alert| {
            let seen = alert.acknowledged.as_ref().is_some_and(|seen| seen.sequence > told_to);
            seen && alert.sequence <= told_to && !alert.silenced && receiver.wants(alert)
        };
        let seen: Vec<_> = alerts.open.iter().filter(|alert| receiver.acknowledged && is_news(alert)).collect();
        let began = opened.iter().map(|alert| alert.opened_at).chain(resolved.iter().map(|it| it.resolved_at));
        let began = began.chain(seen.iter().filter_map(|alert| Some(alert.acknowledged.as_ref()?.at))).min();
        let Some(began) = began else { continue };
        if now - began < receiver.group_wait || mark.is_some_and(|mark| now - mark.at < receiver.group_interval) {
            continue;
        }
        let Some(id) = id() else { return };
        let notice = Notice {
            opened: part(opened.iter().map(|alert| (*alert, None))),
            resolved: part(resolved.iter().map(|it| (&it.alert, Some(it.resolved_at)))),
            acknowledged: part(seen.iter().map(|alert| (*alert, None))),
        };
        let told: Vec<_> = opened.iter().map(|alert| alert.key()).collect();
        let told: std::collections::BTreeSet<_> = told.into_iter().collect();
        for alert in alerts.open.iter_mut().filter(|alert| told.contains(&alert.key())) {
            alert.told = true;
        }
        alerts.receivers.insert(receiver.name.clone(), ReceiverMark { sequence: alerts.sequence, at: now });
        alerts.deliveries.push(Delivery {
            id,
            receiver: receiver.name.clone(),
            notice,
            created_at: now,
            tries: 0,
            due_at: now,
            taken: None,
            problem: None,
        });
    }
    while alerts.receivers.len() > MOST_MARKS
        && let Some(oldest) = alerts.receivers.iter().min_by_key(|(_, mark)| mark.at).map(|(name, _)| name.clone())
    {
        alerts.receivers.remove(&oldest);
    }
    while alerts.deliveries.len() > MOST_WAITING {
        let delivery = alerts.deliveries.remove(0);
        finish(alerts, &delivery, now, Some(format!("more than {MOST_WAITING} messages wait")));
    }
}

/// Gives up what could not be sent for too long, or is for receivers that no controller has.
pub(super) fn give_up(alerts: &mut Alerts, now: DateTime<Utc>) {
    let (late, waiting) = std::mem::take(&mut alerts.deliveries)
        .into_iter()
        .partition::<Vec<_>, _>(|delivery| now - delivery.created_at >= GIVEN_UP_AFTER);
    alerts.deliveries = waiting;
    for delivery in late {
        let problem =
            delivery.problem.clone().unwrap_or_else(|| "no controller has a receiver of this name".to_owned());
        finish(alerts, &delivery, now, Some(problem));
    }
}

/// Takes `most` of the messages that are due and for one of `known`, so that no other controller sends them meanwhile.
pub(super) fn take(
    alerts: &mut Alerts,
    known: &[ReceiverRules],
    by: Uuid,
    now: DateTime<Utc>,
    most: usize,
) -> Vec<Delivery> {
    let mut taken = Vec::new();
    for delivery in &mut alerts.deliveries {
        let is_free = delivery.taken.as_ref().is_none_or(|taken| taken.until <= now);
        if taken.len() < most
            && is_free
            && delivery.due_at <= now
            && known.iter().any(|receiver| receiver.name == delivery.receiver)
        {
            delivery.taken = Some(Taken { by, until: now + TAKEN_FOR });
            taken.push(delivery.clone());
        }
    }
    taken
}

/// Notes what became of a try. `known` says how long to wait until the next.
pub(super) fn settle(alerts: &mut Alerts, known: &[ReceiverRules], id: Ulid, fate: &Fate, now: DateTime<Utc>) {
    let Some(at) = alerts.deliveries.iter().position(|delivery| delivery.id == id) else { return };
    let mut delivery = alerts.deliveries.remove(at);
    delivery.tries = delivery.tries.saturating_add(1);
    match fate {
        Fate::Sent => finish(alerts, &delivery, now, None),
        Fate::Never(why) => finish(alerts, &delivery, now, Some(why.clone())),
        Fate::Later(why) => {
            let doublings = delivery.tries.saturating_sub(1).min(6);
            let receiver = known.iter().find(|receiver| receiver.name == delivery.receiver);
            let first = receiver.map_or(MOST_WAIT, |receiver| receiver.retry_wait.min(MOST_WAIT));
            delivery.due_at = now + (first * (1 << doublings)).min(MOST_WAIT);
            delivery.problem = Some(short(why, super::observe::MOST_CHARS));
            delivery.taken = None;
            alerts.deliveries.insert(at, delivery);
        }
    }
}

/// When the next message for one of `known` is due.
pub(super) fn next_due(alerts: &Alerts, known: &[ReceiverRules]) -> Option<DateTime<Utc>> {
    let ours = alerts.deliveries.iter().filter(|delivery| known.iter().any(|it| it.name == delivery.receiver));
    ours.map(|delivery| delivery.taken.as_ref().map_or(delivery.due_at, |taken| taken.until.max(delivery.due_at))).min()
}

fn finish(alerts: &mut Alerts, delivery: &Delivery, now: DateTime<Utc>, problem: Option<String>) {
    let problem = problem.map(|why| short(&why, super::observe::MOST_CHARS));
    let finished = FinishedDelivery {
        id: delivery.id,
        receiver: delivery.receiver.clone(),
        about: in_short(&delivery.notice),
        at: now,
        tries: delivery.tries,
        problem,
    };
    alerts.finished.insert(0, finished);
    // What was given up is worth knowing for longer than what went well.
    while alerts.finished.len() > MOST_FINISHED {
        let sent = alerts.finished.iter().rposition(|it| it.problem.is_none());
        alerts.finished.remove(sent.unwrap_or(alerts.finished.len() - 1));
    }
}

/// Counts of a message: `2 agent dead, 1 drift; resolved: 1 rolled back`.
#[must_use]
pub fn in_short(notice: &Notice) -> String {
    let counted = |part: &NoticePart| {
        let counts = part.counts.iter().map(|(kind, count)| format!("{count} {}", kind.in_words()));
        counts.collect::<Vec<_>>().join(", ")
    };
    let parts = [("", &notice.opened), ("resolved: ", &notice.resolved), ("acknowledged: ", &notice.acknowledged)];
    let said = parts.iter().filter(|(_, part)| part.total() > 0).map(|(how, part)| format!("{how}{}", counted(part)));
    said.collect::<Vec<_>>().join("; ")
}

fn part<'a>(alerts: impl Iterator<Item = (&'a Alert, Option<DateTime<Utc>>)>) -> NoticePart {
    let mut counts = BTreeMap::new();
    let mut all: Vec<_> = alerts.collect();
    for (alert, _) in &all {
        *counts.entry(alert.kind).or_default() += 1;
    }
    all.sort_by_key(|(alert, _)| (alert.severity, alert.key()));
    let first = all.into_iter().take(MOST_LISTED).map(|(alert, resolved_at)| Noticed {
        kind: alert.kind,
        subject: alert.subject.clone(),
        severity: alert.severity,
        message: alert.message.clone(),
        since: alert.since,
        resolved_at,
        acknowledged: alert.acknowledged.clone(),
    });
    NoticePart { counts, first: first.collect() }
}
