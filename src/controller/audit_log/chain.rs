//! What of the audit is gone, was replaced or was changed, as its other entries tell.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use ulid::Ulid;

use super::place::time_of;
use super::{AuditCache, AuditPage, AuditPlace, AuditWalk, BATCH};
use crate::controller::{Controller, ControllerError};
use crate::model::Sha256Digest;
use crate::model::audit::{EntryRef, FoundEntry, Seal};

/// How many entries are checked at most; each takes some hundred bytes of memory.
const MOST_CHECKED: u64 = 500_000;

/// A rule of the bucket that deletes by age takes the entries of a day one by one. It hardly lets them get no older than
/// this, so what is gone of a younger day was deleted by somebody.
const KEPT_AT_LEAST: TimeDelta = TimeDelta::days(7);

/// Something that is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct AuditFault {
    /// When the entry was made, as its id says.
    pub at: DateTime<Utc>,
    /// The entry.
    #[schemars(with = "String")]
    pub id: Ulid,
    /// What is wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    /// It was there, and is no more.
    Gone {
        /// The signed entry that says so.
        #[schemars(with = "String")]
        named_by: Ulid,
    },
    /// Others have its place.
    Replaced {
        /// The signed entry that says so.
        #[schemars(with = "String")]
        named_by: Ulid,
    },
    /// Its signature does not fit.
    Broken {
        /// Why not.
        why: String,
    },
    /// It cannot be read.
    Unreadable {
        /// Why not.
        why: String,
    },
}

impl FaultKind {
    /// What is wrong, in a word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Gone { .. } => "gone",
            Self::Replaced { .. } => "replaced",
            Self::Broken { .. } => "broken",
            Self::Unreadable { .. } => "unreadable",
        }
    }

    /// What is wrong, as a sentence about the entry.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Gone { named_by } => format!("It was there when entry {named_by} was written, and is gone."),
            Self::Replaced { named_by } => format!("It is not the one that entry {named_by} names: it was replaced."),
            Self::Broken { why } => format!("Its signature proves nothing: {why}."),
            Self::Unreadable { why } => format!("It cannot be read: {why}."),
        }
    }
}

/// What was found out about the audit.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AuditProof {
    /// How many entries were read.
    pub entries: u64,
    /// How many of them a pinned key signed.
    pub signed: u64,
    /// How many of them nobody signed who is believed.
    pub not_signed: u64,
    /// How many older entries are no longer kept, as far as others name them.
    pub not_kept: u64,
    /// What is wrong, oldest first.
    pub faults: Vec<AuditFault>,
    /// If there was too much to read: only entries from here on were.
    pub checked_from: Option<DateTime<Utc>>,
    /// Days of which only the later entries were read.
    pub cut_days: Vec<NaiveDate>,
}

/// Entries that were read, and what they say was there before them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Links {
    /// The oldest day that there are entries of.
    pub(super) begins: Option<NaiveDate>,
    read: HashMap<Ulid, Option<Sha256Digest>>,
    followed: Vec<(Ulid, EntryRef)>,
}

impl Links {
    pub(super) fn take(&mut self, (id, entry): &(Ulid, Result<Arc<FoundEntry>, String>)) {
        self.read.insert(*id, entry.as_ref().ok().map(|entry| entry.sha256));
        if let Ok(entry) = entry {
            self.followed.extend(entry.follows().iter().map(|name| (*id, *name)));
        }
    }
}

/// Whether an entry that is not there may have been deleted by its age.
fn is_too_old(id: Ulid, begins: Option<NaiveDate>, now: DateTime<Utc>) -> bool {
    let day = time_of(id).date_naive();
    begins.is_none_or(|begins| day < begins || (day == begins && now - time_of(id) > KEPT_AT_LEAST))
}

