//! `/cells/{node}/{cell}/versions`: every version, what it was and is to the cell.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Tab};
use super::words;
use crate::controller::{Proof, Timeline, TimelineVersion, VersionState};
use crate::model::users::Role;
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

/// How many versions a page has.
const PER_PAGE: usize = 50;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// From 1.
    page: Option<usize>,
}

#[derive(Template)]
#[template(path = "cell/versions.html")]
struct Page {
    shell: Shell,
    frame: Frame,
    rows: Vec<Row>,
    total: usize,
    /// Why nobody can tell which one is desired.
    problem: Option<String>,
    /// From 1.
    page: usize,
    pages: usize,
    may_roll_back: bool,
    may_delete: bool,
}

struct Row {
    line: TimelineVersion,
    state: State,
    proof: Option<(State, String)>,
    size: String,
    /// The triggers that desired it, in words.
    desired_by: String,
    /// It is compared unless another is chosen.
    is_from: bool,
    is_to: bool,
}

impl Row {
    fn new(line: TimelineVersion) -> Self {
        let places: Vec<String> = line.desired_by.iter().map(ToString::to_string).collect();
        Self {
            state: words::version(&line.version.state),
            proof: line.proof.as_ref().map(words::proof),
            size: line.version.facts.as_ref().map(|facts| size(facts.bytes)).unwrap_or_default(),
            desired_by: places.join(", "),
            is_from: false,
            is_to: false,
            line,
        }
    }

    fn is_readable(&self) -> bool {
        self.line.version.facts.is_some()
    }

    /// Whether nobody is known to need it.
    fn is_spare(&self) -> bool {
        !self.line.is_desired && !self.line.is_running && !self.line.is_known_good
    }

    /// Whether it is something that the cell can go back to.
    fn is_way_back(&self) -> bool {
        !self.line.is_desired
            && self.line.version.state == VersionState::Whole
            && matches!(self.line.proof, Some(Proof::Verified { .. }))
    }
}

pub(super) async fn versions(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let number = asked.page.unwrap_or(1).max(1);
    let frame = Frame::read(&page, &cell, Tab::Versions).await?;
    let from = (number - 1).saturating_mul(PER_PAGE);
    let Timeline { versions, total, problem, .. } = page.may().timeline(&cell, from, PER_PAGE).await?;
    let mut rows: Vec<Row> = versions.into_iter().map(Row::new).collect();
    // What one most likely wants to see: what the newest change of mind changed.
    let mut whole = rows.iter_mut().filter(|row| row.is_readable());
    if let Some(to) = whole.next() {
        to.is_to = true;
        whole.next().unwrap_or(to).is_from = true;
    }
    let shell = page.shell(format!("Versions of {cell}"), Nav::Cells, format!("fleetman get versions {cell}"));
    let rollback = frame.orders.iter().find(|order| order.verb == "rollback");
    let may_roll_back =
        page.may().identity().may(Role::Operator, &cell) && rollback.is_some_and(|order| order.obstacle.is_none());
    let pages = total.div_ceil(PER_PAGE).max(1);
    let may_delete = frame.may_delete(&page);
    page.render(&Page { shell, frame, rows, total, problem, page: number, pages, may_roll_back, may_delete })
}
