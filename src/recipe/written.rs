//! `manifest.yaml` and `cell.yaml` as people write them. What these types hold is well formed; whether it makes sense
//! is for [`validate`](super::validate) to say.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::value::{HumanBytes, HumanDuration, Signal, VarValue, VarVisitor, WrittenMode};
use crate::model::{CellId, ManifestName, run_spec};

/// A manifest: what a cell is made of and how it is run.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Fleetman manifest")]
pub struct Recipe {
    /// The manifest's name: lower-case letters, digits and `-`.
    #[schemars(with = "Name")]
    pub name: ManifestName,
    /// What it is, for people.
    pub description: Option<String>,
    /// Labels that each of its cells carries unless it says otherwise.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What templates may use, as `{{ vars.port }}`. A cell may set each of them to something else.
    #[serde(default)]
    pub vars: BTreeMap<String, VarDeclaration>,
    /// Which files of a release belong to a version. All of them, with their own modes, if this is left out.
    pub files: Option<Vec<FileRule>>,
    /// How it is run.
    pub profile: Profile,
    /// The most that it may use.
    #[serde(default)]
    pub limits: Limits,
}

/// A default value, or a map that says more about the variable.
#[derive(Debug, Clone, PartialEq)]
pub struct VarDeclaration {
    /// What it is where no cell sets it; every cell must set it if there is none.
    pub default: Option<VarValue>,
    /// What it is for.
    pub description: Option<String>,
}

/// The map form of a variable.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VarMap {
    /// The value where no cell sets it. Without a default every cell must set the variable.
    default: Option<VarValue>,
    /// What it is for.
    description: Option<String>,
}

/// Files of a release, by path or by glob. A `path` decides over every `glob`; of several globs the last decides.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["path"]}, {"required": ["glob"]}]))]
pub struct FileRule {
    /// One file, relative to the release.
    pub path: Option<String>,
    /// Files by pattern: `*` within a folder, `**` across folders, `?`, `[a-z]`, `{css,js}`.
    pub glob: Option<String>,
    /// Files that the glob would match but must not.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Permissions as four octal digits in quotes; those of the release if left out.
    pub mode: Option<WrittenMode>,
    /// Whether the content is a template that is rendered for each cell.
    #[serde(default)]
    pub template: bool,
}

/// How a cell is run: one of the four, each with its settings.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Files in a folder, and nothing is run.
    Deploy(Owner),
    /// The built-in process supervisor.
    Process(Run),
    /// A systemd service.
    Systemd(Run),
    /// A program of supervisord.
    Supervisor(Run),
}

/// Who owns the cell's data.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Owner of the cell's data folder; the agent's user if left out.
    pub user: Option<String>,
    /// Group of the cell's data folder; the user's own if left out.
    pub group: Option<String>,
}

/// A program and the conditions under which it runs.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The program and its arguments, each one item; never a shell line. A program without a leading `/` is one of
    /// the version's files. Templates may be used.
    #[schemars(with = "Vec<Scalar>", length(min = 1))]
    pub command: Vec<String>,
    /// The environment. A value is text, in which templates may be used, or a file on the node.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// The user that it runs as; the agent's own if left out.
    pub user: Option<String>,
    /// The group that it runs as; the user's own if left out.
    pub group: Option<String>,
    /// Where it starts, relative to the version's files; their top folder if left out.
    pub working_dir: Option<String>,
    /// What happens when it ends.
    #[serde(default)]
    pub restart: Restart,
    /// How it is ended.
    #[serde(default)]
    pub stop: Stop,
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq)]
pub enum EnvValue {
    /// The value itself, in which templates may be used.
    Text(String),
    /// Read on the node when the program starts.
    FromFile(FromFile),
}

/// A secret that lies on the node. It is read when the program starts and is never in the bucket.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FromFile {
    /// An absolute path on the node.
    #[schemars(regex(pattern = "^/"))]
    pub from_file: String,
    /// In a file of `KEY=value` lines, the key whose value is meant; the whole file if left out.
    pub key: Option<String>,
}

/// What happens when a program ends.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// When it is started again; `on-failure` if left out.
    pub policy: Option<RestartPolicy>,
    /// How long to wait before; `1s` if left out.
    pub delay: Option<HumanDuration>,
    /// How often at most; without end if left out.
    pub max_retries: Option<u32>,
}

/// When a program that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It is not.
    Never,
    /// After any end but exit code 0.
    OnFailure,
    /// After any end.
    Always,
}

impl From<RestartPolicy> for run_spec::RestartPolicy {
    fn from(policy: RestartPolicy) -> Self {
        match policy {
            RestartPolicy::Never => Self::Never,
            RestartPolicy::OnFailure => Self::OnFailure,
            RestartPolicy::Always => Self::Always,
        }
    }
}

/// How a program is ended.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The signal that asks it to end; `TERM` if left out.
    pub signal: Option<Signal>,
    /// How long it has until it is killed; `10s` if left out.
    pub timeout: Option<HumanDuration>,
}

