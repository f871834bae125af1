//! Files into the bucket: read piece by piece, digested on the way, each piece sent again until it arrived.

use std::path::Path;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tracing::warn;

use super::attempt::{Failure, Kind};
use super::counts::Operation;
use super::error::{Doing, Expect, StoreError};
use super::read::without_etag;
use super::{ETag, Store};
use crate::model::digest::DigestBuilder;
use crate::model::keys::WriteRule;
use crate::model::{ObjectKey, Sha256Digest};

/// What is held in memory and sent at once: large enough for the 10,000 parts that an upload may have, and small
/// enough that a slow link gets one through.
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// A file up to this size is one request.
const SINGLE_BYTES: u64 = 2 * PART_BYTES;

/// A local file on its way, compared with what it should be.
struct Source<'a> {
    path: &'a Path,
    file: File,
    expect: Expect,
    digest: DigestBuilder,
    read: u64,
    doing: Doing,
}

impl Source<'_> {
    /// The next `PART_BYTES`, or all of a file that is sent at once.
    async fn next(&mut self, most: u64) -> Result<Bytes, StoreError> {
        let size = most.min(self.expect.size - self.read);
        let mut piece = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let got = (&mut self.file).take(size).read_to_end(&mut piece).await.map_err(|error| self.unreadable(error))?;
        self.read += got as u64;
        self.digest.update(&piece);
        if (got as u64) < size {
            return Err(self.changed(format!("{} bytes", self.read)));
        }
        Ok(piece.into())
    }

    /// Whether the file, now read whole, was what it should be.
    async fn check(&mut self) -> Result<(), StoreError> {
        let more = self.file.read(&mut [0]).await.map_err(|error| self.unreadable(error))?;
        if more > 0 {
            return Err(self.changed("more bytes".to_owned()));
        }
        let got = Expect { size: self.read, sha256: self.digest.clone().finish() };
        if got == self.expect { Ok(()) } else { Err(self.changed(got.to_string())) }
    }

    fn unreadable(&self, source: std::io::Error) -> StoreError {
        let doing = Doing::new("reading", self.path.display().to_string());
        StoreError::Local { doing, source }
    }

    fn changed(&self, got: String) -> StoreError {
        StoreError::SourceChanged { doing: self.doing.clone(), path: self.path.into(), expected: self.expect, got }
    }
}

/// An upload in parts that was begun. When one of several uploads fails nobody waits for the others any more, and they
/// have to be given back all the same.
struct Begun<'a> {
    store: &'a Store,
    full_key: &'a str,
    id: String,
    is_open: bool,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.is_open {
            let (store, full_key, id) = (self.store.clone(), self.full_key.to_owned(), std::mem::take(&mut self.id));
            runtime.spawn(async move { store.abort(&full_key, &id).await });
        }
    }
}

