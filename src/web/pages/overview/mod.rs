//! `/`: what needs attention, and how the fleet stands.

mod recent;
mod requests;

use std::time::Duration;

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

use self::recent::Change;
use self::requests::Requests;
use crate::controller::{Attention, AttentionLimits, Counts, Health, Liveness, Subject, Sync};
use crate::model::users::Role;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Pager, counted, grouped};
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell, span};
use crate::web::words::State;

/// What needs attention is shown in parts of so many.
const ATTENTION_AT_ONCE: usize = 25;

/// So many changes are shown.
const RECENT: usize = 10;

pub(super) fn routes() -> Routes {
    Routes::new().get("/", page)
}

#[derive(Template)]
#[template(path = "overview/page.html")]
struct Page {
    shell: Shell,
    /// Whether there is anything in the bucket yet.
    is_empty: bool,
    rows: Vec<Row>,
    pager: Pager,
    bars: Vec<Bar>,
    changes: Vec<Change>,
    bucket: Option<Bucket>,
}

/// Something that needs attention.
struct Row {
    severity: State,
    subject: String,
    href: String,
    what: String,
    since: Option<DateTime<Utc>>,
}

/// How many there are of what, of one kind of thing.
struct Bar {
    name: &'static str,
    total: String,
    segments: Vec<Segment>,
}

/// A part of a bar; lengths are in percent.
struct Segment {
    state: State,
    count: String,
    href: String,
    from: f64,
    length: f64,
}

/// How it goes with the bucket.
struct Bucket {
    place: String,
    answered_in: Duration,
    took: Duration,
    lists: String,
    gets: String,
    failed: String,
    requests: String,
    asked: Requests,
}

impl Page {
    fn span(&self, duration: &Duration) -> String {
        span(*duration)
    }
}

async fn page(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let view = page.view()?;
    let shell = page.live_shell("Overview", Nav::Overview, "fleetman status".to_owned());
    let snapshot = &page.caller.fleet.snapshot;
    let sees_all = page.may().identity().may_everywhere(Role::Viewer);
    let attention = if sees_all { snapshot.attention() } else { view.attention(AttentionLimits::default()).into() };
    let pager = asked.pager_of(attention.len(), attention.len(), ATTENTION_AT_ONCE);
    let bucket = match page.may().store() {
        Ok(asked) => {
            let looks = snapshot.looks();
            Some(Bucket {
                asked: Requests::from(&asked),
                answered_in: looks.last.answered_in,
                took: looks.took,
                lists: counted(looks.last.lists, "list"),
                gets: counted(looks.last.gets, "object"),
                failed: counted(usize::try_from(looks.failed).unwrap_or(usize::MAX), "look"),
                requests: grouped(usize::try_from(asked.requests.total()).unwrap_or(usize::MAX)),
                place: asked.place,
            })
        }
        Err(_) => None,
    };
    page.render(&Page {
        is_empty: view.nodes.is_empty(),
        rows: attention[pager.from..pager.to].iter().map(|attention| row(attention, &shell)).collect(),
        bars: bars(view.counts, &shell),
        changes: recent::changes(&view, &shell, RECENT),
        bucket,
        pager,
        shell,
    })
}

fn row(attention: &Attention, shell: &Shell) -> Row {
    let (subject, path) = match &attention.subject {
        Subject::Node(node) => (format!("Agent {node}"), format!("/agents/{node}")),
        Subject::Cell(cell) => (format!("Cell {cell}"), format!("/cells/{cell}")),
        Subject::Agents => ("Agents".to_owned(), "/agents?sort=version".to_owned()),
    };
    Row {
        severity: attention.severity.into(),
        subject,
        href: shell.link(&path),
        what: attention.concern.to_string(),
        since: attention.since,
    }
}

fn bars(counts: Counts, shell: &Shell) -> Vec<Bar> {
    let segment = |state: State, count, path: &str| (state, count, shell.link(path));
    vec![
        bar(
            "Agents",
            counts.nodes(),
            [
                segment(Liveness::Dead.into(), counts.liveness(Liveness::Dead), "/agents?status=dead"),
                segment(Liveness::Warning.into(), counts.liveness(Liveness::Warning), "/agents?status=warning"),
                segment(Liveness::Unknown.into(), counts.liveness(Liveness::Unknown), "/agents?status=unknown"),
                segment(Liveness::Active.into(), counts.liveness(Liveness::Active), "/agents?status=active"),
            ],
        ),
        bar(
            "Cells, in sync",
            counts.cells(),
            [
                segment(Sync::OutOfSync.into(), counts.sync(Sync::OutOfSync), "/cells?sync=out-of-sync"),
                segment(Sync::Unknown.into(), counts.sync(Sync::Unknown), "/cells?sync=unknown"),
                segment(Sync::Synced.into(), counts.sync(Sync::Synced), "/cells?sync=synced"),
            ],
        ),
        bar(
            "Cells, in health",
            counts.cells(),
            [
                segment(Health::Failed.into(), counts.health(Health::Failed), "/cells?health=failed"),
                segment(Health::Degraded.into(), counts.health(Health::Degraded), "/cells?health=degraded"),
                segment(Health::Starting.into(), counts.health(Health::Starting), "/cells?health=starting"),
                segment(Health::Unknown.into(), counts.health(Health::Unknown), "/cells?health=unknown"),
                segment(Health::Stopped.into(), counts.health(Health::Stopped), "/cells?health=stopped"),
                segment(Health::NotApplicable.into(), counts.health(Health::NotApplicable), "/cells?health=n-a"),
                segment(Health::Healthy.into(), counts.health(Health::Healthy), "/cells?health=healthy"),
            ],
        ),
    ]
}

/// A bar of what there is any of.
#[expect(clippy::cast_precision_loss, reason = "a length on a screen needs no more digits than a double has")]
fn bar<const N: usize>(name: &'static str, total: usize, parts: [(State, usize, String); N]) -> Bar {
    let mut from = 0.0;
    let mut segments = Vec::new();
    for (state, count, href) in parts.into_iter().filter(|(_, count, _)| *count > 0) {
        let length = count as f64 * 100.0 / total.max(1) as f64;
        segments.push(Segment { state, count: grouped(count), href, from, length });
        from += length;
    }
    Bar { name, total: grouped(total), segments }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_bar_fill_it_and_nothing_is_drawn_of_what_there_is_not() {
        let part = |count| (State::from(Liveness::Active), count, "/".to_owned());
        let bar = bar("Agents", 4, [part(1), part(0), part(3)]);
        let drawn: Vec<(f64, f64)> = bar.segments.iter().map(|segment| (segment.from, segment.length)).collect();
        assert_eq!(drawn, [(0.0, 25.0), (25.0, 75.0)]);
    }
}
