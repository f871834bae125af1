//! `/cells/{node}/{cell}/overrides/…`: writing a cell's own files, which lie over those of the release when it is
//! published.

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::{above, barred};
use crate::controller::Text;
use crate::model::users::Role;
use crate::model::{CellId, FilePath, ObjectKey};
use crate::recipe::diagnostics::Diagnostic;
use crate::store::Object;
use crate::web::address::with_query;
use crate::web::command::quoted;
use crate::web::download;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::editor::{self, Editable, Subject, TextForm, if_there, unless_changed};
use crate::web::pages::sides::{self, Facts, Side};
use crate::web::pages::used_by::{self, User};
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};

/// A longer file, or one that is no text, can only be uploaded and downloaded.
const MOST_TEXT_BYTES: usize = 1 << 20;

/// Which override.
#[derive(Debug, Deserialize)]
pub(super) struct PathQuery {
    #[serde(default)]
    pub(super) path: String,
}

impl PathQuery {
    pub(super) fn path(&self) -> Result<FilePath, Failure> {
        FilePath::normalised(self.path.trim()).map_err(|error| Failure::bad_request("invalid_path", error.to_string()))
    }
}

/// The pages above one about an override.
pub(in crate::web::pages) fn above_override(page: &PageContext, cell: &CellId) -> Vec<(String, String)> {
    let mut above = above(page, cell);
    above.push((page.link(&format!("/cells/{cell}/overrides")), "Overrides".to_owned()));
    above
}

/// The address of a page about one override.
pub(super) fn about(page: &PageContext, cell: &CellId, verb: &str, path: &str) -> String {
    with_query(&page.link(&format!("/cells/{cell}/overrides/{verb}")), [("path", path)])
}

#[derive(Template)]
#[template(path = "cell_inputs/new_override.html")]
struct NewPage {
    shell: Shell,
    cell: CellId,
    above: Vec<(String, String)>,
}

/// An override that is a text.
struct File {
    cell: CellId,
    path: FilePath,
}

/// The text of an override; None if it is too long, or no text.
pub(super) fn text_of(object: &Object) -> Option<Text> {
    let text = (object.bytes.len() <= MOST_TEXT_BYTES).then(|| str::from_utf8(&object.bytes).ok()).flatten()?;
    // Browsers cannot send every character back as it was.
    let comes_back = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let is_text = text.replace("\r\n", "\n").chars().all(comes_back);
    is_text.then(|| Text { text: text.to_owned(), etag: object.etag.clone() })
}

impl Editable for File {
    fn admit(&self, page: &PageContext) -> Result<(), Failure> {
        Ok(page.may().need_on_cell(Role::Editor, &self.cell)?)
    }

    fn key(&self) -> Option<ObjectKey> {
        Some(ObjectKey::Override(self.cell.clone(), self.path.clone()))
    }

    async fn read(&self, page: &PageContext) -> Result<Option<Text>, Failure> {
        let Some(object) = if_there(page.may().get_override(&self.cell, &self.path).await)? else { return Ok(None) };
        let no_text = || {
            let detail = format!("{} is no text that can be edited here; download it, or upload another", self.path);
            Failure::new(StatusCode::CONFLICT, "no_text", detail)
        };
        text_of(&object).ok_or_else(no_text).map(Some)
    }

    async fn diagnose(&self, _: &PageContext, _: &str) -> Result<Vec<Diagnostic>, Failure> {
        Ok(Vec::new())
    }

    fn users(&self, page: &PageContext) -> Result<Vec<User>, Failure> {
        Ok(used_by::this(&*page.view()?, &self.cell))
    }

    async fn write(&self, page: &PageContext, form: &TextForm) -> Result<Option<String>, Failure> {
        let bytes = form.text.clone().into_bytes().into();
        let may = page.may().because(&form.reason);
        let written = may.put_override(&self.cell, &self.path, bytes, &form.known()).await;
        Ok(unless_changed(written)?.map(|_| saved(&self.cell, &self.path)))
    }
}

/// The list, which says that it was saved.
pub(in crate::web::pages) fn saved(cell: &CellId, path: &FilePath) -> String {
    with_query(&format!("/cells/{cell}/overrides"), [("saved", path.as_str())])
}

/// `GET /cells/{node}/{cell}/overrides/edit?path=`
pub(super) async fn edit(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(query): Query<PathQuery>,
) -> Result<Response, Failure> {
    page.may().get_cell(&cell).await?;
    if query.path.is_empty() {
        let shell = page.shell(
            format!("New override of {cell}"),
            Nav::Cells,
            format!("fleetman override put {cell} <path> <file>"),
        );
        return page.render(&NewPage { shell, above: above_override(&page, &cell), cell });
    }
    let file = File { path: query.path()?, cell };
    let found = if_there(page.may().get_override(&file.cell, &file.path).await)?;
    if found.as_ref().is_some_and(|found| text_of(found).is_none()) {
        return super::upload::form(&page, &file.cell, &file.path, None).await;
    }
    editor::open(&page, &subject(&page, &file, found.is_some()), &file).await
}

/// `POST /cells/{node}/{cell}/overrides/edit?path=`
pub(super) async fn submit(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(query): Query<PathQuery>,
    form: Result<Form<TextForm>, FormRejection>,
) -> Result<Response, Failure> {
    let path = match query.path() {
        Ok(path) => path,
        Err(wrong) => {
            page.may().need_on_cell(Role::Editor, &cell)?;
            return Err(wrong);
        }
    };
    let file = File { path, cell };
    let form = TextForm::take(form)?;
    editor::submit(&page, &subject(&page, &file, !form.etag.is_empty()), &file, form).await
}

