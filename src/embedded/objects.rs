//! Putting, getting, heading and deleting one object.

use std::io::{self, Seek as _, SeekFrom};

use http::{HeaderMap, StatusCode};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::condition::{ReadCondition, Verdict, WriteCondition};
use super::digests::{Algorithm, hex};
use super::object::{Headers, Object};
use super::receive::{Announced, receive};
use super::reply::{checksum_fields, coded, date, disk, etag, timestamp};
use super::service::Service;

/// S3's own limit, over names and values together.
const MAX_METADATA_BYTES: usize = 2 * 1024;

/// S3's own limit for one request.
const MAX_DELETIONS: usize = 1000;

const READ_BUFFER_BYTES: usize = 256 * 1024;

impl Service {
    pub(super) async fn put(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        refuse_what_is_not_kept(&request.headers)?;
        let condition = write_condition(input.if_match, input.if_none_match)?;
        let headers = Headers {
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: stored_encoding(input.content_encoding),
            content_language: input.content_language,
            content_type: input.content_type,
            expires: input.expires.as_ref().and_then(date),
            metadata: stored_metadata(input.metadata)?,
        };
        let announced = Announced {
            content_length: input.content_length,
            content_md5: input.content_md5,
            checksums: given_checksums([
                input.checksum_crc32,
                input.checksum_crc32c,
                input.checksum_crc64nvme,
                input.checksum_sha1,
                input.checksum_sha256,
            ]),
            algorithm: algorithm(input.checksum_algorithm.as_ref())?,
            ..Announced::default()
        }
        .with_trailers(&request.headers, request.trailing_headers);

        let bucket = self.folder.bucket(&input.bucket)?;
        // Early, to save the upload of a body that would be refused; what counts is the check in `commit`.
        condition.check(bucket.get(&input.key).as_ref().map(|object| object.etag.as_str()))?;
        let received = receive(bucket.hold(), input.body, announced).await?;
        let object = Object {
            key: input.key,
            size: received.size,
            etag: hex(&received.md5),
            modified: self.folder.clock().now(),
            checksum: received.checksum,
            headers,
            parts: Vec::new(),
            upload: None,
        };
        let object = bucket.commit(received.temporary, object, condition).await?;
        let checksum = checksum_fields(Some(&object.checksum));
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(etag(&object.etag)),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            checksum_type: checksum.checksum_type,
            ..Default::default()
        }))
    }

    pub(super) async fn get(&self, input: GetObjectInput) -> S3Result<S3Response<GetObjectOutput>> {
        refuse_versions(input.version_id.as_deref())?;
        let (object, file) = self.folder.bucket(&input.bucket)?.open(&input.key).await?;
        let condition = ReadCondition {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since.as_ref().and_then(date),
            if_unmodified_since: input.if_unmodified_since.as_ref().and_then(date),
        };
        let slice = Slice::of(&object, &condition, input.range, input.part_number)?;
        let mut output = describe(&object, &slice, input.checksum_mode.as_ref());
        output.body = Some(body(file, &slice).map_err(disk)?);
        Ok(S3Response::new(output))
    }

    pub(super) fn head(&self, input: HeadObjectInput) -> S3Result<S3Response<HeadObjectOutput>> {
        refuse_versions(input.version_id.as_deref())?;
        let object = self.folder.bucket(&input.bucket)?.get(&input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        let condition = ReadCondition {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since.as_ref().and_then(date),
            if_unmodified_since: input.if_unmodified_since.as_ref().and_then(date),
        };
        let slice = Slice::of(&object, &condition, input.range, input.part_number)?;
        let described = describe(&object, &slice, input.checksum_mode.as_ref());
        let status = if slice.partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let output = HeadObjectOutput {
            accept_ranges: described.accept_ranges,
            cache_control: described.cache_control,
            checksum_crc32: described.checksum_crc32,
            checksum_crc32c: described.checksum_crc32c,
            checksum_crc64nvme: described.checksum_crc64nvme,
            checksum_sha1: described.checksum_sha1,
            checksum_sha256: described.checksum_sha256,
            checksum_type: described.checksum_type,
            content_disposition: described.content_disposition,
            content_encoding: described.content_encoding,
            content_language: described.content_language,
            content_length: described.content_length,
            content_range: described.content_range,
            content_type: described.content_type,
            e_tag: described.e_tag,
            expires: described.expires,
            last_modified: described.last_modified,
            metadata: described.metadata,
            parts_count: described.parts_count,
            ..Default::default()
        };
        Ok(S3Response::with_status(output, status))
    }

    pub(super) async fn delete(&self, input: DeleteObjectInput) -> S3Result<S3Response<DeleteObjectOutput>> {
        refuse_versions(input.version_id.as_deref())?;
        if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
            return Err(s3_error!(NotImplemented, "a deletion may depend on the ETag only"));
        }
        let condition = write_condition(input.if_match, None)?;
        self.folder.bucket(&input.bucket)?.delete(&input.key, condition).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    pub(super) async fn delete_many(&self, input: DeleteObjectsInput) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let bucket = self.folder.bucket(&input.bucket)?;
        let count = input.delete.objects.len();
        if count > MAX_DELETIONS {
            return Err(s3_error!(MalformedXML, "{count} keys, {MAX_DELETIONS} are the most"));
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for asked in input.delete.objects {
            let result = async {
                refuse_versions(asked.version_id.as_deref())?;
                if asked.last_modified_time.is_some() || asked.size.is_some() {
                    return Err(s3_error!(NotImplemented, "a deletion may depend on the ETag only"));
                }
                let condition = write_condition(asked.e_tag.map(ETagCondition::ETag), None)?;
                Ok(bucket.delete(&asked.key, condition).await?)
            };
            match result.await {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject { key: Some(asked.key), ..Default::default() }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(asked.key),
                    message: error.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..Default::default() }))
    }
}

