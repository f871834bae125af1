//! Objects that were read for a view, so that a page that is looked at again asks for less.
//!
//! Bytes are kept under the store's own name for them, and are verified anew each time: what is kept here is never
//! believed more than what comes from the bucket. Nothing that is written depends on it.

use std::sync::{Mutex, PoisonError};

use lru::LruCache;

use super::Controller;
use crate::model::ObjectKey;
use crate::store::{ETag, Fetched, Object, StoreError};

/// The most bytes that are kept; what was not used for longest goes first (I9).
const MOST_BYTES: usize = 16 << 20;

/// A larger object is not kept: it would push out too many others.
const LARGEST_BYTES: usize = 4 << 20;

/// What an object costs beside its bytes, roughly: its key and its place.
const OVERHEAD_BYTES: usize = 512;

/// Objects by their key, the newest bytes of each.
#[derive(Debug)]
pub(super) struct Seen(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    objects: LruCache<ObjectKey, Object>,
    bytes: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self(Mutex::new(Kept { objects: LruCache::unbounded(), bytes: 0 }))
    }
}

fn weight(object: &Object) -> usize {
    object.bytes.len() + OVERHEAD_BYTES
}

impl Seen {
    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn get(&self, key: &ObjectKey) -> Option<Object> {
        self.with(|kept| kept.objects.get(key).cloned())
    }

    fn forget(&self, key: &ObjectKey) {
        self.with(|kept| {
            let gone = kept.objects.pop(key).map_or(0, |object| weight(&object));
            kept.bytes -= gone;
        });
    }

    fn keep(&self, key: &ObjectKey, object: &Object) {
        self.forget(key);
        if object.bytes.len() > LARGEST_BYTES {
            return;
        }
        self.with(|kept| {
            kept.bytes += weight(object);
            // Another reader of the same object may have been faster.
            let before = kept.objects.put(key.clone(), object.clone());
            kept.bytes -= before.as_ref().map_or(0, weight);
            while kept.bytes > MOST_BYTES
                && let Some((_, oldest)) = kept.objects.pop_lru()
            {
                kept.bytes -= weight(&oldest);
            }
        });
    }
}

impl Controller {
    /// Reads an object for a view; bytes that are known already do not travel again.
    pub(super) async fn look(&self, key: &ObjectKey, max_bytes: u64) -> Result<Option<Object>, StoreError> {
        let known = self.seen.get(key);
        let fetched = self.store().get_if_changed(key, known.as_ref().map(|object| &object.etag), max_bytes).await?;
        Ok(match fetched {
            Fetched::Unchanged => known,
            Fetched::Changed(object) => {
                self.seen.keep(key, &object);
                Some(object)
            }
            Fetched::Absent => {
                self.seen.forget(key);
                None
            }
        })
    }

    /// The same for an object of which a LIST has just told the tag: what is known under it is not asked for at all.
    pub(super) async fn look_listed(
        &self,
        key: &ObjectKey,
        listed: &ETag,
        max_bytes: u64,
    ) -> Result<Option<Object>, StoreError> {
        match self.seen.get(key).filter(|known| known.etag == *listed) {
            Some(known) => Ok(Some(known)),
            None => self.look(key, max_bytes).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> ObjectKey {
        ObjectKey::parse(&format!("cells/n1/web/history/0001-{number:016}.json")).unwrap()
    }

    fn object(bytes: usize) -> Object {
        Object { bytes: vec![0; bytes].into(), etag: ETag::from("\"a\"".to_owned()), last_modified: None }
    }

    fn state(seen: &Seen) -> (usize, usize) {
        seen.with(|kept| (kept.objects.len(), kept.bytes))
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let seen = Seen::default();
        for number in 1..=20 {
            seen.keep(&key(number), &object(2 << 20));
            assert!(seen.get(&key(1)).is_some(), "it is used all the time");
        }
        let (count, bytes) = state(&seen);
        assert!((count, bytes <= MOST_BYTES) == (7, true), "{count} objects of {bytes} bytes");
        assert!(seen.get(&key(2)).is_none() && seen.get(&key(20)).is_some());
    }

    #[test]
    fn what_is_replaced_forgotten_or_too_large_does_not_count() {
        let seen = Seen::default();
        seen.keep(&key(1), &object(100));
        seen.keep(&key(1), &object(10));
        assert_eq!(state(&seen), (1, 10 + OVERHEAD_BYTES));
        seen.keep(&key(1), &object(LARGEST_BYTES + 1));
        assert_eq!(state(&seen), (0, 0));
        seen.forget(&key(2));
        assert_eq!(state(&seen), (0, 0));
    }
}
