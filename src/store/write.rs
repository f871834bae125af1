//! The three writes: create-once, replace-if-unchanged, put-own.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::attempt::{Failure, Kind};
use super::counts::Operation;
use super::error::{Doing, StoreError};
use super::read::without_etag;
use super::{Conditions, ETag, Store};
use crate::model::ObjectKey;
use crate::model::keys::WriteRule;

/// An object that was to be created is there, with the bytes that were to be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The store's name for the bytes.
    pub etag: ETag,
    /// How it came to be there.
    pub outcome: Outcome,
}

/// How an object came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// This call wrote it.
    New,
    /// It was there before, byte for byte.
    AlreadySame,
}

/// What must be so for a write to happen.
#[derive(Clone, Copy)]
enum Condition<'a> {
    Always,
    Absent,
    Unchanged(&'a ETag),
}

/// What is found at a key, beside what was to be there.
enum There {
    Same(ETag),
    Other(ETag),
    Nothing,
}

impl Store {
    /// Creates the object at `key`, unless there is one. The same bytes there already are no conflict.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when other bytes are there.
    pub async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<Created, StoreError> {
        let doing = self.doing("creating", &key.render(&self.inner.prefix));
        self.obey(key, &doing, &[WriteRule::CreateOnce, WriteRule::ReplaceIfUnchanged, WriteRule::Harmless])?;
        if self.conditions != Conditions::Honoured {
            match self.there(key, &body).await? {
                There::Nothing => {}
                There::Same(etag) => return Ok(Created { etag, outcome: Outcome::AlreadySame }),
                There::Other(_) => return Err(StoreError::Conflict { doing }),
            }
        }
        let (etag, outcome) = self.write(key, doing, body, Condition::Absent).await?;
        Ok(Created { etag, outcome })
    }

    /// Replaces the object at `key` if its bytes are still those that `known` names; with None, if there is none.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another writer was there first.
    pub async fn replace_if(&self, key: &ObjectKey, body: Bytes, known: Option<&ETag>) -> Result<ETag, StoreError> {
        let Some(known) = known else {
            return Ok(self.create(key, body).await?.etag);
        };
        let doing = self.doing("replacing", &key.render(&self.inner.prefix));
        self.obey(key, &doing, &[WriteRule::ReplaceIfUnchanged, WriteRule::Harmless])?;
        if self.conditions != Conditions::Honoured {
            match self.there(key, &body).await? {
                There::Same(etag) => return Ok(etag),
                There::Other(etag) if etag == *known => {}
                There::Other(_) | There::Nothing => return Err(StoreError::Conflict { doing }),
            }
        }
        Ok(self.write(key, doing, body, Condition::Unchanged(known)).await?.0)
    }

    /// Overwrites the object at `key`, whose only writer the caller is.
    ///
    /// # Errors
    /// Why the store did not take it.
    pub async fn put_own(&self, key: &ObjectKey, body: Bytes) -> Result<ETag, StoreError> {
        let doing = self.doing("writing", &key.render(&self.inner.prefix));
        self.obey(key, &doing, &[WriteRule::PutOwn, WriteRule::Replace, WriteRule::Harmless])?;
        match self.put(key, &body, Condition::Always).await {
            Ok(etag) => Ok(etag),
            Err(failure) => Err(self.explain(doing, failure)),
        }
    }

    /// I1: what is written once can only be created, whatever a caller thinks.
    pub(super) fn obey(&self, key: &ObjectKey, doing: &Doing, allowed: &[WriteRule]) -> Result<(), StoreError> {
        let rule = key.write_rule();
        if allowed.contains(&rule) {
            return Ok(());
        }
        Err(StoreError::WriteRule { doing: doing.clone(), rule })
    }

    /// Writes under a condition and settles every answer that leaves it open whether the write happened: "was it
    /// me?".
    async fn write(
        &self,
        key: &ObjectKey,
        doing: Doing,
        body: Bytes,
        condition: Condition<'_>,
    ) -> Result<(ETag, Outcome), StoreError> {
        let failure = match self.put(key, &body, condition).await {
            Ok(etag) if self.conditions == Conditions::Honoured => return Ok((etag, Outcome::New)),
            // The store may have overwritten a winner, or have been overwritten by one since.
            Ok(_) => None,
            // Another's bytes or our own, from a try whose answer was lost.
            Err(failure) if failure.kind == Kind::Precondition || failure.may_have_happened => Some(failure),
            // The bytes that were to be replaced are gone.
            Err(failure) if failure.kind == Kind::Absent && matches!(condition, Condition::Unchanged(_)) => {
                Some(failure)
            }
            Err(failure) => return Err(self.explain(doing, failure)),
        };
        let outcome = match &failure {
            Some(failure) if !failure.may_have_happened => Outcome::AlreadySame,
            _ => Outcome::New,
        };
        match (self.there(key, &body).await?, failure) {
            (There::Same(etag), _) => Ok((etag, outcome)),
            // Nothing is there and nobody says that the condition failed: the write just did not happen.
            (There::Nothing, Some(failure)) if failure.may_have_happened => Err(self.explain(doing, failure)),
            // The bytes that were to be replaced are still there: likewise.
            (There::Other(etag), Some(failure))
                if failure.may_have_happened && matches!(condition, Condition::Unchanged(known) if *known == etag) =>
            {
                Err(self.explain(doing, failure))
            }
            _ => Err(StoreError::Conflict { doing }),
        }
    }

    /// Compares what is at `key` with `body`.
    async fn there(&self, key: &ObjectKey, body: &Bytes) -> Result<There, StoreError> {
        match self.find(key, body.len() as u64).await {
            Ok(Some(object)) if object.bytes == *body => Ok(There::Same(object.etag)),
            Ok(Some(object)) => Ok(There::Other(object.etag)),
            Ok(None) => Ok(There::Nothing),
            // Longer than ours, so not ours; only its tag is wanted.
            Err(StoreError::TooLarge { .. }) => Ok(match self.head(key).await? {
                Some(meta) => There::Other(meta.etag),
                None => There::Nothing,
            }),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, key: &ObjectKey, body: &Bytes, condition: Condition<'_>) -> Result<ETag, Failure> {
        let full_key = key.render(&self.inner.prefix);
        // A store that takes the condition for an error would take no write at all.
        let sent = !matches!(self.conditions, Conditions::Ignored | Conditions::Refused);
        let condition = if sent { condition } else { Condition::Always };
        self.with_retries(|| {
            let request = self
                .inner
                .client
                .put_object()
                .bucket(&self.inner.bucket)
                .key(&full_key)
                .content_type(key.content_type())
                .set_cache_control(key.cache_control().map(str::to_owned))
                .body(ByteStream::from(body.clone()));
            let request = match condition {
                Condition::Always => request,
                Condition::Absent => request.if_none_match("*"),
                Condition::Unchanged(known) => request.if_match(known.as_str()),
            };
            async {
                let deadline = self.inner.deadlines.sending(body.len() as u64);
                self.send(Operation::PutObject, deadline, request.send())
                    .await?
                    .e_tag
                    .map(ETag)
                    .ok_or_else(without_etag)
            }
        })
        .await
    }
}
