//! Who did what: an intent before the first visible effect, an outcome after.
//!
//! The ids of a claim's entries follow from the signed bytes of its history entry. So whoever finishes somebody
//! else's publish can tell whether its outcome was written, and writes it under the id that its maker would have used.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tracing::warn;
use ulid::Ulid;

use super::{Controller, ControllerError};
use crate::model::audit::{AuditEntry, AuditStage, Chain, EntryRef};
use crate::model::sign::{Verified, sign};
use crate::model::trigger::Trigger;
use crate::model::{ObjectKey, Sha256Digest};
use crate::store::StoreError;

/// An intent that was written and wants an outcome.
#[must_use]
pub(super) struct Act {
    intent: AuditEntry,
}

/// Which entry of a claim.
#[derive(Debug, Clone, Copy)]
enum Half {
    Intent,
    Outcome,
}

/// The id of a claim's entry. The outcome's time is a millisecond later, so that it sorts behind the intent.
fn claim_id(entry: &Verified<Trigger>, half: Half) -> Ulid {
    let (salt, later) = match half {
        Half::Intent => ("intent", 0),
        Half::Outcome => ("outcome", 1),
    };
    // The epoch is no part of what is signed, and a new one begins with generation 1 again.
    let digest = Sha256Digest::of(format!("{}\n{}\n{salt}", entry.signed_sha256(), entry.epoch()).as_bytes());
    let mut random = [0; 16];
    random.copy_from_slice(&digest.as_bytes()[..16]);
    let millis = u64::try_from(entry.issued_at.timestamp_millis()).unwrap_or(0);
    Ulid::from_parts(millis + later, u128::from_le_bytes(random))
}

/// An entry's key; the day is that of its id, so that the id alone finds it.
#[must_use]
pub fn key(id: Ulid) -> ObjectKey {
    let millis = i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX);
    let at = DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
    ObjectKey::Audit(at.date_naive(), id)
}

impl Controller {
    /// Writes the intent of a change that is no claim.
    pub(super) async fn intend(
        &self,
        action: &str,
        object: impl Into<String>,
        before: Option<String>,
        after: Option<String>,
        reason: Option<String>,
    ) -> Result<Act, ControllerError> {
        let reason = reason.or_else(|| self.actor().reason.clone());
        let intent = self.entry(self.ulid()?, self.clock.now(), action, object.into(), before, after, reason);
        self.write_audit(&intent).await?;
        Ok(Act { intent })
    }

    /// Writes the outcome of what was intended, and hands on its result. That the outcome could not be written does
    /// not undo what was done: it is only logged.
    pub(super) async fn conclude<T>(&self, act: Act, result: Result<T, ControllerError>) -> Result<T, ControllerError> {
        let message = result.as_ref().err().map_or_else(|| "done".to_owned(), ToString::to_string);
        self.note_outcome(act, result.is_ok(), message).await;
        result
    }

    /// Writes the outcome of what was intended, in words of its own. That it could not be written is only logged.
    pub(super) async fn note_outcome(&self, act: Act, done: bool, message: String) {
        let (object, action) = (act.intent.object.clone(), act.intent.action.clone());
        if let Err(error) = self.write_outcome(act, done, message).await {
            warn!(object, action, %error, "the outcome could not be recorded");
        }
    }

    async fn write_outcome(&self, act: Act, done: bool, message: String) -> Result<(), ControllerError> {
        let stage = AuditStage::Outcome { intent: act.intent.id, done, message };
        let outcome = AuditEntry { id: self.ulid()?, at: self.now(), stage, ..act.intent };
        self.write_audit(&outcome).await
    }

    /// Writes down what changes nothing in the bucket and is worth knowing all the same, such as a sign-in.
    ///
    /// # Errors
    /// Why the store did not take it.
    pub async fn record(
        &self,
        action: &str,
        object: String,
        done: bool,
        message: String,
    ) -> Result<(), ControllerError> {
        let act = self.intend(action, object, None, None, None).await?;
        self.write_outcome(act, done, message).await
    }

    /// Writes the intent of a claim.
    pub(super) async fn intend_claim(
        &self,
        entry: &Verified<Trigger>,
        action: &str,
        before: Option<String>,
    ) -> Result<(), ControllerError> {
        self.write_claim(&self.claim_entry(entry, Half::Intent, action, before, AuditStage::Intent)).await
    }

    /// Writes the outcome of a claim, once.
    pub(super) async fn conclude_claim(
        &self,
        entry: &Verified<Trigger>,
        done: bool,
        message: String,
    ) -> Result<(), ControllerError> {
        let stage = AuditStage::Outcome { intent: claim_id(entry, Half::Intent), done, message };
        let outcome = self.claim_entry(entry, Half::Outcome, entry.action.name(), None, stage);
        self.write_claim(&outcome).await
    }

    /// Writes an entry of a claim. Whoever wants or finishes the very same trigger may have written it before, in
    /// other words.
    async fn write_claim(&self, entry: &AuditEntry) -> Result<(), ControllerError> {
        match self.write_audit(entry).await {
            Err(error) if matches!(error.of_store(), Some(StoreError::Conflict { .. })) => Ok(()),
            result => result,
        }
    }

    /// Whether the outcome of a claim was written.
    pub(super) async fn is_concluded(&self, entry: &Verified<Trigger>) -> Result<bool, ControllerError> {
        let key = key(claim_id(entry, Half::Outcome));
        Ok(self.store().head(&key).await?.is_some())
    }

    fn claim_entry(
        &self,
        entry: &Verified<Trigger>,
        half: Half,
        action: &str,
        before: Option<String>,
        stage: AuditStage,
    ) -> AuditEntry {
        let object = format!("cell/{}", entry.cell_id());
        let with = Some(entry.options.names()).filter(|names| !names.is_empty());
        let with = with.map(|names| format!(", with {}", names.join(" and "))).unwrap_or_default();
        let after = Some(format!("{}{with}", super::Claim::from(entry)));
        let reason = entry.reason.clone();
        let id = claim_id(entry, half);
        // An intent says the same however often it is written; an outcome tells when it was.
        let at = match half {
            Half::Intent => entry.issued_at,
            Half::Outcome => self.now(),
        };
        AuditEntry { stage, ..self.entry(id, at, action, object, before, after, reason) }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one document")]
    fn entry(
        &self,
        id: Ulid,
        at: DateTime<Utc>,
        action: &str,
        object: String,
        before: Option<String>,
        after: Option<String>,
        reason: Option<String>,
    ) -> AuditEntry {
        let actor = self.actor();
        AuditEntry {
            id,
            at: crate::clock::to_seconds(at),
            actor: actor.user.clone(),
            source: actor.source.clone(),
            host: actor.host.clone(),
            action: action.to_owned(),
            object,
            before,
            after,
            reason,
            stage: AuditStage::Intent,
            chain: None,
        }
    }

    async fn write_audit(&self, entry: &AuditEntry) -> Result<(), ControllerError> {
        let writer = self.writer().await?;
        let taken = self.followed().await;
        let chain = Chain { fleet: self.fleet(), follows: taken.follows() };
        let entry = AuditEntry { chain: Some(chain), ..entry.clone() };
        let key = key(entry.id);
        let signed = sign(&entry, &self.settings.signer)
            .map_err(|source| ControllerError::Sign { what: key.to_string(), source })?;
        writer.create(&key, Bytes::copy_from_slice(signed.document())).await?;
        taken.replace(EntryRef { id: entry.id, sha256: signed.signed_sha256() });
        Ok(())
    }
}
