//! Publishing: the plan first, and then exactly that plan.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::conflict::{self, Late, Seen};
use super::followed;
use crate::access::AccessError;
use crate::controller::{CellView, ControllerError, Guard, HookRun, Plan, PublishRequest, ReleaseFacts};
use crate::model::trigger::TriggerOptions;
use crate::model::users::Role;
use crate::model::{CellId, DeploymentName, ManifestName, VersionName};
use crate::store::ErrorKind;
use crate::web::changes::{ChangesView, size};
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};

/// A plan of more objects does not say what it was made from: its form would be too long.
const MOST_INPUTS: usize = 500;

/// What the form holds. Empty text means that nothing was said.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sent {
    /// The release; the newest without one.
    #[serde(default)]
    deployment: String,
    /// The version's name; a generated one without.
    #[serde(default, rename = "as")]
    version: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    reason: String,
    retry: Option<String>,
    force: Option<String>,
    override_windows: Option<String>,
    if_generation: Option<u64>,
    #[serde(default)]
    expect: String,
    /// What the plan was made from, as JSON: each object's key and tag.
    #[serde(default)]
    inputs: String,
}

fn said(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

impl Sent {
    fn request(&self, cell: &CellId) -> Result<PublishRequest, Failure> {
        Ok(PublishRequest {
            cell: cell.clone(),
            deployment: said(&self.deployment).map(DeploymentName::new).transpose()?,
            version: said(&self.version).map(VersionName::new).transpose()?,
            note: said(&self.note).map(ToOwned::to_owned),
            reason: said(&self.reason).map(ToOwned::to_owned),
            options: TriggerOptions {
                retry: self.retry.is_some(),
                force: self.force.is_some(),
                override_windows: self.override_windows.is_some(),
                ..TriggerOptions::default()
            },
        })
    }

    /// The same on the command line.
    fn command(&self, cell: &CellId) -> String {
        let texts = [
            ("--deployment", &self.deployment),
            ("--as", &self.version),
            ("--note", &self.note),
            ("--reason", &self.reason),
        ];
        let texts = texts.iter().filter_map(|(flag, text)| Some(format!(" {flag} {}", quoted(said(text)?))));
        let flags = [
            ("--retry", self.retry.is_some()),
            ("--force", self.force.is_some()),
            ("--override-windows", self.override_windows.is_some()),
        ];
        let flags = flags.iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| format!(" {flag}"));
        format!("fleetman publish {cell}{}", texts.chain(flags).collect::<String>())
    }

    fn guard(&self) -> Result<Guard, Failure> {
        let expect = said(&self.expect).map(str::parse).transpose();
        let expect = expect.map_err(|error| Failure::bad_request("invalid_digest", format!("expect: {error}")))?;
        Ok(Guard { if_generation: self.if_generation, expect })
    }

    /// What was asked for, and came too late.
    fn late<'a>(&'a self, cell: &'a CellId, title: &'a str, request: PublishRequest) -> Late<'a> {
        let choice = |text: &str, is_set: bool| is_set.then(|| ("With", text.to_owned()));
        let wanted = [
            said(&self.version).map(|name| ("Name of the version", name.to_owned())),
            said(&self.deployment).map(|name| ("Deployment", name.to_owned())),
            said(&self.expect).map(|digest| ("Content", digest.to_owned())),
            said(&self.note).map(|note| ("Note", note.to_owned())),
            choice("Try again what failed before", self.retry.is_some()),
            choice("Overwrite what was changed by hand", self.force.is_some()),
            choice(
                "Wait neither for a maintenance window nor for the application's lock",
                self.override_windows.is_some(),
            ),
        ];
        let again = [
            ("deployment", said(&self.deployment)),
            ("as", said(&self.version)),
            ("note", said(&self.note)),
            ("reason", said(&self.reason)),
            ("retry", self.retry.as_deref()),
            ("force", self.force.as_deref()),
            ("override_windows", self.override_windows.as_deref()),
        ];
        Late {
            cell,
            verb: "publish",
            title,
            generation: self.if_generation,
            version: None,
            wanted: wanted.into_iter().flatten().collect(),
            reason: self.reason.trim(),
            // What says nothing of its inputs is compared with none.
            seen: Seen::Plan { request, inputs: serde_json::from_str(&self.inputs).unwrap_or_default() },
            again: again.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))).collect(),
        }
    }
}

/// A release to choose.
struct Release {
    name: String,
    about: String,
    is_chosen: bool,
}

/// What would be published.
struct Planned {
    plan: Plan,
    /// What it was made from, for the form.
    inputs: String,
    size: String,
    changes: ChangesView,
}

