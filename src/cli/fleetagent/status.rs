//! `fleetagent status`

use std::process::ExitCode;

use serde::Serialize;

use super::context::Context;
use crate::agent::{self, AgentError, Status};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::model::drift::DriftReport;
use crate::model::heartbeat::{
    CellReport, CheckReport, HealthState, Heartbeat, Phase, ProcessReport, ProcessState, RunningState, SigningMode,
};
use crate::model::{CellName, CheckName, ProcessName};

/// How `status` ends, as the Linux Standard Base wants it of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Lsb {
    /// An agent runs.
    Running = 0,
    /// None runs.
    NotRunning = 3,
    /// It cannot be told.
    Unknown = 4,
}

#[derive(Debug, Serialize)]
struct Shape<'a> {
    running: bool,
    pid: Option<u32>,
    heartbeat: &'a Heartbeat,
}

pub(super) fn run(context: &Context) -> ExitCode {
    let lsb = match show(context) {
        Ok(lsb) => lsb,
        Err(failure) => {
            context.output.fail(&failure);
            Lsb::Unknown
        }
    };
    ExitCode::from(lsb as u8)
}

fn show(context: &Context) -> Result<Lsb, Failure> {
    let config = context.config()?;
    let Status { pid, heartbeat } = match agent::read_status(&config.state_folder) {
        Err(error @ AgentError::NeverRan { .. }) => {
            context.output.fail(&error.into());
            return Ok(Lsb::NotRunning);
        }
        result => result?,
    };
    context.output.show(&Shape { running: pid.is_some(), pid, heartbeat: &heartbeat }, |output| {
        let process = pid.map_or_else(|| "not running".to_owned(), |pid| format!("running, pid {pid}"));
        format!("{process}\n{}", table(&heartbeat, output))
    })?;
    Ok(if pid.is_some() { Lsb::Running } else { Lsb::NotRunning })
}

/// What an agent says of itself, for people.
pub(super) fn table(heartbeat: &Heartbeat, output: Output) -> String {
    let mut text = format!(
        "node {}  fleet {}  agent {}  reported {}",
        heartbeat.node,
        heartbeat.fleet,
        crate::model::text::line(&heartbeat.agent_version),
        heartbeat.reported_at.to_rfc3339()
    );
    let mut more = |line: String| {
        text.push('\n');
        text.push_str(&line);
    };
    if heartbeat.signing == SigningMode::Unsigned {
        more(output.paint(Tone::Bad, "signatures are off: whoever can write to the bucket can deploy here"));
    }
    if let Some(fault) = &heartbeat.store_error {
        more(output.paint(Tone::Bad, &format!("bucket: {}: {}", fault.code, fault.message)));
    }
    for condition in &heartbeat.conditions {
        more(output.paint(Tone::Warn, &format!("{}: {}", condition.code, condition.message)));
    }
    if heartbeat.cells.is_empty() {
        more("no cells".to_owned());
        return text;
    }
    let mut rows = Rows::new(output, &["cell", "phase", "desired", "current", "state", "remark"]);
    for (name, cell) in &heartbeat.cells {
        rows.row(row(name, cell));
        // Of a single one everything has been said.
        for (name, process) in cell.processes.iter().filter(|_| cell.processes.len() > 1) {
            rows.row(process_row(name, process));
        }
        for (name, check) in cell.health.iter().flat_map(|health| &health.checks) {
            rows.row(check_row(name, check));
        }
        for line in cell.drift.iter().flat_map(|drift| drift_rows(drift)) {
            rows.row(line);
        }
    }
    more(rows.render());
    text
}

fn process_row(name: &ProcessName, process: &ProcessReport) -> [Shown; 6] {
    let tone = match process.state {
        ProcessState::Running | ProcessState::Completed => Tone::Good,
        ProcessState::Crashed | ProcessState::Failed => Tone::Bad,
        _ => Tone::Warn,
    };
    let state = Shown::from(process.state.as_str()).toned(tone);
    let reason = process.reason.as_deref().unwrap_or_default();
    [format!("  {name}").into(), "".into(), "".into(), "".into(), state, reason.into()]
}

fn check_row(name: &CheckName, check: &CheckReport) -> [Shown; 6] {
    let tone = match check.state {
        HealthState::Passing => Tone::Good,
        HealthState::Failing => Tone::Bad,
        HealthState::Starting | HealthState::Unknown => Tone::Warn,
    };
    let state = Shown::from(check.state.as_str()).toned(tone);
    let since = check.since.map(|since| format!(" (since {})", since.to_rfc3339())).unwrap_or_default();
    [
        format!("  check {name}").into(),
        "".into(),
        "".into(),
        "".into(),
        state,
        format!("{}{since}", check.message).into(),
    ]
}

/// What of a cell is not as it was deployed, and what is wrong with looking at it.
fn drift_rows(drift: &DriftReport) -> Vec<[Shown; 6]> {
    let line = |what: &str, tone, remark: String| {
        ["  drift".into(), "".into(), "".into(), "".into(), Shown::from(what).toned(tone), remark.into()]
    };
    let findings = drift.findings.iter().map(|finding| {
        line(finding.code.words(), Tone::Warn, format!("{} (since {})", finding.path, finding.since.to_rfc3339()))
    });
    let more = (drift.more > 0).then(|| line("", Tone::Warn, format!("and {} more", drift.more)));
    let problem = drift.problem.iter();
    let problem = problem.map(|problem| line(problem.code.as_str(), Tone::Bad, problem.message.clone()));
    findings.chain(more).chain(problem).collect()
}

fn row(name: &CellName, cell: &CellReport) -> [Shown; 6] {
    let version = |report: &Option<crate::model::heartbeat::VersionReport>| {
        report.as_ref().map_or_else(|| "-".to_owned(), |report| report.version.to_string())
    };
    let tone = match cell.phase {
        Phase::UpToDate | Phase::Stopped | Phase::Removed => Tone::Good,
        Phase::Failed | Phase::RolledBack | Phase::Inconsistent => Tone::Bad,
        _ => Tone::Warn,
    };
    let state = match &cell.state {
        RunningState::NotApplicable => "n/a".to_owned(),
        RunningState::Running { .. } => "running".to_owned(),
        RunningState::Starting => "starting".to_owned(),
        RunningState::Stopped => "stopped".to_owned(),
        RunningState::Failed { reason } => format!("failed: {reason}"),
        RunningState::Unknown => "unknown".to_owned(),
    };
    let waiting = cell.waiting.as_ref().map(|waiting| format!("{}: {}", waiting.reason, waiting.message));
    let fault = cell.last_error.as_ref().map(|fault| format!("{}: {}", fault.code, fault.message));
    [
        name.into(),
        Shown::from(cell.phase.as_str()).toned(tone),
        version(&cell.desired).into(),
        version(&cell.running).into(),
        state.into(),
        waiting.or(fault).unwrap_or_default().into(),
    ]
}
