//! `/cells/{node}/{cell}/history`: every change of mind, and what came of each.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Tab};
use super::words;
use crate::controller::{Past, PastAttempt, PastTrigger};
use crate::model::Floor;
use crate::model::sign::Verified;
use crate::model::trigger::Trigger;
use crate::store::in_full;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

/// How many triggers a page has.
const PER_PAGE: usize = 50;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// Only triggers below this place.
    below: Option<String>,
}

#[derive(Template)]
#[template(path = "cell/history.html")]
struct Page {
    shell: Shell,
    frame: Frame,
    past: Past,
    is_newest: bool,
}

/// The place that a query names.
pub(super) fn place(name: &str, text: Option<&String>) -> Result<Option<Floor>, Failure> {
    let text = text.map(|text| text.trim()).filter(|text| !text.is_empty());
    let place = text.map(str::parse).transpose();
    place.map_err(|error| Failure::bad_request("invalid_place", format!("{name}: {error}")))
}

pub(super) async fn history(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let below = place("below", asked.below.as_ref())?;
    let frame = Frame::read(&page, &cell, Tab::History).await?;
    let past = page.may().past(&cell, below, PER_PAGE).await?;
    let shell = page.shell(format!("History of {cell}"), Nav::Cells, format!("fleetman history {cell}"));
    page.render(&Page { shell, frame, past, is_newest: below.is_none() })
}

impl Page {
    fn attempt(&self, attempt: &PastAttempt) -> State {
        words::attempt(attempt)
    }

    /// Why a trigger is not believed.
    fn doubt(&self, trigger: &PastTrigger) -> String {
        trigger.entry.trigger.as_ref().err().map(|error| in_full(error)).unwrap_or_default()
    }

    fn options(&self, trigger: &Verified<Trigger>) -> String {
        trigger.options.names().join(", ")
    }
}
