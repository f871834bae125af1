//! What is sent small: what pages load, and pages themselves.
//!
//! Answers of the API are not: their tags name bytes, and guard writes. Files are sent as they are, and so is the stream
//! of events, which must not wait until there is enough of it.

use std::io::{self, Write as _};

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::failure::Failure;

/// In `Content-Encoding`.
pub(super) const GZIP: HeaderValue = HeaderValue::from_static("gzip");

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Pages of fewer bytes are one packet anyway; those of more, which there are none, are not worth the time.
const LEAST_BYTES: u64 = 1 << 10;
const MOST_BYTES: u64 = 16 << 20;

/// `bytes` as gzip.
pub(super) fn gzip(bytes: &[u8], level: Compression) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Whether who asks reads gzip (RFC 9110, 12.5.3).
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    // What is said of gzip itself counts, and of everything else only where nothing is.
    let mut of_others = false;
    for coding in lines.flat_map(|line| line.split(',')) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        let is_taken = weight.is_ok_and(|weight| weight > 0.0);
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") => return is_taken,
            "*" => of_others = is_taken,
            _ => {}
        }
    }
    of_others
}

/// Sends pages as gzip to who reads it.
///
/// How small a page gets tells something of what is in it. A page shows what only its reader may see beside what its
/// address says, such as what is searched for: a site that made the reader's browser ask for many addresses, while
/// somebody counts the bytes on the way, could guess the one by the other (BREACH). So what another site led to is sent
/// as it is, and so is what a browser does not tell that of. No page shows a password, a session or a token, but for
/// the answers to forms, which no other site can send.
pub(super) async fn pages(request: Request, next: Next) -> Response {
    let is_own = request.headers().get(FETCH_SITE).is_some_and(|site| site == "same-origin" || site == "none");
    let is_wanted = is_own && takes_gzip(request.headers());
    let mut response = next.run(request).await;
    let is_page =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_page {
        return response;
    }
    for name in [header::ACCEPT_ENCODING, FETCH_SITE] {
        response.headers_mut().append(header::VARY, HeaderValue::from(name));
    }
    let size = response.body().size_hint().exact();
    if !is_wanted || !size.is_some_and(|size| (LEAST_BYTES..=MOST_BYTES).contains(&size)) {
        return response;
    }
    match small(response).await {
        Ok(response) => response,
        Err(error) => {
            let detail = format!("the page cannot be sent: {error}");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
        }
    }
}

async fn small(response: Response) -> Result<Response, axum::BoxError> {
    let (mut head, body) = response.into_parts();
    let bytes = to_bytes(body, usize::try_from(MOST_BYTES)?).await?;
    // The reader waits for it.
    let bytes = gzip(&bytes, Compression::fast())?;
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_ENCODING, GZIP);
    Ok(Response::from_parts(head, Body::from(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_says_so_alone() {
        for (said, expected) in [
            (&["gzip, deflate, br, zstd"][..], true),
            (&["br", "GZIP ; q=0.5"], true),
            (&["*"], true),
            (&["*;q=0, gzip"], true),
            (&[], false),
            (&["identity"], false),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000, *"], false),
            (&["gzip;q=some"], false),
            (&["x-gzipped"], false),
        ] {
            let lines = said.iter().map(|line| (header::ACCEPT_ENCODING, HeaderValue::from_static(line)));
            let mut headers = HeaderMap::new();
            headers.extend(lines);
            assert_eq!(takes_gzip(&headers), expected, "{said:?}");
        }
    }
}
