//! `/cells/{node}/{cell}/overrides/upload?path=`: an override from a file.

use askama::Template;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, Query};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;

use super::barred;
use super::overrides::{PathQuery, about, above_override, saved, text_of};
use crate::controller::Known;
use crate::model::users::Role;
use crate::model::{CellId, FilePath};
use crate::recipe::render;
use crate::store::ETag;
use crate::web::changes::size;
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::editor::{if_there, unless_changed};
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};

#[derive(Template)]
#[template(path = "cell_inputs/upload_override.html")]
struct UploadPage {
    shell: Shell,
    above: Vec<(String, String)>,
    /// Whether it can be edited, or written anew.
    is_text: bool,
    /// The size of what is there, if something is.
    there: Option<String>,
    etag: String,
    most: String,
    action: String,
    edit: String,
    raw: String,
    delete: String,
    reason: String,
    failure: Option<String>,
    barred: Option<String>,
}

/// `GET /cells/{node}/{cell}/overrides/upload?path=`
pub(super) async fn ask(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(query): Query<PathQuery>,
) -> Result<Response, Failure> {
    page.may().need_on_cell(Role::Editor, &cell)?;
    page.may().get_cell(&cell).await?;
    form(&page, &cell, &query.path()?, StatusCode::OK, String::new(), None).await
}

pub(super) async fn form(
    page: &PageContext,
    cell: &CellId,
    path: &FilePath,
    status: StatusCode,
    reason: String,
    failure: Option<String>,
) -> Result<Response, Failure> {
    let there = if_there(page.may().get_override(cell, path).await)?;
    let above = above_override(page, cell);
    let shell = page.shell(
        format!("Override {path}"),
        Nav::Cells,
        format!("fleetman override put {cell} {} <file>", quoted(path.as_str())),
    );
    let own = |verb| about(page, cell, verb, path.as_str());
    page.render_with(
        status,
        &UploadPage {
            shell,
            above,
            is_text: there.as_ref().is_none_or(|there| text_of(there).is_some()),
            etag: there.as_ref().map(|there| there.etag.to_string()).unwrap_or_default(),
            there: there.map(|there| size(there.bytes.len() as u64)),
            most: size(render::MAX_BYTES as u64),
            action: own("upload"),
            edit: own("edit"),
            raw: own("raw"),
            delete: own("delete"),
            reason,
            failure,
            barred: barred(page, cell),
        },
    )
}

/// What was sent.
#[derive(Debug, Default)]
struct Sent {
    etag: String,
    reason: String,
    bytes: Option<Bytes>,
}

async fn read(parts: Result<Multipart, MultipartRejection>) -> Result<Sent, Failure> {
    let mut parts = parts.map_err(|error| Failure::bad_request("invalid_form", error.body_text()))?;
    let broken = |error: axum::extract::multipart::MultipartError| {
        Failure::new(error.status(), "invalid_form", format!("the file did not arrive whole: {}", error.body_text()))
    };
    let mut sent = Sent::default();
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        match part.name().unwrap_or_default() {
            "etag" => sent.etag = part.text().await.map_err(broken)?,
            "reason" => sent.reason = part.text().await.map_err(broken)?,
            // Without a name nothing was chosen.
            "file" if part.file_name().is_some_and(|name| !name.is_empty()) => {
                sent.bytes = Some(part.bytes().await.map_err(broken)?);
            }
            _ => {}
        }
    }
    Ok(sent)
}

/// `POST /cells/{node}/{cell}/overrides/upload?path=`
pub(super) async fn take(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(query): Query<PathQuery>,
    parts: Result<Multipart, MultipartRejection>,
) -> Result<Response, Failure> {
    page.may().need_on_cell(Role::Editor, &cell)?;
    let path = query.path()?;
    let mut reason = String::new();
    match put(&page, &cell, &path, parts, &mut reason).await {
        Ok(true) => Ok(page.lead_to(&saved(&cell, &path))),
        Ok(false) => {
            let changed = "Somebody else changed it meanwhile. Look at what is there now, and choose the file again.";
            form(&page, &cell, &path, StatusCode::CONFLICT, reason, Some(changed.to_owned())).await
        }
        Err(failure) => {
            let detail = failure.detail().to_owned();
            form(&page, &cell, &path, failure.status(), reason, Some(detail)).await
        }
    }
}

/// Writes the file, unless what is there is no longer what the form was made on.
async fn put(
    page: &PageContext,
    cell: &CellId,
    path: &FilePath,
    parts: Result<Multipart, MultipartRejection>,
    reason: &mut String,
) -> Result<bool, Failure> {
    let sent = read(parts).await?;
    reason.clone_from(&sent.reason);
    let no_file = || Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_form", "no file was chosen");
    let bytes = sent.bytes.ok_or_else(no_file)?;
    let known = if sent.etag.is_empty() { Known::Absent } else { Known::Tag(ETag::from(sent.etag)) };
    page.caller.check_writable()?;
    let written = page.may().because(reason).put_override(cell, path, bytes, &known).await;
    Ok(unless_changed(written)?.is_some())
}
