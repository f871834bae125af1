//! What a change comes to for each cell, and then exactly that.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::Response;
use ulid::Ulid;

use super::{action, check_count, chosen, name};
use crate::access::BulkOrder;
use crate::controller::{BulkAction, BulkCell, BulkChange, BulkOutlook, BulkStep, ControllerError};
use crate::entropy;
use crate::model::CellId;
use crate::model::trigger::TriggerOptions;
use crate::web::address::with_query;
use crate::web::bulk::{Begun, delays, still_may};
use crate::web::failure::Failure;
use crate::web::identity::Who;
use crate::web::list::{Asked, counted};
use crate::web::page::PageContext;
use crate::web::pages::cells;
use crate::web::shell::{Nav, Shell};

/// What the form sends besides the cells.
#[derive(Debug, Clone, Default)]
struct Sent {
    reason: String,
    options: TriggerOptions,
}

/// A cell that is changed.
struct Row {
    change: BulkChange,
    /// What must still be so, as the form sends it back.
    seen: String,
}

#[derive(Template)]
#[template(path = "bulk/review.html")]
struct Page<'a> {
    shell: Shell,
    action: BulkAction,
    /// What the button says: with how many.
    button: String,
    /// What is done to each, in sentences.
    effects: Vec<&'static str>,
    /// By which a form that is sent twice is known.
    id: Ulid,
    rows: Vec<Row>,
    left: Vec<(CellId, String)>,
    sent: &'a Sent,
    error: Option<String>,
    /// Where the cells were chosen.
    back: String,
}

impl Page<'_> {
    fn is_dangerous(&self) -> bool {
        self.action == BulkAction::Stop
    }

    fn is_pause(&self) -> bool {
        self.action == BulkAction::Pause
    }

    fn is_publish(&self) -> bool {
        self.action == BulkAction::Publish
    }

    /// Whether versions are told of.
    fn has_versions(&self) -> bool {
        self.action.is_order()
    }

    /// Whether something is deployed, so that it can be said how.
    fn deploys(&self) -> bool {
        matches!(self.action, BulkAction::Publish | BulkAction::Redeploy)
    }
}

pub(super) async fn ask(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let action = action(&asked)?;
    let cells = chosen(&page, &asked)?;
    let back = cells_again(&page, &asked);
    let sent = Sent { reason: asked.text("reason").to_owned(), ..Sent::default() };
    show(&page, action, cells.into_iter().collect(), &sent, back, None).await
}

/// The list from which the cells were chosen.
fn cells_again(page: &PageContext, asked: &Asked) -> String {
    with_query(&page.link("/cells"), cells::filters(asked))
}

async fn show(
    page: &PageContext,
    action: BulkAction,
    cells: Vec<CellId>,
    sent: &Sent,
    back: String,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let view = page.view()?;
    let mut rows = Vec::new();
    let mut left = Vec::new();
    for BulkStep { cell, outlook } in page.may().plan_bulk(action, cells).await? {
        match outlook {
            BulkOutlook::Changes(mut change) => {
                // A publish tells of them by itself.
                if matches!(action, BulkAction::Redeploy | BulkAction::Stop) {
                    change.notes.extend(view.cell(&cell).map(delays).unwrap_or_default());
                }
                // Its own types are always written.
                let seen = serde_json::to_string(&change.seen).unwrap_or_default();
                rows.push(Row { change, seen });
            }
            BulkOutlook::LeftOut { why, .. } => left.push((cell, why)),
        }
    }
    let title = format!("{} {}", name(action), counted(rows.len(), "cell"));
    let shell = page.shell(title.clone(), Nav::Cells, command(action, &rows));
    let id = entropy::ulid(page.caller.portal.clock.now()).map_err(ControllerError::Entropy)?;
    let error = failed.map(|failure| failure.detail().to_owned());
    let status = failed.map_or(StatusCode::OK, Failure::status);
    let template = Page { shell, action, button: title, effects: effects(action), id, rows, left, sent, error, back };
    page.render_with(status, &template)
}

/// The same on the command line.
fn command(action: BulkAction, rows: &[Row]) -> String {
    let cells: String = rows.iter().map(|row| format!(" {}", row.change.seen.cell)).collect();
    let reason = if action == BulkAction::Pause { " --reason …" } else { "" };
    match rows.is_empty() {
        true => "fleetman get cells".to_owned(),
        false => format!("fleetman {}{cells}{reason}", action.as_str()),
    }
}

