//! What a route needs, asked before anything of a request is looked at: whoever may not do something is shown no form
//! for it, and is told so before being told what is wrong with what they sent. What is read and written is asked for
//! again, below the handlers.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::app::Portal;
use super::caller::Caller;
use super::failure::Failure;
use crate::model::users::Role;
use crate::model::{CellId, ManifestName, NodeName};

/// What it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// The role on the cell in the path.
    OnCell(Role),
    /// The role on every cell that the node in the path could have.
    OnNode(Role),
    /// The role on every cell that uses the manifest in the path.
    OnManifest(Role),
    /// The role on anything.
    Anywhere(Role),
    /// The role on everything.
    Everywhere(Role),
}

/// What a route needs; none where its handler alone can tell.
fn needs(method: &Method, path: &str) -> Option<Needs> {
    let is_change = *method != Method::GET;
    if let Some(rest) = path.strip_prefix("/cells/{node}/{cell}") {
        let role = match (rest, is_change) {
            ("/hold" | "/unhold" | "/pause" | "/redeploy" | "/resume" | "/rollback" | "/stop", _) => Role::Operator,
            // The plan is for whoever sees the cell, and is what the same path shows.
            ("/publish", true) => Role::Editor,
            ("/remove" | "/overrides/delete" | "/overrides/upload", _) => Role::Editor,
            ("/overrides/edit" | "/yaml", true) => Role::Editor,
            ("/delete" | "/versions/{version}/delete", _) => Role::Admin,
            _ => Role::Viewer,
        };
        return Some(Needs::OnCell(role));
    }
    match path {
        "/alerts/silence"
        | "/alerts/unsilence"
        | "/alerts/ack"
        | "/cells/bulk"
        | "/alerts/unack"
        | "/api/v1/alerts/ack"
        | "/api/v1/alerts/unack" => Some(Needs::Anywhere(Role::Operator)),
        "/alerts/test" | "/api/v1/alerts/test" => Some(Needs::Everywhere(Role::Admin)),
        "/agents/{node}/hold" | "/agents/{node}/unhold" => Some(Needs::OnNode(Role::Operator)),
        "/agents/{node}/delete" => Some(Needs::OnNode(Role::Admin)),
        "/apply" | "/cells/new" | "/deployments/new" | "/manifests/new" | "/uploads/{id}" | "/uploads/{id}/discard" => {
            Some(Needs::Anywhere(Role::Editor))
        }
        "/manifests/{manifest}/edit" => Some(Needs::OnManifest(Role::Editor)),
        "/manifests/{manifest}/delete" | "/deployments/{manifest}/{deployment}/delete" => {
            Some(Needs::OnManifest(Role::Admin))
        }
        _ => None,
    }
}

/// Refuses whoever may not use the route.
pub(super) async fn check(State(portal): State<Arc<Portal>>, request: Request, next: Next) -> Response {
    let needs = request.extensions().get::<MatchedPath>().and_then(|path| needs(request.method(), path.as_str()));
    let Some(needs) = needs else { return next.run(request).await };
    let (mut parts, body) = request.into_parts();
    let refused = match Caller::from_request_parts(&mut parts, &portal).await {
        Ok(caller) => refusal(&caller, needs, parts.uri.path()),
        Err(failure) => Some(failure),
    };
    match refused {
        Some(failure) => failure.into_response(),
        None => next.run(Request::from_parts(parts, body)).await,
    }
}

fn refusal(caller: &Caller, needs: Needs, path: &str) -> Option<Failure> {
    let mut names = path.split('/').skip(2);
    let may = &caller.may;
    let checked = match needs {
        Needs::Anywhere(role) => may.need_anywhere(role, "anything"),
        Needs::Everywhere(role) => may.need_everywhere(role, "what belongs to no cell"),
        Needs::OnCell(role) => {
            let cell = format!("{}/{}", names.next()?, names.next()?).parse::<CellId>();
            // What is no name the handler refuses better.
            may.need_on_cell(role, &cell.ok()?)
        }
        Needs::OnNode(role) => may.need_on_node(role, &names.next()?.parse::<NodeName>().ok()?),
        Needs::OnManifest(role) => {
            let manifest = names.next()?.parse::<ManifestName>().ok()?;
            match caller.whole_view() {
                Ok(fleet) => may.need_on_manifest(role, &fleet, &manifest),
                // Nobody can tell who uses it before the bucket was read.
                Err(failure) => return Some(failure),
            }
        }
    };
    checked.err().map(Failure::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_a_cell_takes_a_viewer_and_changing_it_what_the_change_takes() {
        let of = |method: Method, path: &str| needs(&method, &format!("/cells/{{node}}/{{cell}}{path}"));
        assert_eq!(of(Method::GET, ""), Some(Needs::OnCell(Role::Viewer)));
        assert_eq!(of(Method::GET, "/yaml"), Some(Needs::OnCell(Role::Viewer)));
        assert_eq!(of(Method::POST, "/yaml"), Some(Needs::OnCell(Role::Editor)));
        assert_eq!(of(Method::GET, "/stop"), Some(Needs::OnCell(Role::Operator)));
        assert_eq!(of(Method::POST, "/delete"), Some(Needs::OnCell(Role::Admin)));
        assert_eq!(needs(&Method::GET, "/cells"), None);
    }
}
