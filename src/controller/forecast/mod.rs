//! What a node will do with a version that is published to it, as far as the bucket tells. Pure.
//!
//! The rules are the agent's own where it has them below both. What only the node knows is told to be so.

mod read;
mod why;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::diff::{Changes, listed};
use super::fleet::Liveness;
use super::secret;
use crate::model::effect::{Effect, effect};
use crate::model::heartbeat::{CellReport, Phase, RunningState};
use crate::model::hook::{HookEvent, owed_hooks};
use crate::model::manifest::Manifest;
use crate::model::order::{Order, OrderAction};
use crate::model::pattern::changed_files;
use crate::model::process::ProcessKind;
use crate::model::run_spec::Profile;
use crate::model::strategy::Strategy;
use crate::model::trigger::TriggerOptions;
use crate::model::window::{Closed, Window, Windows, closed};
use crate::model::{CellName, FilePath, VersionName};
use why::Why;

/// What a node will do with a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Forecast {
    /// The version whose place it takes, as the node says; None if nothing of the cell runs there.
    pub over: Option<VersionName>,
    /// What becomes of each process, the new ones and those of before.
    pub processes: Vec<ProcessForecast>,
    /// The programs that are run around it, in their order.
    pub hooks: Vec<HookForecast>,
    /// What delays it, or may.
    pub waits: Vec<Wait>,
    /// What it must pass to be good.
    pub gate: Gate,
    /// Why the agent will not bring it up, as far as that can be told without the node.
    pub refusal: Option<String>,
    /// What cannot be told without the node.
    pub unknown: Vec<String>,
}

/// What becomes of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProcessForecast {
    /// The process; a unit of systemd by its name.
    pub process: String,
    /// What becomes of it.
    pub fate: ProcessFate,
    /// Why: which file, which setting, which line of a unit made it so.
    pub because: String,
}

/// What becomes of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessFate {
    /// It is stopped and started anew.
    Restarts,
    /// A second one is started beside it, and it is stopped once that is good.
    Replaced,
    /// It goes on, and is told to read its files again.
    Reloads,
    /// It goes on as if nothing had happened.
    GoesOn,
    /// It is started; nothing of it runs now.
    Starts,
    /// It runs once, and ends by itself.
    RunsOnce,
    /// It runs when its schedule says so.
    Scheduled,
    /// It is started only when somebody asks for it.
    ByHand,
    /// It is stopped, and is no more.
    Stops,
}

impl ProcessFate {
    /// In words, for people: `main restarts`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Restarts => "restarts",
            Self::Replaced => "is replaced by a second one that is started beside it",
            Self::Reloads => "reloads",
            Self::GoesOn => "goes on",
            Self::Starts => "starts",
            Self::RunsOnce => "runs once",
            Self::Scheduled => "runs by its schedule",
            Self::ByHand => "is started by hand",
            Self::Stops => "stops for good",
        }
    }
}

/// A program that is run around a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HookForecast {
    /// When.
    pub event: HookEvent,
    /// The program and its arguments. Words that may hold a secret are masked.
    pub command: Vec<String>,
    /// Whether it is that of the version that is left.
    pub is_old: bool,
    /// Whether it is run.
    pub run: HookRun,
    /// The changed files that its `if_changed` matches; empty where it has none.
    pub matches: Vec<FilePath>,
}

/// Whether a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookRun {
    /// It is.
    Runs,
    /// Only if the version fails.
    IfItFails,
    /// No file has changed that it is run for.
    Skipped,
}

/// What delays a version, or may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Wait {
    /// What programs compare.
    pub kind: WaitKind,
    /// What people read.
    pub message: String,
    /// Until when, where that is known.
    pub until: Option<DateTime<Utc>>,
    /// Whether it is so at present, and not only may become so.
    pub is_now: bool,
}

