//! Following a change until the node has carried it out, or could not.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use crate::controller::{CellView, Claim, FollowedHow, Liveness, LivenessLimits};
use crate::model::heartbeat::{CellReport, Phase};
use crate::model::{CellId, Floor, ManifestName, VersionName};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::steps::{Kind, Step};
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell, sentence_time};

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    at: String,
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
    /// It did not come to what was asked for.
    has_failed: bool,
    /// The attempt whose log tells more.
    attempt: u32,
    /// What it was made from.
    manifest: Option<ManifestName>,
    /// What runs and what was to run, if they differ.
    differs: Option<(VersionName, VersionName)>,
}

pub(super) async fn follow(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let at: Floor = asked.at.parse().map_err(|error| Failure::bad_request("invalid_place", format!("at: {error}")))?;
    let (view, _) = page.may().cell_status(&cell, LivenessLimits::default()).await?;
    let shell = page.live_shell(format!("{cell}, generation {at}"), Nav::Cells, format!("fleetman status {cell}"));
    let (steps, is_over) = steps(&view, at, shell.may_operate(&cell));
    let has_failed = steps.iter().any(|step| step.kind == Kind::Failed);
    let attempt = view.report().map_or(0, |report| report.attempt);
    let manifest = view.about().map(|about| about.manifest.clone());
    let runs = view.report().and_then(|report| report.running.as_ref()).map(|running| &running.version);
    let wanted = view.desired().filter(|desired| desired.claim.at == at).and_then(|desired| desired.target.as_ref());
    let differs = runs.zip(wanted.map(|target| &target.version)).filter(|(runs, wanted)| runs != wanted);
    let differs = differs.map(|(runs, wanted)| (runs.clone(), wanted.clone()));
    page.render(&Page { shell, cell, at, steps, is_over, has_failed, attempt, manifest, differs })
}

/// What a node goes through on its way: as it is told before, meanwhile and afterwards.
struct Stage {
    phase: Phase,
    to_come: &'static str,
    under_way: &'static str,
    done: &'static str,
}

const DEPLOYING: [Stage; 3] = [
    Stage {
        phase: Phase::Fetching,
        to_come: "Fetch the files",
        under_way: "Fetching files",
        done: "The files are there and verified",
    },
    Stage {
        phase: Phase::Activating,
        to_come: "Switch over and start",
        under_way: "Switching over and starting",
        done: "Switched over and started",
    },
    Stage {
        phase: Phase::Checking,
        to_come: "Watch its health",
        under_way: "Running; its health is being watched",
        done: "It stayed healthy",
    },
];

const STOPPING: [Stage; 1] = [Stage {
    phase: Phase::Activating,
    to_come: "Stop what runs",
    under_way: "Stopping what runs",
    done: "What ran was stopped",
}];

/// The way of a trigger with this action, and how its end is called.
fn way(action: &str) -> (&'static [Stage], &'static str) {
    match action {
        "stop" => (&STOPPING, "Stopped"),
        "remove" => (&STOPPING, "Removed"),
        _ => (&DEPLOYING, "Live"),
    }
}

