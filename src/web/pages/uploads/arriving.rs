//! A form with one file, streamed to this machine's disk.

use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::http::StatusCode;
use ulid::Ulid;

use crate::controller::{ControllerError, Spool, UploadLimits};
use crate::entropy;
use crate::web::app::Portal;
use crate::web::failure::Failure;

/// The most bytes of a field that is no file.
const FIELD_BYTES: usize = 16 << 10;

/// What a form with one file brought.
pub(in crate::web) struct Arrived {
    pub(in crate::web) id: Ulid,
    /// Has no file if none was chosen, or one that is too large.
    pub(in crate::web) spool: Spool,
    /// What its sender calls the file, if one was chosen.
    pub(in crate::web) called: Option<String>,
    /// What its sender saw before.
    pub(in crate::web) seen: String,
}

/// Takes the first file of a form, to lie under `path`.
pub(in crate::web) async fn receive_file(
    portal: &Portal,
    limits: UploadLimits,
    path: &str,
    parts: Result<Multipart, MultipartRejection>,
) -> Result<Arrived, Failure> {
    let mut parts = parts.map_err(|error| Failure::bad_request("invalid_form", error.body_text()))?;
    let id = entropy::ulid(portal.clock.now()).map_err(ControllerError::Entropy)?;
    let spool = portal.uploads.begin_within(limits, id, None).map_err(ControllerError::from)?;
    let mut arrived = Arrived { id, spool, called: None, seen: String::new() };
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        match part.name().unwrap_or_default() {
            "seen" => arrived.seen = text(part).await?,
            // Without a name nothing was chosen.
            "file" if arrived.called.is_none() && part.file_name().is_some_and(|name| !name.is_empty()) => {
                arrived.called = part.file_name().map(str::to_owned);
                keep(part, path, &mut arrived.spool).await?;
            }
            _ => {}
        }
    }
    Ok(arrived)
}

async fn keep(mut part: Field<'_>, path: &str, spool: &mut Spool) -> Result<(), Failure> {
    let mut file = spool.file(path).await.map_err(ControllerError::from)?;
    while let Some(bytes) = part.chunk().await.map_err(broken)? {
        file.write(&bytes).await.map_err(ControllerError::from)?;
    }
    Ok(file.finish().await.map_err(ControllerError::from)?)
}

/// A field that is no file.
pub(in crate::web::pages) async fn text(mut part: Field<'_>) -> Result<String, Failure> {
    let mut text = Vec::new();
    while let Some(bytes) = part.chunk().await.map_err(broken)? {
        if text.len() + bytes.len() > FIELD_BYTES {
            return Err(Failure::bad_request("invalid_form", format!("a field has more than {FIELD_BYTES} bytes")));
        }
        text.extend_from_slice(&bytes);
    }
    String::from_utf8(text).map_err(|_| Failure::bad_request("invalid_form", "a field is not UTF-8"))
}

/// The request ended, or is no form.
pub(in crate::web::pages) fn broken(error: MultipartError) -> Failure {
    let code = if error.status() == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "invalid_form" };
    Failure::new(error.status(), code, format!("the upload did not arrive whole: {}", error.body_text()))
}