/// What delays a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// The node is not heard of.
    Node,
    /// A hold of the cell or of its node.
    Hold,
    /// A maintenance window for fetching.
    DownloadWindow,
    /// A maintenance window for switching.
    ActivateWindow,
    /// The application's own lock.
    Lock,
    /// The content failed on this node before.
    FailedBefore,
    /// Another cell of the node that it depends on.
    Dependency,
}

/// What a version must pass to be good.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Gate {
    /// So long it must run well without a break, in milliseconds; None if it counts as good at the switch.
    pub min_healthy_ms: Option<u64>,
    /// What is not good after so long has failed, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Its checks by name, and of what kind they are.
    pub checks: BTreeMap<String, String>,
    /// The version that the node goes back to if it fails, as the node says.
    pub falls_back_to: Option<VersionName>,
}

/// What is known of a cell and its node.
struct Known<'a> {
    /// The version that runs, if one does.
    over: Option<&'a Manifest>,
    new: &'a Manifest,
    options: TriggerOptions,
    /// Whether there is anything that the node says of itself.
    is_heard: bool,
    liveness: Liveness,
    last_seen: Option<DateTime<Utc>>,
    report: Option<&'a CellReport>,
    /// What the node says of its cells.
    cells: Option<&'a BTreeMap<CellName, Box<CellReport>>>,
    /// The windows of its own config, if it says.
    windows: Option<&'a Windows>,
    holds: Vec<Hold>,
    now: DateTime<Utc>,
}

/// A hold that the node keeps to, or is ordered to.
struct Hold {
    whole_node: bool,
    by: String,
    reason: String,
    until: DateTime<Utc>,
}

impl Forecast {
    fn of(known: &Known<'_>) -> Self {
        Self {
            over: known.over.map(|over| over.version.clone()),
            processes: processes(known.over, known.new),
            hooks: hooks(known.over, known.new),
            waits: waits(known),
            gate: Gate::of(known),
            refusal: super::definitions::refusal(known.new),
            unknown: unknown(known),
        }
    }

    /// The processes that this becomes of.
    pub fn named(&self, fate: ProcessFate) -> impl Iterator<Item = &str> {
        self.processes.iter().filter(move |process| process.fate == fate).map(|process| process.process.as_str())
    }

    /// Whether anything that runs is stopped or started anew.
    #[must_use]
    pub fn restarts(&self) -> bool {
        let disturbs = |fate| {
            matches!(fate, ProcessFate::Restarts | ProcessFate::Replaced | ProcessFate::Stops | ProcessFate::Starts)
        };
        self.processes.iter().any(|process| disturbs(process.fate))
    }

    /// In one line what is published and what comes of it.
    #[must_use]
    pub fn summary(&self, changes: &Changes) -> String {
        format!("1 cell to publish: {}", self.comes_of(changes))
    }

    /// What differs, and what comes of it on the node.
    #[must_use]
    pub fn comes_of(&self, changes: &Changes) -> String {
        let counted = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what} changed")),
            count => Some(format!("{count} {what}s changed")),
        };
        let definitions = match changes.definitions.as_slice() {
            [] => None,
            [one] if !one.name.starts_with("process ") => Some(format!("{} changed", one.name)),
            several => counted(several.len(), "definition"),
        };
        let parts = [counted(changes.files.len(), "file"), counted(changes.fields.len(), "setting"), definitions];
        let mut changed: Vec<String> = parts.into_iter().flatten().collect();
        if changed.is_empty() {
            changed.push("nothing changed".to_owned());
        }
        let fates = [
            (ProcessFate::Restarts, "restarts"),
            (ProcessFate::Replaced, "replaces"),
            (ProcessFate::Starts, "starts"),
            (ProcessFate::Stops, "stops"),
        ];
        let named = |fate| listed(&self.named(fate).map(ToOwned::to_owned).collect::<Vec<_>>());
        let happens = fates.into_iter().filter(|(fate, _)| self.named(*fate).next().is_some());
        let mut happens: Vec<String> = happens.map(|(fate, verb)| format!("{verb} {}", named(fate))).collect();
        if happens.is_empty() {
            happens.push("restarts nothing".to_owned());
        }
        format!("{}, {}; reloads {}", changed.join(", "), happens.join(", "), named(ProcessFate::Reloads))
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(min_healthy), Some(deadline)) = (self.min_healthy_ms, self.deadline_ms) else {
            return f.write_str("none: it counts as good once it is switched to");
        };
        let millis = Duration::from_millis;
        let checks: Vec<String> = self.checks.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
        let checks = if checks.is_empty() { String::new() } else { format!(" and pass {}", checks.join(", ")) };
        write!(f, "it must run{checks} for {:?} without a break, within {:?}", millis(min_healthy), millis(deadline))?;
        match &self.falls_back_to {
            Some(version) => write!(f, "; otherwise the node goes back to {version}"),
            None => f.write_str("; otherwise it is left as it is, for there is nothing to go back to"),
        }
    }
}

