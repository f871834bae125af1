//! The API's description, as what every answer that a test gets from the API is held against.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::serving::Answer;

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract {
    document: fleetman::web::description(),
    templates: fleetman::web::routes()
        .iter()
        .map(|route| route.path)
        .filter(|path| path.starts_with("/api/"))
        .collect(),
    validators: Mutex::default(),
});

struct Contract {
    document: Value,
    templates: Vec<&'static str>,
    /// By the pointer to their schema.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// Fails unless `answer` is what the description says of the request. What is not below the API is not looked at.
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    let path = path.split('?').next().unwrap_or_default();
    let path = match path.strip_prefix("/b/").and_then(|rest| rest.split_once('/')) {
        Some((_, rest)) => format!("/{rest}"),
        None => path.to_owned(),
    };
    if !path.starts_with("/api/v1/") {
        return;
    }
    let what = format!("{method} {path}: {}", answer.status);
    let Some(template) = CONTRACT.template(&path) else {
        assert_eq!(answer.status, 404, "{what}, and there is no such route");
        return CONTRACT.check_problem(&what, answer);
    };
    let operation = &CONTRACT.document["paths"][template.replace("{*", "{")][method.to_lowercase()];
    if operation.is_null() {
        assert!([403, 405, 421].contains(&answer.status), "{what}, and there is no such operation");
        return CONTRACT.check_problem(&what, answer);
    }
    let response = CONTRACT.resolved(&operation["responses"][answer.status.to_string()]);
    assert!(response.is_object(), "{what} is not described: {}", String::from_utf8_lossy(&answer.body));
    let Some(contents) = response["content"].as_object() else {
        return assert!(answer.body.is_empty(), "{what} has a body that is not described");
    };
    let kind = answer.header("content-type");
    let (_, content) = contents.iter().find(|(of, _)| *of == kind).unwrap_or_else(|| panic!("{what} came as {kind}"));
    match kind {
        "application/problem+json" => CONTRACT.check_problem(&what, answer),
        "application/json" => CONTRACT.check_json(&what, &content["schema"], answer),
        _ => {}
    }
}

impl Contract {
    /// The route that a path is for: of several the one that says most of it.
    fn template(&self, path: &str) -> Option<&'static str> {
        let fits = |template: &&&str| {
            let (mut wanted, mut found) = (template.split('/'), path.split('/'));
            loop {
                match (wanted.next(), found.next()) {
                    (None, None) => return true,
                    (Some(wanted), Some(_)) if wanted.starts_with("{*") => return true,
                    (Some(wanted), Some(found)) if wanted == found || wanted.starts_with('{') => {}
                    _ => return false,
                }
            }
        };
        self.templates.iter().filter(fits).min_by_key(|template| template.matches('{').count()).copied()
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| self.document.pointer(pointer)).unwrap_or(value)
    }

    fn check_problem(&self, what: &str, answer: &Answer) {
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
        self.check_json(what, &json!({"$ref": "#/components/schemas/Problem"}), answer);
        assert_eq!(answer.json()["status"].as_u64(), Some(answer.status.into()), "{what}");
    }

    fn check_json(&self, what: &str, schema: &Value, answer: &Answer) {
        let validator = self.validator(schema);
        let body = answer.json();
        let errors: Vec<String> =
            validator.iter_errors(&body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{what} is not what is described: {errors:?}\n{body}");
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap();
        let made = validators.entry(schema.to_string()).or_insert_with(|| {
            let schema = json!({"components": self.document["components"], "allOf": [schema]});
            Arc::new(jsonschema::validator_for(&schema).unwrap())
        });
        made.clone()
    }
}
