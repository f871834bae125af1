//! `/apply`: many manifests and cells as one change, looked at before anything is written; and all of them as one text.

use askama::Template;
use axum::body::Body;
use axum::extract::Form;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::access::AccessError;
use crate::controller::{ApplyLine, ApplySummary, ControllerError};
use crate::model::users::Role;
use crate::recipe::{self, Set};
use crate::web::download;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

pub(super) fn routes() -> Routes {
    Routes::new().get("/apply", ask).post("/apply", submit).get("/apply/export.yaml", export)
}

/// What the form sends.
#[derive(Debug, Default, Deserialize)]
struct Sent {
    #[serde(default)]
    text: String,
    /// Which button it was: `preview`, `save`, or `edit` on the way back.
    #[serde(default)]
    step: String,
    /// What was looked at before it is done.
    #[serde(default)]
    seen: String,
    #[serde(default)]
    reason: String,
}

#[derive(Template)]
#[template(path = "apply/page.html")]
struct Page {
    shell: Shell,
    sent: Sent,
    /// What would be done, or was.
    report: Option<Report>,
    failure: Option<String>,
}

impl Page {
    fn has_report(&self) -> bool {
        self.report.is_some()
    }
}

struct Report {
    lines: Vec<(State, ApplyLine)>,
    summary: ApplySummary,
    is_done: bool,
    /// What names what would be done.
    seen: String,
}

impl Report {
    fn of(lines: Vec<ApplyLine>, seen: String) -> Self {
        let summary = ApplySummary::of(&lines);
        let is_done = seen.is_empty();
        Self { lines: lines.into_iter().map(|line| (state(line.how), line)).collect(), summary, is_done, seen }
    }

    fn is_nothing(&self) -> bool {
        self.summary.unchanged == self.lines.len()
    }
}

fn state(how: &str) -> State {
    match how {
        "created" => State::new("good", "created"),
        "changed" => State::new("busy", "changed"),
        "unchanged" => State::new("off", "unchanged"),
        "refused" => State::new("bad", "refused"),
        _ => State::new("warn", "left"),
    }
}

fn show(page: &PageContext, sent: Sent, report: Option<Report>, failed: Option<&Failure>) -> Result<Response, Failure> {
    let shell = page.shell("Apply", Nav::Manifests, "fleetman apply -f fleet.yaml");
    let status = failed.map_or(StatusCode::OK, Failure::status);
    let failure = failed.map(|failure| failure.detail().to_owned());
    page.render_with(status, &Page { shell, sent, report, failure })
}

async fn ask(page: PageContext) -> Result<Response, Failure> {
    page.may().need_anywhere(Role::Editor, "manifests and cells")?;
    show(&page, Sent::default(), None, None)
}

async fn submit(page: PageContext, form: Result<Form<Sent>, FormRejection>) -> Result<Response, Failure> {
    page.may().need_anywhere(Role::Editor, "manifests and cells")?;
    let Form(sent) = form.map_err(|error| Failure::new(error.status(), "invalid_form", error.body_text()))?;
    // Browsers end lines as mail does.
    let sent = Sent { text: sent.text.replace("\r\n", "\n"), ..sent };
    let set = match recipe::read(&sent.text, "the text").and_then(Set::of) {
        Ok(set) if set.manifests.is_empty() && set.cells.is_empty() => {
            let failure = Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "There is no document in it.");
            return show(&page, sent, None, Some(&failure));
        }
        Ok(set) => set,
        Err(error) => return refuse(&page, sent, ControllerError::from(error).into()),
    };
    let fleet = page.caller.whole_view()?;
    if sent.step == "save" {
        page.caller.check_writable()?;
        let (may, seen) = (page.may().because(&sent.reason), sent.seen.clone());
        let (wanted, whole) = (set.clone(), fleet.clone());
        // It ends also when nobody waits any more: what was begun is concluded in the audit.
        let done = tokio::spawn(async move { may.apply(&whole, wanted, &seen).await });
        match done.await {
            Ok(Ok((lines, failure))) => {
                page.caller.fleet.snapshot.look_soon();
                page.caller.fleet.releases.renew_manifests();
                let failure = failure.map(Failure::from);
                return show(&page, sent, Some(Report::of(lines, String::new())), failure.as_ref());
            }
            Ok(Err(AccessError::Controller(error))) if error.is_overtaken() => {
                let plan = page.may().plan_apply(&fleet, set).await?;
                let why = "It would do something else by now than what you looked at. Nothing was written; this is what \
                           it would do.";
                let failure = Failure::new(StatusCode::CONFLICT, "changed", why);
                return show(&page, sent, Some(Report::of(plan.lines(), plan.name())), Some(&failure));
            }
            Ok(Err(error)) => return refuse(&page, sent, error.into()),
            Err(error) => {
                let detail = format!("it broke off: {error}");
                return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "apply", detail));
            }
        }
    }
    if sent.step == "edit" {
        return show(&page, sent, None, None);
    }
    match page.may().plan_apply(&fleet, set).await {
        Ok(plan) => show(&page, sent, Some(Report::of(plan.lines(), plan.name())), None),
        Err(error) => refuse(&page, sent, error.into()),
    }
}

/// Shows the form again where something is wrong with what was sent.
fn refuse(page: &PageContext, sent: Sent, failure: Failure) -> Result<Response, Failure> {
    match failure.status() {
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT | StatusCode::NOT_FOUND => {
            show(page, sent, None, Some(&failure))
        }
        _ => Err(failure),
    }
}

async fn export(page: PageContext) -> Result<Response, Failure> {
    let text = page.may().export().await?;
    Ok(download::saved("application/yaml", "fleet.yaml", Body::from(text)))
}
