//! A body on its way in: streamed to a temporary file, and checked against everything the client said about it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders, s3_error};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::digests::{ALGORITHMS, Algorithm, Checksum, Digests};
use super::folder::{Hold, Temporary};
use super::reply::{coded, disk};

/// S3's own limit for one PUT, one part and one copy.
pub(super) const MAX_BODY_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// A client that sends nothing for this long is gone.
const STALLED_AFTER: Duration = Duration::from_secs(60);

const BUFFER_BYTES: usize = 256 * 1024;

/// What the client said about the body before sending it.
#[derive(Debug, Default)]
pub(super) struct Announced {
    pub(super) content_length: Option<i64>,
    pub(super) content_md5: Option<String>,
    /// Each of the `x-amz-checksum-*` headers that came.
    pub(super) checksums: Vec<(Algorithm, String)>,
    /// `x-amz-sdk-checksum-algorithm`, or the trailer that is to come.
    pub(super) algorithm: Option<Algorithm>,
    /// Whether a checksum is to come behind the body.
    pub(super) trailer_promised: bool,
    /// Where it will be found once the body has ended.
    pub(super) trailers: Option<TrailingHeaders>,
}

impl Announced {
    /// Adds what the request says about trailers.
    pub(super) fn with_trailers(mut self, headers: &HeaderMap, trailers: Option<TrailingHeaders>) -> Self {
        let names = headers.get("x-amz-trailer").and_then(|names| names.to_str().ok()).unwrap_or_default();
        self.trailer_promised = names.starts_with("x-amz-checksum-");
        self.trailers = trailers;
        self
    }
}

/// A body that is wholly here and is what was announced.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) temporary: Temporary,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
    pub(super) checksum: Checksum,
}

/// Streams `body` into a temporary file.
///
/// A client that names no checksum gets CRC64NVME, as on AWS.
pub(super) async fn receive(hold: &Arc<Hold>, body: Option<StreamingBlob>, announced: Announced) -> S3Result<Received> {
    let expected = match announced.checksums.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        _ => return Err(s3_error!(InvalidRequest, "expecting a single x-amz-checksum- header")),
    };
    let length = announced.content_length.and_then(|length| u64::try_from(length).ok());
    if length.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(too_large());
    }
    let algorithm = expected.as_ref().map(|(algorithm, _)| *algorithm).or(announced.algorithm);
    let mut digests = Digests::new(algorithm.unwrap_or(Algorithm::Crc64Nvme));
    let mut size = 0_u64;

    let mut temporary = hold.temporary_file().map_err(disk)?;
    let file = temporary.file.try_clone().map_err(disk)?;
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, tokio::fs::File::from_std(file));
    if let Some(mut body) = body {
        loop {
            let chunk = tokio::time::timeout(STALLED_AFTER, body.next()).await;
            let Some(chunk) = chunk.map_err(|_| S3Error::from(S3ErrorCode::RequestTimeout))? else { break };
            let chunk = chunk.map_err(broken_body)?;
            size += chunk.len() as u64;
            if size > MAX_BODY_BYTES {
                return Err(too_large());
            }
            digests.update(&chunk);
            writer.write_all(&chunk).await.map_err(disk)?;
        }
    }
    writer.flush().await.map_err(disk)?;
    temporary.file = writer.into_inner().into_std().await;

    if let Some(length) = length.filter(|length| *length != size) {
        return Err(s3_error!(IncompleteBody, "announced {length} bytes, got {size}"));
    }
    let (md5, checksum) = digests.finish();
    if let Some(expected) = announced.content_md5 {
        let valid = STANDARD.decode(&expected).ok().filter(|digest| digest.len() == md5.len());
        match valid {
            None => return Err(s3_error!(InvalidDigest, "Content-MD5 is not the base64 of an MD5")),
            Some(digest) if digest != md5 => {
                return Err(s3_error!(BadDigest, "Content-MD5 says {expected}, the body has {}", STANDARD.encode(md5)));
            }
            Some(_) => {}
        }
    }
    let in_trailer = announced.trailers.and_then(|trailers| trailers.read(trailing_checksum)).flatten();
    if announced.trailer_promised && in_trailer.is_none() {
        let message = "the checksum promised as a trailer did not come".to_owned();
        return Err(coded("MalformedTrailerError", StatusCode::BAD_REQUEST, message));
    }
    for (algorithm, value) in expected.into_iter().chain(in_trailer) {
        if algorithm != checksum.algorithm {
            return Err(s3_error!(InvalidRequest, "{} was not the checksum announced", algorithm.header()));
        }
        if value != checksum.value {
            let name = algorithm.name();
            return Err(s3_error!(BadDigest, "{name} says {value}, the body has {}", checksum.value));
        }
    }
    Ok(Received { temporary, size, md5, checksum })
}

