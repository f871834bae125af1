//! The description of the API as people read it, made of the same that programs get.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::openapi::{names, of_path, of_query};
use super::operation::{Condition, Content, Operation};
use super::problems::{PROBLEMS, Problem};

/// All of it, in the order in which it is told.
#[derive(Debug)]
pub(in crate::web) struct Reference {
    pub(in crate::web) topics: Vec<Topic>,
    pub(in crate::web) shapes: Vec<Shape>,
    pub(in crate::web) problems: &'static [Problem],
}

/// Operations that are about the same.
#[derive(Debug)]
pub(in crate::web) struct Topic {
    pub(in crate::web) name: &'static str,
    pub(in crate::web) calls: Vec<Call>,
}

/// One operation.
#[derive(Debug)]
pub(in crate::web) struct Call {
    pub(in crate::web) id: &'static str,
    pub(in crate::web) method: &'static str,
    pub(in crate::web) path: &'static str,
    pub(in crate::web) summary: &'static str,
    pub(in crate::web) needs: String,
    pub(in crate::web) parameters: Vec<Field>,
    pub(in crate::web) takes: Word,
    pub(in crate::web) gives: Word,
    pub(in crate::web) curl: String,
    pub(in crate::web) cli: Option<&'static str>,
}

/// A JSON object by its name.
#[derive(Debug)]
pub(in crate::web) struct Shape {
    pub(in crate::web) name: String,
    pub(in crate::web) about: String,
    pub(in crate::web) fields: Vec<Field>,
    /// What it is, where it has no fields.
    pub(in crate::web) word: Word,
}

/// A parameter, or a field of an object.
#[derive(Debug)]
pub(in crate::web) struct Field {
    pub(in crate::web) name: String,
    /// `path`, `query`, `header`; nothing for a field.
    pub(in crate::web) place: &'static str,
    pub(in crate::web) is_needed: bool,
    pub(in crate::web) word: Word,
    pub(in crate::web) about: String,
}

/// What kind of value something is, and the shape that tells more.
#[derive(Debug, Default, Clone)]
pub(in crate::web) struct Word {
    pub(in crate::web) text: String,
    pub(in crate::web) shape: Option<String>,
}

/// The whole of it. Examples are of the bucket whose paths begin with `base`.
pub(in crate::web) fn reference(base: &str) -> Reference {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut topics: Vec<Topic> = Vec::new();
    let operations = super::operations();
    for operation in operations.list() {
        let call = call(operation, base, &mut generator);
        match topics.last_mut() {
            Some(topic) if topic.name == operation.topic => topic.calls.push(call),
            _ => topics.push(Topic { name: operation.topic, calls: vec![call] }),
        }
    }
    let shapes = generator.take_definitions(true).into_iter().map(|(name, schema)| shape(name, &schema));
    Reference { topics, shapes: shapes.collect(), problems: PROBLEMS }
}

fn call(operation: &Operation, base: &str, generator: &mut SchemaGenerator) -> Call {
    let of_path = names(operation.path).map(|name| {
        let (about, schema) = of_path(name);
        Field { name: name.to_owned(), place: "path", is_needed: true, word: word(&schema), about: about.to_owned() }
    });
    let mut parameters: Vec<Field> = of_path.collect();
    for make in &operation.query {
        parameters.extend(of_query(make(generator).to_value()).iter().map(|parameter| field(parameter, "query")));
    }
    Call {
        id: operation.id,
        method: operation.method,
        path: operation.path,
        summary: operation.summary,
        needs: operation.needs(),
        parameters,
        takes: content(operation.body, generator),
        gives: content(operation.answer, generator),
        curl: curl(operation, base),
        cli: operation.cli,
    }
}

fn field(parameter: &Value, place: &'static str) -> Field {
    let text = |name: &str| parameter[name].as_str().unwrap_or_default().to_owned();
    let is_needed = parameter["required"].as_bool() == Some(true);
    Field { name: text("name"), place, is_needed, word: word(&parameter["schema"]), about: text("description") }
}

