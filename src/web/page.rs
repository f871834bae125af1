//! What a handler of a page gets, and how it answers.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::app::{Fleet, Portal};
use super::caller::Caller;
use super::failure::Failure;
use super::shell::{BucketLink, Nav, Shell};
use crate::access::Authorized;
use crate::controller::FleetView;
use crate::model::Sha256Digest;

/// Asks for the part of a page that changes by itself.
pub(super) const FRAGMENT: HeaderName = HeaderName::from_static("fleetman-fragment");

/// The digest of the part that a page shows, in the words of htmx's ptag extension.
const PTAG: HeaderName = HeaderName::from_static("hx-ptag");

/// What a handler of a page gets.
#[derive(Debug)]
pub(super) struct PageContext {
    pub(super) caller: Caller,
    url: String,
    path: String,
    is_fragment: bool,
    known: Option<HeaderValue>,
}

impl FromRequestParts<Arc<Portal>> for PageContext {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, portal: &Arc<Portal>) -> Result<Self, Failure> {
        let caller = Caller::from_request_parts(parts, portal).await?;
        let asked = parts.uri.path_and_query().map_or("/", |asked| asked.as_str());
        Ok(Self {
            url: format!("{}{asked}", caller.fleet.base),
            path: parts.uri.path().to_owned(),
            is_fragment: parts.headers.get(FRAGMENT).is_some_and(|part| part == "live"),
            known: parts.headers.get(PTAG).cloned(),
            caller,
        })
    }
}

impl PageContext {
    /// For a page about a request that failed; `path` is without the prefix of the bucket.
    pub(super) fn of_failed(caller: Caller, path: String, url: String) -> Self {
        Self { caller, url, path, is_fragment: false, known: None }
    }

    /// What is seen of the fleet, as it was read last.
    pub(super) fn view(&self) -> Result<Arc<FleetView>, Failure> {
        self.caller.view()
    }

    /// The fleet in the hands of who asks.
    pub(super) fn may(&self) -> &Authorized {
        &self.caller.may
    }

    /// What stands around a page. `cli` is the command that shows or does the same.
    pub(super) fn shell(&self, title: impl Into<String>, nav: Nav, cli: impl Into<String>) -> Shell {
        let Caller { portal, fleet: own, may } = &self.caller;
        // Settings are those of the whole portal, and their first page is not everybody's.
        let section = self.path.split('/').nth(1).filter(|section| *section != "settings").unwrap_or_default();
        let link = |fleet: &Arc<Fleet>| BucketLink {
            name: fleet.name.clone(),
            // Only the sections are the same in every bucket.
            href: format!("{}/{section}", fleet.base),
            is_current: Arc::ptr_eq(fleet, own),
        };
        Shell {
            title: title.into(),
            nav,
            bucket: own.name.clone(),
            buckets: portal.fleets.iter().map(link).collect(),
            user: may.identity().user.to_string(),
            identity: may.identity().clone(),
            alarms: portal.alarms().into_iter().chain(own.alarm()).collect(),
            read_only: self.caller.read_only(),
            cli: cli.into(),
            age: own.snapshot.age(),
            url: self.url.clone(),
            is_fragment: self.is_fragment,
            is_live: false,
            now: portal.clock.now(),
            base: own.base.clone(),
            open_alerts: may.open_alerts(&own.alerts.known().alerts),
        }
    }

    /// The same for a page with a part that changes by itself.
    pub(super) fn live_shell(&self, title: impl Into<String>, nav: Nav, cli: impl Into<String>) -> Shell {
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

    /// The address of a page of the same bucket.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.caller.fleet.base)
    }

    /// Leads to another page of the same bucket, after something was done.
    pub(super) fn lead_to(&self, path: &str) -> Response {
        Redirect::to(&self.link(path)).into_response()
    }
}
