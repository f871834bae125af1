//! Holding a cell or a whole node as it is, letting it go, and following either until the node says so.

use askama::Template;
use axum::extract::{Form, Path, Query};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use ulid::Ulid;

use super::super::failure::Failure;
use super::super::page::PageContext;
use super::super::paths::AddresseeOfPath;
use super::super::routes::Routes;
use super::super::shell::{Nav, Shell, sentence_time};
use super::lasting;
use super::steps::{Kind, Step};
use crate::access::AccessError;
use crate::controller::{HoldOrder, HoldStanding, Liveness, Ordered};
use crate::model::heartbeat::HoldReport;
use crate::model::order::Addressee;
use crate::model::users::Role;
use crate::store::ErrorKind;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/cells/{node}/{cell}/hold", ask_hold)
        .post("/cells/{node}/{cell}/hold", hold)
        .get("/cells/{node}/{cell}/unhold", ask_release)
        .post("/cells/{node}/{cell}/unhold", release)
        .get("/agents/{node}/hold", ask_hold)
        .post("/agents/{node}/hold", hold)
        .get("/agents/{node}/unhold", ask_release)
        .post("/agents/{node}/unhold", release)
        .get("/cells/{node}/{cell}/hold/{order}", follow)
        .get("/agents/{node}/hold/{order}", follow)
}

/// What the forms send back.
#[derive(Debug, Clone, Default, Deserialize)]
struct Sent {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    lasts: String,
}

#[derive(Template)]
#[template(path = "holds/page.html")]
struct Page<'a> {
    shell: Shell,
    to: &'a Addressee,
    is_hold: bool,
    /// What holds it now.
    now: Option<HoldReport>,
    /// What was ordered and not yet taken.
    awaited: Option<HoldOrder>,
    sent: &'a Sent,
    error: Option<String>,
}

impl Page<'_> {
    /// Where the form came from, and leads back to.
    fn place(&self) -> String {
        place(self.to)
    }

    fn lasts(&self) -> [(&'static str, &'static str, bool); 7] {
        lasting::choices(&self.sent.lasts)
    }
}

fn place(to: &Addressee) -> String {
    match to.cell_id() {
        Some(cell) => format!("/cells/{cell}"),
        None => format!("/agents/{}", to.node),
    }
}

fn show(
    page: &PageContext,
    to: &Addressee,
    is_hold: bool,
    sent: &Sent,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let view = page.view()?;
    let node = view.node(&to.node).ok_or_else(|| Failure::not_found(format_args!("agent {}", to.node)))?;
    let now = match &to.cell {
        Some(cell) => {
            let cell = node.cell(cell).ok_or_else(|| Failure::not_found(format_args!("cell {to}")))?;
            cell.report().and_then(|report| report.hold.clone())
        }
        None => node.heartbeat.as_ref().and_then(|beat| beat.hold.clone()),
    };
    let awaited = node.awaited(to.cell.as_ref(), view.at).cloned();
    let (title, cli) = match is_hold {
        true => (format!("Hold {to}"), format!("fleetman hold {to} --reason … --for 2h")),
        false => (format!("End the hold of {to}"), format!("fleetman unhold {to}")),
    };
    let nav = if to.cell.is_some() { Nav::Cells } else { Nav::Agents };
    let error = failed.map(|failure| failure.detail().to_owned());
    let template = Page { shell: page.shell(title, nav, cli), to, is_hold, now, awaited, sent, error };
    page.render_with(failed.map_or(StatusCode::OK, Failure::status), &template)
}

async fn ask_hold(
    page: PageContext,
    AddresseeOfPath(to): AddresseeOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    show(&page, &to, true, &sent, None)
}

async fn ask_release(
    page: PageContext,
    AddresseeOfPath(to): AddresseeOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    show(&page, &to, false, &sent, None)
}

async fn hold(
    page: PageContext,
    AddresseeOfPath(to): AddresseeOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let Some(lasts) = lasting::read(&sent.lasts) else {
        let detail = "Say how long it is to be held: 30m, 2h or 1d.";
        let failure = Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
        return show(&page, &to, true, &sent, Some(&failure));
    };
    let ordered = page.may().hold(&to, lasts, &sent.reason).await;
    ended(&page, &to, true, &sent, ordered)
}

async fn release(
    page: PageContext,
    AddresseeOfPath(to): AddresseeOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let ordered = page.may().because(&sent.reason).release(&to, None).await;
    ended(&page, &to, false, &sent, ordered)
}

/// Leads to the page that follows the order; or shows the form again, with what was typed.
fn ended(
    page: &PageContext,
    to: &Addressee,
    is_hold: bool,
    sent: &Sent,
    ordered: Result<Ordered, AccessError>,
) -> Result<Response, Failure> {
    match ordered {
        Ok(ordered) => {
            page.caller.fleet.snapshot.look_soon();
            Ok(page.lead_to(&ordered.page()))
        }
        Err(AccessError::Controller(error)) if error.kind() == ErrorKind::Invalid => {
            show(page, to, is_hold, sent, Some(&error.into()))
        }
        Err(error) => Err(error.into()),
    }
}

