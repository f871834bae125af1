//! What is in the bucket, page by page.

use std::borrow::Cow;

use aws_sdk_s3::types::{EncodingType, Object as ListedObject};
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;

use super::counts::Operation;
use super::error::{Doing, StoreError};
use super::memory::Asked;
use super::read::{size, time};
use super::{ETag, Store};
use crate::model::ObjectKey;
use crate::model::keys::Folder;

/// So many empty pages one after the other are no list any more.
const MOST_EMPTY_PAGES: u32 = 100;

/// One object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Below the fleet's prefix. It may be no key of the protocol: others may have written it.
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// The store's name for the bytes.
    pub etag: ETag,
    /// When the store took it, by the store's clock. Orders nothing.
    pub last_modified: Option<DateTime<Utc>>,
}

impl Entry {
    /// The key as a type, if it is one of the protocol.
    #[must_use]
    pub fn object_key(&self) -> Option<ObjectKey> {
        ObjectKey::parse(&self.key).ok()
    }
}

/// A page of a list, or several together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects, in the order of their keys' bytes.
    pub entries: Vec<Entry>,
    /// Names of the folders directly below the one that was listed; only with [`Depth::Shallow`].
    pub folders: Vec<String>,
}

/// How far down a list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Depth {
    /// Every object below the folder.
    Deep,
    /// The objects directly in the folder, and the names of folders in it.
    Shallow,
}

/// A list that is fetched page by page.
pub struct Pages {
    store: Store,
    /// The folder's key, prefix and all.
    below: String,
    depth: Depth,
    start_after: Option<String>,
    /// The most objects and folders on one page; the store's own limit if left out.
    page_size: Option<u16>,
    next: Next,
    /// Empty pages since the last that was not.
    empty: u32,
}

enum Next {
    First,
    Token(String),
    Done,
}

impl Store {
    /// Lists what is below `folder`.
    #[must_use]
    pub fn list(&self, folder: &Folder, depth: Depth) -> Pages {
        self.list_path(&folder.relative(), depth)
    }

    /// Lists what is below `path`, for whoever wants to see what there really is: it may be no folder of the protocol.
    /// It ends in a slash unless it is empty.
    #[must_use]
    pub fn list_path(&self, path: &str, depth: Depth) -> Pages {
        // The root of a fleet with a prefix is a folder as well: "fleet" must not list "fleet-2/…".
        let below = if path.is_empty() && self.inner.prefix.as_str().is_empty() {
            String::new()
        } else {
            self.inner.prefix.join(path)
        };
        Pages { store: self.clone(), below, depth, start_after: None, page_size: None, next: Next::First, empty: 0 }
    }

    /// Lists everything below `folder`, if it is at most `limit` objects and folders.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] beyond the limit, or why the store did not answer.
    pub async fn list_all(&self, folder: &Folder, depth: Depth, limit: usize) -> Result<Listing, StoreError> {
        let mut pages = self.list(folder, depth);
        let mut all = Listing::default();
        while let Some(page) = pages.next().await? {
            all.entries.extend(page.entries);
            all.folders.extend(page.folders);
            if all.entries.len() + all.folders.len() > limit {
                return Err(StoreError::TooMany { doing: pages.doing(), limit });
            }
        }
        Ok(all)
    }
}

impl Pages {
    /// Leaves out `key` and what stands before it.
    #[must_use]
    pub fn after(self, key: &ObjectKey) -> Self {
        let start_after = Some(key.render(&self.store.inner.prefix));
        Self { start_after, ..self }
    }

    /// Puts at most so many objects and folders on one page.
    #[must_use]
    pub fn by(self, page: u16) -> Self {
        Self { page_size: Some(page), ..self }
    }

    /// Goes on where another list of the same path and depth stood; `token` is what its [`Pages::token`] said.
    #[must_use]
    pub fn from_token(self, token: String) -> Self {
        Self { next: Next::Token(token), ..self }
    }

