//! What may be written short or as a map: environment variables and the variables of templates.
//!
//! The visitors stand here in place of serde's untagged enums, which forget where the value stood and what was wrong.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::value::{Scalar, VarValue, VarVisitor};

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
