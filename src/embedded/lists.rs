//! Listing the objects of a bucket, in both versions of the request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3Response, S3Result, s3_error};

use super::digests::Checksum as StoredChecksum;
use super::listing::{self, Page, Query};
use super::object::Object as Stored;
use super::reply::{etag, timestamp};
use super::service::Service;

/// S3's own limit, and what it gives who does not ask.
const MAX_KEYS: i32 = 1000;

/// What `encoding-type=url` leaves as it is.
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

impl Service {
    pub(super) fn list_v2(&self, input: ListObjectsV2Input) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = self.folder.bucket(&input.bucket)?;
        let encode = encoder(input.encoding_type.as_ref())?;
        let limit = limit(input.max_keys)?;
        let token = input.continuation_token.as_deref().map(read_token).transpose()?;
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: token.as_deref().or(input.start_after.as_deref()),
            limit,
        };
        let page = bucket.with_objects(|objects| listing::list(objects, query));
        let count = page.objects.len() + page.prefixes.len();
        let owner = input.fetch_owner.unwrap_or(false);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encode(query.prefix)),
            max_keys: i32::try_from(limit).ok(),
            key_count: i32::try_from(count).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_deref().map(|next| URL_SAFE_NO_PAD.encode(next)),
            contents: Some(contents(&page, encode, owner)),
            common_prefixes: Some(common_prefixes(page.prefixes, encode)),
            delimiter: input.delimiter.as_deref().map(encode),
            start_after: input.start_after.as_deref().map(encode),
            continuation_token: input.continuation_token,
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    pub(super) fn list_v1(&self, input: ListObjectsInput) -> S3Result<S3Response<ListObjectsOutput>> {
        let bucket = self.folder.bucket(&input.bucket)?;
        let encode = encoder(input.encoding_type.as_ref())?;
        let limit = limit(input.max_keys)?;
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: input.marker.as_deref(),
            limit,
        };
        let page = bucket.with_objects(|objects| listing::list(objects, query));
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encode(query.prefix)),
            marker: Some(encode(query.after.unwrap_or_default())),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(page.next.is_some()),
            next_marker: page.next.as_deref().map(encode),
            contents: Some(contents(&page, encode, true)),
            common_prefixes: Some(common_prefixes(page.prefixes, encode)),
            delimiter: input.delimiter.as_deref().map(encode),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }
}

/// How keys are written in an answer.
pub(super) fn encoder(encoding: Option<&EncodingType>) -> S3Result<fn(&str) -> String> {
    match encoding.map(EncodingType::as_str) {
        None => Ok(str::to_owned),
        Some(EncodingType::URL) => Ok(|key| utf8_percent_encode(key, URL).to_string()),
        Some(other) => Err(s3_error!(InvalidArgument, "the only encoding type is `url`, not `{other}`")),
    }
}

/// The page size that was asked for, within bounds.
pub(super) fn limit(asked: Option<i32>) -> S3Result<usize> {
    usize::try_from(asked.unwrap_or(MAX_KEYS).min(MAX_KEYS))
        .map_err(|_| s3_error!(InvalidArgument, "a page cannot have a negative size"))
}

pub(super) fn common_prefixes(prefixes: Vec<String>, encode: fn(&str) -> String) -> Vec<CommonPrefix> {
    prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encode(prefix)) }).collect()
}

fn read_token(token: &str) -> S3Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of ours"))
}

fn contents(page: &Page, encode: fn(&str) -> String, with_owner: bool) -> Vec<Object> {
    let owner = with_owner.then(super::buckets::owner);
    page.objects.iter().map(|object| entry(object, encode, owner.clone())).collect()
}

fn entry(object: &Stored, encode: fn(&str) -> String, owner: Option<Owner>) -> Object {
    let StoredChecksum { algorithm, scope, .. } = &object.checksum;
    Object {
        checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(algorithm.name())]),
        checksum_type: Some(ChecksumType::from_static(scope.name())),
        e_tag: Some(etag(&object.etag)),
        key: Some(encode(&object.key)),
        last_modified: Some(timestamp(object.modified)),
        owner,
        size: i64::try_from(object.size).ok(),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    }
}
