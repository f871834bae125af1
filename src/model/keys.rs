//! Every object key of the protocol as a type: the only place that builds or takes apart a key.
//!
//! `parse(render(key)) == key` for every key.

use std::fmt;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use uuid::Uuid;

use super::cell_id::CellId;
use super::digest::Content16;
use super::generation::{Epoch, Floor, Generation};
use super::name::{CellName, DeploymentName, ManifestName, NodeName, VersionName, shown};
use super::path::{FilePath, ObjectPath};

mod folder;

/// What is put before every key, so that a fleet can share a bucket with others. May be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

/// A text that is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("prefix {text:?} is not valid: {rule}")]
pub struct PrefixError {
    text: String,
    rule: String,
}

impl Prefix {
    /// The most bytes that a prefix may have.
    pub const MAX_BYTES: usize = 128;

    /// Takes `text` as a prefix; slashes around it do not matter.
    ///
    /// # Errors
    /// When it is too long or not a path.
    pub fn new(text: &str) -> Result<Self, PrefixError> {
        let trimmed = text.trim_matches('/');
        if trimmed.is_empty() {
            return Ok(Self::default());
        }
        let refuse = |rule: String| PrefixError { text: shown(text), rule };
        if trimmed.len() > Self::MAX_BYTES {
            return Err(refuse("it is longer than 128 bytes".to_owned()));
        }
        match FilePath::new(trimmed) {
            Ok(path) => Ok(Self(path.into())),
            Err(super::path::PathError::Rule { rule, .. }) => Err(refuse(rule.to_owned())),
            Err(other) => Err(refuse(other.to_string())),
        }
    }

    /// The prefix without slashes around it; empty if there is none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `key`, which is relative to this prefix, as it stands in the bucket.
    #[must_use]
    pub fn join(&self, key: &str) -> String {
        if self.0.is_empty() { key.to_owned() } else { format!("{}/{key}", self.0) }
    }

    /// What of `key` stands below this prefix, if it does.
    #[must_use]
    pub fn strip<'a>(&self, key: &'a str) -> Option<&'a str> {
        if self.0.is_empty() { Some(key) } else { key.strip_prefix(&self.0)?.strip_prefix('/') }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        Self::new(&text)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.0
    }
}

/// How an object may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteRule {
    /// Written once and never changed: `If-None-Match: *`.
    CreateOnce,
    /// Changed only by a writer who saw what is there: `If-Match`.
    ReplaceIfUnchanged,
    /// Has one writer, who overwrites it.
    PutOwn,
    /// Its key fixes its bytes, so repeats do no harm.
    Harmless,
    /// Overwritten by whoever looked last.
    Replace,
}

/// A place below which objects are listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Folder {
    /// Everything below the prefix.
    Root,
    /// `agents/`: one heartbeat a node.
    Agents,
    /// `index/`: one index a node.
    Indexes,
    /// `controllers/`: beats of running controllers.
    Controllers,
    /// `manifests/`.
    Manifests,
    /// `deployments/`, or those of one manifest.
    Deployments(Option<ManifestName>),
    /// Everything of one release.
    Deployment(ManifestName, DeploymentName),
    /// `cells/`.
    Cells,
    /// The cells of one node.
    NodeCells(NodeName),
    /// Everything of one cell.
    Cell(CellId),
    /// A cell's editable files.
    Overrides(CellId),
    /// A cell's versions.
    Versions(CellId),
    /// Everything of one version.
    Version(CellId, VersionName),
    /// The files of one version.
    VersionFiles(CellId, VersionName, Content16),
    /// A cell's triggers.
    History(CellId),
    /// The orders to a node.
    Requests(NodeName),
    /// `logs/`.
    Logs,
    /// The logs of one node.
    NodeLogs(NodeName),
    /// The logs and outcomes of one cell.
    CellLogs(CellId),
    /// What a node answered to orders.
    Answers(NodeName),
    /// What a node answered to one order.
    Answer(NodeName, Ulid),
    /// `audit/`, or one day of it.
    Audit(Option<NaiveDate>),
    /// `alerts/`: what is wrong, and who was told.
    Alerts,
    /// `auth/`: who may sign in.
    Auth,
    /// What `doctor` writes and removes again.
    Probes(Option<Ulid>),
}

