//! What pages load: scripts, styles and pictures, part of the program.
//!
//! A file's address has the digest of its bytes in it, so that browsers keep it for ever and never keep an old one: there
//! is nothing to ask again, and no tag to ask with.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use serde::Deserialize;

use super::encoding::{GZIP, gzip, takes_gzip};
use super::failure::Failure;
use crate::model::Sha256Digest;

macro_rules! assets {
    ($($name:literal: $kind:literal),* $(,)?) => {
        static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
            vec![$(Asset::new($name, $kind, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/static/", $name)))),*]
        });
    };
}

assets! {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "editor.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "upload.js": "text/javascript; charset=utf-8",
    "vendor/codemirror.js": "text/javascript; charset=utf-8",
    "vendor/htmx.min.js": "text/javascript; charset=utf-8",
    "vendor/hx-ptag.min.js": "text/javascript; charset=utf-8",
    "vendor/hx-sse.min.js": "text/javascript; charset=utf-8",
}

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// The same as gzip, made when it is first asked for; none where that is not smaller.
    small: LazyLock<Option<Bytes>, Box<dyn FnOnce() -> Option<Bytes> + Send>>,
    digest: String,
}

impl Asset {
    fn new(name: &'static str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let digest = Sha256Digest::of(bytes).to_string()[..16].to_owned();
        let small = LazyLock::new(Box::new(|| {
            let small = gzip(bytes, Compression::best()).ok().filter(|small| small.len() < bytes.len());
            small.map(Bytes::from)
        }) as Box<_>);
        Self { name, kind, bytes, small, digest }
    }
}

/// The path at which `name`, a path below `static/`, is served. Empty if there is no such file, which a test of the
/// pages would see.
pub(super) fn path(name: &str) -> String {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    asset.map(|asset| format!("/static/{}/{}", asset.digest, asset.name)).unwrap_or_default()
}

#[derive(Debug, Deserialize)]
pub(super) struct AssetPath {
    digest: String,
    name: String,
}

/// `GET /static/{digest}/{*name}`
pub(super) async fn serve(headers: HeaderMap, Path(asked): Path<AssetPath>) -> Result<Response, Failure> {
    let asset = ASSETS.iter().find(|asset| asset.name == asked.name && asset.digest == asked.digest);
    let asset = asset.ok_or_else(|| Failure::not_found(format_args!("file {} of this version", asked.name)))?;
    let about = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        (header::VARY, HeaderValue::from(header::ACCEPT_ENCODING)),
    ];
    // What everybody gets tells nothing by its size.
    match asset.small.as_ref().filter(|_| takes_gzip(&headers)) {
        Some(small) => Ok((about, [(header::CONTENT_ENCODING, GZIP)], small.clone()).into_response()),
        None => Ok((about, asset.bytes).into_response()),
    }
}
