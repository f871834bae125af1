//! What monitoring wants to know of an agent, as it stood at the end of a round.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use super::node::Agent;
use crate::exposition::{Exposition, Metric};
use crate::model::drift::DriftState;
use crate::model::heartbeat::{CellReport, Phase, RunningState};
use crate::model::outcome::Ending;
use crate::model::trigger::Action;
use crate::model::{CellName, Code};
use crate::store::RequestCounts;

const BUILD_INFO: Metric = Metric::gauge("fleetagent_build_info", "1, with the agent's version.");
const START_TIME: Metric = Metric::gauge("fleetagent_start_time_seconds", "When the agent started, in Unix time.");
const POLLS: Metric = Metric::counter("fleetagent_polls_total", "Looks at the node's index in the bucket, by result.");
const LAST_POLL: Metric = Metric::gauge(
    "fleetagent_last_poll_success_timestamp_seconds",
    "When the index could last be read, in Unix time; absent until then.",
);
const HEARTBEATS: Metric = Metric::counter("fleetagent_heartbeats_total", "Heartbeats written, by result.");
const LAST_HEARTBEAT: Metric = Metric::gauge(
    "fleetagent_last_heartbeat_success_timestamp_seconds",
    "When a heartbeat last reached the bucket, in Unix time; absent until then.",
);
const REQUESTS: Metric = Metric::counter(
    "fleetagent_bucket_requests_total",
    "Requests to the store, every try counted, by S3 operation and result.",
);
const CLOCK_SKEW: Metric = Metric::gauge(
    "fleetagent_clock_skew_seconds",
    "The store's time minus the node's, as the last answer told it; absent until then.",
);
const CONDITION: Metric =
    Metric::gauge("fleetagent_condition", "1 for each code of what stays wrong on the node until somebody acts.");
const ATTEMPTS: Metric = Metric::counter(
    "fleetagent_attempts_total",
    "Attempts at triggers that have ended, by what the trigger asks for and how it ended.",
);
const CELL_INFO: Metric =
    Metric::gauge("fleetagent_cell_info", "1, with the profile and the version that the cell's link points at.");
const CELL_PHASE: Metric = Metric::gauge("fleetagent_cell_phase", "1, with what the agent is doing with the cell.");
const CELL_DESIRED: Metric =
    Metric::gauge("fleetagent_cell_desired_generation", "The generation of the cell's highest verified trigger.");
const CELL_APPLIED: Metric = Metric::gauge(
    "fleetagent_cell_applied_generation",
    "The generation of the trigger that was last carried out for the cell.",
);
const CELL_RUNNING: Metric = Metric::gauge(
    "fleetagent_cell_running",
    "Whether the cell runs, 0 or 1; absent where its profile runs nothing, and where nobody could tell.",
);
const CELL_RESTARTS: Metric = Metric::counter(
    "fleetagent_cell_restarts_total",
    "How often processes of the cell were restarted since its version was activated.",
);
const CELL_WAITING: Metric = Metric::gauge("fleetagent_cell_waiting", "1, with the code of what the cell waits for.");
const CELL_CONDITION: Metric = Metric::gauge(
    "fleetagent_cell_condition",
    "1 for each code of what stays wrong with the cell until somebody acts.",
);

const CELL_DRIFTED: Metric = Metric::gauge(
    "fleetagent_cell_drifted",
    "How many files and units of the cell are not as they were deployed; absent until somebody has looked.",
);

/// What went well how often, and when last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    ok: u64,
    failed: u64,
    last_ok: Option<DateTime<Utc>>,
}

impl Tally {
    pub(super) fn note(&mut self, ok: bool, now: DateTime<Utc>) {
        if ok {
            self.ok += 1;
            self.last_ok = Some(now);
        } else {
            self.failed += 1;
        }
    }
}

/// How many attempts ended how, by what was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempts(BTreeMap<(&'static str, Ending), u64>);

impl Attempts {
    pub(super) fn note(&mut self, action: &Action, ending: Ending) {
        let asked = match action {
            Action::Deploy(_) => "deploy",
            Action::Stop => "stop",
            Action::Remove => "remove",
            Action::Unknown(_) => "unknown",
        };
        *self.0.entry((asked, ending)).or_default() += 1;
    }
}

/// What monitoring wants to know of an agent.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    started_at: DateTime<Utc>,
    polls: Tally,
    beats: Tally,
    requests: RequestCounts,
    clock_skew: Option<TimeDelta>,
    conditions: BTreeSet<Code>,
    attempts: Attempts,
    cells: BTreeMap<CellName, CellReport>,
}

impl Agent {
    /// How the agent stands, told anew after every round for as long as somebody holds this.
    #[must_use]
    pub fn figures(&self) -> watch::Receiver<Figures> {
        self.figures.subscribe()
    }