impl Folder {
    /// The folder below the fleet's prefix, with a trailing slash unless it is the root.
    #[must_use]
    pub fn relative(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Agents => "agents/".to_owned(),
            Self::Indexes => "index/".to_owned(),
            Self::Controllers => "controllers/".to_owned(),
            Self::Manifests => "manifests/".to_owned(),
            Self::Deployments(None) => "deployments/".to_owned(),
            Self::Deployments(Some(manifest)) => format!("deployments/{manifest}/"),
            Self::Deployment(manifest, deployment) => format!("deployments/{manifest}/{deployment}/"),
            Self::Cells => "cells/".to_owned(),
            Self::NodeCells(node) => format!("cells/{node}/"),
            Self::Cell(id) => format!("cells/{id}/"),
            Self::Overrides(id) => format!("cells/{id}/overrides/"),
            Self::Versions(id) => format!("cells/{id}/versions/"),
            Self::Version(id, version) => format!("cells/{id}/versions/{version}/"),
            Self::VersionFiles(id, version, content) => format!("cells/{id}/versions/{version}/files/{content}/"),
            Self::History(id) => format!("cells/{id}/history/"),
            Self::Requests(node) => format!("cells/{node}/_requests/"),
            Self::Logs => "logs/".to_owned(),
            Self::NodeLogs(node) => format!("logs/{node}/"),
            Self::CellLogs(id) => format!("logs/{id}/"),
            Self::Answers(node) => format!("logs/{node}/_requests/"),
            Self::Answer(node, order) => format!("logs/{node}/_requests/{order}/"),
            Self::Audit(None) => "audit/".to_owned(),
            Self::Audit(Some(day)) => format!("audit/{day}/"),
            Self::Alerts => "alerts/".to_owned(),
            Self::Auth => "auth/".to_owned(),
            Self::Probes(None) => "probes/".to_owned(),
            Self::Probes(Some(run)) => format!("probes/{run}/"),
        }
    }
}

/// Where one attempt of a node at one generation is told of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttemptId {
    /// The cell.
    pub cell: CellId,
    /// The trigger's place.
    pub floor: Floor,
    /// Counts the tries at it, from 1.
    pub attempt: u32,
}

/// The key of one object, relative to the fleet's prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ObjectKey {
    /// `fleet.json`
    Fleet,
    /// `store.json`
    StoreReport,
    /// `controllers/<id>.json`
    Controller(Uuid),
    /// `manifests/<manifest>/manifest.yaml`
    ManifestYaml(ManifestName),
    /// `deployments/<manifest>/<deployment>/files/<content16>/<path>`
    DeploymentFile(ManifestName, DeploymentName, Content16, FilePath),
    /// `deployments/<manifest>/<deployment>/deployment.json`: commit point of a release.
    Deployment(ManifestName, DeploymentName),
    /// `cells/<node>/<cell>/cell.yaml`
    CellYaml(CellId),
    /// `cells/<node>/<cell>/overrides/<path>`
    Override(CellId, FilePath),
    /// `cells/<node>/<cell>/versions/<version>/files/<content16>/<path>`
    VersionFile(CellId, VersionName, Content16, FilePath),
    /// `cells/<node>/<cell>/versions/<version>/<object>`: bytes of a version that lie elsewhere than usual. Made by
    /// [`ObjectKey::version_object`].
    VersionPack(CellId, VersionName, ObjectPath),
    /// `cells/<node>/<cell>/versions/<version>/manifest.json`: commit point of a version.
    VersionManifest(CellId, VersionName),
    /// `cells/<node>/<cell>/versions/<version>/deleting.json`
    VersionDeleting(CellId, VersionName),
    /// `cells/<node>/<cell>/history/<epoch>-<generation>.json`: commit point of a change of mind.
    History(CellId, Floor),
    /// `cells/<node>/<cell>/trigger.json`
    Trigger(CellId),
    /// `cells/<node>/_requests/<ulid>.json`
    Request(NodeName, Ulid),
    /// `index/<node>.json`
    Index(NodeName),
    /// `agents/<node>.json`
    Heartbeat(NodeName),
    /// `logs/<node>/<cell>/<epoch>-<generation>-<attempt>.log`
    AttemptLog(AttemptId),
    /// `logs/<node>/<cell>/<epoch>-<generation>-<attempt>.json`
    Outcome(AttemptId),
    /// `logs/<node>/_requests/<ulid>/answer.json`
    Answer(NodeName, Ulid),
    /// `logs/<node>/_requests/<ulid>/<chunk>.log`: the chunks of an answer, counted from 1.
    AnswerChunk(NodeName, Ulid, u32),
    /// `audit/<yyyy-mm-dd>/<ulid>.json`
    Audit(NaiveDate, Ulid),
    /// `alerts/state.json`
    Alerts,
    /// `auth/users.json`
    Users,
    /// `probes/<ulid>/<path>`: what `doctor` writes and removes again.
    Probe(Ulid, FilePath),
}

