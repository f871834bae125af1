//! `/audit`: who did what, newest first; and the same as a file.

mod filter;

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::response::Response;
use chrono::{DateTime, Utc};

use self::filter::AuditQuery;
use crate::controller::{Act, ActResult, AuditFault, AuditPlace, AuditRow, Claim, ExportFormat, FaultKind, audit_key};
use crate::model::audit::Seal;
use crate::model::{CellId, DeploymentName, ManifestName, ObjectKey, Sha256Digest};
use crate::web::address::{Asked, with_query};
use crate::web::download;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};

/// How many acts stand on one page.
const PER_PAGE: usize = 100;

/// How many entries that are gone or were replaced are told one by one.
const MOST_FAULTS: usize = 5;

pub(super) fn routes() -> Routes {
    Routes::new().get("/audit", audit).get("/audit.csv", csv).get("/audit.ndjson", ndjson)
}

#[derive(Template)]
#[template(path = "audit/page.html")]
struct Page {
    shell: Shell,
    query: AuditQuery,
    /// What is gone or was replaced, as the entries on this page tell.
    faults: Vec<Fault>,
    /// How many more there are of these.
    more_faults: usize,
    rows: Vec<Row>,
    newest: Option<String>,
    older: Option<String>,
    searched_to: Option<DateTime<Utc>>,
    cut_days: Vec<String>,
    csv: String,
    ndjson: String,
}

/// One act, dressed.
struct Row {
    at: DateTime<Utc>,
    /// Why there is no more to tell.
    unreadable: Option<String>,
    actor: String,
    from: String,
    action: String,
    object: String,
    href: Option<String>,
    before: Option<Side>,
    after: Option<Side>,
    diff: Option<String>,
    reason: Option<String>,
    kind: &'static str,
    word: &'static str,
    message: Option<String>,
    lacks_intent: bool,
    /// Why it is not to be believed as it stands, and whether that is an alarm.
    doubt: Option<(String, bool)>,
}

/// An entry that is gone or was replaced.
struct Fault {
    found: AuditFault,
    /// The entry that says so.
    named_by: Option<String>,
}

/// What something was before or after an act.
struct Side {
    text: String,
    is_digest: bool,
}

async fn audit(page: PageContext, Asked(query): Asked<AuditQuery>) -> Result<Response, Failure> {
    // Before the query is read: who may not look is told just that.
    page.may().check_audit()?;
    let filter = query.filter()?;
    let after: Option<AuditPlace> = query.after()?;
    let found = page.may().audit_page(&page.caller.fleet.audit, &filter, after.as_ref(), PER_PAGE).await?;
    let faults = page.may().audit_faults(&page.caller.fleet.audit, &found).await?;
    let shell = page.shell("Audit", Nav::Audit, query.command());
    let here = |after: &str| query.address(&shell.link("/audit"), after);
    let older = found.next.map(|next| here(&next.to_string()));
    let view = Page {
        more_faults: faults.len().saturating_sub(MOST_FAULTS),
        faults: faults.into_iter().take(MOST_FAULTS).map(|fault| Fault::of(&shell, fault)).collect(),
        rows: found.rows.into_iter().map(|row| dressed(&shell, row)).collect(),
        newest: after.is_some().then(|| here("")),
        older,
        searched_to: found.searched_to,
        cut_days: found.cut_days.iter().map(ToString::to_string).collect(),
        csv: query.address(&shell.link("/audit.csv"), ""),
        ndjson: query.address(&shell.link("/audit.ndjson"), ""),
        query,
        shell,
    };
    page.render(&view)
}

async fn csv(page: PageContext, Asked(query): Asked<AuditQuery>) -> Result<Response, Failure> {
    export(&page, &query, ExportFormat::Csv, "text/csv; charset=utf-8; header=present", "audit.csv")
}

async fn ndjson(page: PageContext, Asked(query): Asked<AuditQuery>) -> Result<Response, Failure> {
    export(&page, &query, ExportFormat::Ndjson, "application/x-ndjson", "audit.ndjson")
}

