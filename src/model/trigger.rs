//! The trigger: what a cell is to be, signed. History entries are the same document.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::cell_id::CellId;
use super::digest::Sha256Digest;
use super::document::Document;
use super::generation::Generation;
use super::name::{CellName, NodeName, UserName, VersionName, shown};
use super::sign::Signed;

/// The desired state of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TriggerText", into = "TriggerText")]
pub struct Trigger {
    /// Features without which a reader must not act on this document.
    pub requires: Vec<String>,
    /// The fleet that it is for.
    pub fleet: Uuid,
    /// The node that it is for.
    pub node: NodeName,
    /// The cell that it is for.
    pub cell: CellName,
    /// Its place in the order of triggers of this cell.
    pub generation: Generation,
    /// What is to be done.
    pub action: Action,
    /// How it is to be done; each that is set is named in `requires` as well.
    pub options: TriggerOptions,
    /// When it was issued.
    pub issued_at: DateTime<Utc>,
    /// Who issued it.
    pub issued_by: UserName,
    /// Why, in the issuer's words.
    pub reason: Option<String>,
}

/// What a trigger asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run this version.
    Deploy(Target),
    /// Keep the files, stop the service, also across reboots.
    Stop,
    /// Stop the service and remove the files.
    Remove,
    /// An action of a newer program: hold what runs.
    Unknown(String),
}

impl Action {
    /// The action's name as documents write it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Deploy(_) => "deploy",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Unknown(name) => name,
        }
    }

    /// The version to run, if one is to be run.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Deploy(target) => Some(target),
            Self::Stop | Self::Remove | Self::Unknown(_) => None,
        }
    }
}

/// A version, by name and by digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The version's name.
    pub version: VersionName,
    /// The digest of its `manifest.json`.
    pub manifest_sha256: Sha256Digest,
    /// The size of its `manifest.json` in bytes.
    pub manifest_size: u64,
    /// What the version is.
    pub content_sha256: Sha256Digest,
}

/// How a trigger is to be carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TriggerOptions {
    /// Try content again that failed before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
    /// Overwrite what was changed by hand on the host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Wait neither for a maintenance window nor for the application's lock.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub override_windows: bool,
    /// With `remove`: delete the cell's data folder, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub purge_data: bool,
}

impl TriggerOptions {
    /// The names of the options that are set.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        let all = [
            (self.retry, "retry"),
            (self.force, "force"),
            (self.override_windows, "override_windows"),
            (self.purge_data, "purge_data"),
        ];
        all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned()).collect()
    }
}

impl Trigger {
    /// The cell that it is for.
    #[must_use]
    pub fn cell_id(&self) -> CellId {
        CellId::new(self.node.clone(), self.cell.clone())
    }

    /// The first thing that this program would have to know to act on it, if there is one.
    #[must_use]
    pub fn unsupported(&self) -> Option<&str> {
        let feature = self.requires.iter().find(|feature| !Self::FEATURES.contains(&feature.as_str()));
        feature.map(String::as_str).or(match &self.action {
            Action::Unknown(name) => Some(name),
            _ => None,
        })
    }
}

impl Document for Trigger {
    const SCHEMA: &'static str = "fleetman/trigger/1";
    const MAX_BYTES: u64 = 64 << 10;
}

impl Signed for Trigger {
    const KIND: &'static str = "trigger";

    fn requires(&self) -> &[String] {
        &self.requires
    }

    const FEATURES: &'static [&'static str] = &["retry", "force", "override_windows", "purge_data"];
}

/// A trigger as the document has it: flat, for people who read it in the bucket.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TriggerText {
    requires: Vec<String>,
    fleet: Uuid,
    node: NodeName,
    cell: CellName,
    generation: Generation,
    action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<VersionName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest_sha256: Option<Sha256Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_sha256: Option<Sha256Digest>,
    #[serde(default, skip_serializing_if = "is_unset")]
    options: TriggerOptions,
    issued_at: DateTime<Utc>,
    issued_by: UserName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_unset(options: &TriggerOptions) -> bool {
    *options == TriggerOptions::default()
}

impl TryFrom<TriggerText> for Trigger {
    type Error = String;