fn content(content: Content, generator: &mut SchemaGenerator) -> Word {
    let plain = |text: &str| Word { text: text.to_owned(), shape: None };
    match content {
        Content::Nothing => Word::default(),
        Content::Json(make) => word(&make(generator).to_value()),
        Content::Yaml => plain("application/yaml"),
        Content::Bytes => plain("application/octet-stream"),
        Content::Files => plain("multipart/form-data"),
    }
}

/// The same with curl.
fn curl(operation: &Operation, base: &str) -> String {
    let mut line = "curl -H \"Authorization: Bearer $TOKEN\"".to_owned();
    if operation.method != "GET" {
        line.push_str(" -X ");
        line.push_str(operation.method);
    }
    if operation.condition != Condition::None {
        line.push_str(" -H 'If-Match: \"…\"'");
    }
    line.push_str(match operation.body {
        Content::Nothing => "",
        Content::Json(_) => " -H 'Content-Type: application/json' -d '{…}'",
        Content::Yaml => " -H 'Content-Type: application/yaml' --data-binary @file.yaml",
        Content::Bytes => " -H 'Content-Type: application/octet-stream' --data-binary @file",
        Content::Files => " -F 'file=@index.html'",
    });
    format!("{line} \"$FLEETMAN{base}{}\"", operation.path.replace("{*", "{"))
}

fn shape(name: String, schema: &Value) -> Shape {
    let needed: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let fields = properties.map(|(name, schema)| Field {
        name: name.clone(),
        place: "",
        is_needed: needed.contains(&name.as_str()),
        word: word(schema),
        about: about(schema),
    });
    Shape { name, about: about(schema), fields: fields.collect(), word: word(schema) }
}

fn about(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

/// A schema in few words.
fn word(schema: &Value) -> Word {
    let of_many = |schemas: &Value, between: &str| {
        let words: Vec<Word> = schemas.as_array().into_iter().flatten().map(word).collect();
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).filter(|text| !text.is_empty()).collect();
        Word { text: texts.join(between), shape: words.iter().find_map(|word| word.shape.clone()) }
    };
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default().to_owned();
        return Word { text: name.clone(), shape: Some(name) };
    }
    for choice in ["anyOf", "oneOf"] {
        if schema[choice].is_array() {
            return of_many(&schema[choice], " or ");
        }
    }
    if let Some(only) = schema.get("const") {
        return Word { text: only.to_string(), shape: None };
    }
    if let Some(values) = schema["enum"].as_array() {
        let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
        return Word { text: texts.join(" or "), shape: None };
    }
    if schema["items"].is_object() {
        let items = word(&schema["items"]);
        return Word { text: format!("list of {}", items.text), shape: items.shape };
    }
    let text = match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    };
    Word { text, shape: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_that_is_named_is_told() {
        let reference = reference("/b/lab");
        let told: Vec<&str> = reference.shapes.iter().map(|shape| shape.name.as_str()).collect();
        let of_shapes = reference.shapes.iter().flat_map(|shape| shape.fields.iter().map(|field| &field.word));
        let calls = || reference.topics.iter().flat_map(|topic| &topic.calls);
        let of_calls =
            calls().flat_map(|call| call.parameters.iter().map(|field| &field.word).chain([&call.takes, &call.gives]));
        let named: Vec<&String> = of_shapes.chain(of_calls).filter_map(|word| word.shape.as_ref()).collect();
        assert!(named.len() > 50);
        for name in named {
            assert!(told.contains(&name.as_str()), "{name} is nowhere");
        }
        for shape in &reference.shapes {
            for field in &shape.fields {
                assert!(!field.about.is_empty(), "{}.{} is not explained", shape.name, field.name);
            }
        }
        let publish = calls().find(|call| call.id == "publishCell").unwrap();
        assert_eq!(publish.takes.shape.as_deref(), Some("Publish"));
        assert!(
            publish.curl.contains("-X POST")
                && publish.curl.ends_with("\"$FLEETMAN/b/lab/api/v1/cells/{node}/{cell}/publish\"")
        );
    }
}
