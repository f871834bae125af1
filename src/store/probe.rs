//! Whether the store would let us, asked without a change.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tracing::warn;

use super::Store;
use super::counts::Operation;
use super::error::StoreError;
use crate::model::ObjectKey;
use crate::model::rights::Scope;

/// The MD5 digest of nothing that anybody writes: sixteen zeros.
const NO_DIGEST: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

impl Store {
    /// Asks whether the objects of `scope` may be listed.
    ///
    /// # Errors
    /// [`StoreError::Denied`] if they may not, or why the store did not answer.
    pub async fn may_list(&self, scope: &Scope) -> Result<(), StoreError> {
        let pattern = scope.pattern(&self.inner.prefix);
        let prefix = pattern.trim_end_matches('*');
        let listed = self
            .with_retries(|| {
                let request = self.inner.client.list_objects_v2().bucket(&self.inner.bucket);
                self.send(
                    Operation::ListObjectsV2,
                    self.inner.deadlines.whole,
                    request.prefix(prefix).max_keys(1).send(),
                )
            })
            .await;
        listed.map(|_| ()).map_err(|failure| self.explain(self.doing("listing", prefix), failure))
    }

    /// Asks whether the object at `key` may be written, by a write that must fail: the body is said to have another
    /// digest than it has. Stores look at rights before they look at bodies, and keep no body whose digest is wrong.
    /// One that does not look at digests keeps `body`.
    ///
    /// # Errors
    /// [`StoreError::Denied`] if it may not be written, or why the store did not answer.
    pub async fn may_write(&self, key: &ObjectKey, body: Bytes) -> Result<(), StoreError> {
        let full_key = key.render(&self.inner.prefix);
        let request = self.inner.client.put_object().bucket(&self.inner.bucket).key(&full_key);
        let request = request.content_type(key.content_type()).content_md5(NO_DIGEST);
        let deadline = self.inner.deadlines.sending(body.len() as u64);
        // Not tried again: to send it again is what a wrong digest usually calls for.
        match self.send(Operation::PutObject, deadline, request.body(ByteStream::from(body)).send()).await {
            Ok(_) => {
                warn!(key = full_key, "the store keeps objects whose digest is wrong");
                Ok(())
            }
            Err(failure) if failure.is_of_digest() => Ok(()),
            Err(failure) => Err(self.explain(self.doing("trying to write", &full_key), failure)),
        }
    }
}
