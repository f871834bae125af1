//! `/cells/{node}/{cell}/overrides/upload?path=`: an override from a file. It is streamed to this machine's disk, where
//! it waits to be looked at.

use askama::Template;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, Query};
use axum::http::StatusCode;
use axum::response::Response;
use ulid::Ulid;

use super::barred;
use super::overrides::{PathQuery, about, above_override, text_of};
use crate::controller::{ControllerError, Spool, UploadLimits};
use crate::entropy;
use crate::model::users::Role;
use crate::model::{CellId, FilePath};
use crate::recipe::render;
use crate::web::changes::size;
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::editor::if_there;
use crate::web::pages::sides::Facts;
use crate::web::pages::uploads::{self, WaitingRow};
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::staged::Purpose;

/// What one upload may bring. Of a file that is too large a little more is taken, so that its sender hears why.
const LIMITS: UploadLimits =
    UploadLimits { file_bytes: render::MAX_BYTES as u64, release_bytes: 2 * render::MAX_BYTES as u64 };

#[derive(Template)]
#[template(path = "cell_inputs/upload_override.html")]
struct UploadPage {
    shell: Shell,
    above: Vec<(String, String)>,
    /// Whether it can be edited, or written anew.
    is_text: bool,
    /// What is there; of nothing, that it is not.
    facts: Facts,
    most: String,
    action: String,
    edit: String,
    raw: String,
    delete: String,
    waiting: Vec<WaitingRow>,
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
    form(&page, &cell, &query.path()?, None).await
}

pub(super) async fn form(
    page: &PageContext,
    cell: &CellId,
    path: &FilePath,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let there = if_there(page.may().get_override(cell, path).await)?;
    let cli = format!("fleetman override put {cell} {} <file>", quoted(path.as_str()));
    let own = |verb| about(page, cell, verb, path.as_str());
    page.render_with(
        failed.map_or(StatusCode::OK, Failure::status),
        &UploadPage {
            shell: page.shell(format!("Override {path}"), Nav::Cells, cli),
            above: above_override(page, cell),
            is_text: there.as_ref().is_none_or(|there| text_of(there).is_some()),
            facts: there.as_ref().map(Facts::from).unwrap_or_default(),
            most: size(render::MAX_BYTES as u64),
            action: own("upload"),
            edit: own("edit"),
            raw: own("raw"),
            delete: own("delete"),
            waiting: uploads::waiting(page),
            failure: failed.map(|failure| failure.detail().to_owned()),
            barred: barred(page, cell),
        },
    )
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
    match stage(&page, &cell, &path, parts).await {
        Ok(review) => Ok(page.lead_to(&review)),
        Err(failure) => form(&page, &cell, &path, Some(&failure)).await,
    }
}

/// Keeps what is sent until it is looked at, and says where that is.
async fn stage(
    page: &PageContext,
    cell: &CellId,
    path: &FilePath,
    parts: Result<Multipart, MultipartRejection>,
) -> Result<String, Failure> {
    page.caller.check_writable()?;
    page.may().get_cell(cell).await?;
    let (id, spool, seen) = receive(page, path, parts).await?;
    uploads::stage(page, id, spool, Purpose::Override { cell: cell.clone(), path: path.clone(), seen })
}

/// Streams the file to the disk; what its sender saw comes with it.
async fn receive(
    page: &PageContext,
    path: &FilePath,
    parts: Result<Multipart, MultipartRejection>,
) -> Result<(Ulid, Spool, String), Failure> {
    let mut parts = parts.map_err(|error| Failure::bad_request("invalid_form", error.body_text()))?;
    let portal = &page.caller.portal;
    let id = entropy::ulid(portal.clock.now()).map_err(ControllerError::Entropy)?;
    let mut spool = portal.uploads.begin_within(LIMITS, id, None).map_err(ControllerError::from)?;
    let (mut seen, mut found) = (String::new(), false);
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        match part.name().unwrap_or_default() {
            "seen" => seen = part.text().await.map_err(broken)?,
            // Without a name nothing was chosen.
            "file" if !found && part.file_name().is_some_and(|name| !name.is_empty()) => {
                keep(part, path, &mut spool).await?;
                found = true;
            }
            _ => {}
        }
    }
    let wrong = |code, detail: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
    match spool.only() {
        Some(_) => Ok((id, spool, seen)),
        None if found => Err(wrong(
            "too_large",
            format!(
                "{path} has more than the {} bytes that an override may have; put it into a release",
                render::MAX_BYTES
            ),
        )),
        None => Err(wrong("invalid_form", "no file was chosen".to_owned())),
    }
}

async fn keep(mut part: Field<'_>, path: &FilePath, spool: &mut Spool) -> Result<(), Failure> {
    let mut file = spool.file(path.as_str()).await.map_err(ControllerError::from)?;
    while let Some(bytes) = part.chunk().await.map_err(broken)? {
        file.write(&bytes).await.map_err(ControllerError::from)?;
    }
    Ok(file.finish().await.map_err(ControllerError::from)?)
}

fn broken(error: MultipartError) -> Failure {
    Failure::new(error.status(), "invalid_form", format!("the file did not arrive whole: {}", error.body_text()))
}
