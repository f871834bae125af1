//! What a running controller does about alerts: after each look it decides, writes, and sends what is due.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, stream};
use tracing::{debug, info, warn};

use super::batch::{self, Fate, ReceiverRules};
use super::decide::{AlertEvent, Debounce, step};
use super::observe::Observation;
use super::receivers::{Letter, Receiver};
use super::rules::AlertRules;
use super::state::{HeldAlerts, is_conflict};
use crate::controller::{Controller, ControllerError};
use crate::model::alert::{Alert, AlertKey, AlertKind, AlertSubject, Alerts, Delivery, ReceiverMark};
use crate::store::in_full;

/// How often a look is decided again because another controller wrote meanwhile.
const TRIES: u32 = 5;

/// So many messages are sent at once, and taken in one round: a round ends before others may take them.
const AT_ONCE: usize = 8;
const IN_ONE_ROUND: usize = 16;

/// Between two rounds in which something is due.
const LEAST_PAUSE: Duration = Duration::from_millis(500);

/// The store tells its time in whole seconds, so what is known of it goes back by one now and then. By more it is an
/// earlier time.
const UNSURE: TimeDelta = TimeDelta::seconds(3);

/// The most messages that wait while the bucket is away.
const MOST_OFFLINE: usize = 50;

/// How alerts are judged, and who is told.
#[derive(Debug, Clone, Default)]
pub struct AlertSettings {
    /// How they are judged.
    pub rules: AlertRules,
    /// Who is told.
    pub receivers: Vec<Arc<Receiver>>,
    /// Where people look at this fleet, for messages.
    pub portal: Option<String>,
}

/// The alerts as a controller knows them, for whoever shows them.
#[derive(Debug, Clone, Default)]
pub struct KnownAlerts {
    /// As they were read or decided last.
    pub alerts: Arc<Alerts>,
    /// Why what was decided could not be written, if so.
    pub problem: Option<String>,
}

/// What others see of a keeper.
#[derive(Debug, Clone, Default)]
pub struct AlertBoard(Arc<RwLock<KnownAlerts>>);

