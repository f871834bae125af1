//! What is said about each route of the API, where the route is made: its description, and all that is made of it,
//! cannot know of more or fewer routes than there are.

use axum::handler::Handler;
use axum::http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::super::app::Portal;
use super::super::routes::Routes;
use std::sync::Arc;

/// Makes the schema of one type.
pub(super) type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// What a request or an answer carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    Nothing,
    Json(MakeSchema),
    Yaml,
    Bytes,
    /// `multipart/form-data`: files, each under its path.
    Files,
}

/// What a write must say of the object that it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing.
    None,
    /// Nothing, or `If-Match` with the ETag that was read.
    MayMatch,
    /// `If-Match` with the ETag that was read.
    Match,
    /// The same, or `If-None-Match: *` for one that is new.
    MatchOrNew,
}

/// One operation, as its readers see it.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What it is about; operations of one topic stand together.
    pub(super) topic: &'static str,
    /// Unique; programs that are generated call it so.
    pub(super) id: &'static str,
    /// One sentence.
    pub(super) summary: &'static str,
    /// The least role that it takes.
    needs: &'static str,
    /// Whether no token is enough.
    is_in_person: bool,
    /// The structs of its query.
    pub(super) query: Vec<MakeSchema>,
    pub(super) body: Content,
    pub(super) condition: Condition,
    pub(super) status: StatusCode,
    /// Another status that it may come to, beside those that every operation may.
    pub(super) also: Option<StatusCode>,
    pub(super) answer: Content,
    /// The command that does the same, if there is one.
    pub(super) cli: Option<&'static str>,
}

impl Operation {
    /// An operation without parameters and without an answer.
    pub(super) const fn new(id: &'static str, needs: &'static str, summary: &'static str) -> Self {
        Self {
            method: "",
            path: "",
            topic: "",
            id,
            summary,
            needs,
            is_in_person: false,
            query: Vec::new(),
            body: Content::Nothing,
            condition: Condition::None,
            status: StatusCode::OK,
            also: None,
            answer: Content::Nothing,
            cli: None,
        }
    }

    /// It takes a session in a browser.
    pub(super) fn in_person(self) -> Self {
        Self { is_in_person: true, ..self }
    }

    /// What it takes, as people read it.
    pub(super) fn needs(&self) -> String {
        let session = if self.is_in_person { " and a session in a browser: no token is enough" } else { "" };
        format!("the role {}{session}", self.needs)
    }

    pub(super) fn query<T: JsonSchema>(self) -> Self {
        let query = [self.query, vec![inline::<T> as MakeSchema]].concat();
        Self { query, ..self }
    }

    pub(super) fn takes<T: JsonSchema>(self) -> Self {
        Self { body: Content::Json(reference::<T>), ..self }
    }

    pub(super) fn body(self, body: Content) -> Self {
        Self { body, ..self }
    }

    pub(super) fn condition(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }

    pub(super) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn also(self, status: StatusCode) -> Self {
        Self { also: Some(status), ..self }
    }

    pub(super) fn gives<T: JsonSchema>(self) -> Self {
        self.answer(Content::Json(reference::<T>))
    }

    pub(super) fn answer(self, answer: Content) -> Self {
        Self { answer, ..self }
    }

    pub(super) fn cli(self, command: &'static str) -> Self {
        Self { cli: Some(command), ..self }
    }

    /// Whether the same request may be sent twice under one `Idempotency-Key`.
    pub(super) fn takes_key(&self) -> bool {
        self.method == "POST"
    }
}

/// Where an object's own properties are wanted.
fn inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// A reference to the schema, which stands among the others.
fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The operations of the API, and their routes.
#[derive(Debug, Default)]
pub(super) struct Operations {
    topic: &'static str,
    routes: Routes,
    list: Vec<Operation>,
}

impl Operations {
    /// Those of one topic.
    pub(super) fn of(topic: &'static str) -> Self {
        Self { topic, ..Self::default() }
    }

    pub(super) fn get<H: Handler<T, Arc<Portal>>, T: 'static>(self, path: &'static str, h: H, op: Operation) -> Self {
        self.add("GET", path, op, |routes| routes.get(path, h))
    }

    pub(super) fn post<H: Handler<T, Arc<Portal>>, T: 'static>(self, path: &'static str, h: H, op: Operation) -> Self {
        self.add("POST", path, op, |routes| routes.post(path, h))
    }

    pub(super) fn put<H: Handler<T, Arc<Portal>>, T: 'static>(self, path: &'static str, h: H, op: Operation) -> Self {
        self.add("PUT", path, op, |routes| routes.put(path, h))
    }

    pub(super) fn delete<H: Handler<T, Arc<Portal>>, T: 'static>(
        self,
        path: &'static str,
        h: H,
        op: Operation,
    ) -> Self {
        self.add("DELETE", path, op, |routes| routes.delete(path, h))
    }

    /// The same with a route that was given layers of its own.
    pub(super) fn add(
        mut self,
        method: &'static str,
        path: &'static str,
        operation: Operation,
        route: impl FnOnce(Routes) -> Routes,
    ) -> Self {
        self.routes = route(self.routes);
        self.list.push(Operation { method, path, topic: self.topic, ..operation });
        self
    }

    /// These and those of `other`.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.routes = self.routes.and(other.routes);
        self.list.extend(other.list);
        self
    }

    pub(super) fn list(&self) -> &[Operation] {
        &self.list
    }

    pub(super) fn into_routes(self) -> Routes {
        self.routes
    }
}
