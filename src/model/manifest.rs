//! `manifest.json`: the snapshot's file list and run specification, the commit point of a version.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::cell_id::CellId;
use super::content::content_sha256;
use super::dependencies::{Dependencies, DependenciesError};
use super::digest::Sha256Digest;
use super::document::{self, Document, DocumentError};
use super::drift::{DriftError, DriftSpec};
use super::health::{Health, HealthError};
use super::hook::{HookError, Hooks};
use super::name::{CellName, DeploymentName, ManifestName, NodeName, UserName, VersionName};
use super::path::{FilePath, ObjectPath, check_together};
use super::pattern::PathPattern;
use super::process::ProcessError;
use super::run_spec::{EnvValue, Limits, Profile};
use super::strategy::{self, StrategyError};
use super::systemd::SystemdError;
use super::window::Windows;

/// A version of a cell, whole: what is on the node when it runs, and how it is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Features without which a reader must not act on this document.
    pub requires: Vec<String>,
    /// The fleet that it belongs to.
    pub fleet: Uuid,
    /// The node that it is for.
    pub node: NodeName,
    /// The cell that it is for.
    pub cell: CellName,
    /// The version's name.
    pub version: VersionName,
    /// The recipe that it was made from.
    pub manifest: ManifestName,
    /// The release that it was made from, if it has files of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentName>,
    /// What this version is: see [`content_sha256`].
    pub content_sha256: Sha256Digest,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: UserName,
    /// What its maker wrote about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How it is run.
    pub profile: Profile,
    /// When it counts as good.
    #[serde(default, skip_serializing_if = "is_default")]
    pub health: Health,
    /// What is run around its deployment.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// How it takes the place of the version before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: strategy::Strategy,
    /// What runs is told to read its files again, and not started anew, if only such files have changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reload_if: Vec<PathPattern>,
    /// What runs is started anew only if such a file has changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_if: Vec<PathPattern>,
    /// The most that it may use.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// What is done about files that are not what they were deployed as any more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drift: DriftSpec,
    /// When a node may fetch it and switch to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub windows: Windows,
    /// The file in the cell's data folder that the application locks while it must not be switched away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<FilePath>,
    /// The other cells of its node that it starts after, or not without.
    #[serde(default, skip_serializing_if = "Dependencies::is_empty")]
    pub dependencies: Dependencies,
    /// What is on the node, sorted by path.
    pub files: Vec<ManifestFile>,
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Where it lies in the version.
    pub path: FilePath,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub sha256: Sha256Digest,
    /// Its permissions.
    pub mode: Mode,
    /// Which input it came from.
    pub from: Origin,
    /// Where its bytes lie, relative to the version's own folder; absent = its usual place under `files/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectPath>,
    /// Where in that object its bytes begin; absent = 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

impl ManifestFile {
    /// A file is at most this long: one server-side copy.
    pub const MAX_BYTES: u64 = 5_000_000_000;
}

/// Which input a file came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The uploaded release.
    Deployment,
    /// The cell's own overrides.
    Override,
    /// A template of either, rendered for the cell.
    Template,
}

/// The permissions of a file, written as four octal digits. There is no way to write setuid, setgid or sticky.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Mode(u16);

/// A text or number that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mode {text:?} is not valid: expected four octal digits from \"0000\" to \"0777\"")]
pub struct ModeError {
    text: String,
}

impl Mode {
    /// Of a file that is only read.
    pub const READ: Self = Self(0o644);
    /// Of a program.
    pub const EXECUTE: Self = Self(0o755);
    /// Of a socket to which anybody may connect.
    pub const ANYBODY: Self = Self(0o666);

    /// The permission bits `bits`.
    ///
    /// # Errors
    /// When other bits than the nine are set.
    pub fn new(bits: u32) -> Result<Self, ModeError> {
        match u16::try_from(bits) {
            Ok(bits) if bits <= 0o777 => Ok(Self(bits)),
            _ => Err(ModeError { text: format!("{bits:04o}") }),
        }
    }

    /// The permission bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0.into()
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let refuse = || ModeError { text: super::name::shown(text) };
        if text.len() != 4 || !text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
            return Err(refuse());
        }
        u32::from_str_radix(text, 8).ok().and_then(|bits| Self::new(bits).ok()).ok_or_else(refuse)
    }
}

stands_as_text!(Mode, ModeError);

impl Document for Manifest {
    const SCHEMA: &'static str = "fleetman/manifest/1";
    const MAX_BYTES: u64 = 8 << 20;
}