fn effects(action: BulkAction) -> Vec<&'static str> {
    let of_each = match action {
        BulkAction::Publish => {
            "Of each a version is made from its manifest, overrides and newest release as they are now."
        }
        BulkAction::Redeploy => {
            "Of each the version that was desired last is deployed once more, from the bytes that were signed then."
        }
        BulkAction::Stop => {
            "Their services are stopped and stay down, also when nodes boot. Files stay; redeploy starts them again."
        }
        BulkAction::Pause => "Nothing is published to them until they are resumed. What runs goes on.",
        BulkAction::Resume => "They can be published to again. Nothing is published by this.",
    };
    let order = match action {
        BulkAction::Publish | BulkAction::Redeploy => {
            Some("One after the other: those first that others of them depend on.")
        }
        BulkAction::Stop => Some("One after the other: those first that depend on others of them."),
        BulkAction::Pause | BulkAction::Resume => None,
    };
    let late = "A cell that somebody changes before it is its turn is left alone; the others go on.";
    [of_each].into_iter().chain(order).chain([late]).collect()
}

pub(super) async fn act(
    page: PageContext,
    Extension(who): Extension<Who>,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let asked = Asked::of(&pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>());
    let action = action(&asked)?;
    let sent = Sent {
        reason: asked.text("reason").to_owned(),
        options: TriggerOptions {
            retry: asked.one("retry").is_some(),
            force: asked.one("force").is_some(),
            override_windows: asked.one("override_windows").is_some(),
            ..TriggerOptions::default()
        },
    };
    let id: Ulid = asked.text("id").parse().map_err(|_| invalid("the form has no number"))?;
    let cells = seen(&asked)?;
    page.may().check_bulk(action, cells.keys())?;
    let refused = if cells.is_empty() {
        Some(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "no_cells", "There is no cell to change."))
    } else if action == BulkAction::Pause && sent.reason.is_empty() {
        let detail = "A pause needs a reason: whoever finds the cells paused wants to know why.";
        Some(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "reason_missing", detail))
    } else {
        None
    };
    if let Some(failure) = refused {
        let back = page.link("/cells");
        return show(&page, action, cells.into_keys().collect(), &sent, back, Some(&failure)).await;
    }
    let reason = Some(sent.reason.clone()).filter(|reason| !reason.is_empty());
    let order = BulkOrder { action, options: sent.options, reason };
    // In the order in which they were looked at.
    let cells: Vec<BulkCell> = in_order(&asked, cells);
    if let Begun::New(bulk) = page.caller.portal.bulks.begin(&page.caller, id, &order, &cells)? {
        let (may, may_go_on) = (page.may().because(&sent.reason), still_may(&page.caller, who.into_session()));
        let fleet = page.caller.fleet.clone();
        tokio::spawn(async move {
            let heard = bulk.clone();
            let work = async move { may.bulk(&order, cells, may_go_on, |cell, news| heard.hear(cell, news)).await };
            // By itself, so that the page hears of its end whatever becomes of it.
            let done = tokio::spawn(work).await;
            bulk.end(
                done.map_or_else(|error| Some(error.to_string()), |done| done.err().map(|error| error.to_string())),
            );
            fleet.snapshot.look_soon();
        });
    }
    Ok(page.lead_to(&format!("/bulk/{id}")))
}

/// What was seen of each cell, as the form sends it back.
fn seen(asked: &Asked) -> Result<BTreeMap<CellId, BulkCell>, Failure> {
    let mut cells = BTreeMap::new();
    for text in asked.all("cell") {
        let seen: BulkCell = serde_json::from_str(text).map_err(|error| invalid(&format!("cell: {error}")))?;
        cells.insert(seen.cell.clone(), seen);
    }
    check_count(cells.len())?;
    Ok(cells)
}

fn in_order(asked: &Asked, mut cells: BTreeMap<CellId, BulkCell>) -> Vec<BulkCell> {
    let names = asked.all("cell").filter_map(|text| serde_json::from_str::<BulkCell>(text).ok());
    names.filter_map(|seen| cells.remove(&seen.cell)).collect()
}

fn invalid(detail: &str) -> Failure {
    Failure::bad_request("invalid_form", detail)
}