    fn try_from(text: TriggerText) -> Result<Self, String> {
        let target = match (text.version, text.manifest_sha256, text.manifest_size, text.content_sha256) {
            (Some(version), Some(manifest_sha256), Some(manifest_size), Some(content_sha256)) => {
                Some(Target { version, manifest_sha256, manifest_size, content_sha256 })
            }
            (None, None, None, None) => None,
            _ => return Err("version, manifest_sha256, manifest_size and content_sha256 go together".to_owned()),
        };
        let action = match (text.action.as_str(), target) {
            ("deploy", Some(target)) => Action::Deploy(target),
            ("deploy", None) => return Err("action \"deploy\" needs a version".to_owned()),
            ("stop", None) => Action::Stop,
            ("remove", None) => Action::Remove,
            ("stop" | "remove", Some(_)) => return Err(format!("action {:?} carries no version", text.action)),
            (other, _) => Action::Unknown(shown(other)),
        };
        if let Some(option) = text.options.names().into_iter().find(|name| !text.requires.contains(name)) {
            return Err(format!("option {option:?} is set, but not named in requires"));
        }
        Ok(Self {
            requires: text.requires,
            fleet: text.fleet,
            node: text.node,
            cell: text.cell,
            generation: text.generation,
            action,
            options: text.options,
            issued_at: text.issued_at,
            issued_by: text.issued_by,
            reason: text.reason,
        })
    }
}

impl From<Trigger> for TriggerText {
    fn from(trigger: Trigger) -> Self {
        let action = trigger.action.name().to_owned();
        let target = trigger.action.target().cloned();
        Self {
            requires: trigger.requires,
            fleet: trigger.fleet,
            node: trigger.node,
            cell: trigger.cell,
            generation: trigger.generation,
            action,
            manifest_sha256: target.as_ref().map(|target| target.manifest_sha256),
            manifest_size: target.as_ref().map(|target| target.manifest_size),
            content_sha256: target.as_ref().map(|target| target.content_sha256),
            version: target.map(|target| target.version),
            options: trigger.options,
            issued_at: trigger.issued_at,
            issued_by: trigger.issued_by,
            reason: trigger.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text(change: impl FnOnce(&mut Value)) -> Result<Trigger, String> {
        let mut value = json!({
            "requires": [], "fleet": "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10", "node": "n1", "cell": "web",
            "generation": 7, "action": "deploy", "version": "1.4.2",
            "manifest_sha256": Sha256Digest::of(b"m").to_string(), "manifest_size": 812,
            "content_sha256": Sha256Digest::of(b"c").to_string(),
            "issued_at": "2026-01-02T03:04:05Z", "issued_by": "alice",
        });
        change(&mut value);
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    fn without_target(value: &mut Value, action: &str) {
        let fields = value.as_object_mut().unwrap();
        for name in ["version", "manifest_sha256", "manifest_size", "content_sha256"] {
            fields.remove(name);
        }
        fields.insert("action".to_owned(), json!(action));
    }

    #[test]
    fn a_trigger_reads_back_what_it_wrote() {
        for trigger in [
            text(|_| {}),
            text(|t| without_target(t, "stop")),
            text(|t| without_target(t, "remove")),
            text(|t| {
                t["options"] = json!({"retry": true});
                t["requires"] = json!(["retry"]);
            }),
        ] {
            let trigger = trigger.unwrap();
            let value = serde_json::to_value(&trigger).unwrap();
            assert_eq!(serde_json::from_value::<Trigger>(value).unwrap(), trigger);
        }
    }

    #[test]
    fn a_trigger_that_contradicts_itself_is_refused() {
        assert!(text(|t| without_target(t, "deploy")).unwrap_err().contains("needs a version"));
        assert!(text(|t| t["action"] = json!("stop")).unwrap_err().contains("carries no version"));
        assert!(text(|t| t["version"] = Value::Null).unwrap_err().contains("go together"));
        assert!(text(|t| t["options"] = json!({"force": true})).unwrap_err().contains("not named in requires"));
    }

    #[test]
    fn what_only_a_newer_agent_understands_is_named() {
        assert_eq!(text(|_| {}).unwrap().unsupported(), None);
        assert_eq!(text(|t| t["action"] = json!("freeze")).unwrap().unsupported(), Some("freeze"));
        assert_eq!(text(|t| t["requires"] = json!(["retry", "warp"])).unwrap().unsupported(), Some("warp"));
    }
}
