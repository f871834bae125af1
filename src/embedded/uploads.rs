//! Multipart uploads: begin, send parts, list, complete, abort.

use std::sync::Arc;

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::bucket::{Bucket, blocking};
use super::digests::{ALGORITHMS, Algorithm, Checksum as Sum, Digests, Scope, combine, hex};
use super::lists::{encoder, limit};
use super::multipart::{self, Part as StoredPart, Upload, append, append_digested};
use super::object::{Headers, Object};
use super::objects::{
    algorithm, given_checksums, refuse_what_is_not_kept, stored_encoding, stored_metadata, write_condition,
};
use super::receive::{Announced, receive};
use super::reply::{checksum_fields, date, disk, etag, timestamp};
use super::service::Service;

/// S3's own limits.
const MAX_PARTS: i32 = 10_000;
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

impl Service {
    pub(super) async fn begin_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        refuse_what_is_not_kept(&request.headers)?;
        let input = request.input;
        let bucket = self.folder.bucket(&input.bucket)?;
        let algorithm = algorithm(input.checksum_algorithm.as_ref())?;
        let upload = Upload {
            id: multipart::new_id().map_err(disk)?,
            key: input.key.clone(),
            begun: self.folder.clock().now(),
            headers: Headers {
                cache_control: input.cache_control,
                content_disposition: input.content_disposition,
                content_encoding: stored_encoding(input.content_encoding),
                content_language: input.content_language,
                content_type: input.content_type,
                expires: input.expires.as_ref().and_then(date),
                metadata: stored_metadata(input.metadata)?,
            },
            algorithm,
            scope: scope(algorithm, input.checksum_type.as_ref())?,
        };
        let id = upload.id.clone();
        let output = CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            checksum_algorithm: algorithm.map(|algorithm| ChecksumAlgorithm::from_static(algorithm.name())),
            checksum_type: algorithm.map(|_| ChecksumType::from_static(upload.scope.name())),
            key: Some(input.key),
            upload_id: Some(id),
            ..Default::default()
        };
        blocking(move || bucket.begin_upload(&upload)).await?;
        Ok(S3Response::new(output))
    }

    pub(super) async fn put_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        refuse_what_is_not_kept(&request.headers)?;
        let input = request.input;
        let number = part_number(input.part_number)?;
        let bucket = self.folder.bucket(&input.bucket)?;
        let upload = self.upload(&bucket, &input.upload_id, &input.key).await?;
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
            algorithm: algorithm(input.checksum_algorithm.as_ref())?.or(upload.algorithm),
            ..Announced::default()
        }
        .with_trailers(&request.headers, request.trailing_headers);
        let received = receive(bucket.hold(), input.body, announced).await?;
        if let Some(expected) = upload.algorithm.filter(|expected| *expected != received.checksum.algorithm) {
            return Err(s3_error!(InvalidRequest, "the upload was begun with {}", expected.name()));
        }
        let part = StoredPart {
            number,
            size: received.size,
            md5: received.md5,
            modified: self.folder.clock().now(),
            checksum: received.checksum,
        };
        let checksum = checksum_fields(Some(&part.checksum));
        let output = UploadPartOutput {
            e_tag: Some(etag(&hex(&part.md5))),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            ..Default::default()
        };
        blocking(move || bucket.keep_part(&upload.id, received.temporary, &part)).await?;
        Ok(S3Response::new(output))
    }

    pub(super) async fn complete_upload(
        &self,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let condition = write_condition(input.if_match, input.if_none_match)?;
        let bucket = self.folder.bucket(&input.bucket)?;
        let upload = match self.upload(&bucket, &input.upload_id, &input.key).await {
            Ok(upload) => upload,
            Err(error) => {
                // The answer to the first completion may have been lost.
                let object =
                    bucket.get(&input.key).filter(|object| object.upload.as_deref() == Some(&*input.upload_id));
                return object.map(|object| completed(&input.bucket, &object)).ok_or(error);
            }
        };
        condition.check(bucket.get(&input.key).as_ref().map(|object| object.etag.as_str()))?;
        let wanted = input.multipart_upload.and_then(|wanted| wanted.parts).unwrap_or_default();
        let told = given_checksums([
            input.checksum_crc32,
            input.checksum_crc32c,
            input.checksum_crc64nvme,
            input.checksum_sha1,
            input.checksum_sha256,
        ]);
        let (id, modified, on_disk) = (upload.id.clone(), self.folder.clock().now(), Arc::clone(&bucket));
        let (temporary, object) =
            tokio::task::spawn_blocking(move || assemble(&on_disk, upload, &wanted, &told, modified))
                .await
                .map_err(|error| disk(std::io::Error::other(error)))??;
        if let Some(size) = input.mpu_object_size.filter(|size| u64::try_from(*size) != Ok(object.size)) {
            return Err(s3_error!(InvalidRequest, "the parts have {} bytes, not {size}", object.size));
        }
        let object = bucket.commit(temporary, object, condition).await?;
        // A completion at the same time, or a crash here, leaves an upload that can be completed again or aborted.
        let ended = Arc::clone(&bucket);
        let _ = blocking(move || ended.end_upload(&id)).await;
        Ok(completed(&input.bucket, &object))
    }

    pub(super) async fn abort_upload(
        &self,
        input: AbortMultipartUploadInput,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let bucket = self.folder.bucket(&input.bucket)?;
        let upload = self.upload(&bucket, &input.upload_id, &input.key).await?;
        blocking(move || bucket.end_upload(&upload.id)).await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) async fn list_parts(&self, input: ListPartsInput) -> S3Result<S3Response<ListPartsOutput>> {
        let bucket = self.folder.bucket(&input.bucket)?;
        let upload = self.upload(&bucket, &input.upload_id, &input.key).await?;
        let limit = limit(input.max_parts)?;
        let after = input.part_number_marker.unwrap_or(0);
        let id = upload.id.clone();
        let mut parts = blocking(move || bucket.parts(&id)).await?;
        parts.retain(|part| part.number > after);
        let truncated = parts.len() > limit;
        parts.truncate(limit);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            checksum_algorithm: upload.algorithm.map(|algorithm| ChecksumAlgorithm::from_static(algorithm.name())),
            checksum_type: upload.algorithm.map(|_| ChecksumType::from_static(upload.scope.name())),
            is_truncated: Some(truncated),
            key: Some(input.key),
            max_parts: i32::try_from(limit).ok(),
            next_part_number_marker: parts.last().map(|part| part.number),
            part_number_marker: Some(after),
            parts: Some(parts.iter().map(listed_part).collect()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            upload_id: Some(upload.id),
            ..Default::default()
        }))
    }

    pub(super) async fn list_uploads(
        &self,
        input: ListMultipartUploadsInput,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        if input.delimiter.as_deref().is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(s3_error!(NotImplemented, "uploads are not listed with a delimiter"));
        }
        let bucket = self.folder.bucket(&input.bucket)?;
        let encode = encoder(input.encoding_type.as_ref())?;
        let limit = limit(input.max_uploads)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let key_marker = input.key_marker.clone().unwrap_or_default();
        let id_marker = input.upload_id_marker.clone();
        let mut uploads = blocking(move || bucket.uploads()).await?;
        uploads.retain(|upload| {
            let after = match (upload.key.cmp(&key_marker), &id_marker) {
                (std::cmp::Ordering::Equal, Some(marker)) => upload.id > *marker,
                (order, _) => order.is_gt(),
            };
            after && upload.key.starts_with(&prefix)
        });
        let truncated = uploads.len() > limit;
        uploads.truncate(limit);
        let last = uploads.last().filter(|_| truncated);
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            is_truncated: Some(truncated),
            key_marker: input.key_marker.as_deref().map(encode),
            max_uploads: i32::try_from(limit).ok(),
            next_key_marker: last.map(|upload| encode(&upload.key)),
            next_upload_id_marker: last.map(|upload| upload.id.clone()),
            prefix: input.prefix.as_deref().map(encode),
            upload_id_marker: input.upload_id_marker,
            uploads: Some(uploads.iter().map(|upload| listed_upload(upload, encode)).collect()),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    pub(super) async fn upload(&self, bucket: &Arc<Bucket>, id: &str, key: &str) -> S3Result<Upload> {
        let (bucket, id, key) = (Arc::clone(bucket), id.to_owned(), key.to_owned());
        Ok(blocking(move || bucket.upload(&id, &key)).await?)
    }
}

