//! Deleting objects.

use std::collections::HashMap;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures_util::{StreamExt as _, stream};

use super::Store;
use super::attempt::{Failure, Kind};
use super::counts::Operation;
use super::error::{Doing, StoreError};
use crate::model::ObjectKey;

/// The most keys that S3 deletes in one request.
const BATCH: usize = 1000;

/// How many single deletes are under way at once.
const SINGLE_DELETES: usize = 8;

impl Store {
    /// Deletes the object at `key`. That there is none is a success.
    ///
    /// # Errors
    /// Why the store did not do it.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let full_key = key.render(&self.inner.prefix);
        let result = self
            .with_retries(|| {
                let request = self.inner.client.delete_object().bucket(&self.inner.bucket).key(&full_key);
                self.send(Operation::DeleteObject, self.inner.deadlines.whole, request.send())
            })
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(failure) if failure.kind == Kind::Absent => Ok(()),
            Err(failure) => Err(self.explain(self.deleting(key), failure)),
        }
    }

    /// Deletes the objects at `keys`, in batches where the store takes them; says of each key what came of it.
    pub async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<(ObjectKey, Result<(), StoreError>)> {
        let mut results = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            match self.delete_batch(batch).await {
                Ok(of_batch) => results.extend(batch.iter().cloned().zip(of_batch)),
                // Stores differ in the checksum that they want with a batch, and some know none: one by one then,
                // which also names what is wrong with each key.
                Err(failure) if matches!(failure.kind, Kind::Unsupported | Kind::Refused | Kind::Denied) => {
                    let singles = stream::iter(batch.iter().cloned())
                        .map(async |key| {
                            let result = self.delete(&key).await;
                            (key, result)
                        })
                        .buffered(SINGLE_DELETES);
                    results.extend(singles.collect::<Vec<_>>().await);
                }
                Err(failure) => {
                    // The others of the batch failed for the same reason; its cause is told once.
                    let again = failure.without_source();
                    let mut failure = Some(failure);
                    results.extend(batch.iter().map(|key| {
                        let failure = failure.take().unwrap_or_else(|| again.without_source());
                        (key.clone(), Err(self.explain(self.deleting(key), failure)))
                    }));
                }
            }
        }
        results
    }

    /// One result for each key of the batch, in order.
    async fn delete_batch(&self, batch: &[ObjectKey]) -> Result<Vec<Result<(), StoreError>>, Failure> {
        let full_keys: Vec<String> = batch.iter().map(|key| key.render(&self.inner.prefix)).collect();
        let identifiers = full_keys
            .iter()
            .map(|key| ObjectIdentifier::builder().key(key).build())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::of(Kind::Refused, Some(error.into())))?;
        let delete = Delete::builder()
            .set_objects(Some(identifiers))
            .quiet(true)
            .build()
            .map_err(|error| Failure::of(Kind::Refused, Some(error.into())))?;
        let answer = self
            .with_retries(|| {
                let request = self.inner.client.delete_objects().bucket(&self.inner.bucket).delete(delete.clone());
                self.send(Operation::DeleteObjects, self.inner.deadlines.whole, request.send())
            })
            .await?;
        let mut failed = HashMap::new();
        for error in answer.errors.unwrap_or_default() {
            let failure = Failure::told(&error.code.unwrap_or_default(), &error.message.unwrap_or_default());
            failed.insert(error.key.unwrap_or_default(), failure.during(Operation::DeleteObjects));
        }
        let mut results = Vec::with_capacity(batch.len());
        for (key, full_key) in batch.iter().zip(&full_keys) {
            results.push(match failed.remove(full_key) {
                Some(failure) if failure.is_transient() => self.delete(key).await,
                Some(failure) if failure.kind != Kind::Absent => Err(self.explain(self.deleting(key), failure)),
                _ => Ok(()),
            });
        }
        Ok(results)
    }

    fn deleting(&self, key: &ObjectKey) -> Doing {
        self.doing("deleting", &key.render(&self.inner.prefix))
    }
}
