//! `/buckets/check`: whether what lies in the bucket fits together, and what can be put right.

use askama::Template;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::access::AccessError;
use crate::controller::{Finding, findings_name};
use crate::web::address::Asked;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

/// How many findings stand on the page.
const MOST: usize = 500;

/// What the forms ask for.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sent {
    /// Whether the bucket is looked through.
    #[serde(default)]
    run: Option<String>,
    /// Whether every file is read and digested, too.
    #[serde(default)]
    deep: Option<String>,
    /// What was looked at before something is put right.
    #[serde(default)]
    seen: String,
    #[serde(default)]
    reason: String,
}

#[derive(Template)]
#[template(path = "buckets/check.html")]
struct Page {
    shell: Shell,
    sent: Sent,
    /// None before it was looked.
    found: Option<Vec<Row>>,
    left_out: usize,
    /// What names what can be put right.
    seen: String,
    repairable: usize,
    refused: Option<String>,
}

/// A finding, dressed.
struct Row {
    it: Finding,
    kind: &'static str,
    word: &'static str,
    what_to_do: String,
}

impl From<Finding> for Row {
    fn from(it: Finding) -> Self {
        let (kind, word) = match &it.repaired {
            Some(Ok(())) => ("good", "Repaired"),
            Some(Err(_)) => ("bad", "Not repaired"),
            None if it.notice => ("off", "Notice"),
            None if it.repairable => ("warn", "Repairable"),
            None => ("bad", "Wrong"),
        };
        let what_to_do = match &it.repaired {
            Some(Err(why)) => why.clone(),
            _ => it.remedy.clone(),
        };
        Self { it, kind, word, what_to_do }
    }
}

fn render(
    page: &PageContext,
    sent: Sent,
    found: Option<Vec<Finding>>,
    status: StatusCode,
    refused: Option<String>,
) -> Result<Response, Failure> {
    let is_open = |finding: &&Finding| finding.repairable && finding.repaired.is_none();
    let repairable = found.iter().flatten().filter(is_open).count();
    let seen = findings_name(found.as_deref().unwrap_or_default());
    let left_out = found.as_ref().map_or(0, |found| found.len().saturating_sub(MOST));
    let found = found.map(|found| found.into_iter().take(MOST).map(Row::from).collect());
    let deep = if sent.deep.is_some() { " --deep" } else { "" };
    let shell = page.shell("Check", Nav::Buckets, format!("fleetman fsck{deep}"));
    page.render_with(status, &Page { shell, sent, found, left_out, seen, repairable, refused })
}

pub(super) async fn check(page: PageContext, Asked(sent): Asked<Sent>) -> Result<Response, Failure> {
    page.may().check_upkeep()?;
    let found = match sent.run {
        Some(_) => Some(page.may().fsck(sent.deep.is_some()).await?),
        None => None,
    };
    render(&page, sent, found, StatusCode::OK, None)
}

pub(super) async fn repair(page: PageContext, Form(sent): Form<Sent>) -> Result<Response, Failure> {
    page.may().check_upkeep()?;
    page.caller.check_writable()?;
    let (may, deep) = (page.may().because(&sent.reason), sent.deep.is_some());
    match may.fsck_repair(deep, sent.seen.clone()).await {
        Ok(found) => render(&page, sent, Some(found), StatusCode::OK, None),
        Err(AccessError::Controller(error)) if error.is_overtaken() => {
            let found = page.may().fsck(deep).await?;
            let why = "What can be put right is no longer what you looked at. Nothing was done; this is what is there \
                       now.";
            render(&page, sent, Some(found), StatusCode::CONFLICT, Some(why.to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}
