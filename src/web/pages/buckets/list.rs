//! `/buckets`: every bucket of the config, and how each does.

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

#[derive(Template)]
#[template(path = "buckets/list.html")]
struct Page {
    shell: Shell,
    buckets: Vec<Row>,
    location: String,
    fleet: String,
    writes: &'static str,
    requests: u64,
}

/// One bucket.
struct Row {
    name: String,
    href: String,
    browse: String,
    usage: String,
    is_current: bool,
    kind: &'static str,
    word: &'static str,
    read_at: Option<DateTime<Utc>>,
    problem: Option<String>,
    read_only: Option<String>,
}

pub(super) async fn list(page: PageContext) -> Result<Response, Failure> {
    let facts = page.may().bucket_facts()?;
    let shell = page.live_shell("Buckets", Nav::Buckets, "fleetman bucket ls".to_owned());
    let caller = &page.caller;
    let rows = caller.portal.fleets.iter().map(|fleet| {
        let age = fleet.snapshot.age();
        let (kind, word) = match (&age.problem, age.at) {
            (Some(_), _) => ("bad", "Unreachable"),
            (None, Some(_)) => ("good", "Reachable"),
            (None, None) => ("unknown", "Not read yet"),
        };
        Row {
            name: fleet.name.clone(),
            href: format!("{}/buckets", fleet.base),
            browse: format!("{}/buckets/browse", fleet.base),
            usage: format!("{}/buckets/usage", fleet.base),
            is_current: std::sync::Arc::ptr_eq(fleet, &caller.fleet),
            kind,
            word,
            read_at: age.at,
            problem: age.problem,
            read_only: fleet.unsigned_reason.clone(),
        }
    });
    let view = Page {
        buckets: rows.collect(),
        location: facts.location,
        fleet: facts.fleet.to_string(),
        writes: facts.writes,
        requests: facts.requests,
        shell,
    };
    page.render(&view)
}