/// The part of an object that an answer carries.
#[derive(Debug)]
struct Slice {
    range: std::ops::Range<u64>,
    partial: bool,
}

impl Slice {
    /// The slice asked for, if the conditions let it be read.
    fn of(
        object: &Object,
        condition: &ReadCondition,
        range: Option<Range>,
        part_number: Option<i32>,
    ) -> S3Result<Self> {
        match condition.evaluate(object) {
            Verdict::Proceed => {}
            Verdict::PreconditionFailed => return Err(s3_error!(PreconditionFailed)),
            Verdict::NotModified => return Err(not_modified(object)),
        }
        match (range, part_number) {
            (Some(_), Some(_)) => Err(s3_error!(InvalidRequest, "a range and a part number exclude each other")),
            (None, None) => Ok(Self { range: 0..object.size, partial: false }),
            (Some(_), None) if object.size == 0 => Err(s3_error!(InvalidRange)),
            (Some(range), None) => Ok(Self { range: range.check(object.size)?, partial: true }),
            (None, Some(number)) => {
                let whole = [object.size];
                let parts = if object.parts.is_empty() { &whole[..] } else { &object.parts };
                let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
                let Some(index) = index.filter(|index| *index < parts.len()) else {
                    let message = format!("the object has {} parts", parts.len());
                    return Err(coded("InvalidPartNumber", StatusCode::RANGE_NOT_SATISFIABLE, message));
                };
                let start = parts[..index].iter().sum();
                Ok(Self { range: start..start + parts[index], partial: object.size > 0 })
            }
        }
    }
}

/// A 304 carries what lets a cache go on using what it has.
fn not_modified(object: &Object) -> S3Error {
    let mut error = s3_error!(NotModified);
    let mut headers = HeaderMap::new();
    if let Ok(value) = etag(&object.etag).to_http_header() {
        headers.insert(http::header::ETAG, value);
    }
    error.set_headers(headers);
    error
}

/// All of an answer but the body.
fn describe(object: &Object, slice: &Slice, checksum_mode: Option<&ChecksumMode>) -> GetObjectOutput {
    let wanted = checksum_mode.is_some_and(|mode| mode.as_str().eq_ignore_ascii_case(ChecksumMode::ENABLED));
    // The checksum is that of the whole.
    let checksum = checksum_fields(Some(&object.checksum).filter(|_| wanted && !slice.partial));
    let headers = &object.headers;
    let std::ops::Range { start, end } = slice.range;
    GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: headers.cache_control.clone(),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        checksum_type: checksum.checksum_type,
        content_disposition: headers.content_disposition.clone(),
        content_encoding: headers.content_encoding.clone(),
        content_language: headers.content_language.clone(),
        content_length: i64::try_from(end - start).ok(),
        content_range: slice.partial.then(|| format!("bytes {start}-{}/{}", end.saturating_sub(1), object.size)),
        content_type: Some(headers.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())),
        e_tag: Some(etag(&object.etag)),
        expires: headers.expires.map(timestamp),
        last_modified: Some(timestamp(object.modified)),
        metadata: Some(headers.metadata.clone().into_iter().collect()),
        parts_count: Some(object.parts.len()).filter(|parts| *parts > 0).and_then(|parts| i32::try_from(parts).ok()),
        ..Default::default()
    }
}

