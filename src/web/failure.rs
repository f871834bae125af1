//! Why a request has no answer: a page for people, `application/problem+json` (RFC 9457) for programs.

use std::fmt;
use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::address::with_query;
use super::app::{Fleet, Portal};
use super::assets;
use super::caller::Caller;
use super::page::PageContext;
use super::shell::{Nav, Shell};
use super::typed::Typed;
use crate::access::{AccessError, Authorized, Denied, Identity, Source};
use crate::controller::{ControllerError, SpoolError};
use crate::model::name::NameError;
use crate::store::{Call, ErrorKind, in_full};

/// Why a request has no answer.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Failure {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    /// What programs compare.
    code: String,
    detail: String,
    // Boxed, because results that hold a failure are moved about a lot.
    #[serde(flatten)]
    advice: Box<Advice>,
    /// What programs need besides, by name.
    #[serde(flatten)]
    members: Members,
}

/// What is to be done about it, as far as that is known.
#[derive(Debug, Clone, Default, Serialize)]
struct Advice {
    /// Whether the same request may succeed later without anybody changing anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<bool>,
    /// What was asked of the store, if that is what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Call>,
    /// What people may try.
    #[serde(skip)]
    help: &'static str,
}

type Members = serde_json::Map<String, serde_json::Value>;

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        let (code, detail) = (code.to_owned(), detail.into());
        let help = match status {
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => {
                "Nothing was changed. Go back, look at what is there now, and decide again."
            }
            StatusCode::GONE => {
                "Send the files again. Where several controllers share an address, its proxy has to lead each browser to \
                 the same one every time."
            }
            StatusCode::NOT_FOUND => "It may have been deleted meanwhile. The search finds what there is.",
            _ => "",
        };
        let advice = Box::new(Advice { help, ..Advice::default() });
        Self { kind: "about:blank", title, status, code, detail, advice, members: Members::new() }
    }

    /// The same with something that programs need besides.
    pub(super) fn with(mut self, name: &str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.members.insert(name.to_owned(), value);
        }
        self
    }

    pub(super) fn not_found(what: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what}"))
    }

    pub(super) fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// The bucket has not answered yet, or no longer does.
    pub(super) fn unavailable(why: impl Into<String>) -> Self {
        let help = "The page comes once the bucket answers.";
        let mut failure = Self::new(StatusCode::SERVICE_UNAVAILABLE, "bucket_unavailable", why);
        *failure.advice = Advice { help, retry: Some(true), store: None };
        failure
    }

    /// Nothing can be changed at present; whether waiting may help.
    pub(super) fn read_only(why: impl Into<String>, retry: bool) -> Self {
        let mut failure = Self::new(StatusCode::SERVICE_UNAVAILABLE, "read_only", why);
        failure.advice.retry = Some(retry);
        failure
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
    }

    /// Nobody is signed in: people are led to the sign-in page, programs are told.
    pub(super) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "sign in, or send a token: Authorization: Bearer fm_…")
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    fn title(&self) -> &'static str {
        self.title
    }

    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// What people may try.
    fn help(&self) -> &'static str {
        self.advice.help
    }

    /// Whether it is worth trying again, in a sentence.
    fn outlook(&self) -> &'static str {
        match self.advice.retry {
            Some(true) => "Trying again later may help: nothing has to be changed for it.",
            Some(false) => "Trying again does not help before that is mended.",
            None => "",
        }
    }

    fn store(&self) -> Option<&Call> {
        self.advice.store.as_ref()
    }

    /// Whether the doctor may know more.
    fn is_of_store(&self) -> bool {
        self.advice.store.is_some() || self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// The command that gets further, for whoever asked for this path.
    fn command(&self, path: &str) -> &'static str {
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            return "fleetman doctor";
        }
        match path.split('/').nth(1).unwrap_or_default() {
            "agents" => "fleetman get nodes",
            "cells" => "fleetman get cells",
            "manifests" => "fleetman get manifests",
            "deployments" => "fleetman get deployments",
            "uploads" => "fleetman upload <manifest> <folder>",
            "buckets" => "fleetman bucket ls",
            "audit" => "fleetman audit",
            "settings" => "fleetman config show",
            _ => "fleetman status",
        }
    }
}

impl From<ControllerError> for Failure {
    fn from(error: ControllerError) -> Self {
        let status = match &error {
            ControllerError::Spool(SpoolError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let mut failure = Self::new(status, error.code(), in_full(&error));
        if let Some(error) = error.of_store() {
            failure.advice.store = error.call().cloned();
            failure.advice.retry = Some(error.is_transient());
        }
        match (error.kind(), &failure.advice.store) {
            (ErrorKind::Denied, Some(_)) => {
                failure.advice.help =
                    "The store refuses what this controller asks of it. Its credentials need the right to do it.";
            }
            (ErrorKind::Tampered, _) => {
                failure.advice.help =
                    "What lies in the bucket is not what was signed. Find out who wrote it before anything is tried.";
            }
            _ => {}
        }
        match &error {
            // Each error with its place.
            ControllerError::Recipe(recipe) => {
                let places: Vec<_> = recipe.errors().iter().map(|error| &**error).collect();
                failure.with("errors", places)
            }
            _ => failure,
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let help = "Somebody with the role admin can change what you may do, under Settings.";
        let mut failure = Self::new(StatusCode::FORBIDDEN, "denied", denied.to_string());
        failure.advice.help = help;
        failure
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied(denied) => denied.into(),
            AccessError::Controller(error) => error.into(),
        }
    }
}

impl From<FormRejection> for Failure {
    fn from(error: FormRejection) -> Self {
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(error.status(), "too_large", error.body_text()),
            _ => Self::bad_request("invalid_form", error.body_text()),
        }
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::bad_request("invalid_name", error.to_string())
    }
}

impl From<askama::Error> for Failure {
    fn from(error: askama::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "template", format!("the page cannot be made: {error}"))
    }
}

