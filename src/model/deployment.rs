//! `deployment.json`: the signed list of an uploaded release's files, its commit point.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::Sha256Digest;
use super::document::Document;
use super::manifest::Mode;
use super::name::{DeploymentName, ManifestName, UserName};
use super::path::FilePath;
use super::sign::Signed;

/// An uploaded release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Features without which a reader must not act on this document.
    pub requires: Vec<String>,
    /// The fleet that it belongs to.
    pub fleet: Uuid,
    /// The recipe that it is for.
    pub manifest: ManifestName,
    /// Its name.
    pub deployment: DeploymentName,
    /// What it is: see [`content_sha256`](super::content::content_sha256).
    pub content_sha256: Sha256Digest,
    /// When it was uploaded.
    pub created_at: DateTime<Utc>,
    /// Who uploaded it.
    pub created_by: UserName,
    /// What the uploader wrote about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its files, sorted by path.
    pub files: Vec<DeploymentFile>,
}

/// One file of a release; its bytes lie below the release's `files/<content16>/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct DeploymentFile {
    /// Where it lies in the release.
    pub path: FilePath,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub sha256: Sha256Digest,
    /// Its permissions, unless the manifest says otherwise.
    pub mode: Mode,
}

impl Document for Deployment {
    const SCHEMA: &'static str = "fleetman/deployment/1";
    const MAX_BYTES: u64 = 8 << 20;
}

impl Signed for Deployment {
    const KIND: &'static str = "deployment";

    fn requires(&self) -> &[String] {
        &self.requires
    }

    const FEATURES: &'static [&'static str] = &[];
}
