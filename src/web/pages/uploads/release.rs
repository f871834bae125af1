//! A release that was sent: its files, and how they differ from the newest one.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Sending, Sent, Source, Told, Waiting};
use crate::controller::{Delivery, DeliveryPlan, FileFate, FileKind, FileSide, Spool};
use crate::model::users::Role;
use crate::model::{DeploymentName, Sha256Digest, UserName};
use crate::web::address::with_query;
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Pager, grouped, has};
use crate::web::page::PageContext;
use crate::web::pages::manifests;
use crate::web::shell::{Nav, Shell};
use crate::web::staged::NewRelease;
use crate::web::words::State;

/// What was there when it was looked at: the guard of the form, and one side of what is shown if it is so no more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// The name that it was looked at for.
    name: Option<DeploymentName>,
    /// The newest release.
    newest: Option<Newest>,
    /// Which has the same content.
    same: Option<DeploymentName>,
    /// Whether the name is taken.
    is_taken: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    name: DeploymentName,
    content_sha256: Sha256Digest,
    at: DateTime<Utc>,
    by: UserName,
}

impl Seen {
    fn new(name: Option<&DeploymentName>, plan: &DeliveryPlan) -> Self {
        let newest = plan.newest.as_ref().map(|(name, facts)| Newest {
            name: name.clone(),
            content_sha256: facts.content_sha256,
            at: facts.created_at,
            by: facts.created_by.clone(),
        });
        Self { name: name.cloned(), newest, same: plan.same.clone(), is_taken: plan.obstacle.is_some() }
    }

    /// What is known of the name, in words.
    fn of_name(&self) -> String {
        match (&self.name, &self.same) {
            (_, Some(same)) => format!("release {same} has the same content"),
            (None, None) => "it gets one of its time and its content".to_owned(),
            (Some(name), None) if self.is_taken => format!("{name} is taken"),
            (Some(name), None) => format!("{name} is free"),
        }
    }
}

/// A file, and what becomes of it.
struct Row {
    path: String,
    fate: State,
    size: String,
    mode: String,
    sha256: String,
}

impl Row {
    fn new(FileFate { path, kind, before, after }: &FileFate) -> Self {
        let fate = match kind {
            Some(FileKind::Added) => State::new("good", "new"),
            Some(FileKind::Changed) => State::new("warn", "changed"),
            Some(FileKind::Removed) => State::new("bad", "gone"),
            None => State::new("off", "the same"),
        };
        let both = |of: fn(&FileSide) -> String| match (before.as_ref().map(of), after.as_ref().map(of)) {
            (Some(before), Some(after)) if before != after => format!("{before} → {after}"),
            (before, after) => after.or(before).unwrap_or_default(),
        };
        Self {
            path: path.to_string(),
            fate,
            size: both(|side| size(side.size)),
            mode: both(|side| side.mode.to_string()),
            sha256: after.as_ref().or(before.as_ref()).map(|side| side.sha256.to_string()).unwrap_or_default(),
        }
    }
}

/// How many files there are of each fate.
struct Counts {
    new: String,
    changed: String,
    gone: String,
    same: String,
}

impl Counts {
    fn new(fates: &[FileFate]) -> Self {
        let count = |kind| grouped(fates.iter().filter(|fate| fate.kind == kind).count());
        Self {
            new: count(Some(FileKind::Added)),
            changed: count(Some(FileKind::Changed)),
            gone: count(Some(FileKind::Removed)),
            same: count(None),
        }
    }
}

#[derive(Template)]
#[template(path = "uploads/release.html")]
struct Page<'a> {
    shell: Shell,
    action: String,
    release: &'a NewRelease,
    plan: &'a DeliveryPlan,
    bytes: String,
    counts: Counts,
    until: DateTime<Utc>,
    seen: Seen,
    written: String,
    /// What was seen before somebody else changed it.
    late: Option<Seen>,
    asked: &'a Asked,
    chips: Vec<Chip>,
    rows: Vec<Row>,
    pager: Pager,
    reason: &'a str,
    failure: Option<String>,
    barred: Option<String>,
}

/// What the release would come to.
pub(in crate::web::pages) async fn plan(
    page: &PageContext,
    release: &NewRelease,
    spool: &Spool,
) -> Result<DeliveryPlan, Failure> {
    let delivery = Delivery { spool, executables: &release.executables, note: release.note.clone() };
    let fleet = page.caller.whole_view()?;
    Ok(page.may().plan_delivery(&fleet, &release.manifest, release.name.as_ref(), &delivery).await?)
}

/// A release that is looked at, as the bucket is now.
struct Review<'a> {
    page: &'a PageContext,
    waiting: &'a Waiting,
    asked: &'a Asked,
    release: NewRelease,
    plan: DeliveryPlan,
}

