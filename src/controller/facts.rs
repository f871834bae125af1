//! What is known of an object that somebody is about to replace or delete: enough to tell two of them apart.

use chrono::{DateTime, TimeDelta, Utc};

use super::audit_log::{Act, AuditCache, AuditFilter, AuditRow, ResultFilter};
use super::{Controller, ControllerError};
use crate::model::{ObjectKey, Sha256Digest};
use crate::store::ETag;

/// How far the store's clock and those of controllers may differ.
const SKEW: TimeDelta = TimeDelta::minutes(10);

/// How far back it is looked for who deleted an object that is gone.
const LOOK_BACK: TimeDelta = TimeDelta::days(1);

/// How many acts on objects with similar names are looked through.
const MOST_ACTS: usize = 20;

/// An object, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFacts {
    /// The store's name for its bytes.
    pub etag: ETag,
    /// In bytes.
    pub size: u64,
    /// Of its bytes; None if there are more than are read.
    pub sha256: Option<Sha256Digest>,
    /// When it was written, by the store's clock.
    pub modified: Option<DateTime<Utc>>,
}

impl Controller {
    /// What is at `key`, digested piece by piece up to `most_bytes`; None if nothing is there.
    pub(super) async fn facts(&self, key: &ObjectKey, most_bytes: u64) -> Result<Option<ObjectFacts>, ControllerError> {
        let Some((meta, mut stream)) = self.store().open(key).await? else { return Ok(None) };
        let facts = ObjectFacts { etag: meta.etag, size: meta.size, sha256: None, modified: meta.last_modified };
        if meta.size > most_bytes {
            return Ok(Some(facts));
        }
        let mut digest = Sha256Digest::builder();
        while let Some(piece) = stream.next().await? {
            digest.update(&piece);
        }
        Ok(Some(ObjectFacts { sha256: Some(digest.finish()), ..facts }))
    }

    /// The last act on the object at `key` that was done, as the audit tells: the one that wrote the bytes with the
    /// digest `sha256`, which the store has since `modified`; where nothing is there any more, any of the last day.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn last_act(
        &self,
        cache: &AuditCache,
        key: &ObjectKey,
        modified: Option<DateTime<Utc>>,
        sha256: Option<Sha256Digest>,
    ) -> Result<Option<AuditRow>, ControllerError> {
        let object = key.to_string();
        let filter = AuditFilter {
            from: Some(modified.map_or_else(|| self.clock.now() - LOOK_BACK, |modified| modified - SKEW)),
            until: modified.map(|modified| modified + SKEW),
            object: Some(object.clone()),
            result: Some(ResultFilter::Done),
            ..AuditFilter::default()
        };
        let page = self.audit_page(cache, &filter, None, MOST_ACTS).await?;
        let digest = sha256.map(|digest| digest.to_string());
        let is_it = |act: &Act| act.object == object && (digest.is_none() || act.after == digest);
        Ok(page.rows.into_iter().find(|row| row.act.as_ref().is_ok_and(is_it)))
    }
}