impl Controller {
    /// What the entries of a page say of those before them, on this page or not, that is not so.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn audit_faults(&self, cache: &AuditCache, page: &AuditPage) -> Result<Vec<AuditFault>, ControllerError> {
        Ok(self.faults(cache, &page.links).await?.0)
    }

    /// What one entry says of those before it that is not so.
    pub(in crate::controller) async fn entry_faults(
        &self,
        entry: &FoundEntry,
    ) -> Result<Vec<AuditFault>, ControllerError> {
        let mut links = Links { begins: self.audit_days().await?.first().copied(), ..Links::default() };
        links.take(&(entry.id, Ok(Arc::new(entry.clone()))));
        Ok(self.faults(&AuditCache::default(), &links).await?.0)
    }

    /// Reads the entries of a time and checks each, and what it says of those before it.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn verify_audit(
        &self,
        from: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
    ) -> Result<AuditProof, ControllerError> {
        let cache = AuditCache::default();
        let below = AuditPlace::before(until.unwrap_or(DateTime::<Utc>::MAX_UTC)).below;
        let mut walk = AuditWalk::start(self, below, from.unwrap_or(DateTime::<Utc>::MIN_UTC)).await?;
        let mut links = Links { begins: walk.begins, ..Links::default() };
        let mut proof = AuditProof::default();
        while !walk.is_done() {
            if proof.entries >= MOST_CHECKED {
                proof.checked_from = Some(time_of(walk.below));
                break;
            }
            // There is no page that would have to end.
            walk.listed = 0;
            let ids = walk.next(BATCH).await?;
            for found in self.audit_entries(&cache, &ids).await? {
                links.take(&found);
                proof.take(found);
            }
        }
        let (faults, not_kept) = self.faults(&cache, &links).await?;
        proof.faults.extend(faults);
        proof.faults.sort_unstable();
        proof.not_kept = not_kept;
        proof.cut_days = walk.cut_days;
        Ok(proof)
    }

    /// What of `links` is not so, and how many entries are not there because of their age.
    async fn faults(&self, cache: &AuditCache, links: &Links) -> Result<(Vec<AuditFault>, u64), ControllerError> {
        let mut read = links.read.clone();
        let mut beyond: Vec<Ulid> = links.followed.iter().map(|(_, name)| name.id).collect();
        beyond.retain(|id| !read.contains_key(id));
        beyond.sort_unstable();
        beyond.dedup();
        for ids in beyond.chunks(BATCH) {
            let found = self.audit_entries(cache, ids).await?;
            read.extend(found.into_iter().map(|(id, entry)| (id, entry.ok().map(|entry| entry.sha256))));
        }
        let (mut faults, mut not_kept) = (HashMap::new(), 0);
        for (named_by, EntryRef { id, sha256 }) in &links.followed {
            let kind = match read.get(id) {
                Some(Some(found)) if found == sha256 => continue,
                Some(_) => FaultKind::Replaced { named_by: *named_by },
                None if is_too_old(*id, links.begins, self.clock.now()) => {
                    not_kept += 1;
                    continue;
                }
                None => FaultKind::Gone { named_by: *named_by },
            };
            faults.entry(*id).or_insert(AuditFault { at: time_of(*id), id: *id, kind });
        }
        let mut faults: Vec<AuditFault> = faults.into_values().collect();
        faults.sort_unstable();
        Ok((faults, not_kept))
    }
}

impl AuditProof {
    fn take(&mut self, (id, found): (Ulid, Result<Arc<FoundEntry>, String>)) {
        self.entries += 1;
        let kind = match found.as_ref().map(|entry| &entry.seal) {
            Ok(Seal::Signed) => {
                self.signed += 1;
                return;
            }
            Ok(Seal::Missing) => {
                self.not_signed += 1;
                return;
            }
            Ok(Seal::Off) => return,
            Ok(Seal::Broken(why)) => FaultKind::Broken { why: why.clone() },
            Err(why) => FaultKind::Unreadable { why: why.clone() },
        };
        self.faults.push(AuditFault { at: time_of(id), id, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_age_may_have_taken_is_too_old() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let id = |text: &str| super::super::place::first_of(time(text));
        let begins = Some("2026-03-10".parse().unwrap());
        let old = |entry: &str, now: &str| is_too_old(id(entry), begins, time(now));
        assert!(old("2026-03-09T23:59:59Z", "2026-03-10T00:00:01Z"));
        assert!(!old("2026-03-10T00:00:00Z", "2026-03-12T00:00:00Z"), "the first day of a new audit");
        assert!(old("2026-03-10T00:00:00Z", "2026-03-20T00:00:00Z"), "a day that is being deleted");
        assert!(!old("2026-03-11T00:00:00Z", "2026-03-20T00:00:00Z"));
        assert!(is_too_old(id("2026-03-11T00:00:00Z"), None, time("2026-03-11T00:00:00Z")), "all of it is gone");
    }
}