/// A part number within S3's limits.
pub(super) fn part_number(number: i32) -> S3Result<i32> {
    if (1..=MAX_PARTS).contains(&number) {
        return Ok(number);
    }
    Err(s3_error!(InvalidArgument, "part numbers are 1 to {MAX_PARTS}, not {number}"))
}

/// The scope of an upload's checksum: as asked, or S3's default for the algorithm.
fn scope(algorithm: Option<Algorithm>, asked: Option<&ChecksumType>) -> S3Result<Scope> {
    let (default, possible): (Scope, &[Scope]) = match algorithm {
        None | Some(Algorithm::Crc64Nvme) => (Scope::FullObject, &[Scope::FullObject]),
        Some(Algorithm::Crc32 | Algorithm::Crc32c) => (Scope::Composite, &[Scope::Composite, Scope::FullObject]),
        Some(Algorithm::Sha1 | Algorithm::Sha256) => (Scope::Composite, &[Scope::Composite]),
    };
    let Some(asked) = asked else { return Ok(default) };
    let scope = possible.iter().find(|scope| scope.name() == asked.as_str());
    scope.copied().ok_or_else(|| {
        let name = algorithm.unwrap_or(Algorithm::Crc64Nvme).name();
        s3_error!(InvalidRequest, "{name} has no checksum of type {}", asked.as_str())
    })
}

