//! What differs between two versions. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use similar::TextDiff as Differ;

use super::definitions::{self, DefinitionChange, StandIn};
use super::secret;
use crate::model::deployment::DeploymentFile;
use crate::model::manifest::{Manifest, ManifestFile, Mode};
use crate::model::{FilePath, Sha256Digest};

/// A file longer than this is not compared line by line.
pub(super) const MOST_TEXT_BYTES: u64 = 1 << 20;

/// How long two texts are compared before the answer is a rough one.
const PATIENCE: Duration = Duration::from_millis(250);

/// How many names a summary lists.
const SUMMARY: usize = 5;

/// Lines around a change.
const CONTEXT: usize = 3;

/// What differs between two versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Changes {
    /// Settings of the manifest, by name.
    pub fields: Vec<FieldChange>,
    /// Files, by path.
    pub files: Vec<FileChange>,
    /// What stands on the host beside the files, as its agent renders it: units, supervisord's file, processes.
    pub definitions: Vec<DefinitionChange>,
    /// The words in angle brackets that stand in the lines of definitions.
    pub stand_ins: Vec<StandIn>,
}

/// A setting that differs. Values are JSON; what is read on the node stands there as the reference that it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldChange {
    /// Where it stands, such as `profile.env.PORT`.
    pub field: String,
    /// What it was.
    pub before: Option<Value>,
    /// What it is to be.
    pub after: Option<Value>,
    /// It may be a secret: both values are masked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_secret: bool,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileChange {
    /// Where it lies.
    pub path: FilePath,
    /// How it differs.
    pub kind: FileKind,
    /// What it was.
    pub before: Option<FileSide>,
    /// What it is to be.
    pub after: Option<FileSide>,
    /// The lines that differ.
    pub diff: TextDiff,
}

/// How a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// It is new.
    Added,
    /// It goes.
    Removed,
    /// Its bytes or its mode change.
    Changed,
}

/// One side of a file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileSide {
    /// In bytes.
    pub size: u64,
    /// Of its bytes.
    pub sha256: Sha256Digest,
    /// Its permissions.
    pub mode: Mode,
}

/// The lines that differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", content = "text", rename_all = "snake_case")]
pub enum TextDiff {
    /// A unified diff.
    Text(String),
    /// At least one side is no text.
    Binary,
    /// At least one side is too long.
    TooLarge,
    /// So many files differ that this one was not compared.
    LeftOut,
    /// The bytes are the same.
    Same,
    /// Nobody looked at the bytes, or the earlier ones are gone.
    #[default]
    Unknown,
}

impl TextDiff {
    /// What differs between two texts.
    #[must_use]
    pub fn between(before: &[u8], after: &[u8]) -> Self {
        if before == after { Self::Same } else { lines(before, after) }
    }
}

impl From<&ManifestFile> for FileSide {
    fn from(file: &ManifestFile) -> Self {
        Self { size: file.size, sha256: file.sha256, mode: file.mode }
    }
}

impl From<&DeploymentFile> for FileSide {
    fn from(file: &DeploymentFile) -> Self {
        Self { size: file.size, sha256: file.sha256, mode: file.mode }
    }
}

impl Changes {
    /// What differs between the version that is to run now, if there is one, and the one that is to come. Bytes are
    /// not looked at.
    #[must_use]
    pub fn between(before: Option<&Manifest>, after: &Manifest) -> Self {
        let definitions = definitions::changed(before, after);
        let stand_ins = definitions::stand_ins(&definitions);
        Self { fields: fields(before, after), files: files(before, after), definitions, stand_ins }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.files.is_empty() && self.definitions.is_empty()
    }

    /// What differs, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let fields = self.fields.iter().map(|change| change.field.clone());
        listed(&fields.chain(self.files.iter().map(|change| change.path.to_string())).collect::<Vec<_>>())
    }
}

/// Names in one line, the rest of a long list only counted.
pub(super) fn listed(names: &[String]) -> String {
    match names.len() {
        0 => "nothing".to_owned(),
        count if count <= SUMMARY => names.join(", "),
        count => format!("{} and {} more", names[..SUMMARY].join(", "), count - SUMMARY),
    }
}

