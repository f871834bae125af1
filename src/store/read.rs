//! Small objects, read whole.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::DateTime as SdkDateTime;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};

use super::attempt::{Failure, Kind};
use super::counts::Operation;
use super::error::{Doing, StoreError};
use super::memory::{Answer, Asked};
use super::stream::Body;
use super::{ETag, Store};
use crate::model::ObjectKey;

/// An object, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it holds.
    pub bytes: Bytes,
    /// The store's name for these bytes.
    pub etag: ETag,
    /// When the store took it, by the store's clock. Orders nothing.
    pub last_modified: Option<DateTime<Utc>>,
}

/// What a conditional read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The bytes that the reader has already.
    Unchanged,
    /// Other bytes.
    Changed(Object),
    /// Nothing. Not an instruction to anybody.
    Absent,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// In bytes.
    pub size: u64,
    /// The store's name for the bytes.
    pub etag: ETag,
    /// When the store took it, by the store's clock. Orders nothing.
    pub last_modified: Option<DateTime<Utc>>,
}

impl Store {
    /// Reads the object at `key`, which may have up to `max_bytes`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooLarge`], or why the store did not answer.
    pub async fn get(&self, key: &ObjectKey, max_bytes: u64) -> Result<Object, StoreError> {
        match self.find(key, max_bytes).await? {
            Some(object) => Ok(object),
            None => Err(StoreError::NotFound { doing: self.reading(key) }),
        }
    }

    /// Like [`Store::get`], with an absent object as None.
    ///
    /// # Errors
    /// A denied object is an error, never None.
    pub async fn find(&self, key: &ObjectKey, max_bytes: u64) -> Result<Option<Object>, StoreError> {
        match self.get_if_changed(key, None, max_bytes).await? {
            Fetched::Changed(object) => Ok(Some(object)),
            Fetched::Absent => Ok(None),
            Fetched::Unchanged => Err(StoreError::Refused {
                doing: self.reading(key),
                status: 304,
                code: "NotModified".to_owned(),
                message: "nothing was said of bytes that are known already".to_owned(),
            }),
        }
    }

    /// Reads the object at `key` unless its bytes are those that `known` names.
    ///
    /// # Errors
    /// See [`Store::find`].
    pub async fn get_if_changed(
        &self,
        key: &ObjectKey,
        known: Option<&ETag>,
        max_bytes: u64,
    ) -> Result<Fetched, StoreError> {
        let Some(memory) = &self.memory else { return self.fetch(key, known, max_bytes).await };
        let asked = Asked::Object(key.render(&self.inner.prefix));
        let recalled = || match memory.recall(&asked) {
            Some(Answer::Object(Some(object))) if Some(&object.etag) != known => Some(Fetched::Changed(object)),
            Some(Answer::Object(None)) => Some(Fetched::Absent),
            // The reader has it.
            _ => known.map(|_| Fetched::Unchanged),
        };
        if memory.is_asked_first()
            && let Some(fetched) = recalled()
        {
            return Ok(fetched);
        }
        match self.fetch(key, known, max_bytes).await {
            Ok(fetched) => {
                match &fetched {
                    Fetched::Changed(object) => memory.keep(asked, Answer::Object(Some(object.clone()))),
                    Fetched::Absent => memory.keep(asked, Answer::Object(None)),
                    Fetched::Unchanged => {}
                }
                Ok(fetched)
            }
            Err(error) if error.is_transient() => recalled().ok_or(error),
            Err(error) => Err(error),
        }
    }

    async fn fetch(&self, key: &ObjectKey, known: Option<&ETag>, max_bytes: u64) -> Result<Fetched, StoreError> {
        let full_key = key.render(&self.inner.prefix);
        let deadlines = self.inner.deadlines;
        let result = self
            .with_retries(|| {
                let request = self.inner.client.get_object().bucket(&self.inner.bucket).key(&full_key);
                let request = request.set_if_none_match(known.map(|tag| tag.as_str().to_owned()));
                self.within(deadlines.whole, async {
                    let answer = self.send(Operation::GetObject, deadlines.first_byte, request.send()).await?;
                    self.read_whole(answer, max_bytes).await
                })
            })
            .await;
        let failure = match result {
            Ok(object) => return Ok(Fetched::Changed(object)),
            Err(failure) => failure,
        };
        match (failure.kind.clone(), known) {
            (Kind::Unchanged, Some(_)) => Ok(Fetched::Unchanged),
            (Kind::Excess, _) => Err(StoreError::TooLarge { doing: self.reading(key), limit_bytes: max_bytes }),
            _ => match self.explain_read(self.reading(key), &full_key, failure).await {
                StoreError::NotFound { .. } => Ok(Fetched::Absent),
                error => Err(error),
            },
        }
    }

