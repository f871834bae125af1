//! Creating, listing and describing buckets.

use std::sync::Arc;

use s3s::dto::*;
use s3s::validation::{AwsNameValidation, NameValidation as _};
use s3s::{S3Response, S3Result, s3_error};

use super::bucket::blocking;
use super::reply::timestamp;
use super::service::Service;

/// Everything belongs to the one who has the key.
pub(super) fn owner() -> Owner {
    Owner { display_name: Some("fleetman".to_owned()), id: Some("fleetman".to_owned()) }
}

impl Service {
    pub(super) async fn create_bucket(&self, name: String) -> S3Result<S3Response<CreateBucketOutput>> {
        if !AwsNameValidation::new().validate_bucket_name(&name) {
            return Err(s3_error!(InvalidBucketName));
        }
        let folder = Arc::clone(&self.folder);
        let location = format!("/{name}");
        blocking(move || folder.create_bucket(&name)).await?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(location) }))
    }

    pub(super) async fn delete_bucket(&self, name: String) -> S3Result<S3Response<DeleteBucketOutput>> {
        let folder = Arc::clone(&self.folder);
        blocking(move || folder.delete_bucket(&name)).await?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    pub(super) fn list_buckets(&self) -> S3Response<ListBucketsOutput> {
        let buckets = self.folder.buckets();
        let buckets = buckets.iter().map(|bucket| Bucket {
            name: Some(bucket.name().to_owned()),
            creation_date: Some(timestamp(bucket.created())),
            ..Default::default()
        });
        S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            owner: Some(owner()),
            ..Default::default()
        })
    }
}