    /// The store's name for the page that comes next, once a page was read and if there is another.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        match &self.next {
            Next::Token(token) => Some(token),
            Next::First | Next::Done => None,
        }
    }

    /// The next page, of up to 1,000 objects and folders; None after the last. A page may be empty.
    ///
    /// # Errors
    /// Why the store did not answer. The same page can then be asked for again.
    pub async fn next(&mut self) -> Result<Option<Listing>, StoreError> {
        let token = match &self.next {
            Next::First => None,
            Next::Token(token) => Some(token.clone()),
            Next::Done => return Ok(None),
        };
        let before = token.clone();
        let (listing, token) = match &self.store.memory {
            Some(memory) => memory.settle(self.asked(token.clone()), self.page(token)).await?,
            None => self.page(token).await?,
        };
        self.empty = if listing == Listing::default() { self.empty + 1 } else { 0 };
        self.next = match token {
            // A store that leads in circles or nowhere would be listed for ever.
            Some(next) if Some(&next) == before.as_ref() || self.empty > MOST_EMPTY_PAGES => {
                return Err(self.nonsense("it names ever more pages and nothing on them".to_owned()));
            }
            Some(next) => Next::Token(next),
            None => Next::Done,
        };
        Ok(Some(listing))
    }

    fn asked(&self, token: Option<String>) -> Asked {
        let Self { below, depth, start_after, page_size, .. } = self;
        Asked::Page {
            below: below.clone(),
            depth: *depth,
            start_after: start_after.clone(),
            page_size: *page_size,
            token,
        }
    }

    /// The page that `token` names, with the token of the one after it.
    async fn page(&self, token: Option<String>) -> Result<(Listing, Option<String>), StoreError> {
        let store = &self.store;
        let page = store
            .with_retries(|| {
                let request = store
                    .inner
                    .client
                    .list_objects_v2()
                    .bucket(&store.inner.bucket)
                    .prefix(&self.below)
                    // XML cannot hold every key, and one bad key must not hide the others.
                    .encoding_type(EncodingType::Url)
                    .set_delimiter((self.depth == Depth::Shallow).then(|| "/".to_owned()))
                    .set_start_after(self.start_after.clone())
                    .set_max_keys(self.page_size.map(i32::from))
                    .set_continuation_token(token.clone());
                store.send(Operation::ListObjectsV2, store.inner.deadlines.whole, request.send())
            })
            .await
            .map_err(|failure| store.explain(self.doing(), failure))?;

        let encoded = page.encoding_type == Some(EncodingType::Url);
        let mut listing = Listing::default();
        for object in page.contents.unwrap_or_default() {
            listing.entries.push(self.entry(object, encoded)?);
        }
        for folder in page.common_prefixes.unwrap_or_default() {
            let full = decoded(folder.prefix.unwrap_or_default(), encoded);
            let name = self.strip(&full)?;
            // One slash only: "a//b" lies in the folder of "a" that has no name.
            let name = name.strip_suffix('/').unwrap_or(name).to_owned();
            listing.folders.push(name);
        }
        match page.next_continuation_token {
            Some(next) if page.is_truncated == Some(true) => Ok((listing, Some(next))),
            None if page.is_truncated == Some(true) => {
                Err(self.nonsense("it named no next page although there is one".to_owned()))
            }
            _ => Ok((listing, None)),
        }
    }

    fn doing(&self) -> Doing {
        self.store.doing("listing", &self.below)
    }

    fn entry(&self, object: ListedObject, encoded: bool) -> Result<Entry, StoreError> {
        let full = decoded(object.key.unwrap_or_default(), encoded);
        self.strip(&full)?;
        let key = self.store.inner.prefix.strip(&full).unwrap_or(&full).to_owned();
        let etag = self.store.etag(object.e_tag, &full)?;
        let last_modified = object.last_modified.as_ref().and_then(time);
        Ok(Entry { key, size: size(object.size), etag, last_modified })
    }

    /// What of a key stands below the folder.
    fn strip<'a>(&self, full: &'a str) -> Result<&'a str, StoreError> {
        full.strip_prefix(&self.below)
            .ok_or_else(|| self.nonsense(format!("it lists {full:?}, which is not below what was asked for")))
    }

    fn nonsense(&self, message: String) -> StoreError {
        StoreError::Refused { doing: self.doing(), status: 200, code: "nonsense".to_owned(), message }
    }
}

/// Undoes the encoding of keys in lists, which is that of forms: a plus is a space.
fn decoded(text: String, encoded: bool) -> String {
    if !encoded {
        return text;
    }
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.as_str().into() };
    // A key that is no UTF-8 is none of ours; it is shown as well as can be.
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_lists_are_decoded_like_forms() {
        assert_eq!(decoded("a+b%2Bc%20d%C3%A9/e".to_owned(), true), "a b+c dé/e");
        assert_eq!(decoded("a+b%2B".to_owned(), false), "a+b%2B");
    }
}
