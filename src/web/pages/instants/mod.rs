//! `/at`: what was wished and what ran at an instant, what changed until another, and the way back.

mod revert;
mod show;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;

use crate::controller::{Moment, Scope};
use crate::model::CellId;
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::routes::Routes;

/// How many cells one page tells of.
const MOST_CELLS: usize = 200;

pub(super) fn routes() -> Routes {
    Routes::new().get("/at", show::page).get("/at/revert", revert::ask).post("/at/revert", revert::act)
}

/// Which instant, and where.
#[derive(Debug, Clone, Default, Deserialize)]
struct Query {
    /// As it was typed; `now` if empty.
    #[serde(default)]
    time: String,
    /// `<node>/<cell>`, `<node>`, or empty for the fleet.
    #[serde(default)]
    place: String,
}

impl Query {
    fn time(&self, page: &PageContext) -> Result<DateTime<Utc>, String> {
        moment(&self.time, page)
    }

    fn scope(&self) -> Result<Scope, String> {
        match self.place.trim() {
            "" => Ok(Scope::Fleet),
            text => text.parse().map_err(|error: crate::model::name::NameError| error.to_string()),
        }
    }

    /// As an argument of a command.
    fn argument(&self) -> String {
        match self.place.trim() {
            "" => String::new(),
            place => format!(" {}", quoted(place)),
        }
    }
}

/// A moment as it was typed; an empty one is now.
fn moment(text: &str, page: &PageContext) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    let moment = if text.is_empty() { Ok(Moment::NOW) } else { text.parse() };
    let now = page.caller.portal.clock.now();
    moment.and_then(|moment| moment.before(now)).map_err(|error| error.to_string())
}

/// As addresses and commands name it.
fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The cells in `scope` that are told of, and how many more there are.
async fn cells(page: &PageContext, scope: &Scope) -> Result<(Vec<CellId>, usize), Failure> {
    let mut cells = page.may().cells_in(scope).await?;
    cells.sort();
    let more = cells.len().saturating_sub(MOST_CELLS);
    cells.truncate(MOST_CELLS);
    Ok((cells, more))
}
