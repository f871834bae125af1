//! That somebody has seen an alert, and is on it.

use super::state::MOST_REASON_CHARS;
use crate::controller::{Controller, ControllerError};
use crate::model::ObjectKey;
use crate::model::alert::{Acknowledgement, Alert, AlertKey, Alerts};
use crate::model::text::short;

impl Controller {
    /// Notes that whoever acts has seen an alert that is open. Somebody else's word is replaced. None if it is not open.
    ///
    /// # Errors
    /// Without a note; why the store did not take it.
    pub async fn acknowledge(&self, key: &AlertKey, note: &str) -> Result<Option<Alert>, ControllerError> {
        let note = short(note.trim(), MOST_REASON_CHARS);
        if note.is_empty() {
            let problem = "an acknowledgement needs a note, such as who looks after it: others rely on it";
            return Err(ControllerError::invalid(ObjectKey::Alerts, problem));
        }
        let Some(before) = self.open_alert(key).await? else { return Ok(None) };
        let said = before.acknowledged.as_ref().map(|seen| format!("acknowledged by {}: {}", seen.by, seen.note));
        let (by, at) = (self.actor().user.clone(), crate::clock::to_seconds(self.store_now()));
        let act =
            self.intend("acknowledge", object(key), said, Some("acknowledged".to_owned()), Some(note.clone())).await?;
        let noted = self.change_alerts(|alerts| {
            let sequence = alerts.sequence.saturating_add(1);
            let Some(alert) = of(alerts, key) else { return };
            // Who says the same once more tells nobody anything.
            if alert.acknowledged.as_ref().is_some_and(|seen| seen.by == by && seen.note == note) {
                return;
            }
            alert.acknowledged = Some(Acknowledgement { by: by.clone(), note: note.clone(), at, sequence });
            alerts.sequence = sequence;
        });
        self.conclude_seen(act, noted.await, key).await
    }

    /// Takes back that somebody has seen an alert. None if it is not open.
    ///
    /// # Errors
    /// When nobody had; why the store did not take it.
    pub async fn unacknowledge(&self, key: &AlertKey) -> Result<Option<Alert>, ControllerError> {
        let Some(before) = self.open_alert(key).await? else { return Ok(None) };
        let Some(seen) = before.acknowledged else {
            return Err(ControllerError::invalid(object(key), "nobody has acknowledged it"));
        };
        let said = Some(format!("acknowledged by {}: {}", seen.by, seen.note));
        let act = self.intend("unacknowledge", object(key), said, None, None).await?;
        let noted = self.change_alerts(|alerts| {
            if let Some(alert) = of(alerts, key) {
                alert.acknowledged = None;
            }
        });
        self.conclude_seen(act, noted.await, key).await
    }

    async fn open_alert(&self, key: &AlertKey) -> Result<Option<Alert>, ControllerError> {
        Ok(of(&mut self.alerts().await?.alerts, key).cloned())
    }

    /// It may have been resolved meanwhile.
    async fn conclude_seen(
        &self,
        act: crate::controller::audit::Act,
        noted: Result<super::HeldAlerts, ControllerError>,
        key: &AlertKey,
    ) -> Result<Option<Alert>, ControllerError> {
        let found = match noted.map(|mut held| of(&mut held.alerts, key).cloned()) {
            Ok(None) => Err(ControllerError::not_found(object(key), "it was resolved meanwhile")),
            other => other,
        };
        self.conclude(act, found).await
    }
}

fn of<'a>(alerts: &'a mut Alerts, key: &AlertKey) -> Option<&'a mut Alert> {
    alerts.open.iter_mut().find(|alert| alert.kind == key.kind && alert.subject == key.subject)
}

fn object(key: &AlertKey) -> String {
    format!("alert {key}")
}
