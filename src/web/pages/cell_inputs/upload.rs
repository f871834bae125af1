//! `/cells/{node}/{cell}/overrides/upload?path=`: an override from a file.

use askama::Template;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, Query};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;

use super::barred;
use super::overrides::{PathQuery, about, above_override, saved, text_of};
use crate::model::users::Role;
use crate::model::{CellId, FilePath, ObjectKey};
use crate::recipe::render;
use crate::web::changes::size;
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::editor::{if_there, unless_changed};
use crate::web::pages::sides::{self, Facts, Side};
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};

#[derive(Template)]
#[template(path = "cell_inputs/upload_override.html")]
struct UploadPage {
    shell: Shell,
    above: Vec<(String, String)>,
    /// Whether it can be edited, or written anew.
    is_text: bool,
    /// What is there; of nothing, that it is not.
    facts: Facts,
    /// What was seen and what is there now, where that is what is wrong.
    sides: Option<[Side; 2]>,
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
    form(&page, &cell, &query.path()?, &Sent::default(), None).await
}

pub(super) async fn form(
    page: &PageContext,
    cell: &CellId,
    path: &FilePath,
    sent: &Sent,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let there = if_there(page.may().get_override(cell, path).await)?;
    let facts = there.as_ref().map(Facts::from).unwrap_or_default();
    let sides = match failed {
        Some(failed) if failed.status() == StatusCode::CONFLICT => {
            let key = ObjectKey::Override(cell.clone(), path.clone());
            Some(sides::both(page, &key, Facts::read(&sent.seen), facts.clone()).await?)
        }
        _ => None,
    };
    let above = above_override(page, cell);
    let shell = page.shell(
        format!("Override {path}"),
        Nav::Cells,
        format!("fleetman override put {cell} {} <file>", quoted(path.as_str())),
    );
    let own = |verb| about(page, cell, verb, path.as_str());
    page.render_with(
        failed.map_or(StatusCode::OK, Failure::status),
        &UploadPage {
            shell,
            above,
            is_text: there.as_ref().is_none_or(|there| text_of(there).is_some()),
            facts,
            sides,
            most: size(render::MAX_BYTES as u64),
            action: own("upload"),
            edit: own("edit"),
            raw: own("raw"),
            delete: own("delete"),
            reason: sent.reason.clone(),
            failure: failed.map(|failure| failure.detail().to_owned()),
            barred: barred(page, cell),
        },
    )
}

/// What was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// What the form was about.
    seen: String,
    reason: String,
    bytes: Option<Bytes>,
}

async fn read(parts: Result<Multipart, MultipartRejection>, sent: &mut Sent) -> Result<(), Failure> {
    let mut parts = parts.map_err(|error| Failure::bad_request("invalid_form", error.body_text()))?;
    let broken = |error: axum::extract::multipart::MultipartError| {
        Failure::new(error.status(), "invalid_form", format!("the file did not arrive whole: {}", error.body_text()))
    };
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        match part.name().unwrap_or_default() {
            "seen" => sent.seen = part.text().await.map_err(broken)?,
            "reason" => sent.reason = part.text().await.map_err(broken)?,
            // Without a name nothing was chosen.
            "file" if part.file_name().is_some_and(|name| !name.is_empty()) => {
                sent.bytes = Some(part.bytes().await.map_err(broken)?);
            }
            _ => {}
        }
    }
    Ok(())
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
    // What was read until it failed is not lost.
    let mut sent = Sent::default();
    match put(&page, &cell, &path, parts, &mut sent).await {
        Ok(true) => Ok(page.lead_to(&saved(&cell, &path))),
        Ok(false) => {
            let changed = "Somebody else changed it meanwhile. Look at what is there now, and choose the file again.";
            let failure = Failure::new(StatusCode::CONFLICT, "changed", changed);
            form(&page, &cell, &path, &sent, Some(&failure)).await
        }
        Err(failure) => form(&page, &cell, &path, &sent, Some(&failure)).await,
    }
}

/// Writes the file, unless what is there is no longer what the form was made on.
async fn put(
    page: &PageContext,
    cell: &CellId,
    path: &FilePath,
    parts: Result<Multipart, MultipartRejection>,
    sent: &mut Sent,
) -> Result<bool, Failure> {
    read(parts, sent).await?;
    let no_file = || Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_form", "no file was chosen");
    let bytes = sent.bytes.take().ok_or_else(no_file)?;
    page.caller.check_writable()?;
    let known = Facts::read(&sent.seen).known();
    let written = page.may().because(&sent.reason).put_override(cell, path, bytes, &known).await;
    Ok(unless_changed(written)?.is_some())
}
