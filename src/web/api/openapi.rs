//! The description of the API (OpenAPI 3.1), made of what is said about each route where the route is made.

use axum::response::Response;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::answer::Has;
use super::operation::{Condition, Content, Operation, Operations};
use super::orders::Conflict;
use super::problems::{PROBLEMS, STATUSES};

/// What may come of any operation.
const ALWAYS: [u16; 10] = [400, 401, 403, 404, 409, 421, 422, 500, 503, 504];

pub(super) fn operations() -> Operations {
    Operations::of("About").get(
        "/api/v1/openapi.json",
        openapi,
        Operation::new("getOpenapi", "viewer", "Gives this description.").gives::<Map<String, Value>>(),
    )
}

async fn openapi(_: Caller, has: Has) -> Result<Response, Failure> {
    has.json(&super::description())
}

/// The description of these operations.
pub(super) fn document(operations: &[Operation]) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .for_serialize()
        .into_generator();
    let mut paths = Map::new();
    for operation in operations {
        // A wildcard is a parameter like any other, but for the slashes in it.
        let path = operation.path.replace("{*", "{");
        let of_path = paths.entry(path).or_insert_with(|| json!({}));
        of_path[operation.method.to_lowercase()] = described(operation, &mut generator);
    }
    let conflict = generator.subschema_for::<Conflict>();
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Problem".to_owned(), problem(&conflict));
    let mut topics: Vec<&str> = operations.iter().map(|operation| operation.topic).collect();
    topics.dedup();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fleetman",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs a fleet from programs. Within v1 things are only ever added. A path below /b/<bucket> \
                means that bucket of the controller's config, any other the first. Reads carry an ETag and answer 304 \
                to If-None-Match. A POST with an Idempotency-Key is answered as it was when it is sent again with the \
                same token or session, by a user whose rights are the same, to the same controller within a day, under \
                the header Idempotency-Replayed: true; another request under the same key is refused with 422. The \
                controller's process remembers that, up to 256 keys of a user and 1,024 in all; answers of more than \
                64 KiB, with a secret, with 401, 403, 429 or 5xx are not remembered. After a restart, and at another \
                controller, the request is carried out again: what keeps it from being done twice there is its guard \
                (if_generation, expect).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": topics.iter().map(|topic| json!({"name": topic})).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A token out of the portal's settings."}},
            "responses": STATUSES.iter().map(|(status, when)| (status.to_string(), json!({
                "description": described_status(*status, when),
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }))).collect::<Map<_, _>>(),
        },
    })
}

fn described_status(status: u16, when: &str) -> String {
    let codes = PROBLEMS.iter().filter(|problem| problem.status == status);
    let codes: Vec<String> = codes.map(|problem| format!("`{}`: {}.", problem.code, problem.when)).collect();
    format!("{when} {}", codes.join(" ")).trim_end().to_owned()
}

/// What every failure is (RFC 9457).
fn problem(conflict: &schemars::Schema) -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {
                "type": "string",
                "description": "What programs compare; never changes. Others may come.",
                "oneOf": PROBLEMS.iter().map(|problem| json!({"const": problem.code, "description": problem.when}))
                    .collect::<Vec<_>>(),
            },
            "detail": {"type": "string", "description": "What people read."},
            "retry": {
                "type": "boolean",
                "description": "Whether the same request may succeed later without anybody changing anything.",
            },
            "store": {
                "type": "object",
                "description": "What was asked of the store, if that is what failed.",
                "required": ["operation"],
                "properties": {
                    "operation": {"type": "string", "description": "S3's name for it, such as GetObject."},
                    "status": {"type": "integer", "description": "Of the store's answer, if one came."},
                    "code": {"type": "string", "description": "The store's word for what is wrong."},
                    "request_id": {"type": "string", "description": "The store's name for the request."},
                },
            },
            "conflict": conflict,
            "now": {
                "description": "With 412: what is there now, as a GET of it answers; of a cell its `etag` and `text`, of \
                    an override what the list says of it. null if there is nothing.",
            },
            "errors": {
                "type": "array",
                "description": "Of a YAML document: what is wrong, each with its place.",
                "items": {"type": "object"},
            },
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> =
        names(operation.path).map(|name| parameter("path", name, true, of_path(name))).collect();
    for make in &operation.query {
        parameters.extend(of_query(make(generator).to_value()));
    }
    let text = || json!({"type": "string"});
    if operation.condition != Condition::None {
        let is_needed = operation.condition == Condition::Match;
        parameters.push(parameter("header", "If-Match", is_needed, ("The ETag that was read.", text())));
    }
    if operation.condition == Condition::MatchOrNew {
        let new = json!({"type": "string", "const": "*"});
        parameters.push(parameter("header", "If-None-Match", false, ("`*` for one that is new.", new)));
    }
    if operation.takes_key() {
        let about = "The same for the same request: then this controller carries it out once.";
        parameters.push(parameter(
            "header",
            "Idempotency-Key",
            false,
            (about, json!({"type": "string", "maxLength": 255})),
        ));
    }
    let mut responses = Map::new();
    let mut answer = json!({"description": "Done."});
    if let Some(content) = content(operation.answer, generator) {
        answer["content"] = content;
    }
    responses.insert(operation.status.as_str().to_owned(), answer.clone());
    let mut failures = ALWAYS.to_vec();
    match operation.condition {
        Condition::None => {}
        Condition::MayMatch => failures.push(412),
        Condition::Match | Condition::MatchOrNew => failures.extend([412, 428]),
    }
    if !matches!(operation.body, Content::Nothing) || operation.takes_key() {
        failures.extend([413, 415]);
    }
    if operation.method == "GET" {
        responses.insert("304".to_owned(), json!({"description": "It is as the caller has it."}));
    }
    if operation.condition == Condition::MatchOrNew {
        responses.insert("201".to_owned(), answer.clone());
    }
    match operation.also {
        Some(also) if also.is_success() => {
            responses.insert(also.as_str().to_owned(), answer);
        }
        also => failures.extend(also.map(|also| also.as_u16())),
    }
    for status in failures {
        responses.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{status}")}));
    }
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.topic],
        "summary": operation.summary,
        "description": match operation.cli {
            Some(cli) => format!("Needs {}. The same on the command line: `{cli}`", operation.needs()),
            None => format!("Needs {}.", operation.needs()),
        },
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(content) = content(operation.body, generator) {
        described["requestBody"] = json!({"required": true, "content": content});
    }
    described
}

