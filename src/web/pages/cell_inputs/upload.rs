//! `/cells/{node}/{cell}/overrides/upload?path=`: an override from a file. It is streamed to this machine's disk, where
//! it waits to be looked at.

use askama::Template;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, Query};
use axum::http::StatusCode;
use axum::response::Response;

use super::barred;
use super::overrides::{PathQuery, about, above_override, text_of};
use crate::controller::UploadLimits;
use crate::model::users::Role;
use crate::model::{CellId, FilePath};
use crate::recipe::render;
use crate::web::changes::size;
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::editor::if_there;
use crate::web::pages::sides::Facts;
use crate::web::pages::uploads::{self, Arrived, WaitingRow};
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
    let Arrived { id, spool, called, seen } =
        uploads::receive_file(&page.caller.portal, LIMITS, path.as_str(), parts).await?;
    let wrong = |code, detail: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
    if called.is_none() {
        return Err(wrong("invalid_form", "no file was chosen".to_owned()));
    }
    if spool.only().is_none() {
        let most = render::MAX_BYTES;
        let detail = format!("{path} has more than the {most} bytes that an override may have; put it into a release");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    uploads::stage(page, id, spool, Purpose::Override { cell: cell.clone(), path: path.clone(), seen })
}
