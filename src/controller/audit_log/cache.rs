//! Entries that were read: they never change, so none is read twice while it is remembered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ulid::Ulid;

use crate::model::audit::FoundEntry;

/// How many bytes of entries are remembered, as they stand in the bucket.
const MOST_BYTES: usize = 16 << 20;

/// Entries of one bucket's audit, the newest ones: pages begin with these.
#[derive(Debug, Default)]
pub struct AuditCache(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    entries: BTreeMap<Ulid, (Arc<FoundEntry>, usize)>,
    bytes: usize,
}

impl AuditCache {
    pub(super) fn get(&self, id: Ulid) -> Option<Arc<FoundEntry>> {
        self.held(|held| held.entries.get(&id).map(|(entry, _)| entry.clone()))
    }

    pub(super) fn put(&self, entry: &Arc<FoundEntry>, bytes: usize) {
        self.held(|held| {
            if let Some((_, before)) = held.entries.insert(entry.id, (entry.clone(), bytes)) {
                held.bytes -= before;
            }
            held.bytes += bytes;
            while held.bytes > MOST_BYTES
                && let Some((_, (_, oldest))) = held.entries.pop_first()
            {
                held.bytes -= oldest;
            }
        });
    }

    fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        // Nothing in between can panic, and what is held would still be right.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::model::audit::{AuditEntry, AuditStage};
    use crate::model::sign::Trust;
    use crate::model::{UserName, document};

    #[test]
    fn the_oldest_is_forgotten_first_and_the_bytes_are_bounded() {
        let entry = |millis: u64| {
            let entry = AuditEntry {
                id: Ulid::from_parts(millis, 1),
                at: DateTime::UNIX_EPOCH,
                actor: UserName::new("alice").unwrap(),
                source: "cli".to_owned(),
                host: "host".to_owned(),
                action: "publish".to_owned(),
                object: "cell/n1/web".to_owned(),
                before: None,
                after: None,
                reason: None,
                stage: AuditStage::Intent,
                chain: None,
            };
            Arc::new(FoundEntry::read(&document::render(&entry), Uuid::nil(), &Trust::Unsigned).unwrap())
        };
        let cache = AuditCache::default();
        for millis in [3, 1, 2] {
            cache.put(&entry(millis), MOST_BYTES / 2);
            cache.put(&entry(millis), MOST_BYTES / 2);
        }
        let known: Vec<bool> = (1..=3).map(|millis| cache.get(Ulid::from_parts(millis, 1)).is_some()).collect();
        assert_eq!(known, [false, true, true]);
    }
}
