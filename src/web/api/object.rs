//! One object of the bucket: what it is, what it holds, and whether that is right.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::app::Portal;
use super::super::caller::Caller;
use super::super::download;
use super::super::failure::Failure;
use super::super::paths::object_key;
use super::answer::Has;
use super::operation::{Content, Operation, Operations};
use super::request::Asked;
use crate::controller::{Reference, about_key, rule_in_words};
use crate::model::fleet::{Finding, Verdict};

pub(super) fn operations() -> Operations {
    Operations::of("Bucket")
        .get(
            "/api/v1/object",
            object,
            Operation::new("getObject", "viewer", "Tells what an object is, what it names and what names it.")
                .query::<Wanted>()
                .gives::<ObjectDetail>(),
        )
        .get(
            "/api/v1/object/content",
            content,
            Operation::new(
                "getObjectContent",
                "viewer",
                "Gives the bytes of an object; of the list of users, to admins.",
            )
            .query::<Wanted>()
            .answer(Content::Bytes)
            .cli("fleetman bucket cat {key}"),
        )
        .get(
            "/api/v1/object/verification",
            verify,
            Operation::new(
                "verifyObject",
                "viewer",
                "Compares an object with what the rest of the bucket says that it is.",
            )
            .query::<Wanted>()
            .gives::<Verification>()
            .cli("fleetman bucket verify {key}"),
        )
}

/// Which object.
#[derive(Debug, Deserialize, JsonSchema)]
struct Wanted {
    /// Its key, below the fleet's prefix.
    key: String,
}

/// An object of the bucket.
#[derive(Debug, Serialize, JsonSchema)]
struct ObjectDetail {
    /// Its key, below the fleet's prefix.
    key: String,
    /// What it is for.
    purpose: &'static str,
    /// Who writes it.
    writer: &'static str,
    /// How it may be written, in words.
    rule: Option<&'static str>,
    /// In bytes.
    size: u64,
    /// The store's name for its bytes.
    etag: String,
    /// When the store took it, by the store's clock.
    last_modified: Option<DateTime<Utc>>,
    /// What it names.
    names: Vec<Related>,
    /// What names it.
    named_by: Vec<Related>,
    /// Whether there may be more of these than were looked at.
    is_cut: bool,
}

/// An object that hangs together with another.
#[derive(Debug, Serialize, JsonSchema)]
struct Related {
    /// Its key.
    key: String,
    /// How the two hang together, in words.
    how: String,
}

/// What an object was compared with, and what came of it.
#[derive(Debug, Serialize, JsonSchema)]
struct Verification {
    /// The worst of the findings; absent if nothing in the bucket says what this object should be.
    verdict: Option<Verdict>,
    /// What was looked at.
    findings: Vec<Finding>,
}

/// A caller who may look at the bucket: found out before anything is said of the key.
struct Looker(Caller);

impl FromRequestParts<Arc<Portal>> for Looker {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, portal: &Arc<Portal>) -> Result<Self, Failure> {
        let caller = Caller::from_request_parts(parts, portal).await?;
        caller.may.check_bucket()?;
        Ok(Self(caller))
    }
}

impl From<Reference> for Related {
    fn from(reference: Reference) -> Self {
        Self { key: reference.key.relative(), how: reference.how }
    }
}

async fn object(Looker(caller): Looker, has: Has, Asked(wanted): Asked<Wanted>) -> Result<Response, Failure> {
    let key = object_key(&wanted.key)?;
    let meta = caller.may.object(&key).await?;
    let references = caller.may.references(&key).await?;
    let about = about_key(&key);
    has.json(&ObjectDetail {
        key: key.relative(),
        purpose: about.purpose,
        writer: about.writer,
        rule: about.rule.map(rule_in_words),
        size: meta.size,
        etag: meta.etag.to_string(),
        last_modified: meta.last_modified,
        names: references.names.into_iter().map(Related::from).collect(),
        named_by: references.named_by.into_iter().map(Related::from).collect(),
        is_cut: references.is_cut,
    })
}

async fn content(Looker(caller): Looker, has: Has, Asked(wanted): Asked<Wanted>) -> Result<Response, Failure> {
    let key = object_key(&wanted.key)?;
    let (meta, stream) = caller.may.open_object(&key).await?;
    let response = download::file(&key.relative(), meta.size, download::streamed(stream));
    Ok(has.download(response, meta.etag.as_str()))
}

async fn verify(Looker(caller): Looker, has: Has, Asked(wanted): Asked<Wanted>) -> Result<Response, Failure> {
    let findings = caller.may.verify_object(&object_key(&wanted.key)?).await?;
    has.json(&Verification { verdict: findings.iter().map(|finding| finding.verdict).max(), findings })
}