impl IntoResponse for Failure {
    /// As programs read it. What is no request of a program, [`dress`] makes a page of.
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(&self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// For whoever is not signed in.
#[derive(Template)]
#[template(path = "failure.html")]
struct BarePage<'a> {
    failure: &'a Failure,
    css: String,
    icon: String,
    /// What stands before the paths of the bucket that was meant.
    base: &'a str,
    /// Path and query of what was asked for, with the bucket's prefix.
    asked: &'a str,
    /// What was sent there, if it can be sent again.
    typed: Typed,
    may_try: bool,
    may_ask_doctor: bool,
    command: &'static str,
}

/// For somebody: with the way to everything else around it.
#[derive(Template)]
#[template(path = "failure_in.html")]
struct Page<'a> {
    shell: Shell,
    failure: &'a Failure,
    base: &'a str,
    asked: &'a str,
    typed: Typed,
    may_try: bool,
    may_ask_doctor: bool,
}

/// What takes the place of the part of a page that changes by itself, until it can be made again.
#[derive(Template)]
#[template(path = "failure_part.html")]
struct Part<'a> {
    failure: &'a Failure,
    /// Where it is asked for again.
    url: &'a str,
    /// Where to sign in, if that is what is missing.
    sign_in: Option<&'a str>,
}

/// Makes pages of failures where people asked, and leads whoever is not signed in to the sign-in page.
pub(super) async fn dress(State(portal): State<Arc<Portal>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let by_program = path.starts_with("/api/") || path == "/readyz" || path == "/metrics" || path == "/live";
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str()).to_owned();
    let method = request.method().clone();
    let is_fragment = request.headers().contains_key(super::page::FRAGMENT);
    let (typed, request) = if by_program { (Typed::default(), request) } else { Typed::of(request).await };
    let fleet = request.extensions().get::<Arc<Fleet>>().unwrap_or_else(|| portal.first()).clone();
    let base = fleet.base.clone();
    let response = next.run(request).await;
    let Some(failure) = response.extensions().get::<Arc<Failure>>().cloned() else { return response };
    if by_program {
        return response;
    }
    let asked = format!("{base}{asked}");
    let must_sign_in =
        failure.status == StatusCode::UNAUTHORIZED && failure.code == "unauthenticated" && method == Method::GET;
    let sign_in = must_sign_in.then(|| with_query("/sign-in", [("next", asked.as_str())]));
    let made = match &sign_in {
        // What somebody is typing beside the part that is fetched again is not lost.
        _ if is_fragment => Part { failure: &failure, url: &asked, sign_in: sign_in.as_deref() }.render(),
        Some(sign_in) => return axum::response::Redirect::to(sign_in).into_response(),
        None => {
            let command = failure.command(&path);
            // What is wrong in itself is not worth sending again.
            let is_kept = failure.advice.retry == Some(true) || failure.status == StatusCode::UNAUTHORIZED;
            let typed = if is_kept { typed } else { Typed::default() };
            let may_try = method == Method::GET && failure.status.is_server_error();
            let (base, asked, failure) = (&*base, &*asked, &*failure);
            match response.extensions().get::<Arc<Identity>>().cloned() {
                Some(identity) => {
                    let may = Authorized::new(fleet.controller.clone(), identity, Source::Portal, "");
                    let caller = Caller { portal: portal.clone(), fleet, may };
                    let nav = Nav::of(&path);
                    let shell =
                        PageContext::of_failed(caller, path, asked.to_owned()).shell(failure.title, nav, command);
                    let may_ask_doctor = failure.is_of_store() && shell.is_admin();
                    Page { shell, failure, base, asked, typed, may_try, may_ask_doctor }.render()
                }
                None => {
                    let (css, icon) = (assets::path("app.css"), assets::path("icon.svg"));
                    let may_ask_doctor = false;
                    BarePage { failure, css, icon, base, asked, typed, may_try, may_ask_doctor, command }.render()
                }
            }
        }
    };
    match made {
        Ok(page) => {
            let mut dressed = (failure.status, axum::response::Html(page)).into_response();
            for (name, value) in response.headers() {
                if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
                    dressed.headers_mut().insert(name, value.clone());
                }
            }
            dressed
        }
        Err(_) => response,
    }
}
