//! Reading the audit, newest first: by day, filtered, a page at a time, an intent and its outcome as one act.
//!
//! An act stands in two entries, and its outcome is the newer one. So an outcome is read before its intent, and may be
//! on an earlier page. What was read and is not told yet is named in the place where the next page begins.

mod cache;
mod chain;
mod export;
mod join;
mod place;

use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use ulid::Ulid;

pub use cache::AuditCache;
pub use chain::{AuditFault, AuditProof, FaultKind};
pub use export::{AuditLine, ExportFormat};
pub use join::{Act, ActResult, AuditRow};
pub use place::{AuditPlace, PlaceError};

use self::chain::Links;
use self::join::Joiner;
use super::audit::key;
use super::inputs::READS;
use super::{Controller, ControllerError};
use crate::model::ObjectKey;
use crate::model::audit::FoundEntry;
use crate::model::keys::Folder;
use crate::store::{Depth, StoreError, in_full};

/// How many entries are read for one page at most, and how many days are listed: what matches a rare filter is found
/// by going on from where the page ends.
const MOST_READ: usize = 1_000;
const MOST_DAYS: usize = 100;

/// How many entries of one day are known at most. A day with more is told from its later ones only.
const MOST_OF_A_DAY: usize = 100_000;

/// How many entries are read before it is looked whether the page is full.
const BATCH: usize = 64;

/// For how long an outcome may follow its intent; a release may take a while to upload.
pub(super) const LONGEST_ACT: TimeDelta = TimeDelta::hours(6);

/// Which acts are wanted. What is None is not asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// From this time on.
    pub from: Option<DateTime<Utc>>,
    /// Before this time.
    pub until: Option<DateTime<Utc>>,
    /// The user, whole.
    pub actor: Option<String>,
    /// The action, whole.
    pub action: Option<String>,
    /// A part of the object's name.
    pub object: Option<String>,
    /// `cli`, `portal`, `api`, whole.
    pub source: Option<String>,
    /// What came of it.
    pub result: Option<ResultFilter>,
}

/// What came of an act, as filters ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultFilter {
    /// It was done.
    Done,
    /// It was not done.
    Failed,
    /// Nobody wrote what came of it.
    NotConcluded,
}

/// A page of the audit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The acts, newest first.
    pub rows: Vec<AuditRow>,
    /// Where the next page begins; None at the end of the audit.
    pub next: Option<AuditPlace>,
    /// Everything back to this time was looked at, if the page ended before it was full.
    pub searched_to: Option<DateTime<Utc>>,
    /// Days of which only the later entries are told, because they have too many.
    pub cut_days: Vec<NaiveDate>,
    /// The entries that were read for it, and those that they say were there before.
    links: Links,
}

impl AuditFilter {
    /// Whether an act is wanted; its time is looked at elsewhere. What cannot be read is wanted if nothing is asked.
    fn wants(&self, row: &AuditRow) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        match &row.act {
            Ok(act) => {
                is(&self.actor, act.actor.as_str())
                    && is(&self.action, &act.action)
                    && is(&self.source, &act.source)
                    && self.object.as_deref().is_none_or(|part| act.object.contains(part))
                    && self.result.is_none_or(|result| result == ResultFilter::of(&act.result))
            }
            Err(_) => *self == Self { from: self.from, until: self.until, ..Self::default() },
        }
    }
}

impl ResultFilter {
    fn of(result: &ActResult) -> Self {
        match result {
            ActResult::Done { .. } => Self::Done,
            ActResult::Failed { .. } => Self::Failed,
            ActResult::NotConcluded => Self::NotConcluded,
        }
    }
}

/// One way back through the audit.
pub(super) struct AuditWalk<'a> {
    controller: &'a Controller,
    /// Below this id.
    below: Ulid,
    /// Not before this time.
    from: DateTime<Utc>,
    /// The oldest day that there are entries of.
    begins: Option<NaiveDate>,
    /// The days that are not listed yet, oldest first.
    days: Vec<NaiveDate>,
    /// The ids that are not read yet, oldest first.
    ids: Vec<Ulid>,
    listed: usize,
    cut_days: Vec<NaiveDate>,
}