fn export(
    page: &PageContext,
    query: &AuditQuery,
    format: ExportFormat,
    kind: &'static str,
    name: &'static str,
) -> Result<Response, Failure> {
    page.may().check_audit()?;
    let lines = page.may().audit_export(Arc::clone(&page.caller.fleet.audit), query.filter()?, format)?;
    Ok(download::saved(kind, name, Body::from_stream(lines)))
}

fn dressed(shell: &Shell, row: AuditRow) -> Row {
    let act = match row.act {
        Ok(act) => act,
        Err(why) => return unreadable(row.at, why),
    };
    let (kind, word) = match act.result {
        ActResult::Done { .. } => ("good", "Done"),
        ActResult::Failed { .. } => ("bad", "Failed"),
        ActResult::NotConcluded => ("unknown", "Not concluded"),
    };
    Row {
        at: row.at,
        unreadable: None,
        href: page_of(shell, &act),
        diff: diff_of(shell, &act),
        actor: act.actor.to_string(),
        from: if act.host.is_empty() { act.source } else { format!("{}, {}", act.source, act.host) },
        action: act.action,
        object: act.object,
        before: act.before.map(Side::from),
        after: act.after.map(Side::from),
        reason: act.reason,
        kind,
        word,
        // That it was done is said already.
        message: act.result.message().filter(|message| *message != "done").map(str::to_owned),
        lacks_intent: act.lacks_intent,
        doubt: match act.seal {
            Seal::Signed | Seal::Off => None,
            Seal::Missing => Some(("No pinned key signed it.".to_owned(), false)),
            Seal::Broken(why) => Some((format!("Not to be believed: {why}."), true)),
        },
    }
}

impl Fault {
    fn of(shell: &Shell, found: AuditFault) -> Self {
        let named_by = match found.kind {
            FaultKind::Gone { named_by } | FaultKind::Replaced { named_by } => {
                let key = audit_key(named_by).relative();
                Some(with_query(&shell.link("/buckets/object"), [("key", key.as_str())]))
            }
            FaultKind::Broken { .. } | FaultKind::Unreadable { .. } => None,
        };
        Self { found, named_by }
    }
}

fn unreadable(at: DateTime<Utc>, why: String) -> Row {
    Row {
        at,
        unreadable: Some(why),
        actor: String::new(),
        from: String::new(),
        action: String::new(),
        object: String::new(),
        href: None,
        before: None,
        after: None,
        diff: None,
        reason: None,
        kind: "bad",
        word: "Unreadable",
        message: None,
        lacks_intent: false,
        doubt: None,
    }
}

impl From<String> for Side {
    fn from(text: String) -> Self {
        let is_digest = text.parse::<Sha256Digest>().is_ok();
        // Who made a claim, and when, the row says already if it is the newer, and the row of the older one if not.
        let text = match text.split_once(") by ") {
            Some((claim, _)) if claim.starts_with("generation ") => format!("{claim})"),
            _ => text,
        };
        Self { text, is_digest }
    }
}

/// The cell that an act was done to: acts name it `cell/<node>/<cell>`.
fn cell_of(act: &Act) -> Option<CellId> {
    act.object.strip_prefix("cell/")?.parse().ok()
}

/// Where what an act was done to can be looked at.
fn page_of(shell: &Shell, act: &Act) -> Option<String> {
    if let Ok(key) = ObjectKey::parse(&act.object) {
        return Some(with_query(&shell.link("/buckets/object"), [("key", key.relative().as_str())]));
    }
    if let Some((manifest, deployment)) = act.object.strip_prefix("deployment/").and_then(|rest| rest.split_once('/')) {
        let (manifest, deployment) = (ManifestName::new(manifest).ok()?, DeploymentName::new(deployment).ok()?);
        return Some(shell.link(&format!("/deployments/{manifest}/{deployment}")));
    }
    cell_of(act).map(|cell| shell.link(&format!("/cells/{cell}")))
}

/// Where the versions before and after an act are compared.
fn diff_of(shell: &Shell, act: &Act) -> Option<String> {
    let cell = cell_of(act)?;
    let version = |claim: &Option<String>| Claim::version_in(claim.as_deref()?);
    let (before, after) = (version(&act.before)?, version(&act.after)?);
    let path = shell.link(&format!("/cells/{cell}/diff"));
    (before != after).then(|| with_query(&path, [("from", before.as_str()), ("to", after.as_str())]))
}
