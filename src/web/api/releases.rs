//! Deployments: the files that versions are made of.

use axum::Json;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::pages::ArrivedRelease;
use super::super::views::{Release, ReleaseDetail};
use super::answer::{Has, List, Page};
use super::fleet::Deleted;
use super::idempotency::Key;
use super::operation::{Condition, Content, Operation, Operations};
use super::request::{Asked, IfKnown, Of, parse};
use crate::controller::{self, Known, ReleaseName};
use crate::model::users::Role;
use crate::model::{DeploymentName, ManifestName, Sha256Digest};

pub(super) fn operations() -> Operations {
    Operations::of("Deployments")
        .get(
            "/api/v1/deployments",
            deployments,
            Operation::new("listDeployments", "viewer", "Lists the releases.")
                .query::<Page>()
                .query::<Filter>()
                .gives::<List<Release>>()
                .cli("fleetman get deployments"),
        )
        .get(
            "/api/v1/deployments/{manifest}/{deployment}",
            deployment,
            Operation::new("getDeployment", "viewer", "Gives a release with the list of its files.")
                .gives::<ReleaseDetail>(),
        )
        .add(
            "POST",
            "/api/v1/deployments/{manifest}",
            Operation::new("uploadDeployment", "editor", "Makes a release of files, each sent under its path.")
                .body(Content::Files)
                .status(StatusCode::CREATED)
                .also(StatusCode::OK)
                .gives::<Uploaded>()
                .cli("fleetman upload {manifest} folder"),
            |routes| {
                routes.add("POST", "/api/v1/deployments/{manifest}", post(upload).layer(DefaultBodyLimit::disable()))
            },
        )
        .delete(
            "/api/v1/deployments/{manifest}/{deployment}",
            delete_deployment,
            Operation::new(
                "deleteDeployment",
                "admin",
                "Deletes a release; versions have their own copies of its files.",
            )
            .condition(Condition::MayMatch)
            .gives::<Deleted>()
            .cli("fleetman delete deployment {manifest} {deployment}"),
        )
}

/// Which releases.
#[derive(Debug, Deserialize, JsonSchema)]
struct Filter {
    /// Only those of this manifest.
    #[schemars(with = "Option<String>")]
    manifest: Option<ManifestName>,
}

/// A release that is in the bucket.
#[derive(Debug, Serialize, JsonSchema)]
struct Uploaded {
    /// For which manifest.
    manifest: ManifestName,
    /// Its name.
    deployment: DeploymentName,
    /// What it is.
    content_sha256: Sha256Digest,
    /// How many files it has.
    files: usize,
    /// Their bytes together.
    bytes: u64,
    /// Whether this request made it; false if it was there with the same content.
    is_new: bool,
    /// How many files were sent to the store; the others were there.
    sent_files: usize,
}

impl From<controller::Uploaded> for Uploaded {
    fn from(uploaded: controller::Uploaded) -> Self {
        let controller::Uploaded { manifest, deployment, content_sha256, files, bytes, is_new, sent_files } = uploaded;
        Self { manifest, deployment, content_sha256, files, bytes, is_new, sent_files }
    }
}

/// A manifest that a release is for.
#[derive(Debug, Deserialize)]
struct For {
    manifest: ManifestName,
}

/// A release.
#[derive(Debug, Deserialize)]
struct Named {
    manifest: ManifestName,
    deployment: DeploymentName,
}

/// How a page says where the next one begins.
fn cursor((manifest, name): &ReleaseName) -> String {
    format!("{manifest}/{name}")
}

fn read_cursor(after: &str) -> Result<ReleaseName, Failure> {
    let (manifest, name) = after.split_once('/').unwrap_or((after, ""));
    Ok((parse("after", manifest)?, parse("after", name)?))
}

async fn deployments(
    caller: Caller,
    has: Has,
    Asked(page): Asked<Page>,
    Asked(filter): Asked<Filter>,
) -> Result<Response, Failure> {
    let after = page.after.as_deref().map(read_cursor).transpose()?;
    let (reader, limit) = (&caller.fleet.releases, page.limit()?);
    let found = caller.may.release_page(reader, filter.manifest.as_ref(), after.as_ref(), limit).await?;
    let items = found.releases.iter().map(|release| Release::from(&**release)).collect();
    has.json(&List { items, total: Some(found.total), next: found.next.as_ref().map(cursor), snapshot_at: None })
}

async fn deployment(caller: Caller, has: Has, Of(named): Of<Named>) -> Result<Response, Failure> {
    has.json(&find(&caller, &named).await?)
}

async fn find(caller: &Caller, named: &Named) -> Result<ReleaseDetail, Failure> {
    let view = caller.may.view_deployment(&named.manifest, &named.deployment).await?;
    Ok(ReleaseDetail::from(&view))
}

/// The fields `name`, `note` and `executables` (patterns) come before the files.
async fn upload(
    caller: Caller,
    Of(For { manifest }): Of<For>,
    headers: HeaderMap,
    key: Key,
    request: Request,
) -> Result<Response, Failure> {
    // Before anything of it is read.
    caller.may.need_on_manifest(Role::Editor, &*caller.whole_view()?, &manifest)?;
    let path = request.uri().clone();
    let release = ArrivedRelease::receive(&caller, &manifest, &headers, request).await?;
    let (sent, act) = (release.digest(), caller.clone());
    let act = async move {
        let uploaded = release.send(&act).await?;
        let status = if uploaded.is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok::<_, Failure>((status, Json(Uploaded::from(uploaded))))
    };
    key.once(&caller, &path, sent, async { act.await.into_response() }).await
}

async fn delete_deployment(caller: Caller, Of(named): Of<Named>, known: IfKnown) -> Result<Json<Deleted>, Failure> {
    caller.check_writable()?;
    let fleet = caller.whole_view()?;
    let Named { manifest, deployment } = &named;
    let list = match known.is_said() {
        true => {
            caller.may.need_on_manifest(Role::Admin, &fleet, manifest)?;
            // First, so that what is deleted is what is compared, or nothing is.
            let list = caller.may.deployment_facts(manifest, deployment).await?;
            let now = find(&caller, &named).await?;
            known.check(format_args!("deployment {deployment} of manifest {manifest}"), &now)?;
            list.map_or(Known::Absent, |list| Known::Tag(list.etag))
        }
        false => Known::Anything,
    };
    let deleted = caller.may.delete_deployment(&fleet, manifest, deployment, &list).await;
    let deletion = match deleted {
        Ok(deletion) => deletion,
        Err(error) => return Err(known.failed_at(error, async { find(&caller, &named).await.ok() }).await),
    };
    caller.fleet.releases.forget(&(named.manifest, named.deployment)).await;
    Ok(Json(deletion.into()))
}