    /// Asks what is known of the object at `key`; None if there is none.
    ///
    /// # Errors
    /// A denied object is an error, never None.
    pub async fn head(&self, key: &ObjectKey) -> Result<Option<Meta>, StoreError> {
        let full_key = key.render(&self.inner.prefix);
        match &self.memory {
            Some(memory) => memory.settle(Asked::Meta(full_key.clone()), self.head_now(&full_key)).await,
            None => self.head_now(&full_key).await,
        }
    }

    async fn head_now(&self, full_key: &str) -> Result<Option<Meta>, StoreError> {
        match self.head_full(full_key).await {
            Ok(meta) => Ok(Some(meta)),
            Err(failure) => match self.explain_read(self.doing("looking at", full_key), full_key, failure).await {
                StoreError::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    pub(super) async fn head_full(&self, full_key: &str) -> Result<Meta, Failure> {
        let answer = self
            .with_retries(|| {
                let request = self.inner.client.head_object().bucket(&self.inner.bucket).key(full_key);
                self.send(Operation::HeadObject, self.inner.deadlines.first_byte, request.send())
            })
            .await?;
        Ok(Meta {
            size: size(answer.content_length),
            etag: answer.e_tag.map(ETag).ok_or_else(without_etag)?,
            last_modified: answer.last_modified.as_ref().and_then(time),
        })
    }

    pub(super) fn reading(&self, key: &ObjectKey) -> Doing {
        self.doing("reading", &key.render(&self.inner.prefix))
    }

    async fn read_whole(&self, answer: GetObjectOutput, max_bytes: u64) -> Result<Object, Failure> {
        let announced = size(answer.content_length);
        if announced > max_bytes {
            return Err(Failure::of(Kind::Excess, None));
        }
        let etag = answer.e_tag.map(ETag).ok_or_else(without_etag)?;
        let mut body = Body::new(self.clone(), answer.body, max_bytes);
        let mut bytes = BytesMut::with_capacity(usize::try_from(announced).unwrap_or_default());
        while let Some(piece) = body.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(Object { bytes: bytes.freeze(), etag, last_modified: answer.last_modified.as_ref().and_then(time) })
    }

    /// The failure of a read as the caller must take it. A 403 may stand for an object that is not there, where the
    /// reader has no right to know: a LIST with the key as its prefix settles it.
    pub(super) async fn explain_read(&self, doing: Doing, full_key: &str, failure: Failure) -> StoreError {
        if failure.kind != Kind::Denied {
            return self.explain(doing, failure);
        }
        let listed = self
            .with_retries(|| {
                let request = self.inner.client.list_objects_v2().bucket(&self.inner.bucket);
                let request = request.prefix(full_key).max_keys(1);
                self.send(Operation::ListObjectsV2, self.inner.deadlines.whole, request.send())
            })
            .await;
        match listed {
            // Keys are listed in order, so the key itself would be the first below it.
            Ok(page) if page.contents().first().is_some_and(|object| object.key() == Some(full_key)) => {
                self.explain(doing, failure)
            }
            Ok(_) => StoreError::NotFound { doing },
            Err(of_list) if of_list.kind == Kind::Denied => self.explain(doing, failure),
            // Why the list failed says more than a bare 403, which HEAD answers to everything.
            Err(of_list) => self.explain(doing, of_list),
        }
    }

    pub(super) fn etag(&self, told: Option<String>, full_key: &str) -> Result<ETag, StoreError> {
        told.map(ETag).ok_or_else(|| self.explain(self.doing("taking the ETag of", full_key), without_etag()))
    }
}

/// Without tags neither polling nor changing works, so no store without them can be used.
pub(super) fn without_etag() -> Failure {
    Failure::unable("its answer has no ETag")
}

pub(super) fn time(time: &SdkDateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

/// Sizes are never negative, whatever their type in the SDK.
pub(super) fn size(told: Option<i64>) -> u64 {
    told.and_then(|size| u64::try_from(size).ok()).unwrap_or(0)
}
