//! Deleting what a dead agent said last.

use askama::Template;
use axum::extract::{Form, Path};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;

use crate::access::AccessError;
use crate::controller::{Liveness, LivenessLimits, NodeView};
use crate::model::NodeName;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

#[derive(Template)]
#[template(path = "agents/delete.html")]
struct Page<'a> {
    shell: Shell,
    name: &'a NodeName,
    state: State,
    last_seen: Option<DateTime<Utc>>,
    /// When its status was written that is to be deleted, as the form sends it back.
    guard: String,
    cells: usize,
    sent: &'a Sent,
    error: Option<String>,
    /// Why it cannot be done as things are.
    obstacle: Option<String>,
}

/// What the form sends back.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    reason: String,
    /// The node's name, typed once more.
    #[serde(default)]
    name: String,
    /// When the status was written that the form was about.
    #[serde(default)]
    seen: String,
}

fn guard(node: &NodeView) -> String {
    node.last_seen.map(|seen| seen.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default()
}

fn show(page: &PageContext, node: &NodeView, sent: &Sent, failed: Option<&Failure>) -> Result<Response, Failure> {
    let name = &node.node;
    let cli = format!("fleetman delete heartbeat {name}");
    let obstacle = match node.liveness {
        _ if node.last_seen.is_none() => Some("It has no status: it was never heard of, or it was deleted."),
        Liveness::Dead => None,
        _ => Some("It is heard of. Only the status of a dead agent can be deleted: another would come at once."),
    };
    let template = Page {
        shell: page.shell(format!("Delete the status of {name}"), Nav::Agents, cli),
        name,
        state: node.liveness.into(),
        last_seen: node.last_seen,
        guard: guard(node),
        cells: node.cells.len(),
        sent,
        error: failed.map(|failure| failure.detail().to_owned()),
        obstacle: obstacle.map(ToOwned::to_owned),
    };
    page.render_with(failed.map_or(StatusCode::OK, Failure::status), &template)
}

fn absent(name: &NodeName) -> Failure {
    Failure::not_found(format_args!("agent {name}"))
}

pub(super) async fn page(page: PageContext, Path(name): Path<String>) -> Result<Response, Failure> {
    let name = NodeName::new(name)?;
    let view = page.view()?;
    show(&page, view.node(&name).ok_or_else(|| absent(&name))?, &Sent::default(), None)
}

pub(super) async fn delete(
    page: PageContext,
    Path(name): Path<String>,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    let name = NodeName::new(name)?;
    page.caller.check_writable()?;
    let view = page.view()?;
    let node = view.node(&name).ok_or_else(|| absent(&name))?;
    if sent.name.trim() != name.as_str() {
        let detail = format!("Type {name} to delete its status; found {:?}.", sent.name);
        return show(&page, node, &sent, Some(&Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "name_differs", detail)));
    }
    if sent.seen != guard(node) {
        let detail = "It reported meanwhile. Nothing was deleted; below is how it stands now.";
        return show(&page, node, &sent, Some(&Failure::new(StatusCode::CONFLICT, "conflict", detail)));
    }
    match page.may().because(&sent.reason).delete_heartbeat(&name, LivenessLimits::default()).await {
        Ok(_) => {
            page.caller.fleet.snapshot.look_soon();
            Ok(page.lead_to("/agents"))
        }
        // It came back after the view was read.
        Err(AccessError::Controller(error)) => {
            page.caller.fleet.snapshot.look_soon();
            show(&page, node, &sent, Some(&Failure::from(error)))
        }
        Err(error) => Err(error.into()),
    }
}
