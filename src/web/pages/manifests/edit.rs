//! `/manifests/new` and `/manifests/{manifest}/edit`: writing a recipe.

use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path};
use axum::http::StatusCode;
use axum::response::Response;

use super::{ManifestPath, barred};
use crate::controller::{ControllerError, Text};
use crate::model::users::Role;
use crate::model::{ManifestName, ObjectKey};
use crate::recipe;
use crate::recipe::diagnostics::{Diagnostic, of_manifest};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::editor::{self, Draft, Editable, Subject, TextForm, if_there, unless_changed};
use crate::web::pages::used_by::{self, User};
use crate::web::shell::Nav;

/// What a new manifest begins as.
pub(super) const STARTING: &str = include_str!("../../../../templates/manifests/starting.yaml");

/// A manifest that is there.
struct Known(ManifestName);

impl Editable for Known {
    fn admit(&self, page: &PageContext) -> Result<(), Failure> {
        Ok(page.may().need_on_manifest(Role::Editor, &*page.caller.whole_view()?, &self.0)?)
    }

    fn key(&self) -> Option<ObjectKey> {
        Some(ObjectKey::ManifestYaml(self.0.clone()))
    }

    async fn read(&self, page: &PageContext) -> Result<Option<Text>, Failure> {
        if_there(page.may().get_manifest(&self.0).await)
    }

    async fn diagnose(&self, _: &PageContext, text: &str) -> Result<Vec<Diagnostic>, Failure> {
        Ok(of_manifest(text, Some(&self.0)))
    }

    fn users(&self, page: &PageContext) -> Result<Vec<User>, Failure> {
        Ok(used_by::of_manifest(&*page.view()?, &self.0))
    }

    async fn write(&self, page: &PageContext, form: &TextForm) -> Result<Option<String>, Failure> {
        write(page, &self.0, form).await
    }
}

/// A manifest that is being made; its text says its name.
struct New;

impl Editable for New {
    fn admit(&self, page: &PageContext) -> Result<(), Failure> {
        Ok(page.may().need_anywhere(Role::Editor, "manifests")?)
    }

    fn key(&self) -> Option<ObjectKey> {
        None
    }

    async fn read(&self, _: &PageContext) -> Result<Option<Text>, Failure> {
        Ok(None)
    }

    async fn diagnose(&self, _: &PageContext, text: &str) -> Result<Vec<Diagnostic>, Failure> {
        Ok(of_manifest(text, None))
    }

    fn users(&self, _: &PageContext) -> Result<Vec<User>, Failure> {
        Ok(Vec::new())
    }

    async fn write(&self, page: &PageContext, form: &TextForm) -> Result<Option<String>, Failure> {
        let name = recipe::manifest(&form.text, "the text").map_err(ControllerError::from)?.name.clone();
        let exists = || {
            let detail = format!("manifest {name} exists; choose another name, or edit the one that is there");
            Failure::new(StatusCode::CONFLICT, "exists", detail)
        };
        write(page, &name, form).await?.ok_or_else(exists).map(Some)
    }
}

async fn write(page: &PageContext, name: &ManifestName, form: &TextForm) -> Result<Option<String>, Failure> {
    let fleet = page.caller.whole_view()?;
    let written = page.may().because(&form.reason).put_manifest(&fleet, name, &form.text, &form.known()).await;
    page.caller.fleet.releases.renew_manifests();
    Ok(unless_changed(written)?.map(|_| format!("/manifests/{name}")))
}

/// `GET /manifests/{manifest}/edit`
pub(super) async fn edit(page: PageContext, Path(path): Path<ManifestPath>) -> Result<Response, Failure> {
    let name = path.name()?;
    let known = Known(name.clone());
    known.admit(&page)?;
    if known.read(&page).await?.is_none() {
        return Err(Failure::not_found(format_args!("manifest {name}")));
    }
    editor::open(&page, &subject(&page, &name)?, &known).await
}

/// `POST /manifests/{manifest}/edit`
pub(super) async fn submit(
    page: PageContext,
    Path(path): Path<ManifestPath>,
    form: Result<Form<TextForm>, FormRejection>,
) -> Result<Response, Failure> {
    let name = path.name()?;
    editor::submit(&page, &subject(&page, &name)?, &Known(name), TextForm::take(form)?).await
}

/// `POST /manifests/{manifest}/check`
pub(super) async fn check(
    page: PageContext,
    Path(path): Path<ManifestPath>,
    text: String,
) -> Result<Json<Vec<Diagnostic>>, Failure> {
    page.may().need_anywhere(Role::Viewer, "manifests")?;
    Ok(Json(Known(path.name()?).diagnose(&page, &text).await?))
}

/// `GET /manifests/new`
pub(super) async fn new(page: PageContext) -> Result<Response, Failure> {
    New.admit(&page)?;
    let text = Text { text: STARTING.to_owned(), etag: String::new().into() };
    subject_of_new(&page).form(&page, StatusCode::OK, &Draft::of(Some(&text)))
}

/// `POST /manifests/new`
pub(super) async fn submit_new(
    page: PageContext,
    form: Result<Form<TextForm>, FormRejection>,
) -> Result<Response, Failure> {
    editor::submit(&page, &subject_of_new(&page), &New, TextForm::take(form)?).await
}

/// `POST /manifests/new/check`
pub(super) async fn check_new(page: PageContext, text: String) -> Result<Json<Vec<Diagnostic>>, Failure> {
    page.may().need_anywhere(Role::Viewer, "manifests")?;
    Ok(Json(New.diagnose(&page, &text).await?))
}

fn subject(page: &PageContext, name: &ManifestName) -> Result<Subject, Failure> {
    let link = |path: &str| page.link(path);
    let own = link(&format!("/manifests/{name}"));
    Ok(Subject {
        title: format!("Edit manifest {name}"),
        nav: Nav::Manifests,
        cli: format!("fleetman apply -f {name}.yaml"),
        label: "The manifest".to_owned(),
        kind: "yaml",
        action: format!("{own}/edit"),
        check: Some(format!("{own}/check")),
        back: own.clone(),
        above: vec![(link("/manifests"), "Manifests".to_owned()), (own, name.to_string())],
        more: Vec::new(),
        outlook: "Saving changes nothing on any node: a cell takes it over when it is published next.".to_owned(),
        barred: barred(page, Role::Editor, name)?,
    })
}

fn subject_of_new(page: &PageContext) -> Subject {
    let link = |path: &str| page.link(path);
    Subject {
        title: "New manifest".to_owned(),
        nav: Nav::Manifests,
        cli: "fleetman apply -f manifest.yaml".to_owned(),
        label: "The manifest".to_owned(),
        kind: "yaml",
        action: link("/manifests/new"),
        check: Some(link("/manifests/new/check")),
        back: link("/manifests"),
        above: vec![(link("/manifests"), "Manifests".to_owned())],
        more: Vec::new(),
        outlook: "Saving makes the manifest. Nothing runs before a cell uses it and is published.".to_owned(),
        barred: page.caller.read_only(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_manifest_begins_as_one_that_could_be_saved() {
        assert_eq!(of_manifest(STARTING, None), []);
    }
}
