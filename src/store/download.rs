//! Files out of the bucket: streamed, digested on the way, taken up again where they broke off.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::Store;
use super::attempt::{Failure, Kind, Tries};
use super::counts::Operation;
use super::error::{Expect, Outage, StoreError};
use super::memory::{Asked, Memory};
use super::read::{Meta, size, time};
use super::stream::{Body, ObjectStream};
use crate::model::digest::DigestBuilder;
use crate::model::{ObjectKey, Sha256Digest};

/// So many bytes more are progress enough to count the tries anew.
const PROGRESS_BYTES: u64 = 1024 * 1024;

/// Bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// All of them.
    Whole,
    /// From here on, as many as were asked for.
    From(u64),
}

/// What of which object is wanted.
struct Wanted<'a> {
    full_key: &'a str,
    range: Range,
    size: u64,
}

impl Store {
    /// Fetches what should be `expect` into `into`: the whole object, or `expect.size` bytes of it from `offset` on.
    /// At most `expect.size` bytes are ever written; that they are the right ones is only known when this returns.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when other bytes came, [`StoreError::Local`] when `into` failed, or why the store did
    /// not answer.
    pub async fn download(
        &self,
        key: &ObjectKey,
        offset: Option<u64>,
        expect: Expect,
        into: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<(), StoreError> {
        let Some(memory) = self.memory.as_ref().filter(|_| expect.size <= Memory::LARGEST_RANGE) else {
            return self.download_now(key, offset, expect, into).await;
        };
        let full_key = key.render(&self.inner.prefix);
        let doing = self.doing("fetching", &full_key);
        let read = async {
            let mut bytes = Vec::new();
            self.download_now(key, offset, expect, &mut bytes).await?;
            Ok(Bytes::from(bytes))
        };
        let Expect { size, sha256 } = expect;
        let asked = Asked::Range { full_key, offset: offset.unwrap_or(0), size, sha256: Some(sha256) };
        let bytes = memory.settle(asked, read).await?;
        into.write_all(&bytes).await.map_err(|source| StoreError::Local { doing, source })
    }

    async fn download_now(
        &self,
        key: &ObjectKey,
        offset: Option<u64>,
        expect: Expect,
        into: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<(), StoreError> {
        let full_key = key.render(&self.inner.prefix);
        let doing = || self.doing("fetching", &full_key);
        let corrupt = |got: String| StoreError::Corrupt { doing: doing(), expected: expect, got };
        let range = offset.map_or(Range::Whole, Range::From);
        let wanted = Wanted { full_key: &full_key, range, size: expect.size };
        let mut digest = Sha256Digest::builder();
        let (mut done, mut counted) = (0, 0);
        let mut tries = Tries::new(self);
        loop {
            let failure = match Box::pin(self.take(&wanted, &mut done, &mut digest, into)).await {
                Ok(()) => break,
                Err(Fault::Sink(source)) => return Err(StoreError::Local { doing: doing(), source }),
                Err(Fault::Store(failure)) => failure,
            };
            match failure.kind {
                Kind::Excess => return Err(corrupt("more bytes".to_owned())),
                Kind::BadRange => return Err(corrupt("fewer bytes".to_owned())),
                _ => {}
            }
            if done - counted >= PROGRESS_BYTES {
                counted = done;
                tries.count_anew();
            }
            if let Err(failure) = tries.wait_after(failure).await {
                return Err(self.explain_read(doing(), &full_key, failure).await);
            }
        }
        into.flush().await.map_err(|source| StoreError::Local { doing: doing(), source })?;
        let got = Expect { size: done, sha256: digest.finish() };
        if got == expect { Ok(()) } else { Err(corrupt(got.to_string())) }
    }

    /// Opens the whole object at `key`, whatever its size; None if there is none. What breaks off is not taken up again.
    ///
    /// # Errors
    /// A denied object is an error, never None.
    pub async fn open(&self, key: &ObjectKey) -> Result<Option<(Meta, ObjectStream)>, StoreError> {
        let full_key = key.render(&self.inner.prefix);
        let doing = self.doing("fetching", &full_key);
        let opened = self
            .with_retries(|| {
                let request = self.inner.client.get_object().bucket(&self.inner.bucket).key(&full_key);
                self.send(Operation::GetObject, self.inner.deadlines.first_byte, request.send())
            })
            .await;
        let answer = match opened {
            Ok(answer) => answer,
            Err(failure) => {
                return match self.explain_read(doing, &full_key, failure).await {
                    StoreError::NotFound { .. } => Ok(None),
                    error => Err(error),
                };
            }
        };
        let meta = Meta {
            size: size(answer.content_length),
            etag: self.etag(answer.e_tag, &full_key)?,
            last_modified: answer.last_modified.as_ref().and_then(time),
        };
        let body = Body::new(self.clone(), answer.body, meta.size);
        Ok(Some((meta, ObjectStream { body, doing })))
    }

    /// Opens `size` bytes of an object from `offset` on, for a reader that takes them apart itself: neighbouring
    /// files of a pack are fetched with one request. What breaks off is not taken up again.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn open_range(&self, key: &ObjectKey, offset: u64, size: u64) -> Result<ObjectStream, StoreError> {
        let Some(memory) = self.memory.as_ref().filter(|_| size <= Memory::LARGEST_RANGE) else {
            return self.open_range_now(key, offset, size).await;
        };
        let full_key = key.render(&self.inner.prefix);
        let doing = self.doing("fetching", &full_key);
        let read = async {
            let (mut stream, mut bytes) = (self.open_range_now(key, offset, size).await?, BytesMut::new());
            while let Some(piece) = stream.next().await? {
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes.freeze())
        };
        let bytes = memory.settle(Asked::Range { full_key, offset, size, sha256: None }, read).await?;
        Ok(ObjectStream { body: Body::new(self.clone(), bytes.into(), size), doing })
    }

    async fn open_range_now(&self, key: &ObjectKey, offset: u64, size: u64) -> Result<ObjectStream, StoreError> {
        let full_key = key.render(&self.inner.prefix);
        let wanted = Wanted { full_key: &full_key, range: Range::From(offset), size };
        let doing = self.doing("fetching", &full_key);
        match self.with_retries(|| self.ask(&wanted, 0)).await {
            Ok(answer) => Ok(ObjectStream { body: Body::new(self.clone(), answer.body, size), doing }),
            Err(failure) => Err(self.explain_read(doing, &full_key, failure).await),
        }
    }

    /// Fetches what is still missing after `done` bytes.
    async fn take(
        &self,
        wanted: &Wanted<'_>,
        done: &mut u64,
        digest: &mut DigestBuilder,
        into: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<(), Fault> {
        if *done == wanted.size && (wanted.range != Range::Whole || *done > 0) {
            return Ok(());
        }
        let answer = self.ask(wanted, *done).await?;
        let mut body = Body::new(self.clone(), answer.body, wanted.size - *done);
        while let Some(piece) = body.next().await? {
            digest.update(&piece);
            into.write_all(&piece).await.map_err(Fault::Sink)?;
            *done += piece.len() as u64;
        }
        if body.left() > 0 {
            return Err(Failure::of(Kind::Down(Outage::Cut), None).during(Operation::GetObject).into());
        }
        Ok(())
    }

    /// Asks for what is wanted but for its first `done` bytes, and sees that the answer is of these bytes.
    async fn ask(&self, wanted: &Wanted<'_>, done: u64) -> Result<GetObjectOutput, Failure> {
        let first = match wanted.range {
            Range::Whole => done,
            Range::From(offset) => offset + done,
        };
        let whole = wanted.range == Range::Whole && done == 0;
        let last = (first + (wanted.size - done)).saturating_sub(1);
        let request = self
            .inner
            .client
            .get_object()
            .bucket(&self.inner.bucket)
            .key(wanted.full_key)
            .set_range((!whole).then(|| format!("bytes={first}-{last}")));
        let answer = self.send(Operation::GetObject, self.inner.deadlines.first_byte, request.send()).await?;
        if !whole && !answer.content_range().is_some_and(|range| range.starts_with(&format!("bytes {first}-"))) {
            return Err(Failure::unable("its answer is not of the range that was asked for"));
        }
        // What is announced is believed only so far as to refuse early.
        match answer.content_length().and_then(|length| u64::try_from(length).ok()) {
            Some(length) if length > wanted.size - done => Err(Failure::of(Kind::Excess, None)),
            Some(length) if length < wanted.size - done => Err(Failure::of(Kind::BadRange, None)),
            _ => Ok(answer),
        }
    }
}

/// Which side failed.
enum Fault {
    Store(Failure),
    Sink(std::io::Error),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}
