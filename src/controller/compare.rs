//! Two versions of a cell side by side, or a version and what its inputs would give now.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::diff::Changes;
use super::head::floor;
use super::snapshot::Snapshot;
use super::texts::Side;
use super::{Controller, ControllerError};
use crate::model::document::Document as _;
use crate::model::manifest::Manifest;
use crate::model::name::NameError;
use crate::model::sign::Verified;
use crate::model::trigger::Trigger;
use crate::model::{CellId, DeploymentName, Floor, ObjectKey, Sha256Digest, UserName, VersionName};

/// How many triggers back one is looked for that names a version.
const MOST_TRIGGERS: usize = 1_000;

/// How many of them are read before the next are.
const TRIGGERS_AT_ONCE: usize = 100;

/// What can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// A version.
    Version(VersionName),
    /// What a publish would make of the inputs as they are; written `now`.
    Now,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(name) => name.fmt(f),
            Self::Now => f.write_str("now"),
        }
    }
}

impl FromStr for Revision {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "now" => Ok(Self::Now),
            name => VersionName::new(name).map(Self::Version),
        }
    }
}

/// What believed history says of the bytes of a version's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Proof {
    /// The trigger at this place names exactly these bytes.
    Verified {
        /// The newest trigger that does.
        by: Floor,
    },
    /// The newest trigger that names the version names other bytes: these are not what was published.
    Contradicted {
        /// That trigger.
        by: Floor,
        /// The digest of what was published.
        expected: Sha256Digest,
    },
    /// None of the newest triggers names the version: it was never published, or long ago.
    Unnamed {
        /// How many were looked at.
        triggers: usize,
    },
}

impl Proof {
    /// What `triggers`, newest first, say of a version whose manifest has the digest `found`.
    pub(super) fn of(triggers: &[Verified<Trigger>], version: &VersionName, found: Sha256Digest) -> Self {
        let named = |trigger: &Verified<Trigger>| {
            let target = trigger.action.target().filter(|target| target.version == *version)?;
            Some((floor(trigger), target.manifest_sha256))
        };
        match triggers.iter().find_map(named) {
            Some((by, digest)) if digest == found => Self::Verified { by },
            Some((by, expected)) => Self::Contradicted { by, expected },
            None => Self::Unnamed { triggers: triggers.len() },
        }
    }
}

/// One side of a comparison, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// What was asked for.
    pub revision: Revision,
    /// What it is.
    pub content_sha256: Sha256Digest,
    /// The release that it is made of, if one is.
    pub deployment: Option<DeploymentName>,
    /// How many files it has.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
    /// How it came to be; None of what is not made yet.
    pub made: Option<Made>,
}

/// How a version came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// When, as its manifest says.
    pub at: DateTime<Utc>,
    /// By whom, likewise.
    pub by: UserName,
    /// What its maker wrote about it.
    pub note: Option<String>,
    /// The digest of its manifest.
    pub manifest_sha256: Sha256Digest,
    /// What history says of that.
    pub proof: Proof,
}

/// A version as it lies in the bucket, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionDetail {
    /// What it is.
    pub manifest: Manifest,
    /// Its settings and files, as what differs from nothing. Values that may be secrets are masked.
    pub content: Changes,
    /// The digest of its manifest.
    pub manifest_sha256: Sha256Digest,
    /// What history says of that.
    pub proof: Proof,
}

/// Two revisions of a cell and what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The one that is changed.
    pub from: Compared,
    /// The one that comes of it.
    pub to: Compared,
    /// What differs. Values that may be secrets are masked.
    pub changes: Changes,
}

/// A revision as it was read.
struct Read {
    compared: Compared,
    content: Content,
}

enum Content {
    Version(Box<Manifest>),
    Now(Box<Snapshot>),
}

impl Read {
    fn side(&self) -> Side<'_> {
        match &self.content {
            Content::Version(manifest) => Side::Version(manifest),
            Content::Now(snapshot) => Side::Inputs(snapshot),
        }
    }
}

