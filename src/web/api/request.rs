//! What a request to the API carries, and how it is refused where it carries something else.

use std::fmt;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::failure::Failure;
use super::answer;
use crate::access::AccessError;
use crate::controller::{ControllerError, Known};
use crate::model::{FilePath, Sha256Digest};
use crate::store::ETag;

/// The parts of a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Of<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(error) => Err(Failure::bad_request("invalid_name", error.body_text())),
        }
    }
}

/// What stands behind the path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(Failure::bad_request("invalid_query", error.body_text())),
        }
    }
}

/// A JSON document.
#[derive(Debug)]
pub(super) struct Sent<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Sent<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        // Browsers send forms of other pages under three types, and this is none of them.
        check_type(request.headers(), &["application/json"])?;
        let bytes = whole(request, state).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            Failure::bad_request("invalid_json", format!("the body is not what this operation takes: {error}"))
        })
    }
}

/// A YAML document, as it was written.
#[derive(Debug)]
pub(super) struct Yaml(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for Yaml {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        check_type(request.headers(), &["application/yaml", "application/x-yaml", "text/yaml"])?;
        let bytes = whole(request, state).await?;
        let text = String::from_utf8(bytes.into());
        text.map(Self).map_err(|error| Failure::bad_request("invalid_yaml", format!("the body is no UTF-8: {error}")))
    }
}

/// Bytes of any kind.
#[derive(Debug)]
pub(super) struct Raw(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        check_type(request.headers(), &["application/octet-stream"])?;
        whole(request, state).await.map(Self)
    }
}

/// The body, up to the limit that the route sets.
async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    Bytes::from_request(request, state).await.map_err(|error| {
        let code = if error.status() == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "invalid_body" };
        Failure::new(error.status(), code, error.body_text())
    })
}

fn check_type(headers: &HeaderMap, expected: &[&str]) -> Result<(), Failure> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if expected.iter().any(|kind| kind.eq_ignore_ascii_case(essence)) {
        return Ok(());
    }
    let detail = format!("the body must come as Content-Type: {}, and not as {essence:?}", expected[0]);
    Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type", detail))
}

/// What the caller knows of the object that it changes: `If-Match` or `If-None-Match: *`.
#[derive(Debug, Clone)]
pub(super) struct Precondition(pub(super) Known);

impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let text = |name| parts.headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default().trim());
        match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
            (None, Some("*")) => Ok(Self(Known::Absent)),
            (Some(tag), None) if tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2 && !tag.contains(',') => {
                Ok(Self(Known::Tag(ETag::from(tag.to_owned()))))
            }
            (None, None) => {
                let detail = "say what is known of it: If-Match with the ETag that was read, or If-None-Match: * for \
                    one that is new";
                Err(Failure::new(StatusCode::PRECONDITION_REQUIRED, "precondition_required", detail))
            }
            _ => Err(Failure::bad_request(
                "invalid_precondition",
                "expected either If-Match with one ETag in quotes, or If-None-Match: *",
            )),
        }
    }
}

/// The same where nothing has to be said of it: `If-Match`, or nothing.
#[derive(Debug, Clone)]
pub(super) struct IfKnown(pub(super) Known);

impl<S: Send + Sync> FromRequestParts<S> for IfKnown {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let is_said = |name| parts.headers.contains_key(name);
        if !is_said(header::IF_MATCH) && !is_said(header::IF_NONE_MATCH) {
            return Ok(Self(Known::Anything));
        }
        match Precondition::from_request_parts(parts, state).await?.0 {
            Known::Absent => Err(Failure::bad_request("invalid_precondition", "what is absent cannot be changed")),
            known => Ok(Self(known)),
        }
    }
}

impl IfKnown {
    /// Whether the caller says what is known.
    pub(super) fn is_said(&self) -> bool {
        self.0 != Known::Anything
    }

    /// Refuses a change of what is no longer `now` as a GET of it answered.
    pub(super) fn check(&self, what: impl fmt::Display, now: &impl Serialize) -> Result<(), Failure> {
        match &self.0 {
            Known::Tag(tag) if *tag != answer::tag(now)? => {
                let error = ControllerError::Changed { what: what.to_string() };
                Err(self.failed(error).with("now", now))
            }
            _ => Ok(()),
        }
    }

    /// The digest of the entry of a signed list that the caller knows. A tag that was never given is no entry's.
    pub(super) fn digest(&self) -> Option<Sha256Digest> {
        let Known::Tag(tag) = &self.0 else { return None };
        let of_another = |_| Sha256Digest::of(tag.as_str().as_bytes());
        Some(tag.as_str().trim_matches('"').parse().unwrap_or_else(of_another))
    }

    /// The failure of a write that was sent with it.
    pub(super) fn failed(&self, error: impl Into<AccessError>) -> Failure {
        match self.0 {
            Known::Tag(_) => unless_it_held(error),
            Known::Absent | Known::Anything => error.into().into(),
        }
    }

    /// The same with what is there now, where that is why.
    pub(super) async fn failed_at<T: Serialize>(
        &self,
        error: impl Into<AccessError>,
        now: impl Future<Output = Option<T>>,
    ) -> Failure {
        with_now(self.failed(error), now).await
    }
}

/// The failure of a write that was sent with a [`Precondition`]: that it did not hold is told by its own status.
pub(super) fn unless_it_held(error: impl Into<AccessError>) -> Failure {
    let error = error.into();
    match &error {
        AccessError::Controller(ControllerError::Changed { .. }) => {
            Failure::new(StatusCode::PRECONDITION_FAILED, "changed", error.to_string())
        }
        _ => error.into(),
    }
}

/// The same with what is there now.
pub(super) async fn unless_it_held_at<T: Serialize>(
    error: impl Into<AccessError>,
    now: impl Future<Output = Option<T>>,
) -> Failure {
    with_now(unless_it_held(error), now).await
}

/// Tells what is there now, where that is why it failed.
async fn with_now<T: Serialize>(failure: Failure, now: impl Future<Output = Option<T>>) -> Failure {
    match failure.status() {
        StatusCode::PRECONDITION_FAILED => failure.with("now", now.await),
        _ => failure,
    }
}

/// A text that must be something else, and what it is called in the request.
pub(super) fn parse<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, Failure>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|error| Failure::bad_request("invalid_query", format!("{name}: {error}")))
}

/// The path of a file.
pub(super) fn file_path(text: &str) -> Result<FilePath, Failure> {
    FilePath::new(text).map_err(|error| Failure::bad_request("invalid_name", error.to_string()))
}
