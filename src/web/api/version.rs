//! One version of a cell: what it is, whether it is what was published, and its files.

use axum::body::Body;
use axum::response::Response;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::download;
use super::super::failure::Failure;
use super::super::paths::CellOfPath;
use super::answer::{Has, List, Page};
use super::operation::{Content, Operation, Operations};
use super::request::{Asked, Of, file_path};
use crate::controller::{self, FieldChange, Proof};
use crate::model::manifest::{ManifestFile, Mode, Origin};
use crate::model::{DeploymentName, ManifestName, Sha256Digest, UserName, VersionName};

const FILES: &str = "/api/v1/cells/{node}/{cell}/versions/{version}/files";

pub(super) fn operations() -> Operations {
    Operations::of("Past")
        .get(
            "/api/v1/cells/{node}/{cell}/versions/{version}",
            version,
            Operation::new("getVersion", "viewer", "Tells what a version is, and whether it is what was published.")
                .gives::<VersionDetail>()
                .cli("fleetman describe version {node}/{cell} {version}"),
        )
        .get(
            FILES,
            files,
            Operation::new("listVersionFiles", "viewer", "Lists the files of a version.")
                .query::<Page>()
                .gives::<List<VersionFile>>(),
        )
        .get(
            "/api/v1/cells/{node}/{cell}/versions/{version}/files/{*path}",
            file,
            Operation::new(
                "getVersionFile",
                "viewer",
                "Gives the bytes of one of them. They break off before their end if they are not what the version says.",
            )
            .answer(Content::Bytes),
        )
}

/// A version of a cell.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct VersionDetail {
    /// Its name.
    name: VersionName,
    /// The recipe that it was made from.
    manifest: ManifestName,
    /// The release that it was made from, if it has files of one.
    deployment: Option<DeploymentName>,
    /// The digest of its manifest.
    manifest_sha256: Sha256Digest,
    /// What it is.
    content_sha256: Sha256Digest,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// By whom.
    created_by: UserName,
    /// What its maker said about it.
    note: Option<String>,
    /// How many files it has.
    files: usize,
    /// Their bytes together.
    bytes: u64,
    /// What believed history says of it: `verified`, `contradicted` (these are not the bytes that were published), or
    /// `unnamed`.
    proof: Proof,
    /// How it is run, as what differs from nothing. Values that may be secrets are masked.
    settings: Vec<FieldChange>,
}

/// A file of a version.
#[derive(Debug, Serialize, JsonSchema)]
struct VersionFile {
    /// Where it lies.
    path: String,
    /// In bytes.
    size: u64,
    /// Of its bytes.
    sha256: Sha256Digest,
    /// Its permissions.
    mode: Mode,
    /// Which input it came from.
    from: Origin,
}

impl From<controller::VersionDetail> for VersionDetail {
    fn from(found: controller::VersionDetail) -> Self {
        let controller::VersionDetail { manifest: it, content, manifest_sha256, proof } = found;
        Self {
            files: it.files.len(),
            bytes: it.total_bytes(),
            name: it.version,
            manifest: it.manifest,
            deployment: it.deployment,
            manifest_sha256,
            content_sha256: it.content_sha256,
            created_at: it.created_at,
            created_by: it.created_by,
            note: it.note,
            proof,
            settings: content.fields,
        }
    }
}

impl From<ManifestFile> for VersionFile {
    fn from(file: ManifestFile) -> Self {
        let ManifestFile { path, size, sha256, mode, from, .. } = file;
        Self { path: path.to_string(), size, sha256, mode, from }
    }
}

/// A version of the cell, and perhaps a file of it.
#[derive(Debug, Deserialize)]
struct Named {
    version: VersionName,
    #[serde(default)]
    path: String,
}

async fn version(
    caller: Caller,
    has: Has,
    CellOfPath(cell): CellOfPath,
    Of(named): Of<Named>,
) -> Result<Response, Failure> {
    has.json(&VersionDetail::from(caller.may.version(&cell, &named.version).await?))
}

async fn files(
    caller: Caller,
    has: Has,
    CellOfPath(cell): CellOfPath,
    Of(named): Of<Named>,
    Asked(page): Asked<Page>,
) -> Result<Response, Failure> {
    let all = caller.may.version_files(&cell, &named.version).await?;
    has.json(&List::of(all, &page, |file| file.path.to_string(), VersionFile::from)?)
}

async fn file(
    caller: Caller,
    has: Has,
    CellOfPath(cell): CellOfPath,
    Of(named): Of<Named>,
) -> Result<Response, Failure> {
    let path = file_path(&named.path)?;
    let (file, pieces) = caller.may.open_version_file(&cell, &named.version, &path).await?;
    // The same name may be given to other bytes once the version is deleted; the digest is theirs alone.
    let tag = format!("\"{}\"", file.sha256);
    Ok(has.download(download::file(path.as_str(), file.size, Body::from_stream(pieces)), &tag))
}