impl Controller {
    /// Compares two revisions of a cell. Nothing of it is believed for more than looking: what a version is taken for
    /// stands in its [`Proof`].
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such version, or why the inputs make none at present.
    pub async fn compare(&self, cell: &CellId, from: &Revision, to: &Revision) -> Result<Comparison, ControllerError> {
        let (from, to) = tokio::try_join!(self.read_revision(cell, from), self.read_revision(cell, to))?;
        let changes = self.changes(from.side(), to.side()).await?;
        Ok(Comparison { from: from.compared, to: to.compared, changes })
    }

    /// A version of a cell, whoever made it.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such version.
    pub async fn version(&self, cell: &CellId, version: &VersionName) -> Result<VersionDetail, ControllerError> {
        let (manifest, manifest_sha256) = self.look_at_version(cell, version).await?;
        let proof = self.proof(cell, version, manifest_sha256).await?;
        let content = Changes::between(None, &manifest);
        Ok(VersionDetail { manifest, content, manifest_sha256, proof })
    }

    async fn read_revision(&self, cell: &CellId, revision: &Revision) -> Result<Read, ControllerError> {
        let compared = |manifest: &Manifest, made| Compared {
            revision: revision.clone(),
            content_sha256: manifest.content_sha256,
            deployment: manifest.deployment.clone(),
            files: manifest.files.len(),
            bytes: manifest.total_bytes(),
            made,
        };
        match revision {
            Revision::Version(name) => {
                let (manifest, manifest_sha256) = self.look_at_version(cell, name).await?;
                let proof = self.proof(cell, name, manifest_sha256).await?;
                let Manifest { created_at: at, created_by: by, note, .. } = manifest.clone();
                let made = Made { at, by, note, manifest_sha256, proof };
                Ok(Read { compared: compared(&manifest, Some(made)), content: Content::Version(manifest.into()) })
            }
            Revision::Now => {
                let inputs = self.read_inputs(cell, None).await?;
                let Some(snapshot) = self.snapshot(&inputs).await? else {
                    return Err(ControllerError::InputsMoving { cell: cell.clone() });
                };
                Ok(Read { compared: compared(snapshot.nameless(), None), content: Content::Now(snapshot.into()) })
            }
        }
    }

    /// The manifest of a version as it lies in the bucket, whoever put it there, and its digest.
    pub(super) async fn look_at_version(
        &self,
        cell: &CellId,
        version: &VersionName,
    ) -> Result<(Manifest, Sha256Digest), ControllerError> {
        let key = ObjectKey::VersionManifest(cell.clone(), version.clone());
        let Some(found) = self.look(&key, Manifest::MAX_BYTES).await? else {
            let help = "there is none, or it was never finished; `fleetman get versions` lists them";
            return Err(ControllerError::not_found(format!("{cell}: version {version}"), help));
        };
        let manifest = Manifest::parse(&found.bytes).map_err(|error| ControllerError::invalid(&key, error))?;
        if manifest.cell_id() != *cell || manifest.version != *version {
            let problem = format!("it says that it is version {} of {}", manifest.version, manifest.cell_id());
            return Err(ControllerError::invalid(&key, problem));
        }
        Ok((manifest, Sha256Digest::of(&found.bytes)))
    }

    /// What the history says of a version's manifest, the newest triggers first.
    async fn proof(&self, cell: &CellId, version: &VersionName, found: Sha256Digest) -> Result<Proof, ControllerError> {
        let (mut below, mut looked_at) = (None, 0);
        loop {
            let (triggers, older) = self.believed(cell, below, TRIGGERS_AT_ONCE).await?;
            looked_at += triggers.len();
            match Proof::of(&triggers, version, found) {
                Proof::Unnamed { .. } if older.is_some() && looked_at < MOST_TRIGGERS => below = older,
                Proof::Unnamed { .. } => return Ok(Proof::Unnamed { triggers: looked_at }),
                proof => return Ok(proof),
            }
        }
    }
}
