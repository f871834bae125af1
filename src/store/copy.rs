//! Copies inside the store: release files travel to a version without passing through the controller.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Store;
use super::counts::Operation;
use super::error::StoreError;
use crate::model::ObjectKey;
use crate::model::keys::WriteRule;

/// What a copy source must have encoded: all but the unreserved characters and the slash.
const IN_COPY_SOURCE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

impl Store {
    /// Copies the object at `from` to `to`, both in this bucket. Copying the same bytes again does no harm, which is
    /// why only keys that fix their bytes may be copied to.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is nothing at `from`, or why the store did not do it.
    pub async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        let prefix = &self.inner.prefix;
        let (source_key, full_key) = (from.render(prefix), to.render(prefix));
        let doing = self.doing("copying", &source_key);
        self.obey(to, &self.doing("copying to", &full_key), &[WriteRule::Harmless])?;
        let source = copy_source(&self.inner.bucket, &source_key);
        let result = self
            .with_retries(|| {
                let request = self.inner.client.copy_object().bucket(&self.inner.bucket).key(&full_key);
                self.send(Operation::CopyObject, self.inner.deadlines.copy, request.copy_source(&source).send())
            })
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.explain_read(doing, &source_key, failure).await),
        }
    }
}

fn copy_source(bucket: &str, full_key: &str) -> String {
    format!("{bucket}/{}", utf8_percent_encode(full_key, IN_COPY_SOURCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_sources_are_encoded_but_for_slashes() {
        assert_eq!(copy_source("bucket", "a/b c+d%é?.txt"), "bucket/a/b%20c%2Bd%25%C3%A9%3F.txt");
    }
}
