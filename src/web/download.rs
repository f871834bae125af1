//! What is sent as a file for the disk: never anything that a browser would show or run.

use std::io;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::ReaderStream;

use crate::access::Authorized;
use crate::controller::BundleToSave;
use crate::store::{ObjectStream, StoreError};

/// How much of a bundle waits for whoever reads it.
const PIECE_BYTES: usize = 64 << 10;

/// The file at `path`, which has `size` bytes.
pub(super) fn file(path: &str, size: u64, bytes: impl Into<Body>) -> Response {
    let size = (header::CONTENT_LENGTH, HeaderValue::from(size));
    ([size], saved("application/octet-stream", path, bytes.into())).into_response()
}

/// What a program made of many rows, to be saved as `name`.
pub(super) fn saved(kind: &'static str, name: &str, body: Body) -> Response {
    let headers =
        [(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CONTENT_DISPOSITION, attachment(name))];
    (headers, body).into_response()
}

/// An object as it comes from the store.
pub(super) fn streamed(object: ObjectStream) -> Body {
    Body::from_stream(stream::try_unfold(object, |mut object| async {
        let piece = object.next().await?;
        Ok::<_, StoreError>(piece.map(|piece| (piece, object)))
    }))
}

/// A bundle as it is written. One that breaks off ends in an error, so that nobody takes it for whole.
pub(super) fn bundle(may: Authorized, bundle: BundleToSave, turn: OwnedSemaphorePermit) -> Response {
    let (reader, mut writer) = tokio::io::duplex(PIECE_BYTES);
    let writing = tokio::spawn(async move {
        let _turn = turn;
        may.write_bundle(&bundle, &mut writer).await.map_err(io::Error::other)
    });
    let end = stream::once(async move { writing.await.unwrap_or_else(|error| Err(io::Error::other(error))) });
    let end = end.filter_map(async |written| written.err().map(Err));
    let body = Body::from_stream(ReaderStream::with_capacity(reader, PIECE_BYTES).chain(end));
    saved("application/octet-stream", "bundle.tar", body)
}

/// A download under the last part of `path`, after RFC 6266: in letters that everything reads, and where those are
/// others than its own, once more as it is.
fn attachment(path: &str) -> HeaderValue {
    let name = path.rsplit('/').next().unwrap_or_default();
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ' | '+') { c } else { '_' })
        .collect();
    let mut value = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        value.push_str(&format!("; filename*=UTF-8''{}", utf8_percent_encode(name, NON_ALPHANUMERIC)));
    }
    // Nothing but visible ASCII is left in it.
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_has_a_name_that_no_header_trips_over() {
        for (path, header) in [
            ("fleet.json", "attachment; filename=\"fleet.json\""),
            ("a/b\"; x=\r\n.exe", "attachment; filename=\"b__ x___.exe\"; filename*=UTF-8''b%22%3B%20x%3D%0D%0A%2Eexe"),
            ("a/grün", "attachment; filename=\"gr_n\"; filename*=UTF-8''gr%C3%BCn"),
        ] {
            assert_eq!(attachment(path).to_str().unwrap(), header);
        }
    }
}