impl Controller {
    /// The newest `limit` acts below `after` that `filter` wants.
    ///
    /// # Errors
    /// Why the store did not answer. An entry that cannot be read is part of the page.
    pub async fn audit_page(
        &self,
        cache: &AuditCache,
        filter: &AuditFilter,
        after: Option<&AuditPlace>,
        limit: usize,
    ) -> Result<AuditPage, ControllerError> {
        let start = match after {
            Some(place) => place.clone(),
            None => AuditPlace::before(filter.until.map_or(DateTime::<Utc>::MAX_UTC, |until| until + LONGEST_ACT)),
        };
        let from = filter.from.unwrap_or(DateTime::<Utc>::MIN_UTC);
        let mut walk = AuditWalk::start(self, start.below, from).await?;
        let mut joiner = Joiner::default();
        for entry in self.audit_entries(cache, &start.held).await? {
            joiner.take(entry);
        }
        joiner.told_down_to(start.below);
        let mut page = AuditPage::default();
        let mut read = 0;
        let is_wanted =
            |row: &AuditRow| row.at >= from && filter.until.is_none_or(|until| row.at < until) && filter.wants(row);
        let mut ready = Vec::new();
        loop {
            while page.rows.len() < limit
                && let Some(row) = ready.pop()
            {
                if is_wanted(&row) {
                    page.rows.push(row);
                }
            }
            let is_full = page.rows.len() >= limit;
            if is_full || read >= MOST_READ || walk.listed_enough() {
                // Behind a full page the entries below the last act that is told are read again, from memory: only
                // outcomes of older acts have to be named.
                let below = page.rows.last().filter(|_| is_full).map_or(walk.below, |last| last.id);
                let untold: Vec<Ulid> = joiner.held().chain(ready.iter().flat_map(AuditRow::entries)).collect();
                if !untold.is_empty() || !walk.is_done() {
                    page.searched_to = (!is_full).then(|| place::time_of(below));
                    page.next = Some(AuditPlace::new(below, untold));
                }
                break;
            }
            let ids = walk.next(BATCH.min(MOST_READ - read)).await?;
            if ids.is_empty() {
                if walk.is_done() {
                    ready = joiner.finish();
                    if ready.is_empty() {
                        break;
                    }
                }
                continue;
            }
            read += ids.len();
            for entry in self.audit_entries(cache, &ids).await? {
                page.links.take(&entry);
                joiner.take(entry);
            }
            ready = joiner.ready(walk.below);
        }
        page.links.begins = walk.begins;
        page.cut_days = walk.cut_days;
        Ok(page)
    }

    /// The entries with these ids, in this order, each with why it cannot be read if it cannot. One that is gone is
    /// left out.
    pub(super) async fn audit_entries(
        &self,
        cache: &AuditCache,
        ids: &[Ulid],
    ) -> Result<Vec<(Ulid, Result<Arc<FoundEntry>, String>)>, ControllerError> {
        let entries = stream::iter(ids.to_vec()).map(async |id| self.audit_entry(cache, id).await).buffered(READS);
        let entries: Vec<_> = entries.try_collect().await?;
        Ok(entries.into_iter().flatten().collect())
    }

