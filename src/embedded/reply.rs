//! Our words in those of S3: refusals, times, checksums.

use std::io;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use http::StatusCode;
use s3s::dto::{ETag, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, s3_error};

use super::bucket::Refusal;
use super::digests::{Algorithm, Checksum};

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let code = match refusal {
            Refusal::NoSuchBucket => S3ErrorCode::NoSuchBucket,
            Refusal::BucketExists => S3ErrorCode::BucketAlreadyOwnedByYou,
            Refusal::BucketNotEmpty => S3ErrorCode::BucketNotEmpty,
            Refusal::NoSuchKey => S3ErrorCode::NoSuchKey,
            Refusal::NoSuchUpload => S3ErrorCode::NoSuchUpload,
            Refusal::PreconditionFailed => S3ErrorCode::PreconditionFailed,
            Refusal::Full => return coded("InsufficientStorage", StatusCode::INSUFFICIENT_STORAGE, message),
            Refusal::Disk(source) => return disk(source),
        };
        Self::with_message(code, message)
    }
}

/// An error whose code s3s has no name for.
pub(super) fn coded(code: &'static str, status: StatusCode, message: String) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}

/// The folder failed us. Only the log says how: a path is none of the client's business.
pub(super) fn disk(source: io::Error) -> S3Error {
    tracing::error!(error = %source, "the folder of the embedded store failed");
    s3_error!(source, InternalError, "reading or writing the folder failed; the server's log says why")
}

/// A time as s3s has it.
pub(super) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp::from(SystemTime::from(time))
}

/// A time of s3s as we have it.
pub(super) fn date(time: &Timestamp) -> Option<DateTime<Utc>> {
    let mut text = Vec::new();
    time.format(TimestampFormat::DateTime, &mut text).ok()?;
    let time = DateTime::parse_from_rfc3339(str::from_utf8(&text).ok()?).ok()?;
    Some(time.to_utc())
}

/// A stored ETag as s3s has it.
pub(super) fn etag(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

/// The checksum in the five fields that every answer has for it.
pub(super) fn checksum_fields(checksum: Option<&Checksum>) -> s3s::dto::Checksum {
    let mut fields = s3s::dto::Checksum::default();
    if let Some(checksum) = checksum {
        let value = Some(checksum.value.clone());
        match checksum.algorithm {
            Algorithm::Crc32 => fields.checksum_crc32 = value,
            Algorithm::Crc32c => fields.checksum_crc32c = value,
            Algorithm::Crc64Nvme => fields.checksum_crc64nvme = value,
            Algorithm::Sha1 => fields.checksum_sha1 = value,
            Algorithm::Sha256 => fields.checksum_sha256 = value,
        }
        fields.checksum_type = Some(checksum.scope.name().to_owned().into());
    }
    fields
}