impl ObjectKey {
    /// The object of a version at `object`, which is relative to the version's own folder.
    ///
    /// # Errors
    /// When `object` names one of the version's documents rather than bytes of its files.
    pub fn version_object(cell: CellId, version: VersionName, object: ObjectPath) -> Result<Self, KeyError> {
        let relative = format!("{}{object}", Folder::Version(cell, version).relative());
        match Self::parse(&relative) {
            Ok(key @ (Self::VersionFile(..) | Self::VersionPack(..))) => Ok(key),
            _ => Err(KeyError { key: shown(&relative) }),
        }
    }

    /// The key below the fleet's prefix.
    #[must_use]
    pub fn relative(&self) -> String {
        let below = |folder: Folder, rest: fmt::Arguments<'_>| format!("{}{rest}", folder.relative());
        match self {
            Self::Fleet => "fleet.json".to_owned(),
            Self::StoreReport => "store.json".to_owned(),
            Self::Controller(id) => below(Folder::Controllers, format_args!("{id}.json")),
            Self::ManifestYaml(manifest) => below(Folder::Manifests, format_args!("{manifest}/manifest.yaml")),
            Self::DeploymentFile(manifest, deployment, content, path) => {
                below(Folder::Deployment(manifest.clone(), deployment.clone()), format_args!("files/{content}/{path}"))
            }
            Self::Deployment(manifest, deployment) => {
                below(Folder::Deployment(manifest.clone(), deployment.clone()), format_args!("deployment.json"))
            }
            Self::CellYaml(id) => below(Folder::Cell(id.clone()), format_args!("cell.yaml")),
            Self::Override(id, path) => below(Folder::Overrides(id.clone()), format_args!("{path}")),
            Self::VersionFile(id, version, content, path) => {
                below(Folder::VersionFiles(id.clone(), version.clone(), *content), format_args!("{path}"))
            }
            Self::VersionPack(id, version, object) => {
                below(Folder::Version(id.clone(), version.clone()), format_args!("{object}"))
            }
            Self::VersionManifest(id, version) => {
                below(Folder::Version(id.clone(), version.clone()), format_args!("manifest.json"))
            }
            Self::VersionDeleting(id, version) => {
                below(Folder::Version(id.clone(), version.clone()), format_args!("deleting.json"))
            }
            Self::History(id, floor) => below(Folder::History(id.clone()), format_args!("{}.json", padded(floor))),
            Self::Trigger(id) => below(Folder::Cell(id.clone()), format_args!("trigger.json")),
            Self::Request(node, order) => below(Folder::Requests(node.clone()), format_args!("{order}.json")),
            Self::Index(node) => below(Folder::Indexes, format_args!("{node}.json")),
            Self::Heartbeat(node) => below(Folder::Agents, format_args!("{node}.json")),
            Self::AttemptLog(id) => attempt(id, "log"),
            Self::Outcome(id) => attempt(id, "json"),
            Self::Answer(node, order) => below(Folder::Answer(node.clone(), *order), format_args!("answer.json")),
            Self::AnswerChunk(node, order, chunk) => {
                below(Folder::Answer(node.clone(), *order), format_args!("{chunk:04}.log"))
            }
            Self::Audit(day, id) => below(Folder::Audit(Some(*day)), format_args!("{id}.json")),
            Self::Alerts => below(Folder::Alerts, format_args!("state.json")),
            Self::Users => below(Folder::Auth, format_args!("users.json")),
            Self::Probe(run, path) => below(Folder::Probes(Some(*run)), format_args!("{path}")),
        }
    }

    /// The key as it stands in the bucket.
    #[must_use]
    pub fn render(&self, prefix: &Prefix) -> String {
        prefix.join(&self.relative())
    }