fn body(mut file: std::fs::File, slice: &Slice) -> io::Result<StreamingBlob> {
    file.seek(SeekFrom::Start(slice.range.start))?;
    let length = slice.range.end - slice.range.start;
    let reader = tokio::fs::File::from_std(file).take(length);
    Ok(StreamingBlob::wrap(ReaderStream::with_capacity(reader, READ_BUFFER_BYTES)))
}

/// Refuses what a client would otherwise believe that we had kept.
pub(super) fn refuse_what_is_not_kept(headers: &HeaderMap) -> S3Result<()> {
    const NOT_KEPT: [&str; 8] = [
        "x-amz-object-lock-legal-hold",
        "x-amz-object-lock-mode",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-copy-source-server-side-encryption-customer-algorithm",
        "x-amz-tagging",
        "x-amz-website-redirect-location",
        "x-amz-write-offset-bytes",
    ];
    if let Some(name) = NOT_KEPT.iter().find(|name| headers.contains_key(**name)) {
        return Err(s3_error!(NotImplemented, "{name} is not implemented"));
    }
    let plain = |name, allowed: &[&str]| {
        let value = headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        value.is_none_or(|value| allowed.contains(&value))
    };
    if !plain("x-amz-storage-class", &["STANDARD"]) {
        return Err(s3_error!(InvalidStorageClass, "the only storage class is STANDARD"));
    }
    if !plain("x-amz-acl", &["private", "bucket-owner-full-control", "bucket-owner-read"]) {
        return Err(s3_error!(AccessControlListNotSupported, "objects are private"));
    }
    Ok(())
}

pub(super) fn refuse_versions(version_id: Option<&str>) -> S3Result<()> {
    match version_id {
        None | Some("" | "null") => Ok(()),
        Some(_) => Err(s3_error!(NotImplemented, "versions are not implemented")),
    }
}

pub(super) fn write_condition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<WriteCondition> {
    WriteCondition::parse(if_match, if_none_match)
        .ok_or_else(|| s3_error!(NotImplemented, "a write takes `If-Match`, or `If-None-Match: *`"))
}

/// `aws-chunked` is how the body travelled, not what it is.
pub(super) fn stored_encoding(encoding: Option<String>) -> Option<String> {
    let encoding = encoding?;
    let kept: Vec<&str> =
        encoding.split(',').map(str::trim).filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked")).collect();
    Some(kept.join(",")).filter(|encoding| !encoding.is_empty())
}

pub(super) fn stored_metadata(metadata: Option<Metadata>) -> S3Result<std::collections::BTreeMap<String, String>> {
    let metadata = metadata.unwrap_or_default();
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        return Err(s3_error!(MetadataTooLarge, "{bytes} bytes of metadata, {MAX_METADATA_BYTES} are the most"));
    }
    Ok(metadata.into_iter().collect())
}

/// The checksums that came, given in the order of [`super::digests::ALGORITHMS`].
pub(super) fn given_checksums(values: [Option<String>; 5]) -> Vec<(Algorithm, String)> {
    let pairs = super::digests::ALGORITHMS.into_iter().zip(values);
    pairs.filter_map(|(algorithm, value)| Some((algorithm, value?))).collect()
}

pub(super) fn algorithm(name: Option<&ChecksumAlgorithm>) -> S3Result<Option<Algorithm>> {
    let Some(name) = name else { return Ok(None) };
    let known = Algorithm::parse(name.as_str());
    known.map(Some).ok_or_else(|| s3_error!(InvalidRequest, "{} is not a checksum algorithm", name.as_str()))
}
