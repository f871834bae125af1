//! What may be written short or as a map: environment variables, the variables of templates, and schedules.
//!
//! The visitors stand here in place of serde's untagged enums, which forget where the value stood and what was wrong.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::value::{Calendar, CredentialText, Scalar, VarValue, VarVisitor};
use crate::model::CredentialName;
use crate::yaml::HumanDuration;

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq)]
pub enum EnvValue {
    /// The value itself, in which templates may be used.
    Text(String),
    /// Read on the node when the program starts.
    FromFile(FromFile),
    /// The path of a file that systemd makes for the program.
    Credential(FromCredential),
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

/// A credential of systemd: the variable holds the path of a file that only the program can read. Only for the
/// `systemd` profile.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FromCredential {
    /// Its name in the node's credential store, such as `/etc/credstore`.
    #[schemars(with = "CredentialText")]
    pub credential: CredentialName,
}

/// The two maps that a value may be, as one: which of them is meant is only known once it was read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvMap {
    from_file: Option<String>,
    key: Option<String>,
    credential: Option<CredentialName>,
}

impl EnvMap {
    fn value(self) -> Result<EnvValue, &'static str> {
        match self {
            Self { from_file: Some(from_file), key, credential: None } => {
                Ok(EnvValue::FromFile(FromFile { from_file, key }))
            }
            Self { from_file: None, key: None, credential: Some(credential) } => {
                Ok(EnvValue::Credential(FromCredential { credential }))
            }
            Self { credential: Some(_), .. } => {
                Err("`credential` stands alone\nremove `from_file` and `key`, or `credential`")
            }
            Self { from_file: None, .. } => {
                Err("the key `from_file` is missing\nwrite {from_file: /path}, or {credential: name}")
            }
        }
    }
}

/// When a service is run by a timer; written as its `on_calendar` alone, or as a map. In a cell what is left out stays
/// as the manifest says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    /// The calendar event.
    pub on_calendar: Option<Calendar>,
    /// Whether a run that was missed is made up for.
    pub persistent: Option<bool>,
    /// By how much it may be late, by chance.
    pub random_delay: Option<HumanDuration>,
}

impl Schedule {
    /// What stands here, and where nothing does what stands in `below`.
    pub(super) fn over(&self, below: &Self) -> Self {
        Self {
            on_calendar: self.on_calendar.clone().or_else(|| below.on_calendar.clone()),
            persistent: self.persistent.or(below.persistent),
            random_delay: self.random_delay.or(below.random_delay),
        }
    }
}

/// The map form of a schedule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleMap {
    /// When it runs, as systemd.time(7) writes calendar events: `daily`, `*-*-* 03:00`, `Mon..Fri 08:30`.
    on_calendar: Option<Calendar>,
    /// Whether a run that was missed while the machine was off is made up for; not if left out.
    persistent: Option<bool>,
    /// By how much it may be late, by chance, so that not all nodes run it at once; not at all if left out.
    random_delay: Option<HumanDuration>,
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

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrMap;

        impl<'de> Visitor<'de> for TextOrMap {
            type Value = EnvValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or a map with `from_file` or `credential`")
            }

            fn visit_str<E>(self, text: &str) -> Result<EnvValue, E> {
                Ok(EnvValue::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnvValue, A::Error> {
                EnvMap::deserialize(MapAccessDeserializer::new(map))?.value().map_err(A::Error::custom)
            }
        }

        // Asked for text, so that `8080` and `on` stay as they were written.
        deserializer.deserialize_string(TextOrMap)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventOrMap;

        impl<'de> Visitor<'de> for EventOrMap {
            type Value = Schedule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a calendar event such as daily, or a map with `on_calendar`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Schedule, E> {
                let on_calendar = Calendar::parse(text).map_err(E::custom)?;
                Ok(Schedule { on_calendar: Some(on_calendar), ..Schedule::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Schedule, A::Error> {
                let map = ScheduleMap::deserialize(MapAccessDeserializer::new(map))?;
                let ScheduleMap { on_calendar, persistent, random_delay } = map;
                Ok(Schedule { on_calendar, persistent, random_delay })
            }
        }

        // Asked for text, so that `03:00` stays as it was written.
        deserializer.deserialize_string(EventOrMap)
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
        let credential = generator.subschema_for::<FromCredential>();
        let description = "Text, a file on the node that holds the value, or a credential of systemd.";
        json_schema!({"description": description, "anyOf": [scalar, file, credential]})
    }
}

impl JsonSchema for Schedule {
    fn schema_name() -> Cow<'static, str> {
        "Schedule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let event = generator.subschema_for::<Calendar>();
        let map = generator.subschema_for::<ScheduleMap>();
        json_schema!({"description": "A calendar event, or a map that says more.", "anyOf": [event, map]})
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
