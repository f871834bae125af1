//! A bundle that was sent: what is in it, and what loading it would do.

use std::path::Path;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::{Sent, Waiting};
use crate::controller::{BundleFile, BundlePlan, BundledVersion, ControllerError, Spool};
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

#[derive(Template)]
#[template(path = "uploads/bundle.html")]
struct Page {
    shell: Shell,
    action: String,
    called: String,
    plan: BundlePlan,
    /// What names the plan.
    seen: String,
    bytes: String,
    until: DateTime<Utc>,
    reason: String,
    failure: Option<String>,
}

impl Page {
    /// What becomes of a version.
    fn fate(&self, version: &BundledVersion) -> State {
        match version.newest {
            _ if version.is_deployed => State::new("busy", "Its node deploys it"),
            Some(newest) if newest == version.at => State::new("good", "Desired already"),
            _ => State::new("off", "Added; a newer one is desired"),
        }
    }
}

fn file<'b>(spool: &'b Spool, called: &'b str) -> Result<BundleFile<'b>, Failure> {
    let path = spool.only_path().ok_or_else(|| Failure::not_found("file in this upload"))?;
    Ok(BundleFile { path, called: Path::new(called) })
}

pub(super) async fn review(
    page: &PageContext,
    waiting: &Waiting,
    called: &str,
    sent: &Sent,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let plan = page.may().plan_bundle(file(&waiting.staged.spool, called)?).await?;
    let shell = page.shell("Review a bundle", Nav::Buckets, "fleetman bundle load <file>");
    page.render_with(
        failed.map_or(StatusCode::OK, Failure::status),
        &Page {
            shell,
            action: page.link(&format!("/uploads/{}", waiting.id)),
            called: called.to_owned(),
            seen: plan.name(),
            bytes: size(plan.bytes),
            plan,
            until: waiting.staged.until,
            reason: sent.reason.clone(),
            failure: failed.map(|failure| failure.detail().to_owned()),
        },
    )
}

/// Loads it, unless it would do something else than what was looked at. It goes on when nobody waits for it any more.
pub(super) async fn confirm(
    page: &PageContext,
    waiting: &Waiting,
    called: &str,
    sent: &Sent,
) -> Result<Response, Failure> {
    page.may().check_load()?;
    let taken = waiting.take(page)?;
    let (may, name, seen) = (page.may().because(&sent.reason), called.to_owned(), sent.seen.clone());
    let work = tokio::spawn(async move {
        let bundle = file(&taken.staged().spool, &name)?;
        let plan = may.plan_bundle(bundle).await?;
        if plan.name() != seen {
            return Err(ControllerError::Changed { what: "what loading it would do".to_owned() }.into());
        }
        may.load_bundle(bundle).await?;
        taken.done();
        Ok::<BundlePlan, Failure>(plan)
    });
    let broke_off = |error| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "upload", format!("loading the bundle broke off: {error}"))
    };
    match work.await.map_err(broke_off)? {
        Ok(plan) => {
            page.caller.fleet.snapshot.look_soon();
            page.caller.fleet.releases.renew();
            Ok(page.lead_to(&shown(&plan)))
        }
        Err(failure) if failure.status() == StatusCode::CONFLICT => {
            review(page, waiting, called, sent, Some(&failure)).await
        }
        Err(failure) => Err(failure),
    }
}

/// Where one can see what comes of it.
fn shown(plan: &BundlePlan) -> String {
    match &plan.versions[..] {
        [only] if only.is_deployed => format!("/cells/{}/follow?at={}", only.cell, only.at),
        [only] => format!("/cells/{}/versions/{}", only.cell, only.version),
        _ => "/cells".to_owned(),
    }
}
