//! `/buckets/gc`: the broom. What it would do is looked at first.

use askama::Template;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::access::AccessError;
use crate::controller::GcReport;
use crate::web::address::Asked;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

/// Of each kind so many stand on the page.
const MOST: usize = 200;

/// What the forms ask for.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sent {
    /// Whether the bucket is looked through.
    #[serde(default)]
    run: Option<String>,
    /// What was looked at before it is done.
    #[serde(default)]
    seen: String,
    #[serde(default)]
    reason: String,
}

#[derive(Template)]
#[template(path = "buckets/sweep.html")]
struct Page {
    shell: Shell,
    sent: Sent,
    looked: Option<Looked>,
    refused: Option<&'static str>,
}

/// What would be done, or was.
struct Looked {
    report: GcReport,
    is_done: bool,
    /// What names what would be done.
    seen: String,
}

impl Looked {
    fn planned(report: GcReport) -> Self {
        Self { seen: report.name(), is_done: false, report }
    }

    /// The first of `all`, and how many there are besides.
    fn first<'a, T>(&self, all: &'a [T]) -> (&'a [T], usize) {
        let (first, rest) = all.split_at(all.len().min(MOST));
        (first, rest.len())
    }
}

fn render(
    page: &PageContext,
    sent: Sent,
    looked: Option<Looked>,
    refused: Option<&'static str>,
) -> Result<Response, Failure> {
    let command = if looked.as_ref().is_some_and(|it| it.is_done) { "fleetman gc" } else { "fleetman gc --dry-run" };
    let status = if refused.is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
    let shell = page.shell("Sweep", Nav::Buckets, command);
    page.render_with(status, &Page { shell, sent, looked, refused })
}

pub(super) async fn look(page: PageContext, Asked(sent): Asked<Sent>) -> Result<Response, Failure> {
    page.may().check_upkeep()?;
    let looked = match sent.run {
        Some(_) => Some(Looked::planned(page.may().gc_plan().await?)),
        None => None,
    };
    render(&page, sent, looked, None)
}

pub(super) async fn sweep(page: PageContext, Form(sent): Form<Sent>) -> Result<Response, Failure> {
    page.may().check_upkeep()?;
    page.caller.check_writable()?;
    match page.may().because(&sent.reason).gc(sent.seen.clone()).await {
        Ok(report) => {
            let done = Looked { report, is_done: true, seen: String::new() };
            render(&page, sent, Some(done), None)
        }
        Err(AccessError::Controller(error)) if error.is_overtaken() => {
            let now = Looked::planned(page.may().gc_plan().await?);
            let why = "It would do something else by now than what you looked at. Nothing was done; this is what it \
                       would do.";
            render(&page, sent, Some(now), Some(why))
        }
        Err(error) => Err(error.into()),
    }
}
