//! `/events`: what happens in the fleet, the newest first.

use std::sync::Arc;

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};

use crate::controller::{Event, EventKind, Mood, Scope};
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Pager};
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};

pub(super) fn routes() -> Routes {
    Routes::new().get("/events", page)
}

/// How far back it is looked: as addresses and `fleetman events --since` name it, and for people.
const SPANS: [(&str, &str, TimeDelta); 4] = [
    ("15m", "15 minutes", TimeDelta::minutes(15)),
    ("1h", "hour", TimeDelta::hours(1)),
    ("6h", "6 hours", TimeDelta::hours(6)),
    ("1d", "day", TimeDelta::days(1)),
];

/// Where nothing is asked for: what the command does.
const USUAL: usize = 1;

#[derive(Template)]
#[template(path = "events/page.html")]
struct Page<'a> {
    shell: Shell,
    asked: &'a Asked,
    spans: Vec<(&'static str, &'static str, bool)>,
    kinds: Vec<&'static str>,
    chips: Vec<Chip>,
    pager: Pager,
    rows: Vec<Row>,
    /// Since when what nodes do was seen, if that is not the whole of the span.
    seen_since: Option<DateTime<Utc>>,
    tells_acts: bool,
    /// Whether the bucket is away, and with it what people did.
    is_away: bool,
    /// The cell whose own pages tell what came before.
    cell: Option<String>,
}

/// An event, dressed.
struct Row {
    event: Arc<Event>,
    /// What it is about, and its page.
    about: Option<(String, String)>,
    state: String,
    /// The shape and colour of the state; empty if it is neither good nor bad.
    kind: &'static str,
}

impl Row {
    fn new(event: Arc<Event>, shell: &Shell) -> Self {
        let cell = event.cell.as_ref().map(|cell| (cell.to_string(), shell.link(&format!("/cells/{cell}"))));
        let node = event.node.as_ref().map(|node| (node.to_string(), shell.link(&format!("/agents/{node}"))));
        let kind = match event.mood() {
            Mood::Good => "good",
            Mood::Warn => "warn",
            Mood::Bad => "bad",
            Mood::Plain => "",
        };
        Self { about: cell.or(node), state: event.state.replace('_', " "), kind, event }
    }
}

async fn page(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let words = SPANS.map(|(word, ..)| (word, word));
    let span = asked.word("since", &words)?.unwrap_or(SPANS[USUAL].0);
    let (_, _, back) = SPANS.into_iter().find(|(word, ..)| *word == span).unwrap_or(SPANS[USUAL]);
    let kinds = EventKind::ALL.map(|kind| (kind.as_str(), kind));
    let kind = asked.word("kind", &kinds)?;
    let refuse = |error| Failure::bad_request("invalid_filter", format!("about: {error}; write n1 or n1/web"));
    let scope: Scope = asked.one("about").map(str::parse).transpose().map_err(refuse)?.unwrap_or_default();
    // By the store's clock, which events are told by.
    let since = page.view()?.at - back;
    let (seen, whole_since) = page.caller.fleet.snapshot.events(since);
    let is_away = page.caller.fleet.snapshot.age().problem.is_some();
    let audit = (!is_away).then_some(&*page.caller.fleet.audit);
    let mut events = page.may().events(seen, audit, &scope, since).await?;
    let total = events.len();
    events.retain(|event| kind.is_none_or(|kind| event.kind == kind));
    let pager = asked.pager(events.len(), total);
    let shell = page.live_shell("Events", Nav::Events, command(span, kind, &scope));
    page.render(&Page {
        spans: SPANS.map(|(word, text, _)| (word, text, word == span)).into(),
        kinds: EventKind::ALL.map(EventKind::as_str).into(),
        chips: asked.chips(&["kind", "about"]),
        rows: events[pager.from..pager.to].iter().map(|event| Row::new(event.clone(), &shell)).collect(),
        pager,
        seen_since: whole_since.filter(|whole| *whole > since),
        tells_acts: page.may().tells_acts(),
        is_away,
        cell: match &scope {
            Scope::Cell(cell) => Some(shell.link(&format!("/cells/{cell}/history"))),
            Scope::Fleet | Scope::Node(_) => None,
        },
        asked: &asked,
        shell,
    })
}

/// The same on the command line.
fn command(span: &str, kind: Option<EventKind>, scope: &Scope) -> String {
    let since = quoted(&format!("{span} ago"));
    let kind = kind.map(|kind| format!(" --kind {}", kind.as_str())).unwrap_or_default();
    let about = match scope {
        Scope::Fleet => String::new(),
        Scope::Node(node) => format!(" --node {node}"),
        Scope::Cell(cell) => format!(" --cell {cell}"),
    };
    format!("fleetman events -w --since {since}{kind}{about}")
}
