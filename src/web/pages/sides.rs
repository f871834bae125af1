//! Both sides of a change of one object that came too late: what its maker saw, and what is there now.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::controller::{Known, ObjectFacts};
use crate::model::{ObjectKey, Sha256Digest};
use crate::store::{ETag, Object};
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::typed;

/// What a form remembers of the object that it is about: its guard, and what its maker saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The store's name for the bytes; empty if nothing was there.
    pub(super) etag: String,
    pub(super) size: u64,
    pub(super) sha256: Option<Sha256Digest>,
    pub(super) modified: Option<DateTime<Utc>>,
}

/// One side, for people.
#[derive(Debug)]
pub(super) struct Side {
    /// None if nothing is there.
    pub(super) facts: Option<Facts>,
    /// Who wrote or deleted it, if the audit tells.
    pub(super) by: Option<By>,
}

/// Who changed something.
#[derive(Debug)]
pub(super) struct By {
    pub(super) user: String,
    pub(super) source: String,
    pub(super) at: DateTime<Utc>,
    pub(super) reason: Option<String>,
}

impl From<&ObjectFacts> for Facts {
    fn from(facts: &ObjectFacts) -> Self {
        let ObjectFacts { etag, size, sha256, modified } = facts.clone();
        Self { etag: etag.to_string(), size, sha256, modified }
    }
}

impl From<&Object> for Facts {
    fn from(object: &Object) -> Self {
        Self {
            etag: object.etag.to_string(),
            size: object.bytes.len() as u64,
            sha256: Some(Sha256Digest::of(&object.bytes)),
            modified: object.last_modified,
        }
    }
}

impl Facts {
    /// What there is of an object; of one that is not there, that it is not.
    pub(super) fn of(found: Option<&ObjectFacts>) -> Self {
        found.map(Self::from).unwrap_or_default()
    }

    /// As a form sends it back; what is no such text is taken for nothing seen.
    pub(super) fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// For a hidden field.
    pub(super) fn written(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn known(&self) -> Known {
        if self.etag.is_empty() { Known::Absent } else { Known::Tag(ETag::from(self.etag.clone())) }
    }

    pub(super) fn size(&self) -> String {
        size(self.size)
    }
}

/// What was seen of the object at `key`, and what is there now.
pub(super) async fn both(page: &PageContext, key: &ObjectKey, seen: Facts, now: Facts) -> Result<[Side; 2], Failure> {
    Ok([Side::of(page, key, seen, false).await?, Side::of(page, key, now, true).await?])
}

/// Both sides of a form that was made on something else than what is there now; None if nobody saw anything else.
pub(super) async fn unless_same(
    page: &PageContext,
    key: &ObjectKey,
    sent: &typed::Sent,
    now: &Facts,
) -> Result<Option<[Side; 2]>, Failure> {
    let seen = Facts::read(&sent.seen);
    match sent.seen.is_empty() || seen == *now {
        true => Ok(None),
        false => both(page, key, seen, now.clone()).await.map(Some),
    }
}

impl Side {
    /// One of which nobody is named.
    pub(super) fn alone(facts: Facts) -> Self {
        Self { facts: Some(facts).filter(|facts| !facts.etag.is_empty()), by: None }
    }

    async fn of(page: &PageContext, key: &ObjectKey, facts: Facts, is_now: bool) -> Result<Self, Failure> {
        let Self { facts, .. } = Self::alone(facts);
        // Of what was never there nobody is to be named; of what is gone its deleter.
        let by = match (&facts, is_now) {
            (None, false) => None,
            (None, true) => By::find(page, key, None, None).await?,
            (Some(facts), _) => By::find(page, key, facts.modified, facts.sha256).await?,
        };
        Ok(Self { facts, by })
    }
}

impl By {
    /// Who wrote the bytes with the digest `sha256`, or changed the object at `key` last.
    pub(super) async fn find(
        page: &PageContext,
        key: &ObjectKey,
        modified: Option<DateTime<Utc>>,
        sha256: Option<Sha256Digest>,
    ) -> Result<Option<Self>, Failure> {
        let row = page.may().last_act(&page.caller.fleet.audit, key, modified, sha256).await?;
        Ok(row.and_then(|row| {
            let act = row.act.ok()?;
            Some(Self { user: act.actor.to_string(), source: act.source, at: row.at, reason: act.reason })
        }))
    }
}
