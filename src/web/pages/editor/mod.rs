//! Texts that people edit: a form, a look at what would change, and then the write. Whatever goes wrong on the way, the
//! form comes back with what was typed.

mod form;
mod merge;

use axum::http::StatusCode;
use axum::response::Response;

use self::form::are_errors;
pub(super) use self::form::{Draft, Step, Subject, TextForm, differing};
use super::sides::By;
use super::used_by::User;
use crate::access::AccessError;
use crate::controller::{ControllerError, Text};
use crate::model::{ObjectKey, Sha256Digest};
use crate::recipe::diagnostics::Diagnostic;
use crate::web::failure::Failure;
use crate::web::page::PageContext;

/// A text in the bucket that can be edited.
pub(super) trait Editable {
    /// Whether the user may change it, as far as that can be told before it is written.
    fn admit(&self, page: &PageContext) -> Result<(), Failure>;

    /// Where it lies, if that is known before it is written.
    fn key(&self) -> Option<ObjectKey>;

    /// As it is now, if it is there.
    async fn read(&self, page: &PageContext) -> Result<Option<Text>, Failure>;

    /// What is wrong with `text`.
    async fn diagnose(&self, page: &PageContext, text: &str) -> Result<Vec<Diagnostic>, Failure>;

    /// The cells that a change concerns.
    fn users(&self, page: &PageContext) -> Result<Vec<User>, Failure>;

    /// Writes it, and says which page shows it; None if what the form knows of it is no longer so.
    async fn write(&self, page: &PageContext, form: &TextForm) -> Result<Option<String>, Failure>;
}

/// The form, to begin with.
pub(super) async fn open(page: &PageContext, subject: &Subject, editable: &impl Editable) -> Result<Response, Failure> {
    let current = editable.read(page).await?;
    subject.form(page, StatusCode::OK, &Draft::of(current.as_ref()))
}

/// What was typed, one step further.
pub(super) async fn submit(
    page: &PageContext,
    subject: &Subject,
    editable: &impl Editable,
    form: TextForm,
) -> Result<Response, Failure> {
    let kept = form.clone();
    match advance(page, subject, editable, form).await {
        Err(failure) => subject.failed(page, kept, &failure),
        answered => answered,
    }
}

async fn advance(
    page: &PageContext,
    subject: &Subject,
    editable: &impl Editable,
    form: TextForm,
) -> Result<Response, Failure> {
    editable.admit(page)?;
    let current = editable.read(page).await?;
    let form = form.with_line_ends_of(current.as_ref());
    if form.step == Step::Edit {
        return subject.form(page, StatusCode::OK, &Draft::typed(form));
    }
    let problems = editable.diagnose(page, &form.text).await?;
    if are_errors(&problems) {
        return subject.form(page, StatusCode::UNPROCESSABLE_ENTITY, &Draft::wrong(form, problems));
    }
    if form.is_outdated(current.as_ref()) {
        return outdated(page, subject, editable, form, current.as_ref()).await;
    }
    if form.step == Step::Preview {
        return subject.preview(page, &form, current.as_ref(), &problems, &editable.users(page)?);
    }
    page.caller.check_writable()?;
    match editable.write(page, &form).await? {
        Some(path) => Ok(page.lead_to(&path)),
        None => {
            let current = editable.read(page).await?;
            outdated(page, subject, editable, form, current.as_ref()).await
        }
    }
}

/// The form again, with what somebody else made of the text.
async fn outdated(
    page: &PageContext,
    subject: &Subject,
    editable: &impl Editable,
    form: TextForm,
    current: Option<&Text>,
) -> Result<Response, Failure> {
    let digest = current.map(|current| Sha256Digest::of(current.text.as_bytes()));
    let by = match editable.key() {
        Some(key) => By::find(page, &key, None, digest).await?,
        None => None,
    };
    subject.form(page, StatusCode::CONFLICT, &Draft::outdated(form, current, by))
}

/// None where somebody else was faster.
pub(super) fn unless_changed<T>(written: Result<T, AccessError>) -> Result<Option<T>, Failure> {
    match written {
        Ok(written) => Ok(Some(written)),
        Err(AccessError::Controller(ControllerError::Changed { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// None where there is none.
pub(super) fn if_there<T>(found: Result<T, AccessError>) -> Result<Option<T>, Failure> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(AccessError::Controller(ControllerError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