    async fn audit_entry(
        &self,
        cache: &AuditCache,
        id: Ulid,
    ) -> Result<Option<(Ulid, Result<Arc<FoundEntry>, String>)>, ControllerError> {
        if let Some(known) = cache.get(id) {
            return Ok(Some((id, Ok(known))));
        }
        let object = match self.store().find(&key(id), FoundEntry::MOST_BYTES).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(None),
            Err(error @ StoreError::TooLarge { .. }) => return Ok(Some((id, Err(in_full(&error))))),
            Err(error) => return Err(error.into()),
        };
        let read = match FoundEntry::read(&object.bytes, self.fleet(), &self.settings.trust) {
            Ok(entry) if entry.id != id => Err(format!("it says that it is entry {}", entry.id)),
            Ok(entry) => {
                let entry = Arc::new(entry);
                cache.put(&entry, object.bytes.len());
                Ok(entry)
            }
            Err(error) => Err(in_full(&error)),
        };
        Ok(Some((id, read)))
    }

    /// The days that the audit has entries of, oldest first.
    async fn audit_days(&self) -> Result<Vec<NaiveDate>, ControllerError> {
        let folders = self.folders(&Folder::Audit(None)).await?;
        // Only the canonical text: no other folder holds entries that are read.
        let days =
            folders.iter().filter_map(|name| name.parse().ok().filter(|day: &NaiveDate| day.to_string() == *name));
        Ok(days.collect())
    }
}

impl<'a> AuditWalk<'a> {
    /// From the newest entry back to those of `from`.
    pub(super) async fn newest(controller: &'a Controller, from: DateTime<Utc>) -> Result<Self, ControllerError> {
        Self::start(controller, AuditPlace::before(DateTime::<Utc>::MAX_UTC).below, from).await
    }

    async fn start(controller: &'a Controller, below: Ulid, from: DateTime<Utc>) -> Result<Self, ControllerError> {
        let (first, last) = (from.date_naive(), place::time_of(below).date_naive());
        let mut days = controller.audit_days().await?;
        let begins = days.first().copied();
        days.retain(|day| *day >= first && *day <= last);
        Ok(Self { controller, below, from, begins, days, ids: Vec::new(), listed: 0, cut_days: Vec::new() })
    }

    /// Whether every id was handed out.
    fn is_done(&self) -> bool {
        self.ids.is_empty() && self.days.is_empty()
    }

    /// Whether it would need to list more days than one page may.
    fn listed_enough(&self) -> bool {
        self.ids.is_empty() && !self.days.is_empty() && self.listed >= MOST_DAYS
    }

    /// The next ids, at most `most`, newest first; none at the end, or when enough was listed.
    pub(super) async fn next(&mut self, most: usize) -> Result<Vec<Ulid>, ControllerError> {
        while self.ids.is_empty() && !self.listed_enough() {
            let Some(day) = self.days.pop() else { return Ok(Vec::new()) };
            self.listed += 1;
            self.list(day).await?;
        }
        let ids: Vec<Ulid> = std::iter::from_fn(|| self.ids.pop()).take(most).collect();
        self.below = ids.last().copied().unwrap_or(self.below);
        Ok(ids)
    }

    async fn list(&mut self, day: NaiveDate) -> Result<(), ControllerError> {
        let mut pages = self.controller.store().list(&Folder::Audit(Some(day)), Depth::Deep);
        if self.from.date_naive() == day {
            let first = place::first_of(self.from);
            pages = pages.after(&ObjectKey::Audit(day, first));
        }
        let mut ids = std::collections::VecDeque::new();
        let mut is_cut = false;
        'pages: while let Some(page) = pages.next().await? {
            for entry in page.entries {
                let Some(ObjectKey::Audit(_, id)) = entry.object_key().filter(|found| {
                    // An entry in a day that is not its own would be told twice, or not at all.
                    matches!(found, ObjectKey::Audit(_, id) if key(*id) == *found)
                }) else {
                    continue;
                };
                if id >= self.below {
                    break 'pages;
                }
                if ids.len() == MOST_OF_A_DAY {
                    ids.pop_front();
                    is_cut = true;
                }
                ids.push_back(id);
            }
        }
        if is_cut {
            self.cut_days.push(day);
        }
        self.ids = ids.into();
        Ok(())
    }
}

/// The first moment of the day after `day`.
#[must_use]
pub fn day_after(day: NaiveDate) -> DateTime<Utc> {
    let next = day.checked_add_days(Days::new(1)).unwrap_or(day);
    next.and_time(chrono::NaiveTime::MIN).and_utc()
}
