//! `/cells/{node}/{cell}`: what the cell is to be, what it is, and what is wrong.

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::frame::{Frame, Tab};
use super::windows::{self, WindowsRow};
use super::words;
use crate::access::{AccessError, Authorized};
use crate::controller::{ControllerError, LogPlace};
use crate::model::dependencies::Dependencies;
use crate::model::drift::DriftReport;
use crate::model::heartbeat::{CellReport, CheckReport, Heartbeat, Phase, ProcessReport, RunningState};
use crate::model::keys::AttemptId;
use crate::model::manifest::Manifest;
use crate::model::window::{FORESIGHT_DAYS, Passage};
use crate::model::{CellId, Code, FilePath, ObjectKey};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

/// How many lines of the log of an attempt that failed are shown.
const LOG_LINES: usize = 20;

#[derive(Template)]
#[template(path = "cell/status.html")]
struct Page {
    shell: Shell,
    frame: Frame,
    trouble: Option<Trouble>,
    wished: Option<Wished>,
    /// The windows of the node's own config.
    node_windows: NodeWindows,
    /// What of the bucket the page tells of.
    objects: Vec<(&'static str, ObjectKey)>,
}

/// How the desired version is to be deployed, as far as that can be read.
struct Wished {
    strategy: &'static str,
    /// Its hooks, by their moments.
    hooks: Vec<&'static str>,
    windows: Vec<WindowsRow>,
    lock: Option<FilePath>,
    dependencies: Dependencies,
}

impl Wished {
    fn of(manifest: Manifest, now: DateTime<Utc>) -> Self {
        Self {
            strategy: manifest.strategy.name(),
            hooks: manifest.hooks.keys().map(|event| event.name()).collect(),
            windows: windows::rows(&manifest.windows, now),
            lock: manifest.lock,
            dependencies: manifest.dependencies,
        }
    }
}

/// What is known of the windows of the node's own config.
enum NodeWindows {
    /// The node was never heard of, or cannot be understood.
    Unheard,
    /// Its agent is too old to say.
    Untold,
    Told(Vec<WindowsRow>),
}

impl NodeWindows {
    fn of(heartbeat: Option<&Heartbeat>, now: DateTime<Utc>) -> Self {
        match heartbeat.map(|beat| beat.windows.as_deref()) {
            None => Self::Unheard,
            Some(None) => Self::Untold,
            Some(Some(own)) => Self::Told(windows::of_node(own, now)),
        }
    }
}

/// An attempt that did not do what was asked for.
struct Trouble {
    /// `bad`, or `warn` where the node goes on trying.
    kind: &'static str,
    code: Code,
    message: String,
    id: Option<AttemptId>,
    /// The end of its log, or why there is none to show.
    log: Result<Vec<String>, String>,
}

pub(super) async fn status(page: PageContext, CellOfPath(cell): CellOfPath) -> Result<Response, Failure> {
    let frame = Frame::read(&page, &cell, Tab::Status).await?;
    let trouble = match frame.view.report() {
        Some(report) => trouble(page.may(), &cell, report).await,
        None => None,
    };
    let objects = vec![
        ("The cell as it was written", ObjectKey::CellYaml(cell.clone())),
        ("The newest trigger", ObjectKey::Trigger(cell.clone())),
        ("The node's index", ObjectKey::Index(cell.node.clone())),
        ("The node's heartbeat", ObjectKey::Heartbeat(cell.node.clone())),
    ];
    let shell = page.live_shell(cell.to_string(), Nav::Cells, format!("fleetman status {cell}"));
    let manifest = match frame.target() {
        // That it cannot be read is shown on its own page.
        Some(target) => page.may().pinned_manifest(&cell, target).await.ok().flatten(),
        None => None,
    };
    let wished = manifest.map(|manifest| Wished::of(manifest, shell.now));
    let fleet = page.view().ok();
    let node = fleet.as_ref().and_then(|fleet| fleet.node(&cell.node));
    let node_windows = NodeWindows::of(node.and_then(|node| node.heartbeat.as_deref()), shell.now);
    page.render(&Page { shell, frame, trouble, wished, node_windows, objects })
}

/// What is wrong with the newest attempt, if something is.
async fn trouble(may: &Authorized, cell: &CellId, report: &CellReport) -> Option<Trouble> {
    let is_failed = matches!(report.phase, Phase::Failed | Phase::RolledBack);
    let (kind, code, message) = match (&report.waiting, &report.last_error) {
        (_, Some(fault)) if is_failed => ("bad", fault.code, fault.message.clone()),
        (Some(waiting), _) => ("warn", waiting.reason, waiting.message.clone()),
        // What went wrong before is told below; this attempt is on its way, or has come to a good end.
        _ => return None,
    };
    let floor = report.seen.filter(|_| report.attempt > 0);
    let id = floor.map(|floor| AttemptId { cell: cell.clone(), floor, attempt: report.attempt });
    let log = match &id {
        Some(id) => end_of_log(may, id).await,
        None => Ok(Vec::new()),
    };
    Some(Trouble { kind, code, message, id, log })
}

/// The last lines of a log. That it cannot be read does not keep the page from being shown.
async fn end_of_log(may: &Authorized, id: &AttemptId) -> Result<Vec<String>, String> {
    match may.attempt_log(id, LogPlace::End).await {
        Ok(piece) => Ok(piece.lines.into_iter().rev().take(LOG_LINES).rev().collect()),
        Err(AccessError::Controller(ControllerError::NotFound { .. })) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

impl Page {
    fn phase(&self, report: &CellReport) -> State {
        words::phase(report.phase)
    }

    fn process(&self, process: &ProcessReport) -> State {
        words::process(process.state)
    }

    fn check(&self, check: &CheckReport) -> State {
        words::check(check.state)
    }

    fn drift(&self, drift: &DriftReport) -> State {
        drift.state.into()
    }

    /// How a process ended last, in words.
    fn end(&self, process: &ProcessReport) -> String {
        match (process.exit_code, process.exit_signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => String::new(),
        }
    }
}