    /// Takes apart a key that is relative to the fleet's prefix.
    ///
    /// # Errors
    /// When it is no key of the protocol.
    pub fn parse(relative: &str) -> Result<Self, KeyError> {
        parse(relative).ok_or_else(|| KeyError { key: shown(relative) })
    }

    /// How the object may be written.
    #[must_use]
    pub fn write_rule(&self) -> WriteRule {
        match self {
            Self::Fleet
            | Self::Deployment(..)
            | Self::VersionManifest(..)
            | Self::VersionDeleting(..)
            | Self::History(..)
            | Self::Request(..)
            | Self::Audit(..) => WriteRule::CreateOnce,
            Self::ManifestYaml(_)
            | Self::CellYaml(_)
            | Self::Override(..)
            | Self::Trigger(_)
            | Self::Index(_)
            | Self::Alerts
            | Self::Users => WriteRule::ReplaceIfUnchanged,
            Self::Controller(_)
            | Self::Heartbeat(_)
            | Self::AttemptLog(_)
            | Self::Outcome(_)
            | Self::Answer(..)
            | Self::AnswerChunk(..) => WriteRule::PutOwn,
            Self::DeploymentFile(..) | Self::VersionFile(..) | Self::VersionPack(..) | Self::Probe(..) => {
                WriteRule::Harmless
            }
            Self::StoreReport => WriteRule::Replace,
        }
    }

    /// The object's media type, so that an S3 console shows what it can.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Fleet
            | Self::StoreReport
            | Self::Controller(_)
            | Self::Deployment(..)
            | Self::VersionManifest(..)
            | Self::VersionDeleting(..)
            | Self::History(..)
            | Self::Trigger(_)
            | Self::Request(..)
            | Self::Index(_)
            | Self::Heartbeat(_)
            | Self::Outcome(_)
            | Self::Answer(..)
            | Self::Audit(..)
            | Self::Alerts
            | Self::Users => "application/json",
            Self::ManifestYaml(_) | Self::CellYaml(_) => "application/yaml",
            Self::AttemptLog(_) | Self::AnswerChunk(..) => "text/plain; charset=utf-8",
            Self::DeploymentFile(..)
            | Self::Override(..)
            | Self::VersionFile(..)
            | Self::VersionPack(..)
            | Self::Probe(..) => "application/octet-stream",
        }
    }

    /// `no-store` for what is overwritten: a cache in front of the bucket would be a stale replica of it.
    #[must_use]
    pub fn cache_control(&self) -> Option<&'static str> {
        match self.write_rule() {
            WriteRule::ReplaceIfUnchanged | WriteRule::PutOwn | WriteRule::Replace => Some("no-store"),
            WriteRule::CreateOnce | WriteRule::Harmless => None,
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.relative())
    }
}

/// A text that is no key of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key:?} is not a key of the bucket protocol")]
pub struct KeyError {
    key: String,
}

/// Four and sixteen digits, so that keys sort as their floors do.
fn padded(floor: &Floor) -> String {
    format!("{:04}-{:016}", floor.epoch.get(), floor.generation.get())
}

/// Reads exactly what [`padded`] writes.
fn unpad(text: &str) -> Option<Floor> {
    let (epoch, generation) = text.split_once('-')?;
    Some(Floor::new(Epoch::new(digits(epoch, 4)?).ok()?, Generation::new(digits(generation, 16)?).ok()?))
}