/// The most that a cell may use.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open files of a process.
    pub open_files: Option<u64>,
    /// Memory of the whole cell, such as `512MiB`.
    pub memory: Option<HumanBytes>,
    /// Processes and threads of the whole cell.
    pub tasks: Option<u64>,
    /// Size of a core dump, such as `1GiB`, or `0`.
    pub core: Option<HumanBytes>,
}

/// A cell: a manifest bound to a node.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Fleetman cell")]
pub struct Binding {
    /// The cell, as `<node>/<cell>`.
    #[schemars(with = "CellText")]
    pub cell: CellId,
    /// The manifest that it is made from.
    #[schemars(with = "Name")]
    pub manifest: ManifestName,
    /// What it is, for people.
    pub description: Option<String>,
    /// Values for the manifest's variables.
    #[serde(default)]
    pub vars: BTreeMap<String, VarValue>,
    /// Labels of this cell, over those of the manifest.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What this cell has different from the manifest's profile and limits.
    #[serde(default)]
    pub overrides: Overrides,
    /// While this is there, nothing is published to the cell.
    pub paused: Option<Paused>,
}

/// What a cell has different from its manifest. What is left out stays as the manifest says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// The whole command.
    #[schemars(with = "Option<Vec<Scalar>>", length(min = 1))]
    pub command: Option<Vec<String>>,
    /// Variables of the environment, added to those of the manifest or in place of them.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// The user.
    pub user: Option<String>,
    /// The group.
    pub group: Option<String>,
    /// The folder that the program starts in.
    pub working_dir: Option<String>,
    /// What happens when the program ends, setting by setting.
    #[serde(default)]
    pub restart: Restart,
    /// How the program is ended, setting by setting.
    #[serde(default)]
    pub stop: Stop,
    /// Limits, one by one.
    #[serde(default)]
    pub limits: Limits,
}

/// Why nothing is published to a cell at present.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paused {
    /// Why, for whoever would publish next.
    pub reason: String,
    /// Who paused it.
    pub by: Option<String>,
    /// Since when, in RFC 3339.
    #[schemars(with = "Option<Time>")]
    pub since: Option<DateTime<Utc>>,
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrMap;

        impl<'de> Visitor<'de> for TextOrMap {
            type Value = EnvValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or a map with `from_file`")
            }

            fn visit_str<E>(self, text: &str) -> Result<EnvValue, E> {
                Ok(EnvValue::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnvValue, A::Error> {
                FromFile::deserialize(MapAccessDeserializer::new(map)).map(EnvValue::FromFile)
            }
        }

        // Asked for text, so that `8080` and `on` stay as they were written.
        deserializer.deserialize_string(TextOrMap)
    }
}

impl<'de> Deserialize<'de> for VarDeclaration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueOrMap(VarVisitor);

        macro_rules! as_value {
            ($($method:ident($type:ty)),*) => {$(
                fn $method<E: serde::de::Error>(self, value: $type) -> Result<VarDeclaration, E> {
                    self.0.$method(value).map(VarDeclaration::from)
                }
            )*};
        }

        impl<'de> Visitor<'de> for ValueOrMap {
            type Value = VarDeclaration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.expecting(f)
            }

            as_value!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, items: A) -> Result<VarDeclaration, A::Error> {
                self.0.visit_seq(items).map(VarDeclaration::from)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<VarDeclaration, A::Error> {
                let VarMap { default, description } = VarMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(VarDeclaration { default, description })
            }
        }

        deserializer.deserialize_any(ValueOrMap(VarVisitor { list: true }))
    }
}

impl From<VarValue> for VarDeclaration {
    fn from(default: VarValue) -> Self {
        Self { default: Some(default), description: None }
    }
}

impl JsonSchema for EnvValue {
    fn schema_name() -> Cow<'static, str> {
        "EnvValue".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scalar = generator.subschema_for::<Scalar>();
        let file = generator.subschema_for::<FromFile>();
        json_schema!({"description": "Text, or a file on the node that holds the value.", "anyOf": [scalar, file]})
    }
}

impl JsonSchema for VarDeclaration {
    fn schema_name() -> Cow<'static, str> {
        "Var".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<VarValue>();
        let map = generator.subschema_for::<VarMap>();
        json_schema!({"description": "A default value, or a map that says more about the variable.", "anyOf": [value, map]})
    }
}

/// Schemas of texts whose types know nothing of schemas.
macro_rules! text_schema {
    ($($name:ident: $schema:tt)*) => {$(
        struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

text_schema! {
    // Text that may be written without quotes even where it looks like a number.
    Scalar: {"type": ["string", "number", "boolean"]}
    Name: {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
    CellText: {
        "type": "string",
        "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        "examples": ["n1/web"],
    }
    Time: {"type": "string", "format": "date-time", "examples": ["2026-11-20T14:00:00Z"]}
}
