//! Bundles: versions in a file, for sites that no network reaches.

use axum::Json;
use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::pages::{download_bundle, load_bundle, receive_bundle};
use super::idempotency::Key;
use super::operation::{Content, Operation, Operations};
use super::request::Asked;
use crate::controller::BundlePlan;

pub(super) fn operations() -> Operations {
    Operations::of("Bundles")
        .get(
            "/api/v1/bundle",
            save,
            Operation::new("saveBundle", "viewer", "Gives versions with all that belongs to them as one file.")
                .query::<Which>()
                .answer(Content::Bytes)
                .cli("fleetman bundle save bundle.tar {node}/{cell}"),
        )
        .add(
            "POST",
            "/api/v1/bundle",
            Operation::new(
                "loadBundle",
                "admin",
                "Verifies all of a bundle, which is sent as `file`, and puts it into the bucket.",
            )
            .query::<How>()
            .body(Content::Files)
            .gives::<Done>()
            .cli("fleetman bundle load {file}"),
            |routes| routes.add("POST", "/api/v1/bundle", post(load).layer(DefaultBodyLimit::disable())),
        )
}

/// Which versions.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// `<node>/<cell>` for the one that is desired, or `<node>/<cell>@<version>`, with commas between them.
    versions: String,
}

/// How it is loaded.
#[derive(Debug, Deserialize, JsonSchema)]
struct How {
    /// Whether it is only verified and told what loading it would do.
    dry_run: Option<bool>,
    /// Why, for the audit.
    reason: Option<String>,
}

/// What was verified, and what came of it.
#[derive(Debug, Serialize, JsonSchema)]
struct Done {
    /// What is in it, and how the bucket stood before.
    #[serde(flatten)]
    plan: BundlePlan,
    /// What was put into the bucket, unless it was only to be verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded: Option<Loaded>,
}

/// What was put into the bucket.
#[derive(Debug, Serialize, JsonSchema)]
struct Loaded {
    /// Files that had to be sent.
    sent: usize,
    /// Documents that were not there before.
    created: usize,
}

async fn save(caller: Caller, Asked(which): Asked<Which>) -> Result<Response, Failure> {
    download_bundle(&caller, &which.versions).await
}

async fn load(caller: Caller, Asked(how): Asked<How>, key: Key, request: Request) -> Result<Response, Failure> {
    let path = request.uri().clone();
    let bundle = receive_bundle(&caller, request).await?;
    let (sent, act) = (bundle.0.spool.digest(), caller.clone());
    let act = async move {
        let (only_look, reason) = (how.dry_run.unwrap_or(false), how.reason.unwrap_or_default());
        let (plan, loaded) = load_bundle(&act, &reason, only_look, bundle).await?;
        let loaded = loaded.map(|loaded| Loaded { sent: loaded.sent, created: loaded.created });
        Ok::<_, Failure>(Json(Done { plan, loaded }))
    };
    key.once(&caller, &path, sent, async { act.await.into_response() }).await
}