fn content(content: Content, generator: &mut SchemaGenerator) -> Option<Value> {
    let text = json!({"type": "string"});
    match content {
        Content::Nothing => None,
        Content::Json(make) => Some(json!({"application/json": {"schema": make(generator)}})),
        Content::Yaml => Some(json!({"application/yaml": {"schema": text}})),
        Content::Bytes => Some(json!({"application/octet-stream": {}})),
        Content::Files => Some(json!({"multipart/form-data": {"schema": {"type": "object"}}})),
    }
}

fn parameter(place: &str, name: &str, required: bool, (about, schema): (&str, Value)) -> Value {
    json!({"in": place, "name": name, "required": required, "description": about, "schema": schema})
}

/// The parameters in a path.
pub(super) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).map(|name| name.trim_start_matches('*'))
}

pub(super) fn of_path(name: &str) -> (&'static str, Value) {
    let text = json!({"type": "string"});
    match name {
        "node" => ("The node.", text),
        "cell" => ("The cell on its node.", text),
        "manifest" => ("The manifest.", text),
        "deployment" => ("The release.", text),
        "version" => ("The version.", text),
        "user" => ("The user.", text),
        "token" => ("The public half of the token.", text),
        "path" => ("The path of the file; its slashes stay as they are.", text),
        "at" => ("The trigger: its generation, or `<epoch>-<generation>`.", text),
        "id" => ("The silence.", text),
        "order" => ("The order.", text),
        "attempt" => ("The attempt at it, from 1.", json!({"type": "integer", "minimum": 1})),
        _ => ("", text),
    }
}

/// The parameters that a struct of a query stands for.
pub(super) fn of_query(schema: Value) -> Vec<Value> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let about = about.as_ref().and_then(Value::as_str).unwrap_or_default();
            parameter("query", name, required.contains(&name.as_str()), (about, schema))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_of_the_api_is_described_and_no_other() {
        let document = document(super::super::operations().list());
        let mut described = BTreeSet::new();
        for (path, of_path) in document["paths"].as_object().unwrap() {
            for method in of_path.as_object().unwrap().keys() {
                described.insert((path.clone(), method.to_uppercase()));
            }
        }
        let routes = crate::web::routes();
        let of_api = routes.iter().filter(|route| route.path.starts_with("/api/"));
        let of_api: BTreeSet<_> =
            of_api.map(|route| (route.path.replace("{*", "{"), route.method.to_owned())).collect();
        assert_eq!(described, of_api);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_every_parameter_is_explained() {
        let operations = super::super::operations();
        let ids: BTreeSet<&str> = operations.list().iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), operations.list().len());
        for operation in operations.list() {
            for name in names(operation.path) {
                assert!(!of_path(name).0.is_empty(), "{name} in {}", operation.path);
            }
            assert!(operation.summary.ends_with('.'), "{}", operation.id);
        }
    }
}
