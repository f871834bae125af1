//! How the API answers: lists page by page, and everything that is read under a tag that saves sending it again.

use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::failure::Failure;
use super::request::parse;
use crate::model::Sha256Digest;
use crate::store::ETag;

/// Entries of a page unless the caller says otherwise, and the most.
const USUAL: usize = 100;
const MOST: usize = 1_000;

/// Which page of a list.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(super) struct Page {
    /// The most entries, 1 to 1,000; 100 if left out.
    pub(super) limit: Option<usize>,
    /// Where the page begins: `next` of the page before it.
    pub(super) after: Option<String>,
}

impl Page {
    pub(super) fn limit(&self) -> Result<usize, Failure> {
        match self.limit.unwrap_or(USUAL) {
            limit @ 1..=MOST => Ok(limit),
            limit => Err(Failure::bad_request("invalid_query", format!("limit: {limit} is not 1 to {MOST}"))),
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct List<T> {
    /// The entries.
    pub(super) items: Vec<T>,
    /// How many there are in all, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<usize>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    /// When it was read, by the store's clock, if it was read in the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) snapshot_at: Option<DateTime<Utc>>,
}

impl<T> List<T> {
    /// The page of `all`, which is sorted by `name`, that `page` asks for.
    pub(super) fn of<U, K: Ord + FromStr<Err: fmt::Display> + fmt::Display>(
        all: Vec<U>,
        page: &Page,
        name: impl Fn(&U) -> K,
        show: impl Fn(U) -> T,
    ) -> Result<Self, Failure> {
        let (limit, total) = (page.limit()?, all.len());
        let after: Option<K> = page.after.as_deref().map(|after| parse("after", after)).transpose()?;
        let begin = after.map_or(0, |after| all.partition_point(|entry| name(entry) <= after));
        let is_last = begin + limit >= total;
        let next = all.get(begin + limit - 1).filter(|_| !is_last).map(|entry| name(entry).to_string());
        let items = all.into_iter().skip(begin).take(limit).map(show).collect();
        Ok(Self { items, total: Some(total), next, snapshot_at: None })
    }

    pub(super) fn read_at(self, at: DateTime<Utc>) -> Self {
        Self { snapshot_at: Some(at), ..self }
    }
}

/// What the caller has already: `If-None-Match`.
#[derive(Debug, Clone)]
pub(super) struct Has(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Has {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(parts.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).map(str::to_owned)))
    }
}

impl Has {
    /// JSON under the tag of its own bytes, or 304.
    pub(super) fn json(&self, value: &impl Serialize) -> Result<Response, Failure> {
        let bytes = written(value)?;
        let tag = tag_of(&bytes);
        Ok(self.bytes(bytes, "application/json", tag.as_str()))
    }

    /// JSON of an entry of a signed list, under the digest of all that the list holds of it, or 304.
    pub(super) fn entry(&self, value: &impl Serialize, digest: &Sha256Digest) -> Result<Response, Failure> {
        Ok(self.bytes(written(value)?, "application/json", &format!("\"{digest}\"")))
    }

    /// What the store keeps, under the store's own tag, or 304.
    pub(super) fn stored(&self, bytes: impl IntoResponse, kind: &'static str, etag: &ETag) -> Response {
        self.bytes(bytes, kind, etag.as_str())
    }

    /// A file under its tag, or 304.
    pub(super) fn download(&self, file: Response, tag: &str) -> Response {
        self.bytes(file, "application/octet-stream", tag)
    }

    fn bytes(&self, bytes: impl IntoResponse, kind: &'static str, tag: &str) -> Response {
        // A proxy may keep it, but must ask each time; rights may have changed.
        let mut headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
            (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
        ]);
        if let Ok(tag) = HeaderValue::from_str(tag) {
            headers.insert(header::ETAG, tag);
        }
        if self.0.as_deref().is_some_and(|has| has.split(',').any(|has| is_same(has.trim(), tag))) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, bytes).into_response()
    }
}

fn written(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|error| {
        let detail = format!("the answer cannot be written: {error}");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    })
}

fn tag_of(bytes: &[u8]) -> ETag {
    let digest = Sha256Digest::of(bytes).to_string();
    ETag::from(format!("\"{}\"", &digest[..32]))
}

/// The tag under which [`Has::json`] would answer.
pub(super) fn tag(value: &impl Serialize) -> Result<ETag, Failure> {
    written(value).map(|bytes| tag_of(&bytes))
}

/// Proxies that compress make a tag weak.
fn is_same(has: &str, tag: &str) -> bool {
    has == "*" || has.strip_prefix("W/").unwrap_or(has) == tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: usize, after: Option<&str>) -> List<u32> {
        let page = Page { limit: Some(limit), after: after.map(str::to_owned) };
        List::of(vec![2, 4, 6, 8, 10], &page, |entry: &u32| *entry, |entry| entry).unwrap()
    }

    #[test]
    fn pages_follow_each_other_and_the_last_says_so() {
        let first = page(2, None);
        assert_eq!((first.items, first.next.as_deref(), first.total), (vec![2, 4], Some("4"), Some(5)));
        let second = page(2, Some("4"));
        assert_eq!((second.items, second.next.as_deref()), (vec![6, 8], Some("8")));
        let last = page(2, Some("8"));
        assert_eq!((last.items, last.next), (vec![10], None));
        let whole = page(5, None);
        assert_eq!((whole.items.len(), whole.next), (5, None));
        // What it began at may be gone: the page begins behind where it was.
        assert_eq!(page(2, Some("5")).items, [6, 8]);
    }

    #[test]
    fn a_page_is_bounded() {
        for limit in [0, 1_001] {
            let page = Page { limit: Some(limit), after: None };
            assert!(List::<u32>::of(vec![1], &page, |entry: &u32| *entry, |entry| entry).is_err(), "{limit}");
        }
    }

    #[test]
    fn a_tag_that_a_proxy_made_weak_is_still_known() {
        for (has, known) in [("\"a\"", true), ("W/\"a\"", true), ("\"b\", \"a\"", true), ("\"b\"", false), ("*", true)]
        {
            let answer = Has(Some(has.to_owned())).stored("x", "text/plain", &ETag::from("\"a\"".to_owned()));
            assert_eq!(answer.status() == StatusCode::NOT_MODIFIED, known, "{has}");
        }
    }
}