fn digits<T: std::str::FromStr>(text: &str, count: usize) -> Option<T> {
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn attempt(id: &AttemptId, extension: &str) -> String {
    format!("{}{}-{:04}.{extension}", Folder::CellLogs(id.cell.clone()).relative(), padded(&id.floor), id.attempt)
}

fn parse_attempt(node: &str, cell: &str, stem: &str) -> Option<AttemptId> {
    let (floor, attempt) = stem.rsplit_once('-')?;
    let attempt: u32 = attempt.parse().ok()?;
    let id = AttemptId { cell: cell_id(node, cell)?, floor: unpad(floor)?, attempt };
    // Leading zeros and signs: one attempt has one key.
    stem.ends_with(&format!("-{attempt:04}")).then_some(id)
}

fn cell_id(node: &str, cell: &str) -> Option<CellId> {
    Some(CellId::new(NodeName::new(node).ok()?, CellName::new(cell).ok()?))
}

fn parse(key: &str) -> Option<ObjectKey> {
    let segments: Vec<&str> = key.split('/').collect();
    match segments.as_slice() {
        ["fleet.json"] => Some(ObjectKey::Fleet),
        ["store.json"] => Some(ObjectKey::StoreReport),
        ["controllers", file] => {
            let id = file.strip_suffix(".json")?;
            let uuid = Uuid::parse_str(id).ok()?;
            (uuid.to_string() == id).then_some(ObjectKey::Controller(uuid))
        }
        ["manifests", manifest, "manifest.yaml"] => Some(ObjectKey::ManifestYaml(ManifestName::new(*manifest).ok()?)),
        ["deployments", manifest, deployment, "deployment.json"] => {
            Some(ObjectKey::Deployment(ManifestName::new(*manifest).ok()?, DeploymentName::new(*deployment).ok()?))
        }
        ["deployments", manifest, deployment, "files", content, path @ ..] => Some(ObjectKey::DeploymentFile(
            ManifestName::new(*manifest).ok()?,
            DeploymentName::new(*deployment).ok()?,
            content.parse().ok()?,
            FilePath::new(path.join("/")).ok()?,
        )),
        ["cells", node, "_requests", file] => {
            Some(ObjectKey::Request(NodeName::new(*node).ok()?, parse_ulid(file.strip_suffix(".json")?)?))
        }
        ["cells", node, cell, rest @ ..] => parse_cell(cell_id(node, cell)?, rest),
        ["index", file] => Some(ObjectKey::Index(NodeName::new(file.strip_suffix(".json")?).ok()?)),
        ["agents", file] => Some(ObjectKey::Heartbeat(NodeName::new(file.strip_suffix(".json")?).ok()?)),
        ["logs", node, "_requests", order, file] => {
            let (node, order) = (NodeName::new(*node).ok()?, parse_ulid(order)?);
            if *file == "answer.json" {
                return Some(ObjectKey::Answer(node, order));
            }
            let chunk: u32 = digits(file.strip_suffix(".log")?, 4)?;
            (chunk > 0).then_some(ObjectKey::AnswerChunk(node, order, chunk))
        }
        ["logs", node, cell, file] => match file.rsplit_once('.')? {
            (stem, "log") => Some(ObjectKey::AttemptLog(parse_attempt(node, cell, stem)?)),
            (stem, "json") => Some(ObjectKey::Outcome(parse_attempt(node, cell, stem)?)),
            _ => None,
        },
        ["audit", day, file] => {
            let date = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
            let id = parse_ulid(file.strip_suffix(".json")?)?;
            (date.to_string() == *day).then_some(ObjectKey::Audit(date, id))
        }
        ["alerts", "state.json"] => Some(ObjectKey::Alerts),
        ["auth", "users.json"] => Some(ObjectKey::Users),
        ["probes", run, path @ ..] => Some(ObjectKey::Probe(parse_ulid(run)?, FilePath::new(path.join("/")).ok()?)),
        _ => None,
    }
}

/// Only the canonical text: ULIDs are read in lower case too.
fn parse_ulid(text: &str) -> Option<Ulid> {
    let id = Ulid::from_string(text).ok()?;
    (id.to_string() == text).then_some(id)
}

fn parse_cell(id: CellId, rest: &[&str]) -> Option<ObjectKey> {
    match rest {
        ["cell.yaml"] => Some(ObjectKey::CellYaml(id)),
        ["trigger.json"] => Some(ObjectKey::Trigger(id)),
        ["overrides", path @ ..] => Some(ObjectKey::Override(id, FilePath::new(path.join("/")).ok()?)),
        ["history", file] => Some(ObjectKey::History(id, unpad(file.strip_suffix(".json")?)?)),
        ["versions", version, "manifest.json"] => {
            Some(ObjectKey::VersionManifest(id, VersionName::new(*version).ok()?))
        }
        ["versions", version, "deleting.json"] => {
            Some(ObjectKey::VersionDeleting(id, VersionName::new(*version).ok()?))
        }
        ["versions", version, object @ ..] => {
            let version = VersionName::new(*version).ok()?;
            if let ["files", content, path @ ..] = object
                && let (Ok(content), Ok(path)) = (content.parse(), FilePath::new(path.join("/")))
            {
                return Some(ObjectKey::VersionFile(id, version, content, path));
            }
            Some(ObjectKey::VersionPack(id, version, ObjectPath::new(object.join("/")).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
