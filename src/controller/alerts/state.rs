//! `alerts/state.json`: read by everybody who asks, and changed only over what its writer read.

use tracing::warn;

use chrono::{DateTime, TimeDelta, Utc};
use ulid::Ulid;

use crate::controller::{Controller, ControllerError};
use crate::entropy;
use crate::model::ObjectKey;
use crate::model::alert::{Alerts, Silence, SilenceScope};
use crate::model::document::{self, Document as _, DocumentError};
use crate::model::text::short;
use crate::store::{ETag, Fetched, StoreError};

/// How often a change is made again on top of another's.
const TRIES: u32 = 20;

/// The longest wait after a conflict, times the number of tries so far.
const BACKOFF: std::time::Duration = std::time::Duration::from_millis(50);

/// The most silences at once.
const MOST_SILENCES: usize = 200;

/// The most characters of the reason of a silence, and of a note about an alert.
pub(super) const MOST_REASON_CHARS: usize = 500;

/// The longest silence.
pub const LONGEST_SILENCE: TimeDelta = TimeDelta::days(366);

/// The alerts as they lie in the bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldAlerts {
    /// What was read.
    pub alerts: Alerts,
    /// The store's name for its bytes; None if there are none.
    pub etag: Option<ETag>,
}

impl Controller {
    /// The alerts as they lie in the bucket.
    ///
    /// # Errors
    /// When the store does not answer, or a newer fleetman wrote them.
    pub async fn alerts(&self) -> Result<HeldAlerts, ControllerError> {
        Ok(self.alerts_since(None).await?.unwrap_or_default())
    }

    /// The alerts, unless they are those that `known` names.
    pub(super) async fn alerts_since(&self, known: Option<&ETag>) -> Result<Option<HeldAlerts>, ControllerError> {
        let key = ObjectKey::Alerts;
        let object = match self.store().get_if_changed(&key, known, Alerts::MAX_BYTES).await {
            Ok(Fetched::Unchanged) => return Ok(None),
            Ok(Fetched::Absent) => return Ok(Some(HeldAlerts::default())),
            Ok(Fetched::Changed(object)) => object,
            Err(error) => return Err(error.into()),
        };
        let alerts = match document::parse(&object.bytes) {
            Ok(alerts) => alerts,
            Err(source @ DocumentError::UnknownSchema { .. }) => {
                return Err(ControllerError::Unreadable { key: key.to_string(), source });
            }
            // What cannot be read tells nobody anything, and must not be in the way of what does.
            Err(error) => {
                warn!(%key, error = crate::store::in_full(&error), "what was told of alerts cannot be read; it begins anew");
                Alerts::default()
            }
        };
        Ok(Some(HeldAlerts { alerts, etag: Some(object.etag) }))
    }

    /// Writes `alerts` over what is held, if that is still there.
    pub(super) async fn replace_alerts(
        &self,
        alerts: Alerts,
        held: &HeldAlerts,
    ) -> Result<HeldAlerts, ControllerError> {
        let body = document::render(&alerts).into();
        let etag = self.writer().await?.replace_if(&ObjectKey::Alerts, body, held.etag.as_ref()).await?;
        Ok(HeldAlerts { alerts, etag: Some(etag) })
    }

    /// Makes a change on top of whatever lies there.
    pub(super) async fn change_alerts(&self, change: impl Fn(&mut Alerts)) -> Result<HeldAlerts, ControllerError> {
        for tried in 1..=TRIES {
            let held = self.alerts().await?;
            let mut alerts = held.alerts.clone();
            change(&mut alerts);
            if alerts == held.alerts {
                return Ok(held);
            }
            match self.replace_alerts(alerts, &held).await {
                Err(error) if is_conflict(&error) && tried < TRIES => {
                    self.clock.sleep(entropy::up_to(BACKOFF * tried)).await;
                }
                result => return result,
            }
        }
        Ok(HeldAlerts::default())
    }

    /// Keeps what `scope` covers from being told until `until`, by the store's clock.
    ///
    /// # Errors
    /// When it ends in the past or in years, covers everything, or there are too many; why the store did not take it.
    pub async fn silence(
        &self,
        scope: SilenceScope,
        reason: &str,
        until: DateTime<Utc>,
    ) -> Result<Silence, ControllerError> {
        let now = crate::clock::to_seconds(self.store_now());
        let refuse = |problem: &str| Err(ControllerError::invalid(ObjectKey::Alerts, problem));
        if scope == SilenceScope::default() {
            return refuse("a silence of everything would hide what nobody thought of: name a type, a node or a cell");
        }
        if until <= now || until - now > LONGEST_SILENCE {
            return refuse("a silence ends in the future, and within a year");
        }
        let reason = short(reason.trim(), MOST_REASON_CHARS);
        if reason.is_empty() {
            return refuse("a silence needs a reason, for those who wonder later");
        }
        let silence =
            Silence { id: self.ulid()?, scope, by: self.actor().user.clone(), reason, created_at: now, until };
        let after = Some(format!("until {}", until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)));
        let object = format!("silence of {}", silence.scope);
        let act = self.intend("silence", object, None, after, Some(silence.reason.clone())).await?;
        let changed = async {
            let held = self
                .change_alerts(|alerts| {
                    alerts.silences.retain(|known| known.until > now);
                    if alerts.silences.len() < MOST_SILENCES && !alerts.silences.contains(&silence) {
                        alerts.silences.push(silence.clone());
                        mark(alerts);
                    }
                })
                .await?;
            match held.alerts.silences.contains(&silence) {
                true => Ok(silence.clone()),
                false => Err(ControllerError::invalid(
                    ObjectKey::Alerts,
                    format!("there are {MOST_SILENCES} silences already: end one first"),
                )),
            }
        };
        let changed = changed.await;
        self.conclude(act, changed).await
    }

    /// The same for so long from now.
    ///
    /// # Errors
    /// See [`Controller::silence`].
    pub async fn silence_for(
        &self,
        scope: SilenceScope,
        reason: &str,
        time: TimeDelta,
    ) -> Result<Silence, ControllerError> {
        let now = crate::clock::to_seconds(self.store_now());
        let until = now.checked_add_signed(time.min(LONGEST_SILENCE)).unwrap_or(now);
        self.silence(scope, reason, until).await
    }

    /// Ends a silence before its time. What it kept quiet is told at the next look. None if there is no such silence.
    ///
    /// # Errors
    /// Why the store did not take it.
    pub async fn end_silence(&self, id: Ulid) -> Result<Option<Silence>, ControllerError> {
        let known = self.alerts().await?.alerts.silences.into_iter().find(|silence| silence.id == id);
        let Some(silence) = known else { return Ok(None) };
        let object = format!("silence of {}", silence.scope);
        let before = Some(format!("until {}", silence.until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)));
        let act = self.intend("end-silence", object, before, None, None).await?;
        let ended = self.change_alerts(|alerts| alerts.silences.retain(|known| known.id != id)).await;
        self.conclude(act, ended.map(|_| Some(silence))).await
    }
}

/// Marks what a new silence covers at once, so that no message that is made meanwhile tells of it.
fn mark(alerts: &mut Alerts) {
    for alert in &mut alerts.open {
        alert.silenced |= alerts.silences.iter().any(|silence| silence.scope.covers(alert.kind, &alert.subject));
    }
}

pub(super) fn is_conflict(error: &ControllerError) -> bool {
    matches!(error.of_store(), Some(StoreError::Conflict { .. }))
}