impl Store {
    /// Sends the file at `path`, which should be `expect`, to `key`. `progress` is told how many bytes the store has
    /// taken so far. Nothing appears at `key` unless the file was what it should be.
    ///
    /// # Errors
    /// [`StoreError::SourceChanged`] when the file was something else, [`StoreError::Local`] when it cannot be read,
    /// or why the store did not take it.
    pub async fn upload(
        &self,
        key: &ObjectKey,
        path: &Path,
        expect: Expect,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<ETag, StoreError> {
        let full_key = key.render(&self.inner.prefix);
        let doing = self.doing("uploading to", &full_key);
        self.obey(key, &doing, &[WriteRule::Harmless])?;
        let file = File::open(path)
            .await
            .map_err(|source| StoreError::Local { doing: Doing::new("opening", path.display().to_string()), source })?;
        let digest = Sha256Digest::builder();
        let mut source = Source { path, file, expect, digest, read: 0, doing: doing.clone() };
        if expect.size <= SINGLE_BYTES {
            let body = source.next(SINGLE_BYTES).await?;
            source.check().await?;
            let etag = self.put_own(key, body).await?;
            progress(expect.size);
            return Ok(etag);
        }
        self.upload_in_parts(key, &full_key, &mut source, progress).await
    }

    async fn upload_in_parts(
        &self,
        key: &ObjectKey,
        full_key: &str,
        source: &mut Source<'_>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<ETag, StoreError> {
        let doing = source.doing.clone();
        let begun = self
            .with_retries(|| {
                let request = self.inner.client.create_multipart_upload().bucket(&self.inner.bucket).key(full_key);
                self.send(
                    Operation::CreateMultipartUpload,
                    self.inner.deadlines.whole,
                    request.content_type(key.content_type()).send(),
                )
            })
            .await
            .map_err(|failure| self.explain(doing.clone(), failure))?;
        let mut begun = Begun { store: self, full_key, id: begun.upload_id.unwrap_or_default(), is_open: true };
        let done = match self.send_parts(full_key, &begun.id, source, progress).await {
            Ok(parts) => self.complete(full_key, &begun.id, parts, source).await,
            Err(error) => Err(error),
        };
        begun.is_open = false;
        if done.is_err() {
            self.abort(full_key, &begun.id).await;
        }
        done
    }

    async fn send_parts(
        &self,
        full_key: &str,
        id: &str,
        source: &mut Source<'_>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let mut parts = Vec::new();
        while source.read < source.expect.size {
            let body = source.next(PART_BYTES).await?;
            let number = i32::try_from(parts.len() + 1).unwrap_or(i32::MAX);
            let etag = self
                .with_retries(|| {
                    let request = self
                        .inner
                        .client
                        .upload_part()
                        .bucket(&self.inner.bucket)
                        .key(full_key)
                        .upload_id(id)
                        .part_number(number)
                        .body(ByteStream::from(body.clone()));
                    async {
                        let deadline = self.inner.deadlines.sending(PART_BYTES);
                        self.send(Operation::UploadPart, deadline, request.send()).await?.e_tag.ok_or_else(without_etag)
                    }
                })
                .await
                .map_err(|failure| self.explain(source.doing.clone(), failure))?;
            parts.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
            progress(source.read);
        }
        source.check().await?;
        Ok(parts)
    }

    async fn complete(
        &self,
        full_key: &str,
        id: &str,
        parts: Vec<CompletedPart>,
        source: &Source<'_>,
    ) -> Result<ETag, StoreError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let result = self
            .with_retries(|| {
                let request = self.inner.client.complete_multipart_upload().bucket(&self.inner.bucket).key(full_key);
                let request = request.upload_id(id).multipart_upload(parts.clone());
                // Some stores copy the parts together before they answer.
                self.send(Operation::CompleteMultipartUpload, self.inner.deadlines.copy, request.send())
            })
            .await;
        match result {
            Ok(answer) => self.etag(answer.e_tag, full_key),
            // An upload that is gone was completed by a try whose answer was lost, if the object is there.
            Err(failure) if failure.kind == Kind::Absent || failure.may_have_happened => {
                match self.head_full(full_key).await {
                    Ok(meta) if meta.size == source.expect.size => Ok(meta.etag),
                    _ => Err(self.explain(source.doing.clone(), failure)),
                }
            }
            Err(failure) => Err(self.explain(source.doing.clone(), failure)),
        }
    }

    /// Parts that are left behind are paid for and seen by nobody. What cannot be tidied is left to the bucket's
    /// lifecycle rules.
    async fn abort(&self, full_key: &str, id: &str) {
        let result = self
            .with_retries(|| {
                let request = self.inner.client.abort_multipart_upload().bucket(&self.inner.bucket).key(full_key);
                self.send(Operation::AbortMultipartUpload, self.inner.deadlines.whole, request.upload_id(id).send())
            })
            .await;
        match result {
            Ok(_) => {}
            Err(Failure { kind: Kind::Absent, .. }) => {}
            Err(failure) => {
                warn!(key = full_key, kind = ?failure.kind, "parts of a failed upload are left in the store")
            }
        }
    }
}