impl Gate {
    fn of(known: &Known<'_>) -> Self {
        let health = &known.new.health;
        // What runs nothing passes at once, but for its checks.
        if matches!(known.new.profile, Profile::Deploy(_)) && health.checks.is_empty() {
            return Self::default();
        }
        let checks = health.checks.iter().map(|(name, check)| (name.to_string(), check.kind().to_owned()));
        Self {
            min_healthy_ms: Some(health.min_healthy_ms),
            deadline_ms: Some(health.deadline_ms),
            checks: checks.collect(),
            falls_back_to: known.report.and_then(|report| report.known_good.as_ref()).map(|good| good.version.clone()),
        }
    }
}

/// The processes of a version, and what becomes of each when nothing of the cell runs.
fn alone(manifest: &Manifest) -> Vec<(String, ProcessFate)> {
    match &manifest.profile {
        Profile::Deploy(_) => Vec::new(),
        Profile::Process(spec) | Profile::Supervisor(spec) => {
            let fate = |process: &crate::model::process::Process| match (process.autostart, process.kind) {
                (false, _) => ProcessFate::ByHand,
                (true, ProcessKind::Task) => ProcessFate::RunsOnce,
                (true, ProcessKind::Service) => ProcessFate::Starts,
            };
            spec.processes.iter().map(|(name, process)| (name.to_string(), fate(process))).collect()
        }
        Profile::Systemd(spec) => {
            let is_scheduled = spec.rendered().is_some_and(|unit| unit.schedule.is_some());
            vec![("main".to_owned(), if is_scheduled { ProcessFate::Scheduled } else { ProcessFate::Starts })]
        }
    }
}

fn processes(over: Option<&Manifest>, new: &Manifest) -> Vec<ProcessForecast> {
    let before: BTreeMap<String, ProcessFate> = over.map(alone).unwrap_or_default().into_iter().collect();
    let mut after: BTreeMap<String, ProcessFate> = alone(new).into_iter().collect();
    let is_same_profile = over.is_some_and(|over| over.profile.name() == new.profile.name());
    let runs_two = matches!(new.strategy, Strategy::StartStop(_));
    for (name, fate) in &mut after {
        if *fate == ProcessFate::Starts && before.get(name) == Some(&ProcessFate::Starts) {
            // What another profile runs is stopped first.
            *fate = if is_same_profile && runs_two { ProcessFate::Replaced } else { ProcessFate::Restarts };
        }
    }
    if let Some(reloads) = over.and_then(|over| goes_on(over, new)) {
        for (name, fate) in after.iter_mut().filter(|(_, fate)| **fate != ProcessFate::ByHand) {
            *fate = if reloads && hears(new, name) { ProcessFate::Reloads } else { ProcessFate::GoesOn };
        }
    }
    for (name, fate) in &before {
        if *fate != ProcessFate::ByHand {
            after.entry(name.clone()).or_insert(ProcessFate::Stops);
        }
    }
    let why = Why::new(over, new);
    let foretold = |(process, fate): (String, ProcessFate)| {
        let because = why.of(&process, fate, before.get(&process).copied());
        ProcessForecast { process, fate, because }
    };
    after.into_iter().map(foretold).collect()
}

