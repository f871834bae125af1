//! Server-side copies: of an object, and of a range of one into a part.

use std::fs::File;
use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::bucket::blocking;
use super::condition::{ReadCondition, Verdict};
use super::digests::{Algorithm, Digests, Scope, hex};
use super::multipart::{Part, append, append_digested};
use super::object::{Headers, Object};
use super::objects::{
    algorithm, refuse_versions, refuse_what_is_not_kept, stored_encoding, stored_metadata, write_condition,
};
use super::receive::MAX_BODY_BYTES;
use super::reply::{checksum_fields, date, disk, etag, timestamp};
use super::service::Service;

impl Service {
    pub(super) async fn copy(&self, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        refuse_what_is_not_kept(&request.headers)?;
        // s3s 0.14 has no fields for the conditions on the target.
        let target_condition = write_condition(
            condition_header(&request.headers, "if-match")?,
            condition_header(&request.headers, "if-none-match")?,
        )?;
        let input = request.input;
        let source_condition = ReadCondition {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since.as_ref().and_then(date),
            if_unmodified_since: input.copy_source_if_unmodified_since.as_ref().and_then(date),
        };
        let bucket = self.folder.bucket(&input.bucket)?;
        let (source, file, to_itself) = self.source(&request.headers, &source_condition, &bucket, &input.key).await?;
        if source.size > MAX_BODY_BYTES {
            return Err(s3_error!(InvalidRequest, "one copy takes at most {MAX_BODY_BYTES} bytes: copy it in parts"));
        }
        let replace =
            input.metadata_directive.is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
        if to_itself && !replace {
            return Err(s3_error!(InvalidRequest, "a copy onto itself must replace the metadata"));
        }
        let headers = if replace {
            Headers {
                cache_control: input.cache_control,
                content_disposition: input.content_disposition,
                content_encoding: stored_encoding(input.content_encoding),
                content_language: input.content_language,
                content_type: input.content_type,
                expires: input.expires.as_ref().and_then(date),
                metadata: stored_metadata(input.metadata)?,
            }
        } else {
            source.headers.clone()
        };
        let wanted = algorithm(input.checksum_algorithm.as_ref())?.unwrap_or(source.checksum.algorithm);
        // A copy is one piece, so what was computed over parts is computed anew. Otherwise the bytes need no look.
        let digest = !source.parts.is_empty()
            || source.checksum.scope == Scope::Composite
            || source.checksum.algorithm != wanted;
        let mut temporary = bucket.hold().temporary_file().map_err(disk)?;
        let (size, known) = (source.size, (source.etag.clone(), source.checksum.clone()));
        let (temporary, (etag_text, checksum)) = blocking(move || {
            if !digest {
                append(&file, 0..size, &mut temporary.file)?;
                return Ok((temporary, known));
            }
            let mut digests = Digests::new(wanted);
            append_digested(&file, 0..size, &mut temporary.file, &mut digests)?;
            let (md5, checksum) = digests.finish();
            Ok((temporary, (hex(&md5), checksum)))
        })
        .await?;
        let object = Object {
            key: input.key,
            size,
            etag: etag_text,
            modified: self.folder.clock().now(),
            checksum,
            headers,
            parts: Vec::new(),
            upload: None,
        };
        let object = bucket.commit(temporary, object, target_condition).await?;
        let checksum = checksum_fields(Some(&object.checksum));
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                checksum_crc32: checksum.checksum_crc32,
                checksum_crc32c: checksum.checksum_crc32c,
                checksum_crc64nvme: checksum.checksum_crc64nvme,
                checksum_sha1: checksum.checksum_sha1,
                checksum_sha256: checksum.checksum_sha256,
                checksum_type: checksum.checksum_type,
                e_tag: Some(etag(&object.etag)),
                last_modified: Some(timestamp(object.modified)),
            }),
            ..Default::default()
        }))
    }

    pub(super) async fn copy_part(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        refuse_what_is_not_kept(&request.headers)?;
        let input = request.input;
        let source_condition = ReadCondition {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since.as_ref().and_then(date),
            if_unmodified_since: input.copy_source_if_unmodified_since.as_ref().and_then(date),
        };
        let number = super::uploads::part_number(input.part_number)?;
        let bucket = self.folder.bucket(&input.bucket)?;
        let upload = self.upload(&bucket, &input.upload_id, &input.key).await?;
        let (source, file, _) = self.source(&request.headers, &source_condition, &bucket, &input.key).await?;
        let range = match input.copy_source_range.as_deref().map(Range::parse) {
            None => 0..source.size,
            // Unlike that of a read, the range of a copy must lie within the source.
            Some(Ok(Range::Int { first, last: Some(last) })) if last < source.size => first..last + 1,
            Some(_) => return Err(s3_error!(InvalidRange, "the source has {} bytes", source.size)),
        };
        let size = range.end - range.start;
        if size > MAX_BODY_BYTES {
            return Err(s3_error!(InvalidRequest, "one part takes at most {MAX_BODY_BYTES} bytes"));
        }
        let mut temporary = bucket.hold().temporary_file().map_err(disk)?;
        let modified = self.folder.clock().now();
        let part = blocking(move || {
            let mut digests = Digests::new(upload.algorithm.unwrap_or(Algorithm::Crc64Nvme));
            append_digested(&file, range, &mut temporary.file, &mut digests)?;
            let (md5, checksum) = digests.finish();
            let part = Part { number, size, md5, modified, checksum };
            bucket.keep_part(&upload.id, temporary, &part)?;
            Ok(part)
        })
        .await?;
        let checksum = checksum_fields(Some(&part.checksum));
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                checksum_crc32: checksum.checksum_crc32,
                checksum_crc32c: checksum.checksum_crc32c,
                checksum_crc64nvme: checksum.checksum_crc64nvme,
                checksum_sha1: checksum.checksum_sha1,
                checksum_sha256: checksum.checksum_sha256,
                e_tag: Some(etag(&hex(&part.md5))),
                last_modified: Some(timestamp(part.modified)),
            }),
            ..Default::default()
        }))
    }

    /// Opens the source of a copy, and says whether it is the target itself.
    async fn source(
        &self,
        headers: &HeaderMap,
        condition: &ReadCondition,
        target_bucket: &super::bucket::Bucket,
        target_key: &str,
    ) -> S3Result<(Arc<Object>, File, bool)> {
        let source = headers.get("x-amz-copy-source").and_then(|source| source.to_str().ok()).unwrap_or_default();
        // `+` is a space here, as in a form: some clients write it so, and s3s leaves it.
        let source = CopySource::parse(&source.replace('+', "%20"));
        let source =
            source.map_err(|error| s3_error!(error, InvalidArgument, "x-amz-copy-source is not <bucket>/<key>"))?;
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(s3_error!(NotImplemented, "access points are not implemented"));
        };
        refuse_versions(version_id.as_deref())?;
        let (object, file) = self.folder.bucket(&bucket)?.open(&key).await?;
        match condition.evaluate(&object) {
            Verdict::Proceed => {}
            // There is no 304 for a write.
            Verdict::NotModified | Verdict::PreconditionFailed => return Err(s3_error!(PreconditionFailed)),
        }
        Ok((object, file, *bucket == *target_bucket.name() && *key == *target_key))
    }
}

fn condition_header(headers: &HeaderMap, name: &str) -> S3Result<Option<ETagCondition>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let parsed = ETagCondition::parse_http_header(value.as_bytes());
    parsed.map(Some).map_err(|error| s3_error!(error, InvalidArgument, "{name} is neither `*` nor an ETag"))
}