#[derive(Template)]
#[template(path = "orders/publish.html")]
struct Page<'a> {
    shell: Shell,
    cell: &'a CellId,
    sent: &'a Sent,
    releases: Vec<Release>,
    plan: Option<Planned>,
    error: Option<String>,
    /// Why it can only be looked at, if so.
    barred: Option<String>,
}

impl From<Plan> for Planned {
    fn from(plan: Plan) -> Self {
        let tags = plan.inputs.iter().map(|(key, tag)| (key, tag.as_str())).collect::<BTreeMap<_, _>>();
        let inputs =
            if tags.len() > MOST_INPUTS { String::new() } else { serde_json::to_string(&tags).unwrap_or_default() };
        Self { inputs, size: size(plan.version.bytes), changes: ChangesView::from(&plan.changes), plan }
    }
}

pub(super) async fn ask(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    show(&page, &cell, &sent, None).await
}

pub(super) async fn act(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let (request, guard) = match (sent.request(&cell), sent.guard()) {
        (Ok(request), Ok(guard)) => (request, guard),
        (Err(failure), _) | (_, Err(failure)) => return show(&page, &cell, &sent, Some(failure)).await,
    };
    match page.may().because(&sent.reason).publish(&request, &guard).await {
        Ok(published) => Ok(followed(&page, &cell, &published)),
        Err(AccessError::Controller(error)) if error.is_overtaken() => {
            let title = format!("Publish to {cell}");
            conflict::show(&page, &sent.late(&cell, &title, request), &error.into()).await
        }
        Err(error) => show(&page, &cell, &sent, Some(error.into())).await,
    }
}

/// The plan of what `sent` asks for; why there is none, if there is none.
async fn show(page: &PageContext, cell: &CellId, sent: &Sent, failed: Option<Failure>) -> Result<Response, Failure> {
    let planned = match sent.request(cell) {
        Ok(request) => match page.may().plan(&request).await {
            Ok(plan) => Ok(Planned::from(plan)),
            Err(AccessError::Controller(error)) if is_mendable(&error) => Err(Failure::from(error)),
            Err(error) => return Err(error.into()),
        },
        Err(failure) => Err(failure),
    };
    let (plan, failed) = match (planned, failed) {
        (Ok(plan), failed) => (Some(plan), failed),
        // What kept it from being published is told rather than what keeps the next plan from being made.
        (Err(_), Some(failed)) => (None, Some(failed)),
        (Err(failure), None) => (None, Some(failure)),
    };
    let of_view = page.view()?.cell(cell).and_then(CellView::about).map(|about| about.manifest.clone());
    let manifest = plan.as_ref().map(|plan| plan.plan.manifest.clone()).or(of_view);
    let chosen = plan.as_ref().and_then(|plan| plan.plan.deployment.clone());
    let releases = match &manifest {
        Some(manifest) => releases(page, manifest, chosen.as_ref()).await?,
        None => Vec::new(),
    };
    let shell = page.shell(format!("Publish to {cell}"), Nav::Cells, sent.command(cell));
    let status = failed.as_ref().map_or(StatusCode::OK, Failure::status);
    let error = failed.map(|failure| failure.detail().to_owned());
    let denied = page.may().need_on_cell(Role::Editor, cell).err();
    let barred = denied.map(|denied| denied.to_string()).or_else(|| page.caller.read_only());
    page.render_with(status, &Page { shell, cell, sent, releases, plan, error, barred })
}

fn is_mendable(error: &ControllerError) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::NotFound | ErrorKind::Tampered)
}

/// The releases of a manifest, newest first.
async fn releases(
    page: &PageContext,
    manifest: &ManifestName,
    chosen: Option<&DeploymentName>,
) -> Result<Vec<Release>, Failure> {
    // Listed anew, so that the one that the plan has chosen is among them; documents are read once.
    let found = page.may().release_page(&page.caller.fleet.releases, Some(manifest), None, usize::MAX).await?;
    let mut whole: Vec<_> =
        found.releases.iter().filter_map(|release| Some((&release.name, release.facts()?))).collect();
    whole.sort_by_key(|(_, facts)| std::cmp::Reverse(facts.created_at));
    let release = |(name, facts): &(&DeploymentName, &ReleaseFacts)| Release {
        name: name.to_string(),
        about: format!("{} by {}", facts.created_at.format("%Y-%m-%d %H:%M UTC"), facts.created_by),
        is_chosen: chosen == Some(*name),
    };
    Ok(whole.iter().map(release).collect())
}