    pub(super) fn publish_figures(&self) {
        if self.figures.is_closed() {
            return;
        }
        let pulse = self.pulse();
        let _ = self.figures.send_replace(Figures {
            started_at: self.heart.started_at,
            polls: self.polls,
            beats: self.beats,
            requests: self.context.store.request_counts(),
            clock_skew: self.context.store.clock_skew(),
            conditions: pulse.conditions.iter().map(|condition| condition.code).collect(),
            attempts: self.context.attempts(),
            // Of what is gone from the node nothing is left to watch.
            cells: pulse.cells.into_iter().filter(|(_, report)| report.phase != Phase::Removed).collect(),
        });
    }
}

impl Figures {
    /// As text for Prometheus. Names of cells and versions are labels: what runs on one node is not many.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Exposition::default();
        text.metric(&BUILD_INFO).count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.metric(&START_TIME).value(&[], unix(self.started_at));
        for (total, last, tally) in [(&POLLS, &LAST_POLL, self.polls), (&HEARTBEATS, &LAST_HEARTBEAT, self.beats)] {
            let mut samples = text.metric(total);
            samples.count(&[("result", "ok")], tally.ok);
            samples.count(&[("result", "failed")], tally.failed);
            text.metric(last).maybe(&[], tally.last_ok.map(unix));
        }
        self.requests.write(&mut text.metric(&REQUESTS), &[]);
        text.metric(&CLOCK_SKEW).maybe(&[], self.clock_skew.map(TimeDelta::as_seconds_f64));
        let mut samples = text.metric(&CONDITION);
        self.conditions.iter().for_each(|code| samples.count(&[("code", code.as_str())], 1));
        let mut samples = text.metric(&ATTEMPTS);
        for ((action, ending), count) in &self.attempts.0 {
            samples.count(&[("action", action), ("outcome", ending.as_str())], *count);
        }
        self.render_cells(&mut text);
        text.into_text()
    }

    fn render_cells(&self, text: &mut Exposition) {
        for (metric, tell) in CELLS {
            let mut samples = text.metric(metric);
            for (name, report) in &self.cells {
                let cell = [("cell", name.as_str())];
                tell(report, &mut |labels, value| samples.count(&[&cell, labels].concat(), value));
            }
        }
    }
}

/// Takes a value of one cell, and the labels that it has beside the cell's name.
type Say<'a> = &'a mut dyn FnMut(&[(&str, &str)], u64);

/// Says what there is to say of one cell.
type Tell = fn(&CellReport, Say<'_>);

/// The metrics that have values for each cell.
const CELLS: [(&Metric, Tell); 9] = [
    (&CELL_INFO, |report, say| {
        let version = report.running.as_ref().map_or("", |running| running.version.as_str());
        say(&[("profile", report.profile.as_deref().unwrap_or_default()), ("version", version)], 1);
    }),
    (&CELL_PHASE, |report, say| say(&[("phase", report.phase.as_str())], 1)),
    (&CELL_DESIRED, |report, say| report.seen.into_iter().for_each(|floor| say(&[], floor.generation.get()))),
    (&CELL_APPLIED, |report, say| report.applied.into_iter().for_each(|floor| say(&[], floor.generation.get()))),
    (&CELL_RUNNING, |report, say| running(&report.state).into_iter().for_each(|running| say(&[], running))),
    (&CELL_RESTARTS, |report, say| restarts(report).into_iter().for_each(|restarts| say(&[], restarts))),
    (&CELL_WAITING, |report, say| {
        report.waiting.iter().for_each(|waiting| say(&[("reason", waiting.reason.as_str())], 1));
    }),
    (&CELL_CONDITION, |report, say| {
        let codes: BTreeSet<Code> = report.conditions.iter().map(|condition| condition.code).collect();
        codes.iter().for_each(|code| say(&[("code", code.as_str())], 1));
    }),
    (&CELL_DRIFTED, |report, say| {
        let known = report.drift.iter().filter(|drift| drift.state != DriftState::Unknown);
        known.for_each(|drift| say(&[], drift.count()));
    }),
];

fn running(state: &RunningState) -> Option<u64> {
    match state {
        RunningState::NotApplicable | RunningState::Unknown => None,
        RunningState::Running { .. } => Some(1),
        RunningState::Starting | RunningState::Stopped | RunningState::Failed { .. } => Some(0),
    }
}

/// Of its processes together, where the profile tells them apart.
fn restarts(report: &CellReport) -> Option<u64> {
    match &report.state {
        _ if !report.processes.is_empty() => {
            Some(report.processes.values().map(|process| u64::from(process.restarts)).sum())
        }
        RunningState::Running { restarts, .. } => Some(u64::from(*restarts)),
        _ => None,
    }
}

fn unix(time: DateTime<Utc>) -> f64 {
    TimeDelta::milliseconds(time.timestamp_millis()).as_seconds_f64()
}