/// Whether what runs of `over` goes on as `new`, and if it does, whether it is told to read its files again.
fn goes_on(over: &Manifest, new: &Manifest) -> Option<bool> {
    match effect(over, new) {
        Effect::Restarts(_) => None,
        Effect::Reloads(_) => Some(true),
        Effect::GoesOn => Some(false),
    }
}

/// Whether anything says how a process is told to read its files again.
fn hears(manifest: &Manifest, name: &str) -> bool {
    match &manifest.profile {
        Profile::Process(spec) | Profile::Supervisor(spec) => {
            spec.processes.iter().any(|(process, it)| process.as_str() == name && it.reload_signal.is_some())
        }
        Profile::Systemd(_) => true,
        Profile::Deploy(_) => false,
    }
}

fn hooks(over: Option<&Manifest>, new: &Manifest) -> Vec<HookForecast> {
    let changed = changed_files(over, new);
    let owed = owed_hooks(over, new);
    let forecast = |event: HookEvent| {
        let is_old = event == HookEvent::Stop;
        let of = if is_old { over? } else { new };
        let hook = of.hooks.get(&event)?;
        let run = match (hook.concerns(&changed), event) {
            (false, _) => HookRun::Skipped,
            // What goes on is not stopped.
            (true, HookEvent::Stop) if !owed.contains(&HookEvent::Stop) => HookRun::Skipped,
            (true, HookEvent::OnFailure | HookEvent::OnRollback) => HookRun::IfItFails,
            (true, _) => HookRun::Runs,
        };
        let matching = |path: &&&FilePath| hook.if_changed.iter().any(|pattern| pattern.matches(path.as_str()));
        let matches = changed.iter().filter(matching).map(|path| (*path).clone()).collect();
        let word = |word: &String| if secret::has_password(word) { secret::MASK.to_owned() } else { word.clone() };
        Some(HookForecast { event, command: hook.command.iter().map(word).collect(), is_old, run, matches })
    };
    HookEvent::ALL.into_iter().filter_map(forecast).collect()
}

fn waits(known: &Known<'_>) -> Vec<Wait> {
    let Known { over, new, options, report, now, .. } = known;
    let mut waits = Vec::new();
    let node = &new.node;
    let seen = known.last_seen.map(|seen| format!(", was last heard of at {}", minute(seen))).unwrap_or_default();
    let unheard = match known.liveness {
        Liveness::Active => None,
        Liveness::Warning => Some(format!("{node} misses heartbeats{seen}")),
        Liveness::Dead => Some(format!("{node} is dead{seen}")),
        Liveness::Unknown => Some(format!("{node} was never heard of")),
    };
    waits.extend(unheard.map(|message| Wait { kind: WaitKind::Node, message, until: None, is_now: true }));
    waits.extend(known.holds.iter().map(|hold| {
        let what = if hold.whole_node { "the node" } else { "the cell" };
        let message = format!("{what} is held by {} until {}: {}", hold.by, minute(hold.until), hold.reason);
        Wait { kind: WaitKind::Hold, message, until: Some(hold.until), is_now: true }
    }));
    let has_failed = |report: &&CellReport| report.failed_content.contains(&new.content_sha256);
    if !options.retry && report.as_ref().is_some_and(has_failed) {
        let message = "this content failed on the node before; it is tried again only with --retry".to_owned();
        waits.push(Wait { kind: WaitKind::FailedBefore, message, until: None, is_now: true });
    }
    waits.extend(new.dependencies.all().into_iter().filter_map(|cell| dependency(known, cell)));
    if options.override_windows {
        return waits;
    }
    let none = Windows::default();
    let own = known.windows.unwrap_or(&none);
    let window = |kind, what: &str, node: &[Window], version: &[Window]| {
        let Closed { message, until } = closed(what, node, version, *now)?;
        Some(Wait { kind, message, until, is_now: true })
    };
    waits.extend(window(WaitKind::DownloadWindow, "download", &own.download, &new.windows.download));
    // Only what is good is kept from being replaced.
    let runs_well = |report: &&CellReport| report.known_good.is_some() && report.known_good == report.running;
    let is_protected = over.is_some() && report.as_ref().is_some_and(runs_well);
    if is_protected {
        waits.extend(window(WaitKind::ActivateWindow, "activation", &own.activate, &new.windows.activate));
        waits.extend(over.and_then(|over| over.lock.as_ref()).map(|lock| {
            let message = format!("the application may delay it with its lock {lock}");
            Wait { kind: WaitKind::Lock, message, until: None, is_now: false }
        }));
    }
    waits
}