/// Joins the parts that the client names into one file, and the object that it will be. Blocks.
fn assemble(
    bucket: &Arc<Bucket>,
    upload: Upload,
    wanted: &[CompletedPart],
    told: &[(Algorithm, String)],
    modified: chrono::DateTime<chrono::Utc>,
) -> S3Result<(super::folder::Temporary, Object)> {
    if wanted.is_empty() {
        return Err(s3_error!(MalformedXML, "an upload is completed from at least one part"));
    }
    let mut parts: Vec<(StoredPart, std::fs::File)> = Vec::with_capacity(wanted.len());
    for asked in wanted {
        let number = part_number(asked.part_number.unwrap_or(0))?;
        if parts.last().is_some_and(|(before, _)| before.number >= number) {
            return Err(s3_error!(InvalidPartOrder, "part {number} does not come after the one before it"));
        }
        if let Some((before, _)) = parts.last().filter(|(before, _)| before.size < MIN_PART_BYTES) {
            let (number, size) = (before.number, before.size);
            return Err(s3_error!(EntityTooSmall, "part {number} has {size} bytes, fewer than {MIN_PART_BYTES}"));
        }
        let Some((part, file)) = bucket.part(&upload.id, number)? else {
            return Err(s3_error!(InvalidPart, "part {number} was not uploaded"));
        };
        if asked.e_tag.as_ref().is_some_and(|asked| asked.value() != hex(&part.md5)) {
            return Err(s3_error!(InvalidPart, "part {number} has another ETag"));
        }
        if told_of_part(asked)
            .iter()
            .any(|(algorithm, value)| *algorithm != part.checksum.algorithm || *value != part.checksum.value)
        {
            return Err(s3_error!(InvalidPart, "part {number} has another checksum"));
        }
        parts.push((part, file));
    }

    let algorithm = upload.algorithm.unwrap_or(Algorithm::Crc64Nvme);
    let sums: Vec<(u64, &Sum)> = parts.iter().map(|(part, _)| (part.size, &part.checksum)).collect();
    let combined = combine(algorithm, upload.scope, &sums);
    let mut temporary = bucket.hold().temporary_file().map_err(disk)?;
    let checksum = match combined {
        Some(checksum) => {
            for (part, file) in &parts {
                append(file, 0..part.size, &mut temporary.file).map_err(disk)?;
            }
            checksum
        }
        // The client chose no algorithm, and its parts came with another one than ours.
        None => {
            let mut digests = Digests::new(algorithm);
            for (part, file) in &parts {
                append_digested(file, 0..part.size, &mut temporary.file, &mut digests).map_err(disk)?;
            }
            digests.finish().1
        }
    };
    for (algorithm, value) in told {
        if *algorithm != checksum.algorithm || *value != checksum.value {
            let name = algorithm.name();
            return Err(s3_error!(BadDigest, "{name} says {value}, the object has {}", checksum.value));
        }
    }
    let mut md5 = Md5::new();
    parts.iter().for_each(|(part, _)| md5.update(&part.md5));
    let object = Object {
        key: upload.key,
        size: parts.iter().map(|(part, _)| part.size).sum(),
        etag: format!("{}-{}", hex(&md5.finalize()), parts.len()),
        modified,
        checksum,
        headers: upload.headers,
        parts: parts.iter().map(|(part, _)| part.size).collect(),
        upload: Some(upload.id),
    };
    Ok((temporary, object))
}

fn told_of_part(part: &CompletedPart) -> Vec<(Algorithm, String)> {
    let values = [
        &part.checksum_crc32,
        &part.checksum_crc32c,
        &part.checksum_crc64nvme,
        &part.checksum_sha1,
        &part.checksum_sha256,
    ];
    ALGORITHMS.into_iter().zip(values).filter_map(|(algorithm, value)| Some((algorithm, value.clone()?))).collect()
}

fn completed(bucket: &str, object: &Object) -> S3Response<CompleteMultipartUploadOutput> {
    let checksum = checksum_fields(Some(&object.checksum));
    S3Response::new(CompleteMultipartUploadOutput {
        bucket: Some(bucket.to_owned()),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        checksum_type: checksum.checksum_type,
        e_tag: Some(etag(&object.etag)),
        key: Some(object.key.clone()),
        ..Default::default()
    })
}

fn listed_part(part: &StoredPart) -> Part {
    let checksum = checksum_fields(Some(&part.checksum));
    Part {
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        e_tag: Some(etag(&hex(&part.md5))),
        last_modified: Some(timestamp(part.modified)),
        part_number: Some(part.number),
        size: i64::try_from(part.size).ok(),
    }
}

fn listed_upload(upload: &Upload, encode: fn(&str) -> String) -> MultipartUpload {
    MultipartUpload {
        initiated: Some(timestamp(upload.begun)),
        key: Some(encode(&upload.key)),
        owner: Some(super::buckets::owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(upload.id.clone()),
        ..Default::default()
    }
}
