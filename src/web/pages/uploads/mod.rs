//! `/uploads/{id}`: what was sent, and what it would change, before it is put into the bucket.

mod arriving;
mod bundle;
mod release;
mod replacement;
mod sending;

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use ulid::Ulid;

pub(in crate::web) use self::arriving::{Arrived, receive_file};
pub(super) use self::arriving::{broken, text};
pub(super) use self::release::plan;
pub(super) use self::sending::{Sending, Source, Told, wants_lines};
use crate::controller::Spool;
use crate::model::users::Role;
use crate::web::failure::Failure;
use crate::web::list::Asked;
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::staged::{Purpose, Staged, Taken, WAITS_FOR};

pub(super) fn routes() -> Routes {
    Routes::new().get("/uploads/{id}", review).post("/uploads/{id}", confirm).post("/uploads/{id}/discard", discard)
}

#[derive(Debug, Deserialize)]
struct UploadPath {
    id: String,
}

/// What the form of a review sends.
#[derive(Debug, Default, Deserialize)]
struct Sent {
    /// What was there when it was looked at.
    #[serde(default)]
    seen: String,
    /// Of a release.
    #[serde(default)]
    name: String,
    #[serde(default)]
    reason: String,
}

/// An upload that waits, in the hands of who sent it.
#[derive(Debug, Clone)]
struct Waiting {
    id: Ulid,
    staged: Arc<Staged>,
}

/// One in a list of those that wait.
#[derive(Debug)]
pub(super) struct WaitingRow {
    pub(super) href: String,
    pub(super) what: String,
    pub(super) until: DateTime<Utc>,
}

impl From<&Purpose> for String {
    fn from(purpose: &Purpose) -> Self {
        match purpose {
            Purpose::Release(release) => match &release.name {
                Some(name) => format!("release {name} of {}", release.manifest),
                None => format!("a release of {}", release.manifest),
            },
            Purpose::Override { cell, path, .. } => format!("override {path} of {cell}"),
            Purpose::Bundle { called } => format!("bundle {called}"),
        }
    }
}

/// What somebody has sent to this controller and not decided about yet.
pub(super) fn waiting(page: &PageContext) -> Vec<WaitingRow> {
    let (portal, fleet) = (&page.caller.portal, &page.caller.fleet);
    let own = portal.shelf.waiting(&page.may().identity().user, &fleet.name, portal.clock.now());
    own.into_iter()
        .map(|(id, staged)| WaitingRow {
            href: page.link(&format!("/uploads/{id}")),
            what: String::from(&staged.purpose),
            until: staged.until,
        })
        .collect()
}

/// Keeps what has arrived until it is looked at, and says where that is.
pub(super) fn stage(page: &PageContext, id: Ulid, mut spool: Spool, purpose: Purpose) -> Result<String, Failure> {
    let (portal, now) = (&page.caller.portal, page.caller.portal.clock.now());
    spool.rest();
    let by = page.may().identity().user.clone();
    let staged = Staged { by, bucket: page.caller.fleet.name.clone(), purpose, spool, until: now + WAITS_FOR };
    portal.shelf.put(id, staged, now)?;
    Ok(format!("/uploads/{id}"))
}

fn gone(id: &str) -> Failure {
    let detail = format!(
        "upload {id} does not wait here: it was confirmed or discarded, it is older than {} minutes, this controller was \
         started anew, or another controller took it",
        WAITS_FOR.num_minutes()
    );
    Failure::new(StatusCode::GONE, "upload_gone", detail)
}

fn is_under_way() -> Failure {
    let detail = "it is on its way into the bucket already; look at what is there in a moment";
    Failure::new(StatusCode::CONFLICT, "upload_under_way", detail)
}

impl Waiting {
    fn find(page: &PageContext, UploadPath { id }: UploadPath) -> Result<Self, Failure> {
        page.may().need_anywhere(Role::Editor, "uploads")?;
        let (portal, user) = (&page.caller.portal, &page.may().identity().user);
        let found = Ulid::from_string(&id).ok().and_then(|of| {
            let staged = portal.shelf.find(of, user, &page.caller.fleet.name, portal.clock.now())?;
            Some(Self { id: of, staged })
        });
        found.ok_or_else(|| gone(&id))
    }

    fn take(&self, page: &PageContext) -> Result<Taken, Failure> {
        page.caller.portal.shelf.take(self.id).ok_or_else(is_under_way)
    }
}

/// `GET /uploads/{id}`
async fn review(page: PageContext, Path(path): Path<UploadPath>, asked: Asked) -> Result<Response, Failure> {
    let waiting = Waiting::find(&page, path)?;
    match &waiting.staged.purpose {
        Purpose::Release(release) => release::review(&page, &waiting, release, &asked).await,
        Purpose::Override { cell, path, seen } => {
            replacement::review(&page, &waiting, (cell, path), &Sent { seen: seen.clone(), ..Sent::default() }, None)
                .await
        }
        Purpose::Bundle { called } => bundle::review(&page, &waiting, called, &Sent::default(), None).await,
    }
}

/// `POST /uploads/{id}`
async fn confirm(
    page: PageContext,
    Path(path): Path<UploadPath>,
    asked: Asked,
    headers: HeaderMap,
    form: Result<Form<Sent>, FormRejection>,
) -> Result<Response, Failure> {
    let waiting = Waiting::find(&page, path)?;
    let Form(sent) = form.map_err(|error| Failure::bad_request("invalid_form", error.body_text()))?;
    page.caller.check_writable()?;
    match &waiting.staged.purpose {
        Purpose::Release(release) => {
            release::confirm(&page, &waiting, release, &asked, &sent, wants_lines(&headers)).await
        }
        Purpose::Override { cell, path, .. } => replacement::confirm(&page, &waiting, (cell, path), &sent).await,
        Purpose::Bundle { called } => bundle::confirm(&page, &waiting, called, &sent).await,
    }
}

/// `POST /uploads/{id}/discard`
async fn discard(page: PageContext, Path(path): Path<UploadPath>) -> Result<Response, Failure> {
    let waiting = Waiting::find(&page, path)?;
    let back = match &waiting.staged.purpose {
        Purpose::Release(_) => "/deployments".to_owned(),
        Purpose::Override { cell, .. } => format!("/cells/{cell}/overrides"),
        Purpose::Bundle { .. } => "/bundles".to_owned(),
    };
    waiting.take(&page)?.done();
    Ok(page.lead_to(&back))
}