impl<'a> Review<'a> {
    /// Looks at `release` under another name, or the one that was given.
    async fn new(
        page: &'a PageContext,
        waiting: &'a Waiting,
        asked: &'a Asked,
        release: NewRelease,
    ) -> Result<Self, Failure> {
        let plan = plan(page, &release, &waiting.staged.spool).await?;
        Ok(Self { page, waiting, asked, release, plan })
    }

    /// What is there now.
    fn seen(&self) -> Seen {
        Seen::new(self.release.name.as_ref(), &self.plan)
    }

    fn show(&self, sent: &Sent, failed: Option<&Failure>) -> Result<Response, Failure> {
        let Self { page, waiting, asked, release, plan } = self;
        let seen = self.seen();
        let late = failed.and_then(|_| serde_json::from_str::<Seen>(&sent.seen).ok()).filter(|then| *then != seen);
        let wanted = asked.text("q").to_lowercase();
        let mut fitting: Vec<&FileFate> = plan.fates.iter().filter(|fate| has(fate.path.as_str(), &wanted)).collect();
        // What differs is what one looks for.
        fitting.sort_by_key(|fate| fate.kind.is_none());
        let pager = asked.pager(fitting.len(), plan.fates.len());
        let named = release.name.as_ref().map(|name| format!(" --as {name}")).unwrap_or_default();
        let cli = format!("fleetman upload {} <folder>{named}", release.manifest);
        let shell = page.shell(format!("Review a release of {}", release.manifest), Nav::Deployments, cli);
        page.render_with(
            failed.map_or(StatusCode::OK, Failure::status),
            &Page {
                shell,
                action: page.link(&format!("/uploads/{}", waiting.id)),
                release,
                plan,
                bytes: size(plan.bytes),
                counts: Counts::new(&plan.fates),
                until: waiting.staged.until,
                written: serde_json::to_string(&seen).unwrap_or_default(),
                seen,
                late,
                asked,
                chips: asked.chips(&["q"]),
                rows: fitting[pager.from..pager.to].iter().map(|fate| Row::new(fate)).collect(),
                pager,
                reason: &sent.reason,
                failure: failed.map(|failure| failure.detail().to_owned()),
                barred: manifests::barred(page, Role::Editor, &release.manifest)?,
            },
        )
    }

    /// Why it cannot be confirmed as it was seen.
    fn refusal(&self, seen: &Seen) -> Option<Failure> {
        let conflict = |code, detail: &str| Some(Failure::new(StatusCode::CONFLICT, code, detail));
        if *seen != self.seen() {
            return conflict("changed", "Somebody uploaded or deleted a release meanwhile. Look at what is there now.");
        }
        self.plan.obstacle.as_ref().and_then(|obstacle| conflict("exists", obstacle))
    }
}

pub(super) async fn review(
    page: &PageContext,
    waiting: &Waiting,
    release: &NewRelease,
    asked: &Asked,
) -> Result<Response, Failure> {
    let name = match asked.one("name") {
        Some(name) => Some(DeploymentName::new(name)?),
        None => release.name.clone(),
    };
    let release = NewRelease { name, ..release.clone() };
    Review::new(page, waiting, asked, release).await?.show(&Sent::default(), None)
}

/// Puts it into the bucket, if it is still what was seen.
pub(super) async fn confirm(
    page: &PageContext,
    waiting: &Waiting,
    release: &NewRelease,
    asked: &Asked,
    sent: &Sent,
    wants_lines: bool,
) -> Result<Response, Failure> {
    let name = match sent.name.trim() {
        "" => None,
        name => Some(DeploymentName::new(name)?),
    };
    let seen: Seen = serde_json::from_str(&sent.seen).unwrap_or_default();
    if name != seen.name {
        // Nobody has looked at what another name would mean.
        let query = name.as_ref().map(|name| ("name", name.as_str()));
        return Ok(Told::lead(page, &with_query(&format!("/uploads/{}", waiting.id), query), wants_lines));
    }
    let review = Review::new(page, waiting, asked, NewRelease { name, ..release.clone() }).await?;
    let refused = |failure: Failure| match wants_lines {
        true => Ok(Told::refuse(&failure)),
        false => review.show(sent, Some(&failure)),
    };
    if let Some(refusal) = review.refusal(&seen) {
        return refused(refusal);
    }
    let note = release.note.as_deref().unwrap_or_default();
    let reason = if sent.reason.trim().is_empty() { note } else { &sent.reason };
    let sending = Sending::begin(&page.caller, &review.release, reason, Source::Waited(waiting.take(page)?))?;
    if wants_lines {
        return Ok(sending.lines(page));
    }
    match sending.end(&page.caller).await {
        Ok(path) => Ok(page.lead_to(&path)),
        Err(failure) => refused(failure),
    }
}