/// Why a manifest cannot be deployed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not a document of this kind, or one that needs a newer agent.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// More files than an agent takes.
    #[error("{count} files are more than the {} that a version may have", Manifest::MAX_FILES)]
    TooManyFiles {
        /// How many there are.
        count: usize,
    },
    /// Paths that cannot lie together.
    #[error(transparent)]
    Path(#[from] super::path::PathError),
    /// Processes that cannot be run together.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// What no unit can be.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// Health that cannot be asked for.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// A hook that cannot be run.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// Looks for drift that cannot be made.
    #[error(transparent)]
    Drift(#[from] DriftError),
    /// Dependencies that a cell cannot have.
    #[error(transparent)]
    Dependencies(#[from] DependenciesError),
    /// A strategy that cannot be followed.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    /// One file is larger than a version may hold.
    #[error("{path} has {size} bytes, more than the {} that a file may have", ManifestFile::MAX_BYTES)]
    FileTooLarge {
        /// The file.
        path: FilePath,
        /// Its size.
        size: u64,
    },
    /// More windows than an agent looks through.
    #[error("more windows than the {} that a list may have", Windows::MOST)]
    TooManyWindows,
    /// The document says of itself what it is not.
    #[error("content_sha256 is {stated}, but the content is {computed}")]
    Content {
        /// What the document says.
        stated: Sha256Digest,
        /// What it is.
        computed: Sha256Digest,
    },
    /// A file's bytes would lie where no bytes of a file can lie.
    #[error("file {path}: {problem}")]
    Location {
        /// The file.
        path: FilePath,
        /// What is wrong.
        problem: String,
    },
}

impl Manifest {
    /// The most files that a version may have.
    pub const MAX_FILES: usize = 20_000;

    /// Features that `requires` may name.
    pub const FEATURES: [&'static str; 12] = [
        "processes",
        "health",
        "systemd",
        "credentials",
        "checks",
        "hooks",
        "drift",
        "strategy",
        "windows",
        "lock",
        "reload",
        "dependencies",
    ];

    /// The features that it uses, for `requires`: an agent that would read past one of them must not deploy it.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        let (mut processes, mut systemd) = (false, false);
        match &self.profile {
            Profile::Process(spec) | Profile::Supervisor(spec) => processes = !spec.is_plain(),
            Profile::Systemd(spec) => systemd = !spec.is_plain(),
            Profile::Deploy(_) => {}
        }
        let mut values = self.profile.runs().into_iter().flat_map(|run| run.env.values());
        let credentials = values.any(|value| matches!(value, EnvValue::Credential(_)));
        let used = [
            ("processes", processes),
            ("health", !is_default(&self.health)),
            ("systemd", systemd),
            ("credentials", credentials),
            ("checks", !self.health.checks.is_empty()),
            ("hooks", !self.hooks.is_empty()),
            ("drift", !is_default(&self.drift)),
            ("strategy", !is_default(&self.strategy)),
            ("windows", !is_default(&self.windows)),
            ("lock", self.lock.is_some()),
            ("reload", self.may_go_on()),
            ("dependencies", !self.dependencies.is_empty()),
        ];
        used.into_iter().filter(|(_, used)| *used).map(|(feature, _)| feature.to_owned()).collect()
    }

    /// Reads and checks a manifest: schema, features, paths, sizes and its own content digest.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        document::check_head::<Self>(bytes)?;
        check_features(bytes)?;
        let manifest: Self = document::parse(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.files.len() > Self::MAX_FILES {
            return Err(ManifestError::TooManyFiles { count: self.files.len() });
        }
        check_together(self.files.iter().map(|file| &file.path))?;
        for file in &self.files {
            if file.size > ManifestFile::MAX_BYTES {
                return Err(ManifestError::FileTooLarge { path: file.path.clone(), size: file.size });
            }
            let problem = |problem: String| ManifestError::Location { path: file.path.clone(), problem };
            if file.offset.unwrap_or(0).checked_add(file.size).is_none() {
                return Err(problem("its end is beyond what an object can hold".to_owned()));
            }
            self.object_of(file).map_err(|error| problem(error.to_string()))?;
        }
        match &self.profile {
            Profile::Process(spec) | Profile::Supervisor(spec) => spec.check()?,
            Profile::Systemd(spec) => spec.check()?,
            Profile::Deploy(_) => {}
        }
        self.health.check(&self.profile)?;
        self.hooks.iter().try_for_each(|(event, hook)| hook.check(*event))?;
        self.drift.check()?;
        self.dependencies.check(&self.cell)?;
        self.strategy.check(&self.profile)?;
        self.check_effect()?;
        if !self.windows.is_bounded() {
            return Err(ManifestError::TooManyWindows);
        }
        let computed = content_sha256(self);
        if computed == self.content_sha256 {
            Ok(())
        } else {
            Err(ManifestError::Content { stated: self.content_sha256, computed })
        }
    }

    /// The cell that this version is for.
    #[must_use]
    pub fn cell_id(&self) -> CellId {
        CellId::new(self.node.clone(), self.cell.clone())
    }

    /// The object that holds the bytes of `file`, at `file.offset`.
    ///
    /// # Errors
    /// When `file.object` names a document of the version.
    pub fn object_of(&self, file: &ManifestFile) -> Result<super::ObjectKey, super::keys::KeyError> {
        match &file.object {
            Some(object) => super::ObjectKey::version_object(self.cell_id(), self.version.clone(), object.clone()),
            None => Ok(super::ObjectKey::VersionFile(
                self.cell_id(),
                self.version.clone(),
                self.content_sha256.content16(),
                file.path.clone(),
            )),
        }
    }

    /// The bytes of all files together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }

    /// The document's bytes. The same manifest always has the same.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        document::render(self)
    }
}

/// Refuses by name what only a newer program understands, before the rest of the document is read.
fn check_features(bytes: &[u8]) -> Result<(), DocumentError> {
    #[derive(Deserialize)]
    struct Needs {
        #[serde(default)]
        requires: Vec<String>,
        profile: Kind,
    }
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    let needs: Needs =
        serde_json::from_slice(bytes).map_err(|source| DocumentError::Invalid { schema: Manifest::SCHEMA, source })?;
    let unknown = needs.requires.into_iter().find(|feature| !Manifest::FEATURES.contains(&feature.as_str()));
    let kind = &needs.profile.kind;
    let unknown = unknown.or_else(|| (!Profile::NAMES.contains(&kind.as_str())).then(|| format!("profile.{kind}")));
    match unknown {
        Some(feature) => Err(DocumentError::Unsupported { feature: super::name::shown(&feature) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
