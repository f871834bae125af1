//! What a handler of a page gets, and how it answers.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::app::{Fleet, Portal};
use super::failure::Failure;
use super::shell::{BucketLink, Nav, Shell};
use crate::controller::FleetView;
use crate::model::Sha256Digest;

/// Asks for the part of a page that changes by itself.
const FRAGMENT: HeaderName = HeaderName::from_static("fleetman-fragment");

/// The digest of the part that a page shows, in the words of htmx's ptag extension.
const PTAG: HeaderName = HeaderName::from_static("hx-ptag");

/// What a handler of a page gets.
#[derive(Debug)]
pub(super) struct PageContext {
    pub(super) portal: Arc<Portal>,
    pub(super) fleet: Arc<Fleet>,
    url: String,
    path: String,
    is_fragment: bool,
    known: Option<HeaderValue>,
}

impl FromRequestParts<Arc<Portal>> for PageContext {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, portal: &Arc<Portal>) -> Result<Self, Failure> {
        let fleet = parts.extensions.get::<Arc<Fleet>>().unwrap_or_else(|| portal.first()).clone();
        let asked = parts.uri.path_and_query().map_or("/", |asked| asked.as_str());
        Ok(Self {
            portal: portal.clone(),
            url: format!("{}{asked}", fleet.base),
            path: parts.uri.path().to_owned(),
            is_fragment: parts.headers.get(FRAGMENT).is_some_and(|part| part == "live"),
            known: parts.headers.get(PTAG).cloned(),
            fleet,
        })
    }
}

impl PageContext {
    /// The fleet as it was read last.
    pub(super) fn view(&self) -> Result<Arc<FleetView>, Failure> {
        self.fleet.snapshot.view().map_err(Failure::unavailable)
    }

    /// What stands around a page. `cli` is the command that shows or does the same.
    pub(super) fn shell(&self, title: impl Into<String>, nav: Nav, cli: impl Into<Option<String>>) -> Shell {
        let age = self.fleet.snapshot.age();
        let read_only = match &age.problem {
            Some(problem) => Some(format!("the bucket does not answer: {problem}")),
            None => self.fleet.unsigned_reason.clone(),
        };
        let link = |fleet: &Arc<Fleet>| BucketLink {
            name: fleet.name.clone(),
            // Only the sections are the same in every bucket.
            href: format!("{}/{}", fleet.base, self.path.split('/').nth(1).unwrap_or_default()),
            is_current: Arc::ptr_eq(fleet, &self.fleet),
        };
        Shell {
            title: title.into(),
            nav,
            bucket: self.fleet.name.clone(),
            buckets: self.portal.fleets.iter().map(link).collect(),
            user: String::new(),
            is_admin: true,
            alarms: Vec::new(),
            read_only,
            cli: cli.into(),
            age,
            url: self.url.clone(),
            is_fragment: self.is_fragment,
            is_live: false,
            now: self.portal.clock.now(),
            base: self.fleet.base.clone(),
        }
    }

    /// The same for a page with a part that changes by itself.
    pub(super) fn live_shell(&self, title: impl Into<String>, nav: Nav, cli: impl Into<Option<String>>) -> Shell {
        Shell { is_live: true, ..self.shell(title, nav, cli) }
    }

    /// Answers with a page; or, where only the part that changes was asked for and is what the browser has, with 304.
    pub(super) fn render(&self, page: &impl Template) -> Result<Response, Failure> {
        self.render_with(StatusCode::OK, page)
    }

    pub(super) fn render_with(&self, status: StatusCode, page: &impl Template) -> Result<Response, Failure> {
        let text = page.render()?;
        let vary = [(header::VARY, HeaderValue::from_name(FRAGMENT))];
        if !self.is_fragment {
            return Ok((status, vary, Html(text)).into_response());
        }
        let digest = Sha256Digest::of(text.as_bytes()).to_string();
        if self.known.as_ref().is_some_and(|known| known == digest.as_str()) {
            return Ok((StatusCode::NOT_MODIFIED, vary).into_response());
        }
        Ok((status, vary, [(PTAG, digest)], Html(text)).into_response())
    }

    /// Leads to another page of the same bucket, after something was done.
    pub(super) fn lead_to(&self, path: &str) -> Response {
        Redirect::to(&format!("{}{path}", self.fleet.base)).into_response()
    }
}