impl Ordered {
    /// Where it is followed.
    fn page(&self) -> String {
        format!("{}/hold/{}", place(&self.to), self.id)
    }
}

impl HoldOrder {
    /// Where it is followed.
    pub(in crate::web) fn page(&self) -> String {
        self.ordered.page()
    }
}

#[derive(Template)]
#[template(path = "holds/follow.html")]
struct FollowPage {
    shell: Shell,
    to: Addressee,
    /// Whether it holds, as far as that is known.
    is_hold: bool,
    steps: Vec<Step>,
    is_over: bool,
    /// Whether who looks could order the opposite.
    may_turn: bool,
}

impl FollowPage {
    fn place(&self) -> String {
        place(&self.to)
    }
}

async fn follow(
    page: PageContext,
    AddresseeOfPath(to): AddresseeOfPath,
    Path(OrderOfPath { order }): Path<OrderOfPath>,
) -> Result<Response, Failure> {
    let id: Ulid = order.parse().map_err(|_| Failure::not_found(format_args!("order {order:?}")))?;
    let standing = page.may().hold_standing(&to, id).await?;
    let view = page.view()?;
    let liveness = view.node(&to.node).map_or(Liveness::Unknown, |node| node.liveness);
    let is_hold = standing.order.as_ref().map_or(standing.held.is_some(), |order| order.is_hold);
    let (title, cli) = match standing.order.as_ref().is_none_or(|order| order.is_hold) {
        true => (format!("Hold of {to}"), format!("fleetman hold {to} --reason … --for 2h")),
        false => (format!("End of the hold of {to}"), format!("fleetman unhold {to}")),
    };
    let nav = if to.cell.is_some() { Nav::Cells } else { Nav::Agents };
    let shell = page.live_shell(title, nav, cli);
    let (steps, is_over) = steps(&standing, &to, liveness, shell.now);
    let may = match to.cell_id() {
        Some(cell) => shell.may_operate(&cell),
        None => page.may().need_on_node(Role::Operator, &to.node).is_ok(),
    };
    page.render(&FollowPage { may_turn: may && page.caller.read_only().is_none(), is_hold, steps, is_over, to, shell })
}

#[derive(Debug, Deserialize)]
struct OrderOfPath {
    order: String,
}

/// How far an order has come, and whether it is over.
fn steps(standing: &HoldStanding, to: &Addressee, liveness: Liveness, now: DateTime<Utc>) -> (Vec<Step>, bool) {
    let Some(order) = &standing.order else {
        let detail = "a newer order took its place, or its time is over";
        let mut steps = vec![Step::new(Kind::Off, "The order counts no more", detail)];
        let now = standing.held.as_ref().map(|hold| Step::new(Kind::Stands, "Held", held_as(hold)));
        steps.extend(now);
        return (steps, true);
    };
    let told = order.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let given = format!("by {}, {}{told}", order.by, sentence_time(order.ordered.issued_at));
    let mut steps = vec![Step::new(Kind::Done, "Order sent", given)];
    let end = match (order.is_hold, &standing.held) {
        (true, held) => {
            let until = sentence_time(order.ordered.expires_at);
            ("Held", held.as_ref().map_or_else(|| format!("until {until}"), held_as))
        }
        (false, Some(hold)) if hold.whole_node && to.cell.is_some() => {
            ("Its own hold has ended", format!("the whole node is still held {}", held_as(hold)))
        }
        (false, _) => ("The hold has ended", "what was asked for meanwhile is done now".to_owned()),
    };
    if standing.is_carried_out {
        steps.push(Step::new(Kind::Done, format!("Taken by {}", to.node), ""));
        steps.push(Step::new(Kind::Done, end.0, end.1));
        return (steps, true);
    }
    if order.ordered.expires_at <= now {
        steps.push(Step::new(Kind::Off, format!("{} never took it", to.node), "its time is over"));
        return (steps, true);
    }
    steps.push(match liveness {
        Liveness::Active => Step::new(Kind::UnderWay, format!("Waiting for {}", to.node), "it looks every few seconds"),
        Liveness::Warning | Liveness::Dead | Liveness::Unknown => {
            let detail = "it takes the order once it is back";
            Step::new(Kind::Stands, format!("{} is not heard of", to.node), detail)
        }
    });
    let detail = if order.is_hold { end.1 } else { String::new() };
    steps.push(Step::new(Kind::ToCome, if order.is_hold { "Held" } else { "The hold has ended" }, detail));
    (steps, false)
}

/// By whom something is held, from when to when, and why.
fn held_as(hold: &HoldReport) -> String {
    let (since, until) = (sentence_time(hold.since), sentence_time(hold.until));
    format!("since {since}, by {}, until {until}: {}", hold.by, hold.reason)
}