fn subject(page: &PageContext, File { cell, path }: &File, is_there: bool) -> Subject {
    let mut more = vec![(about(page, cell, "upload", path.as_str()), "Upload a file instead".to_owned())];
    if is_there {
        more.push((about(page, cell, "raw", path.as_str()), "Download".to_owned()));
        more.push((about(page, cell, "delete", path.as_str()), "Delete".to_owned()));
    }
    Subject {
        title: format!("Override {path}"),
        nav: Nav::Cells,
        cli: format!("fleetman override put {cell} {} <file>", quoted(path.as_str())),
        label: path.to_string(),
        kind: match path.as_str().rsplit_once('.') {
            Some((_, "yaml" | "yml")) => "yaml",
            _ => "text",
        },
        action: about(page, cell, "edit", path.as_str()),
        check: None,
        back: page.link(&format!("/cells/{cell}/overrides")),
        above: above_override(page, cell),
        more,
        outlook: "Saving changes nothing on the node: the file is part of the version that is published next."
            .to_owned(),
        barred: barred(page, cell),
    }
}

/// `GET /cells/{node}/{cell}/overrides/raw?path=`
pub(super) async fn raw(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(query): Query<PathQuery>,
) -> Result<Response, Failure> {
    page.may().need_on_cell(Role::Viewer, &cell)?;
    let path = query.path()?;
    let object = page.may().get_override(&cell, &path).await?;
    Ok(download::file(path.as_str(), object.bytes.len() as u64, object.bytes))
}

#[derive(Template)]
#[template(path = "cell_inputs/delete_override.html")]
struct DeletePage {
    shell: Shell,
    cell: CellId,
    path: FilePath,
    above: Vec<(String, String)>,
    facts: Facts,
    /// What was seen and what is there now, where that is what is wrong.
    sides: Option<[Side; 2]>,
    /// What goes, if it is a text.
    text: Option<String>,
    action: String,
    reason: String,
    failure: Option<String>,
    barred: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct DeleteForm {
    /// What the form was about.
    #[serde(default)]
    seen: String,
    #[serde(default)]
    reason: String,
}

/// `GET /cells/{node}/{cell}/overrides/delete?path=`
pub(super) async fn ask_delete(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(query): Query<PathQuery>,
) -> Result<Response, Failure> {
    page.may().need_on_cell(Role::Editor, &cell)?;
    delete_page(&page, cell, query.path()?, &DeleteForm::default(), None).await
}

async fn delete_page(
    page: &PageContext,
    cell: CellId,
    path: FilePath,
    sent: &DeleteForm,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let object = page.may().get_override(&cell, &path).await?;
    let facts = Facts::from(&object);
    let sides = match failed {
        Some(failed) if failed.status() == StatusCode::CONFLICT => {
            let key = ObjectKey::Override(cell.clone(), path.clone());
            Some(sides::both(page, &key, Facts::read(&sent.seen), facts.clone()).await?)
        }
        _ => None,
    };
    let shell = page.shell(
        format!("Delete override {path}"),
        Nav::Cells,
        format!("fleetman override rm {cell} {}", quoted(path.as_str())),
    );
    page.render_with(
        failed.map_or(StatusCode::OK, Failure::status),
        &DeletePage {
            shell,
            above: above_override(page, &cell),
            facts,
            sides,
            text: text_of(&object).map(|text| text.text),
            action: about(page, &cell, "delete", path.as_str()),
            barred: barred(page, &cell),
            cell,
            path,
            reason: sent.reason.clone(),
            failure: failed.map(|failure| failure.detail().to_owned()),
        },
    )
}

/// `POST /cells/{node}/{cell}/overrides/delete?path=`
pub(super) async fn delete(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(query): Query<PathQuery>,
    form: Result<Form<DeleteForm>, FormRejection>,
) -> Result<Response, Failure> {
    page.may().need_on_cell(Role::Editor, &cell)?;
    let path = query.path()?;
    let Form(form) = form?;
    page.caller.check_writable()?;
    let known = Facts::read(&form.seen).known();
    match page.may().because(&form.reason).remove_override(&cell, &path, &known).await {
        Ok(()) => Ok(page.lead_to(&with_query(&format!("/cells/{cell}/overrides"), [("deleted", path.as_str())]))),
        Err(error) => {
            let failure = Failure::from(error);
            if failure.status() == StatusCode::NOT_FOUND {
                return Err(failure);
            }
            delete_page(&page, cell, path, &form, Some(&failure)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ETag;

    fn object(bytes: &'static [u8]) -> Object {
        Object { bytes: bytes.into(), etag: ETag::from("\"1\"".to_owned()), last_modified: None }
    }

    #[test]
    fn only_what_a_browser_sends_back_as_it_was_is_edited() {
        assert_eq!(text_of(&object("a\r\nü\t\n".as_bytes())).unwrap().text, "a\r\nü\t\n");
        for bytes in [&b"\xff"[..], b"a\0b", b"a\rb", b"\x1b[2J"] {
            assert!(text_of(&object(bytes)).is_none(), "{bytes:?}");
        }
        let long = Object {
            bytes: vec![b'a'; MOST_TEXT_BYTES + 1].into(),
            etag: ETag::from(String::new()),
            last_modified: None,
        };
        assert!(text_of(&long).is_none());
    }
}
