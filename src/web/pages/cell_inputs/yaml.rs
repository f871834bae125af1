//! `/cells/{node}/{cell}/yaml`: the document that binds a cell to a manifest.

use axum::Json;
use axum::extract::Form;
use axum::extract::rejection::FormRejection;
use axum::response::Response;

use super::{above, barred};
use crate::access::Authorized;
use crate::controller::Text;
use crate::model::users::Role;
use crate::model::{CellId, ObjectKey};
use crate::recipe;
use crate::recipe::diagnostics::{Diagnostic, of_cell};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::editor::{self, Editable, Subject, TextForm, if_there, unless_changed};
use crate::web::pages::used_by::{self, User};
use crate::web::paths::CellOfPath;
use crate::web::shell::Nav;

struct Document(CellId);

impl Editable for Document {
    fn admit(&self, page: &PageContext) -> Result<(), Failure> {
        Ok(page.may().need_on_cell(Role::Editor, &self.0)?)
    }

    fn key(&self) -> Option<ObjectKey> {
        Some(ObjectKey::CellYaml(self.0.clone()))
    }

    async fn read(&self, page: &PageContext) -> Result<Option<Text>, Failure> {
        if_there(page.may().get_cell(&self.0).await)
    }

    async fn diagnose(&self, page: &PageContext, text: &str) -> Result<Vec<Diagnostic>, Failure> {
        diagnose(page.may(), text, Some(&self.0)).await
    }

    fn users(&self, page: &PageContext) -> Result<Vec<User>, Failure> {
        Ok(used_by::this(&*page.view()?, &self.0))
    }

    async fn write(&self, page: &PageContext, form: &TextForm) -> Result<Option<String>, Failure> {
        let written = page.may().because(&form.reason).put_cell(&self.0, &form.text, &form.known()).await;
        Ok(unless_changed(written)?.map(|_| format!("/cells/{}", self.0)))
    }
}

/// What is wrong with the text of a cell, by itself and with the manifest that it names.
pub(in crate::web) async fn diagnose(
    may: &Authorized,
    text: &str,
    cell: Option<&CellId>,
) -> Result<Vec<Diagnostic>, Failure> {
    let manifest = match recipe::cell(text, "") {
        Ok(binding) => if_there(may.get_manifest(&binding.manifest).await)?,
        // It has errors of its own, which come first.
        Err(_) => None,
    };
    // One that makes no sense says nothing about its cells.
    let manifest = manifest.and_then(|manifest| recipe::manifest(&manifest.text, "").ok());
    Ok(of_cell(text, cell, manifest.as_ref()))
}

/// `GET /cells/{node}/{cell}/yaml`
pub(super) async fn edit(page: PageContext, CellOfPath(cell): CellOfPath) -> Result<Response, Failure> {
    let document = Document(cell.clone());
    if document.read(&page).await?.is_none() {
        return Err(Failure::not_found(format_args!("cell {cell}")));
    }
    editor::open(&page, &subject(&page, &cell), &document).await
}

/// `POST /cells/{node}/{cell}/yaml`
pub(super) async fn submit(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    form: Result<Form<TextForm>, FormRejection>,
) -> Result<Response, Failure> {
    editor::submit(&page, &subject(&page, &cell), &Document(cell), TextForm::take(form)?).await
}

/// `POST /cells/{node}/{cell}/yaml/check`
pub(super) async fn check(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    text: String,
) -> Result<Json<Vec<Diagnostic>>, Failure> {
    page.may().need_on_cell(Role::Viewer, &cell)?;
    Ok(Json(diagnose(page.may(), &text, Some(&cell)).await?))
}

fn subject(page: &PageContext, cell: &CellId) -> Subject {
    let own = page.link(&format!("/cells/{cell}"));
    Subject {
        title: format!("Edit cell {cell}"),
        nav: Nav::Cells,
        cli: "fleetman apply -f cell.yaml".to_owned(),
        label: "The cell".to_owned(),
        kind: "yaml",
        action: format!("{own}/yaml"),
        check: Some(format!("{own}/yaml/check")),
        back: own,
        above: above(page, cell),
        more: Vec::new(),
        outlook: "Saving changes nothing on the node: the cell takes it over when it is published next.".to_owned(),
        barred: barred(page, cell),
    }
}