impl AlertBoard {
    /// The alerts as they were read or decided last.
    #[must_use]
    pub fn known(&self) -> KnownAlerts {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts up what somebody else just wrote, such as a silence.
    pub fn show(&self, alerts: Alerts) {
        let known = KnownAlerts { alerts: Arc::new(alerts), problem: None };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

/// Keeps the alerts of one fleet.
#[derive(Debug)]
pub struct AlertKeeper {
    controller: Arc<Controller>,
    settings: AlertSettings,
    /// What each receiver is told of.
    wants: Vec<ReceiverRules>,
    debounce: Debounce,
    held: HeldAlerts,
    /// That the bucket is away was told without the bucket: this must be written once it is back.
    outage: Option<Alert>,
    /// The latest moment that was spoken of.
    latest: DateTime<Utc>,
    /// What is to be sent without the bucket.
    offline: Alerts,
    board: AlertBoard,
}

impl AlertKeeper {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(controller: Arc<Controller>, settings: AlertSettings, board: AlertBoard) -> Self {
        let wants = settings.receivers.iter().map(|receiver| receiver.rules().clone()).collect();
        Self {
            controller,
            settings,
            wants,
            debounce: Debounce::default(),
            held: HeldAlerts::default(),
            outage: None,
            latest: DateTime::UNIX_EPOCH,
            offline: Alerts::default(),
            board,
        }
    }

    /// Takes in one look at the fleet; an error says why it could not be read.
    pub async fn look(&mut self, looked: Result<Observation, String>) {
        match looked {
            Ok(seen) => self.round(Some(&seen)).await,
            Err(problem) => self.blind(&problem).await,
        }
    }

    /// Makes and sends what became due since the last look.
    pub async fn send_due(&mut self) {
        if self.next_due().is_some_and(|due| due <= self.now()) {
            self.round(None).await;
        }
    }

    /// How long until something is to be sent, if anything waits. A moment at least: what cannot be written stays due.
    #[must_use]
    pub fn until_due(&self) -> Option<Duration> {
        self.next_due().map(|due| (due - self.now()).to_std().unwrap_or_default().max(LEAST_PAUSE))
    }

    fn next_due(&self) -> Option<DateTime<Utc>> {
        let shared = batch::next_due(&self.held.alerts, &self.wants);
        shared.into_iter().chain(batch::next_due(&self.offline, &self.wants)).min()
    }

    fn now(&self) -> DateTime<Utc> {
        let now = crate::clock::to_millis(self.controller.store_now());
        if now < self.latest && self.latest - now < UNSURE { self.latest } else { now }
    }

    async fn round(&mut self, seen: Option<&Observation>) {
        self.latest = self.now().max(seen.map_or(self.latest, |seen| seen.at));
        for _ in 0..TRIES {
            match self.commit(seen).await {
                Ok(taken) => {
                    let fates = self.send(taken).await;
                    self.settle(fates).await;
                    break;
                }
                // Another controller wrote meanwhile: what it wrote is read first.
                Err(error) if is_conflict(&error) => self.held.etag = None,
                Err(error) => {
                    self.show_problem(&error);
                    break;
                }
            }
        }
        self.send_offline().await;
    }

    /// Decides and writes, and hands out the messages that are this controller's to send.
    async fn commit(&mut self, seen: Option<&Observation>) -> Result<Vec<Delivery>, ControllerError> {
        if let Some(read) = self.controller.alerts_since(self.held.etag.as_ref()).await? {
            self.held = read;
        }
        let mut alerts = self.held.alerts.clone();
        self.bring_outage(&mut alerts);
        let mut events = Vec::new();
        if let Some(seen) = seen {
            self.debounce.look(seen, alerts.open.iter());
            (alerts, events) = step(&self.settings.rules, seen, &alerts, &self.debounce);
        }
        let now = self.now();
        let controller = &self.controller;
        batch::make(&mut alerts, &self.wants, now, || controller.ulid().ok());
        batch::give_up(&mut alerts, now);
        let taken = batch::take(&mut alerts, &self.wants, self.controller.settings.controller_id, now, IN_ONE_ROUND);
        if alerts != self.held.alerts {
            match self.controller.replace_alerts(alerts.clone(), &self.held).await {
                Ok(written) => self.held = written,
                Err(error) => {
                    // Whoever looks is shown it all the same.
                    self.board.0.write().unwrap_or_else(PoisonError::into_inner).alerts = Arc::new(alerts);
                    return Err(error);
                }
            }
            self.outage = None;
            events.iter().for_each(log);
        }
        self.board.show(self.held.alerts.clone());
        Ok(taken)
    }

    /// What could be told of an outage only without the bucket is written into it, so that its end is told by one.
    fn bring_outage(&self, alerts: &mut Alerts) {
        let Some(outage) = &self.outage else { return };
        if alerts.open.iter().any(|alert| alert.key() == outage.key()) {
            return;
        }
        alerts.sequence = alerts.sequence.saturating_add(1);
        alerts.open.push(Alert { sequence: alerts.sequence, ..outage.clone() });
        for receiver in self.wants.iter().filter(|receiver| receiver.wants(outage)) {
            // Whoever was told is told of nothing twice.
            let mark = alerts.receivers.entry(receiver.name.clone());
            let mark = mark.or_insert(ReceiverMark { sequence: 0, at: outage.opened_at });
            mark.sequence = mark.sequence.max(alerts.sequence);
        }
    }

    async fn send(&self, messages: Vec<Delivery>) -> Vec<(Delivery, Fate)> {
        let sent = stream::iter(messages).map(|delivery| async move {
            let fate = self.send_one(&delivery).await;
            (delivery, fate)
        });
        sent.buffer_unordered(AT_ONCE).collect().await
    }

    async fn send_one(&self, delivery: &Delivery) -> Fate {
        let receiver = self.settings.receivers.iter().find(|it| it.rules().name == delivery.receiver);
        let Some(receiver) = receiver else { return Fate::Later("this controller has no such receiver".to_owned()) };
        let letter = Letter {
            id: delivery.id,
            fleet: self.controller.fleet(),
            portal: self.settings.portal.as_deref(),
            sent_at: self.controller.clock.now(),
            is_test: false,
            notice: &delivery.notice,
        };
        let fate = receiver.send(&letter).await;
        let (receiver, id) = (&delivery.receiver, delivery.id);
        match &fate {
            Fate::Sent => info!(receiver, %id, "a message about alerts was sent"),
            Fate::Later(why) => {
                warn!(receiver, %id, why, "a message about alerts could not be sent; it is tried again")
            }
            Fate::Never(why) => warn!(receiver, %id, why, "a message about alerts cannot be sent"),
        }
        fate
    }

    async fn settle(&mut self, fates: Vec<(Delivery, Fate)>) {
        if fates.is_empty() {
            return;
        }
        let (now, wants) = (self.now(), &self.wants);
        let noted = self.controller.change_alerts(|alerts| {
            for (delivery, fate) in &fates {
                batch::settle(alerts, wants, delivery.id, fate, now);
            }
        });
        match noted.await {
            Ok(held) => {
                self.board.show(held.alerts.clone());
                self.held = held;
            }
            // Whoever takes the message next sends it again.
            Err(error) => warn!(error = in_full(&error), "that a message was sent could not be noted"),
        }
    }

    /// The bucket is away: only that can be told, and only without it.
    async fn blind(&mut self, problem: &str) {
        self.latest = self.now();
        let seen = Observation::blind(self.latest, problem);
        let mut alerts = self.held.alerts.clone();
        self.bring_outage(&mut alerts);
        self.debounce.look(&seen, alerts.open.iter());
        let (after, events) = step(&self.settings.rules, &seen, &alerts, &self.debounce);
        let key = AlertKey { kind: AlertKind::StoreDegraded, subject: AlertSubject::Bucket };
        let is_ours = |event: &AlertEvent| matches!(event, AlertEvent::Opened(alert) if alert.key() == key);
        if events.iter().any(is_ours)
            && let Some(outage) = after.open.iter().find(|alert| alert.key() == key)
        {
            events.iter().filter(|event| is_ours(event)).for_each(log);
            self.outage = Some(Alert { told: true, ..outage.clone() });
            self.offline.open = vec![outage.clone()];
            self.offline.sequence = outage.sequence;
            // Nothing else can come that is worth waiting for.
            self.offline.receivers.clear();
            let at_once =
                |receiver: &ReceiverRules| ReceiverRules { group_wait: TimeDelta::zero(), ..receiver.clone() };
            let wants: Vec<_> = self.wants.iter().map(at_once).collect();
            let (now, controller) = (self.now(), &self.controller);
            batch::make(&mut self.offline, &wants, now, || controller.ulid().ok());
            self.offline.open.clear();
            self.board.show(after);
        }
        self.send_offline().await;
    }

    async fn send_offline(&mut self) {
        let (now, id) = (self.now(), self.controller.settings.controller_id);
        batch::give_up(&mut self.offline, now);
        let taken = batch::take(&mut self.offline, &self.wants, id, now, MOST_OFFLINE);
        for (delivery, fate) in self.send(taken).await {
            batch::settle(&mut self.offline, &self.wants, delivery.id, &fate, now);
        }
    }

    fn show_problem(&self, error: &ControllerError) {
        let problem = in_full(error);
        let mut known = self.board.0.write().unwrap_or_else(PoisonError::into_inner);
        // Once for each outage, not at every look.
        if known.problem.is_none() {
            warn!(problem, "what is to be told of alerts cannot be read or written, so nobody is told");
        }
        known.problem = Some(problem);
    }
}

fn log(event: &AlertEvent) {
    match event {
        AlertEvent::Opened(alert) => info!(alert = %alert.key(), message = alert.message, "an alert opened"),
        AlertEvent::Worsened(alert) => info!(alert = %alert.key(), message = alert.message, "an alert became worse"),
        AlertEvent::Unsilenced(alert) => debug!(alert = %alert.key(), "the silence of an alert ended"),
        AlertEvent::Resolved(resolved) => info!(alert = %resolved.alert.key(), "an alert was resolved"),
    }
}
