//! Following a change until the node has carried it out, or could not.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use crate::controller::{CellView, FollowedHow, Liveness, LivenessLimits};
use crate::model::heartbeat::{CellReport, Phase};
use crate::model::{CellId, Floor};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    at: String,
}

/// A step on the way.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// `good`, `busy`, `warn`, `bad` or `off`.
    kind: &'static str,
    text: String,
    detail: String,
}

impl Step {
    fn new(kind: &'static str, text: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, text: text.into(), detail: detail.into() }
    }
}

#[derive(Template)]
#[template(path = "orders/follow.html")]
struct Page {
    shell: Shell,
    cell: CellId,
    at: Floor,
    steps: Vec<Step>,
    /// Nothing more is to come.
    is_over: bool,
    /// The attempt whose log tells more.
    attempt: u32,
}

pub(super) async fn follow(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let at: Floor = asked.at.parse().map_err(|error| Failure::bad_request("invalid_place", format!("at: {error}")))?;
    let (view, _) = page.may().cell_status(&cell, LivenessLimits::default()).await?;
    let (steps, is_over) = steps(&view, at);
    let attempt = view.report().map_or(0, |report| report.attempt);
    let shell = page.live_shell(format!("{cell}, generation {at}"), Nav::Cells, format!("fleetman status {cell}"));
    page.render(&Page { shell, cell, at, steps, is_over, attempt })
}

/// How far the trigger at `at` has come, and whether it is over.
fn steps(view: &CellView, at: Floor) -> (Vec<Step>, bool) {
    let mut steps = Vec::new();
    let desired = view.desired();
    match desired.filter(|desired| desired.claim.at == at) {
        Some(desired) => steps.push(Step::new(
            "good",
            "Published",
            format!("{}{}", desired.claim, desired.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default()),
        )),
        None if desired.is_some_and(|desired| desired.claim.at > at) => {
            let newer = desired.map(|desired| desired.claim.to_string()).unwrap_or_default();
            steps.push(Step::new("off", "A newer change came", newer));
        }
        None => {
            steps.push(Step::new("warn", "There is no such change", "the history has no entry of this generation"));
            return (steps, true);
        }
    }
    let Some(report) = view.report().filter(|report| report.seen >= Some(at)) else {
        steps.push(match view.liveness {
            Liveness::Active => Step::new("busy", "Waiting for the node to see it", "it looks every few seconds"),
            liveness => Step::new(
                "warn",
                "The node is not heard of",
                format!("it is {}; it carries the change out once it is back", liveness.as_str()),
            ),
        });
        return (steps, false);
    };
    steps.push(Step::new("good", "Seen by the node", view.cell.node.to_string()));
    match FollowedHow::of(report, at) {
        Some(FollowedHow::Applied) => {
            let running = report.running.as_ref().map(|running| format!("version {}", running.version));
            let text = match report.phase {
                Phase::Stopped => "Stopped",
                Phase::Removed => "Removed",
                _ => "Live",
            };
            steps.push(Step::new("good", text, running.unwrap_or_default()));
            (steps, true)
        }
        Some(FollowedHow::RolledBack) => {
            steps.push(Step::new("bad", "Failed, and rolled back", trouble(report)));
            (steps, true)
        }
        Some(FollowedHow::Failed) => {
            steps.push(Step::new("bad", "Failed", trouble(report)));
            (steps, true)
        }
        Some(FollowedHow::Superseded { by }) => {
            steps.push(Step::new("off", "Superseded", format!("the node went on to generation {by}")));
            (steps, true)
        }
        None => {
            let detail = report.waiting.as_ref().map_or_else(String::new, |waiting| waiting.reason.to_string());
            let kind = if report.phase == Phase::Waiting { "warn" } else { "busy" };
            let trouble = if detail.is_empty() { trouble(report) } else { format!("{detail}: {}", trouble(report)) };
            steps.push(Step::new(kind, words(report.phase), trouble.trim_end_matches(": ")));
            (steps, false)
        }
    }
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "Waiting",
        Phase::Fetching => "Fetching files",
        Phase::Verifying => "Verifying files",
        Phase::Activating => "Switching over and starting",
        Phase::Checking => "Running; its health is being watched",
        Phase::Held => "Held",
        Phase::Inconsistent => "What is on the host is not what it should be",
        Phase::UpToDate | Phase::Stopped | Phase::Removed | Phase::RolledBack | Phase::Failed | Phase::Unknown => {
            "Under way"
        }
    }
}

fn trouble(report: &CellReport) -> String {
    report.last_error.as_ref().map(|fault| format!("{}: {}", fault.code, fault.message)).unwrap_or_default()
}