/// The settings that are part of the content, and which recipe they come from, flattened.
fn settings(manifest: &Manifest) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in [
        ("manifest", serde_json::to_value(&manifest.manifest)),
        ("deployment", serde_json::to_value(&manifest.deployment)),
        ("requires", serde_json::to_value(&manifest.requires)),
        ("profile", serde_json::to_value(&manifest.profile)),
        ("health", serde_json::to_value(&manifest.health)),
        ("hooks", serde_json::to_value(&manifest.hooks)),
        ("strategy", serde_json::to_value(&manifest.strategy)),
        ("limits", serde_json::to_value(&manifest.limits)),
        ("drift", serde_json::to_value(&manifest.drift)),
        ("windows", serde_json::to_value(&manifest.windows)),
        ("lock", serde_json::to_value(&manifest.lock)),
        ("dependencies", serde_json::to_value(&manifest.dependencies)),
    ] {
        // Every one of them is written to the manifest as it is here.
        flatten(name, value.unwrap_or_default(), &mut flat);
    }
    flat
}

fn flatten(name: &str, value: Value, flat: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(&format!("{name}.{key}"), value, flat);
            }
        }
        Value::Null => {}
        value => {
            flat.insert(name.to_owned(), value);
        }
    }
}

fn fields(before: Option<&Manifest>, after: &Manifest) -> Vec<FieldChange> {
    let (before, after) = (before.map(settings).unwrap_or_default(), settings(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let (before, after) = (before.get(name), after.get(name));
        (before != after).then(|| {
            let is_secret = secret::is_named(name) || [before, after].into_iter().flatten().any(secret::is_inside);
            let shown = |value: Option<&Value>| match value {
                Some(_) if is_secret => Some(Value::from(secret::MASK)),
                value => value.cloned(),
            };
            FieldChange { field: name.clone(), before: shown(before), after: shown(after), is_secret }
        })
    };
    names.into_iter().filter_map(change).collect()
}

fn files(before: Option<&Manifest>, after: &Manifest) -> Vec<FileChange> {
    let by_path = |manifest: &Manifest| -> BTreeMap<FilePath, FileSide> {
        manifest.files.iter().map(|file| (file.path.clone(), FileSide::from(file))).collect()
    };
    let (before, after) = (before.map(by_path).unwrap_or_default(), by_path(after));
    let paths: BTreeSet<&FilePath> = before.keys().chain(after.keys()).collect();
    let change = |path: &FilePath| {
        let (before, after) = (before.get(path).cloned(), after.get(path).cloned());
        let kind = match (&before, &after) {
            (Some(before), Some(after)) if before == after => return None,
            (Some(_), None) => FileKind::Removed,
            (None, _) => FileKind::Added,
            (Some(_), Some(_)) => FileKind::Changed,
        };
        let same_bytes = before.as_ref().zip(after.as_ref()).is_some_and(|(a, b)| a.sha256 == b.sha256);
        let diff = if same_bytes { TextDiff::Same } else { TextDiff::Unknown };
        Some(FileChange { path: path.clone(), kind, before, after, diff })
    };
    paths.into_iter().filter_map(change).collect()
}

/// The lines that differ between two files; an absent one is empty.
pub(super) fn lines(before: &[u8], after: &[u8]) -> TextDiff {
    match (text(before), text(after)) {
        (Some(before), Some(after)) => {
            let differ = Differ::configure().timeout(PATIENCE).diff_lines(before, after);
            TextDiff::Text(differ.unified_diff().context_radius(CONTEXT).to_string())
        }
        _ => TextDiff::Binary,
    }
}

/// Bytes that are a text.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_and_what_is_no_text_is_not() {
        let TextDiff::Text(diff) = lines(b"a\nb\nc\n", b"a\nB\nc\n") else { panic!() };
        assert!(diff.contains("-b\n+B\n"), "{diff}");
        let TextDiff::Text(added) = lines(b"", b"new\n") else { panic!() };
        assert!(added.contains("+new\n"), "{added}");
        assert_eq!(lines(b"\xff", b"a"), TextDiff::Binary);
        assert_eq!(lines(b"a\0", b"a"), TextDiff::Binary);
    }

    #[test]
    fn settings_are_named_by_where_they_stand_and_secrets_are_references() {
        let mut flat = BTreeMap::new();
        let value = serde_json::json!({"env": {"KEY": {"from_file": "/etc/key"}}, "command": ["a", "b"]});
        flatten("profile", value, &mut flat);
        let names: Vec<&str> = flat.keys().map(String::as_str).collect();
        assert_eq!(names, ["profile.command", "profile.env.KEY.from_file"]);
    }

    #[test]
    fn texts_that_have_nothing_in_common_are_compared_in_bounded_time() {
        let text =
            |prefix: &str| (0..80_000).map(|line| format!("{prefix}{}\n", line * 7 % 80_000)).collect::<String>();
        let TextDiff::Text(diff) = lines(text("a").as_bytes(), text("b").as_bytes()) else { panic!() };
        assert_eq!(diff.lines().count(), 160_001);
    }
}
