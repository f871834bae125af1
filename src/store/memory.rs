//! What the store said last, for readers to whom something old is worth more than nothing.
//!
//! It is no cache: as long as the store answers every question is asked. Only once it does not, or is known not to,
//! what it said before is said again. Nothing that is written may rest on it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lru::LruCache;

use super::error::StoreError;
use super::list::{Depth, Listing};
use super::read::{Meta, Object};
use crate::model::Sha256Digest;

/// The most bytes that are kept, roughly; what was not asked for longest goes first.
const MOST_BYTES: usize = 4 << 20;

/// A larger answer is not kept: it would push out too many others.
const LARGEST_BYTES: usize = 512 << 10;

/// What an answer or an entry of a list costs beside its texts, roughly.
const OVERHEAD_BYTES: usize = 128;

/// What readers were told, by what they had asked.
pub struct Memory {
    kept: Mutex<Kept>,
    is_asked_first: AtomicBool,
}

#[derive(Debug)]
struct Kept {
    answers: LruCache<Asked, Answer>,
    bytes: usize,
}

/// A question to the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    /// An object, by its full key.
    Object(String),
    /// What is known of an object without reading it.
    Meta(String),
    /// A part of an object, with its digest where that is known.
    Range { full_key: String, offset: u64, size: u64, sha256: Option<Sha256Digest> },
    /// A page of a list.
    Page { below: String, depth: Depth, start_after: Option<String>, page_size: Option<u16>, token: Option<String> },
}

/// What the store said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Object(Option<Object>),
    Meta(Option<Meta>),
    Range(Bytes),
    /// With the token of the page that comes next.
    Page(Listing, Option<String>),
}

/// What one kind of question is answered with.
pub(super) trait Said: Clone {
    fn keep(self) -> Answer;

    /// Whether it is what is kept.
    fn is(&self, kept: &Answer) -> bool;

    fn recalled(answer: Answer) -> Option<Self>;
}

impl Said for Option<Meta> {
    fn keep(self) -> Answer {
        Answer::Meta(self)
    }

    fn is(&self, kept: &Answer) -> bool {
        matches!(kept, Answer::Meta(meta) if meta == self)
    }

    fn recalled(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Meta(meta) => Some(meta),
            Answer::Object(_) | Answer::Range(_) | Answer::Page(..) => None,
        }
    }
}

impl Said for Bytes {
    fn keep(self) -> Answer {
        Answer::Range(self)
    }

    fn is(&self, kept: &Answer) -> bool {
        matches!(kept, Answer::Range(bytes) if bytes == self)
    }

    fn recalled(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Range(bytes) => Some(bytes),
            Answer::Object(_) | Answer::Meta(_) | Answer::Page(..) => None,
        }
    }
}

impl Said for (Listing, Option<String>) {
    fn keep(self) -> Answer {
        Answer::Page(self.0, self.1)
    }

    fn is(&self, kept: &Answer) -> bool {
        matches!(kept, Answer::Page(listing, token) if *listing == self.0 && *token == self.1)
    }

    fn recalled(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Page(listing, token) => Some((listing, token)),
            Answer::Object(_) | Answer::Meta(_) | Answer::Range(_) => None,
        }
    }
}

impl Asked {
    fn weight(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Self::Object(key) | Self::Meta(key) | Self::Range { full_key: key, .. } => key.len(),
                Self::Page { below, start_after, token, .. } => {
                    below.len() + [start_after, token].into_iter().flatten().map(String::len).sum::<usize>()
                }
            }
    }
}

impl Answer {
    fn weight(&self) -> usize {
        match self {
            Self::Object(object) => object.as_ref().map_or(0, |object| object.bytes.len()),
            Self::Meta(_) => 0,
            Self::Range(bytes) => bytes.len(),
            Self::Page(listing, _) => {
                let keys = listing.entries.iter().map(|entry| entry.key.len());
                keys.chain(listing.folders.iter().map(String::len)).map(|text| text + OVERHEAD_BYTES).sum()
            }
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        let kept = Mutex::new(Kept { answers: LruCache::unbounded(), bytes: 0 });
        Self { kept, is_asked_first: AtomicBool::new(false) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("is_asked_first", &self.is_asked_first).finish_non_exhaustive()
    }
}

impl Memory {
    /// A larger part of an object is streamed, and not kept.
    pub(super) const LARGEST_RANGE: u64 = 256 << 10;

    /// Says whether the store is known not to answer, so that nobody has to wait until it has not.
    pub fn ask_first(&self, is_asked_first: bool) {
        self.is_asked_first.store(is_asked_first, Ordering::Relaxed);
    }

    pub(super) fn is_asked_first(&self) -> bool {
        self.is_asked_first.load(Ordering::Relaxed)
    }

    pub(super) fn recall(&self, asked: &Asked) -> Option<Answer> {
        self.with(|kept| kept.answers.get(asked).cloned())
    }

    pub(super) fn keep(&self, asked: Asked, answer: Answer) {
        let weight = asked.weight() + answer.weight();
        self.with(|kept| {
            let same = (kept.answers.get(&asked), &answer);
            if matches!(same, (Some(Answer::Object(Some(known))), Answer::Object(Some(new))) if known.etag == new.etag)
            {
                return;
            }
            kept.forget(&asked);
            if weight > LARGEST_BYTES {
                return;
            }
            kept.bytes += weight;
            kept.answers.put(asked, answer);
            while kept.bytes > MOST_BYTES
                && let Some((asked, oldest)) = kept.answers.pop_lru()
            {
                kept.bytes -= asked.weight() + oldest.weight();
            }
        });
    }

    /// What is said to `asked`: by the store, or by this memory while the store says nothing.
    pub(super) async fn settle<T: Said>(
        &self,
        asked: Asked,
        saying: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let recalled = || self.recall(&asked).and_then(T::recalled);
        if self.is_asked_first()
            && let Some(known) = recalled()
        {
            return Ok(known);
        }
        match saying.await {
            Ok(said) => {
                // What is kept stays where it is: a new copy at each look would leave holes in memory.
                if !self.with(|kept| kept.answers.get(&asked).is_some_and(|kept| said.is(kept))) {
                    self.keep(asked, said.clone().keep());
                }
                Ok(said)
            }
            Err(error) if error.is_transient() => recalled().ok_or(error),
            Err(error) => Err(error),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn forget(&mut self, asked: &Asked) {
        if let Some(answer) = self.answers.pop(asked) {
            self.bytes -= asked.weight() + answer.weight();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ETag;
    use super::*;

    fn asked(number: usize) -> Asked {
        Asked::Object(format!("k{number}"))
    }

    fn answer(bytes: usize) -> Answer {
        let etag = ETag::from(format!("\"{bytes}\""));
        Answer::Object(Some(Object { bytes: vec![0; bytes].into(), etag, last_modified: None }))
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_first_and_too_much_is_not_kept() {
        let memory = Memory::default();
        for number in 0..20 {
            memory.keep(asked(number), answer(LARGEST_BYTES / 2));
            assert!(memory.recall(&asked(0)).is_some(), "it is asked for all the time");
        }
        assert!(memory.recall(&asked(1)).is_none() && memory.recall(&asked(19)).is_some());
        assert!(memory.with(|kept| kept.bytes <= MOST_BYTES && kept.answers.len() == 15));
        memory.keep(asked(19), answer(LARGEST_BYTES));
        assert!(memory.recall(&asked(19)).is_none(), "what it was before is over");
        for number in 0..20 {
            memory.with(|kept| kept.forget(&asked(number)));
        }
        assert_eq!(memory.with(|kept| kept.bytes), 0);
    }
}