/// How far the trigger at `at` has come, and whether it is over.
pub(in crate::web::pages) fn steps(view: &CellView, at: Floor, may_operate: bool) -> (Vec<Step>, bool) {
    let mut steps = Vec::new();
    let desired = view.desired();
    let this = desired.filter(|desired| desired.claim.at == at);
    match this {
        Some(desired) => steps.push(Step::new(
            Kind::Done,
            "Published",
            format!(
                "{}{}",
                told(&desired.claim),
                desired.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
            ),
        )),
        None if desired.is_some_and(|desired| desired.claim.at > at) => {
            let newer = desired.map(|desired| told(&desired.claim)).unwrap_or_default();
            steps.push(Step::new(Kind::Off, "A newer change came", newer));
        }
        None => {
            steps.push(Step::new(
                Kind::Stands,
                "There is no such change",
                "the history has no entry of this generation",
            ));
            return (steps, true);
        }
    }
    // Of a change that a newer one took the place of nothing more is told than that.
    let (stages, end) = this.map_or((&[][..], "Live"), |desired| way(&desired.claim.action));
    let to_come = |stages: &[Stage]| {
        let stages = stages.iter().map(|stage| stage.to_come).chain(this.map(|_| end));
        stages.map(|text| Step::new(Kind::ToCome, text, "")).collect::<Vec<_>>()
    };
    let Some(report) = view.report().filter(|report| report.seen >= Some(at)) else {
        steps.push(match view.liveness {
            Liveness::Active => {
                Step::new(Kind::UnderWay, "Waiting for the node to see it", "it looks every few seconds")
            }
            silent => {
                let (text, why) = match silent {
                    Liveness::Warning => ("The node is late", "its last heartbeats did not come"),
                    Liveness::Dead => ("The node is not heard of", "its heartbeats have stopped"),
                    Liveness::Active | Liveness::Unknown => ("The node is not heard of", "no heartbeat of it is known"),
                };
                Step::new(Kind::Stands, text, format!("{why}; it carries the change out once it is back"))
            }
        });
        steps.extend(to_come(stages));
        return (steps, false);
    };
    steps.push(Step::new(Kind::Done, "Seen by the node", view.cell.node.to_string()));
    let done = |stages: &[Stage]| stages.iter().map(|stage| Step::new(Kind::Done, stage.done, "")).collect::<Vec<_>>();
    match FollowedHow::of(report, at) {
        Some(FollowedHow::Applied) => {
            // What was so already took no attempt.
            steps.extend(done(if report.attempt > 0 { stages } else { &[] }));
            let running = report.running.as_ref().map(|running| format!("version {}", running.version));
            steps.push(Step::new(Kind::Done, end, running.unwrap_or_default()));
            (steps, true)
        }
        Some(FollowedHow::RolledBack) => {
            steps.push(Step::new(Kind::Failed, "Failed, and rolled back", trouble(report)));
            (steps, true)
        }
        Some(FollowedHow::Failed) => {
            steps.push(Step::new(Kind::Failed, "Failed", trouble(report)));
            (steps, true)
        }
        Some(FollowedHow::Superseded { by }) => {
            let detail = format!("the node went on to generation {by}");
            steps.push(Step::new(Kind::Off, "Superseded", detail).with_link(place(view, by), "Follow that one"));
            (steps, true)
        }
        None => {
            let at = stages.iter().position(|stage| stage.phase == report.phase);
            let Some((stage, ahead)) = at.and_then(|at| stages[at..].split_first()) else {
                steps.push(standstill(view, report, may_operate));
                // Whatever it waits for, it has not switched over.
                let from = usize::from(stages.first().is_some_and(|stage| stage.phase == Phase::Fetching));
                steps.extend(to_come(&stages[from..]));
                return (steps, false);
            };
            steps.extend(done(&stages[..stages.len() - ahead.len() - 1]));
            steps.push(Step::new(Kind::UnderWay, stage.under_way, trouble(report)));
            steps.extend(to_come(ahead));
            (steps, false)
        }
    }
}

/// Where a trigger of the same cell is followed.
fn place(view: &CellView, at: Floor) -> String {
    format!("/cells/{}/follow?at={at}", view.cell)
}

/// Why a node does not go on, or what it does besides.
fn standstill(view: &CellView, report: &CellReport, may_operate: bool) -> Step {
    if let Some(hold) = report.hold.as_ref().filter(|_| matches!(report.phase, Phase::Waiting | Phase::Held)) {
        let what = if hold.whole_node { "the whole node is held" } else { "it is held" };
        let (since, until) = (sentence_time(hold.since), sentence_time(hold.until));
        let detail = format!("{what} by {} since {since} until {until}: {}", hold.by, hold.reason);
        let step = Step::new(Kind::Stands, "Waiting for the end of a hold", detail);
        return match hold.whole_node {
            true => step.with_link(format!("/agents/{}", view.cell.node), "To the node that is held"),
            false if may_operate => step.with_link(format!("/cells/{}/unhold", view.cell), "End the hold"),
            false => step,
        };
    }
    let kind = if report.phase == Phase::Waiting { Kind::Stands } else { Kind::UnderWay };
    let reason = report.waiting.as_ref().map(|waiting| format!("{}: {}", waiting.reason, waiting.message));
    let until = report.waiting.as_ref().and_then(|waiting| waiting.until);
    let until = until.map(|until| format!("until {}", sentence_time(until)));
    let told = [reason, until, Some(trouble(report))].into_iter().flatten().filter(|text| !text.is_empty());
    Step::new(kind, words(report.phase), told.collect::<Vec<_>>().join("; "))
}

/// Which change it is, and whose.
fn told(claim: &Claim) -> String {
    let version = claim.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    format!("{}{version} by {}, {}", claim.action, claim.by, sentence_time(claim.issued_at))
}

/// What a node does that is no stage of the way.
fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "Waiting",
        Phase::Held => "Held back",
        Phase::Inconsistent => "What is on the host is not what it should be",
        _ => "Under way",
    }
}

fn trouble(report: &CellReport) -> String {
    report.last_error.as_ref().map(|fault| format!("{}: {}", fault.code, fault.message)).unwrap_or_default()
}
