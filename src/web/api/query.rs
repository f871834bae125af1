//! Names behind the `?` that an operation does not know are refused: with a filter that is misspelt a list would hold
//! everything, and its reader would take that for what fits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use schemars::SchemaGenerator;

use super::super::failure::Failure;
use super::super::identity::Who;
use super::openapi::of_query;
use super::operation::Operation;

/// What each operation may be asked, by its method and its path.
#[derive(Debug)]
pub(in crate::web) struct Queries(BTreeMap<(&'static str, &'static str), BTreeSet<String>>);

impl Queries {
    /// As the operations describe it.
    pub(super) fn of(operations: &[Operation]) -> Self {
        let mut generator = SchemaGenerator::default();
        let mut names = |operation: &Operation| {
            let parameters = operation.query.iter().flat_map(|make| of_query(make(&mut generator).to_value()));
            parameters.filter_map(|parameter| Some(parameter["name"].as_str()?.to_owned())).collect()
        };
        Self(operations.iter().map(|operation| ((operation.method, operation.path), names(operation))).collect())
    }

    /// Why a query is refused, if it is.
    fn refusal(&self, method: &Method, path: &str, query: &[(String, String)]) -> Option<Failure> {
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        let (_, known) = self.0.iter().find(|((of, at), _)| *of == method && *at == path)?;
        let (unknown, _) = query.iter().find(|(name, _)| !known.contains(name))?;
        let takes = match known.is_empty() {
            true => "nothing behind its path".to_owned(),
            false => known.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        };
        let detail = format!("{method} {path} cannot be asked for {unknown:?}; it takes {takes}");
        Some(Failure::bad_request("invalid_query", detail))
    }
}

/// Refuses what has a name behind its path that nothing looks at. Whoever is nobody is asked who they are instead.
pub(in crate::web) async fn check(State(queries): State<Arc<Queries>>, request: Request, next: Next) -> Response {
    let is_known = matches!(request.extensions().get::<Who>(), Some(Who::Known { .. }));
    let path = request.extensions().get::<MatchedPath>().filter(|_| is_known);
    let refused = path.and_then(|path| {
        // What is no query at all the handler refuses.
        let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).ok()?;
        queries.refusal(request.method(), path.as_str(), &query)
    });
    match refused {
        Some(failure) => failure.into_response(),
        None => next.run(request).await,
    }
}
