//! `content_sha256`: what a release or a version is, whatever it is called and whenever it was made.

use serde_json::Value;

use super::digest::Sha256Digest;
use super::document::Document;

/// Fields that say when, by whom, under which name or where in the bucket; every other field is part of the content.
/// A field that is added to a document is inside unless it is listed here.
const OUTSIDE: [&str; 7] = ["content_sha256", "created_at", "created_by", "note", "version", "deployment", "schema"];

/// What identifies a file. Where its bytes lie and which input they came from does not change what runs.
const FILE_INSIDE: [&str; 4] = ["path", "size", "sha256", "mode"];

/// The digest of a document's canonical description: every field but the ones `OUTSIDE`, keys sorted, files
/// sorted by path and reduced to path, size, digest and mode. The schema stands in front, so that documents of
/// different kinds never share a digest.
///
/// It depends on nothing but its argument: not on the order of files or keys, the time or the environment.
#[must_use]
pub fn content_sha256<T: Document>(document: &T) -> Sha256Digest {
    // The fallback is unreachable for the reason given at `document::render`.
    let mut value = serde_json::to_value(document).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.retain(|name, _| !OUTSIDE.contains(&name.as_str()));
        if let Some(Value::Array(files)) = fields.get_mut("files") {
            for file in files.iter_mut().filter_map(Value::as_object_mut) {
                file.retain(|name, _| FILE_INSIDE.contains(&name.as_str()));
            }
            files.sort_by(|a, b| path_of(a).cmp(path_of(b)));
        }
    }
    let mut text = String::from(T::SCHEMA);
    text.push('\n');
    write_canonical(&value, &mut text);
    Sha256Digest::of(text.as_bytes())
}

fn path_of(file: &Value) -> &str {
    file.get("path").and_then(Value::as_str).unwrap_or_default()
}

/// JSON without white space, keys sorted by bytes. `serde_json`'s own order depends on a feature that any crate in
/// the build may turn on.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| name.as_str());
            text.push('{');
            for (at, (name, value)) in fields.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}