/// Whether another cell delays it, as far as the node has told of it.
fn dependency(known: &Known<'_>, cell: &CellName) -> Option<Wait> {
    let is_required = known.new.dependencies.requires.contains(cell);
    let wait = |message: String, is_now| Some(Wait { kind: WaitKind::Dependency, message, until: None, is_now });
    let missing = |how: &str| wait(format!("{cell}, which it requires, {how}"), true);
    let report = known.cells?.get(cell);
    let how = match report.map(|report| (report.phase, &report.state)) {
        None | Some((Phase::Removed, _)) => "is not on the node",
        Some((Phase::Stopped, _)) => "is stopped",
        Some((_, RunningState::Failed { .. } | RunningState::Stopped)) => "does not run",
        Some(_) if is_required => return wait(format!("it requires {cell}, and starts after it is up"), false),
        Some(_) => return wait(format!("it starts after {cell}, if that is on its way up"), false),
    };
    if is_required { missing(how) } else { None }
}

fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn unknown(known: &Known<'_>) -> Vec<String> {
    let mut unknown = Vec::new();
    if known.windows.is_none() {
        let why = if known.is_heard { "its agent is too old to say" } else { "it was never heard of" };
        unknown.push(format!("whether the node's own config has maintenance windows: {why}"));
    }
    if known.report.is_none() {
        unknown.push("what runs on the node: it was never heard of, or knows nothing of the cell".to_owned());
    }
    if let Profile::Systemd(_) = known.new.profile {
        unknown.push(
            "whether the node runs units for a user, where `After=network.target` is left out and \
                      `WantedBy` is default.target"
                .to_owned(),
        );
    }
    unknown
}

/// The holds of a cell among standing orders, which the node may have yet to read.
fn ordered<'a>(orders: impl IntoIterator<Item = &'a Order>, new: &Manifest, now: DateTime<Utc>) -> Vec<Hold> {
    let mut newest: BTreeMap<bool, &Order> = BTreeMap::new();
    let about = |order: &&Order| order.cell.as_ref().is_none_or(|cell| *cell == new.cell);
    for order in orders.into_iter().filter(about).filter(|order| order.action.is_about_holding()) {
        let known = newest.entry(order.cell.is_none()).or_insert(order);
        if order.id > known.id {
            *known = order;
        }
    }
    let holds = newest.into_iter().filter(|(_, order)| order.action == OrderAction::Hold && order.expires_at > now);
    let hold = |(whole_node, order): (bool, &Order)| Hold {
        whole_node,
        by: order.issued_by.to_string(),
        reason: order.reason.clone().unwrap_or_default(),
        until: order.expires_at,
    };
    holds.map(hold).collect()
}

/// Whether a node says that a version of the cell stands there, and is not stopped.
fn stands(report: &CellReport) -> bool {
    !matches!(report.phase, Phase::Stopped | Phase::Removed)
}

#[cfg(test)]
mod tests;
