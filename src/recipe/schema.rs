//! JSON Schemas of what people write, for editors: draft 7, which is what `yaml-language-server` reads.
//!
//! What an editor marks by one of these is refused when the text is read, with one exception: text that looks like a
//! number is marked in most places, though it is read as it was written. Quotes satisfy both.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::written::{Binding, Recipe};

/// The schema of `manifest.yaml`.
#[must_use]
pub fn manifest() -> Value {
    of::<Recipe>()
}

/// The schema of `cell.yaml`.
#[must_use]
pub fn cell() -> Value {
    of::<Binding>()
}

/// A schema as text, as it stands in `docs/schema/`.
#[must_use]
pub fn text(schema: &Value) -> String {
    // A value that is made of maps with text keys only can always be written.
    serde_json::to_string_pretty(schema).map(|text| text + "\n").unwrap_or_default()
}

fn of<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Takes `null` out of every type and choice, because a key may be left out but never be null; and the line breaks of
/// source files out of descriptions.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(description)) = object.get_mut("description") {
                *description = description.replace('\n', " ");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("enum") {
                choices.retain(|choice| !choice.is_null());
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
            }
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