fn trailing_checksum(trailers: &HeaderMap) -> Option<(Algorithm, String)> {
    ALGORITHMS.into_iter().find_map(|algorithm| {
        let value = trailers.get(algorithm.header())?.to_str().ok()?;
        Some((algorithm, value.trim().to_owned()))
    })
}

fn too_large() -> S3Error {
    s3_error!(EntityTooLarge, "one PUT takes at most {MAX_BODY_BYTES} bytes: use a multipart upload")
}

/// The body's own error types are private to s3s; what they say is all there is to tell them apart by.
fn broken_body(error: StdError) -> S3Error {
    let text = error.to_string();
    let mut answer = if text.contains("Sha256Mismatch") {
        coded("XAmzContentSHA256Mismatch", StatusCode::BAD_REQUEST, text)
    } else if text.contains("SignatureMismatch") {
        S3Error::with_message(S3ErrorCode::SignatureDoesNotMatch, text)
    } else {
        S3Error::with_message(S3ErrorCode::IncompleteBody, text)
    };
    answer.set_source(error);
    answer
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::super::folder::Folder;
    use super::*;
    use crate::clock::SystemClock;

    async fn receive_all(
        chunks: impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static,
        announced: Announced,
    ) -> Result<u64, String> {
        let root = tempfile::tempdir().unwrap();
        let (folder, _) = Folder::open(root.path(), SystemClock::shared()).unwrap();
        folder.create_bucket("bucket").unwrap();
        let bucket = folder.bucket("bucket").unwrap();
        let received = receive(bucket.hold(), Some(StreamingBlob::wrap(chunks)), announced).await;
        let received = received.map(|received| received.size).map_err(|error| error.code().as_str().to_owned());
        assert_eq!(std::fs::read_dir(root.path().join("tmp")).unwrap().count(), 0, "the temporary file is left");
        received
    }

    #[tokio::test]
    async fn a_body_has_the_length_that_was_announced() {
        let body = || stream::iter([Ok(Bytes::from_static(b"bo")), Ok(Bytes::from_static(b"dy"))]);
        let announced = |length| Announced { content_length: Some(length), ..Announced::default() };
        assert_eq!(receive_all(body(), announced(4)).await, Ok(4));
        assert_eq!(receive_all(body(), announced(5)).await, Err("IncompleteBody".to_owned()));
        assert_eq!(receive_all(body(), announced(3)).await, Err("IncompleteBody".to_owned()));
        assert_eq!(receive_all(body(), announced(1 << 40)).await, Err("EntityTooLarge".to_owned()));
        assert_eq!(receive_all(body(), Announced::default()).await, Ok(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_sending_is_given_up() {
        let stalled = stream::iter([Ok(Bytes::from_static(b"bo"))]).chain(stream::pending());
        assert_eq!(receive_all(stalled, Announced::default()).await, Err("RequestTimeout".to_owned()));
    }

    #[tokio::test]
    async fn a_body_that_breaks_leaves_nothing() {
        let broken = stream::iter([Ok(Bytes::from_static(b"bo")), Err(std::io::Error::other("gone"))]);
        assert_eq!(receive_all(broken, Announced::default()).await, Err("IncompleteBody".to_owned()));
    }
}
