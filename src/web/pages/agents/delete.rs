//! Deleting what a dead agent said last.

use askama::Template;
use axum::extract::{Form, Path};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::access::AccessError;
use crate::controller::{ControllerError, Liveness, LivenessLimits, NodeView};
use crate::model::NodeName;
use crate::store::ErrorKind;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::sides::{Facts, Side};
use crate::web::pages::typed;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

#[derive(Template)]
#[template(path = "agents/delete.html")]
struct Page<'a> {
    shell: Shell,
    name: &'a NodeName,
    state: State,
    last_seen: Option<DateTime<Utc>>,
    /// What is to be deleted.
    facts: Facts,
    /// What was seen and what is there now, where that is what is wrong.
    sides: Option<[Side; 2]>,
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
    /// What the form was about.
    #[serde(default)]
    seen: String,
}

async fn show(page: &PageContext, node: &NodeView, sent: &Sent, failed: Option<&Failure>) -> Result<Response, Failure> {
    let name = &node.node;
    let facts = match page.may().heartbeat_facts(name).await {
        Ok(found) => Facts::of(found.as_ref()),
        // The page stays readable; nothing can be deleted meanwhile.
        Err(AccessError::Controller(error)) if error.kind() == ErrorKind::Unreachable => Facts::default(),
        Err(error) => return Err(error.into()),
    };
    let seen = Facts::read(&sent.seen);
    let is_late = failed.is_some() && seen != facts;
    // Only the agent writes it, which the audit does not tell.
    let sides = is_late.then(|| [Side::alone(seen), Side::alone(facts.clone())]);
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
        facts,
        sides,
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
    show(&page, view.node(&name).ok_or_else(|| absent(&name))?, &Sent::default(), None).await
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
    if let Err(failure) = typed::check(&sent.name, &name) {
        return show(&page, node, &sent, Some(&failure)).await;
    }
    let known = Facts::read(&sent.seen).known();
    match page.may().because(&sent.reason).delete_heartbeat(&name, LivenessLimits::default(), &known).await {
        Ok(_) => {
            page.caller.fleet.snapshot.look_soon();
            Ok(page.lead_to("/agents"))
        }
        Err(AccessError::Controller(ControllerError::Changed { .. })) => {
            page.caller.fleet.snapshot.look_soon();
            let detail = "It reported meanwhile, and nothing was deleted.";
            show(&page, node, &sent, Some(&Failure::new(StatusCode::CONFLICT, "changed", detail))).await
        }
        // It came back after the view was read.
        Err(AccessError::Controller(error)) => {
            page.caller.fleet.snapshot.look_soon();
            show(&page, node, &sent, Some(&Failure::from(error))).await
        }
        Err(error) => Err(error.into()),
    }
}
