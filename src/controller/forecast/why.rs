//! Why a process restarts, reloads or goes on: which file, which setting, which line of a unit made it so. In a few
//! words, the same wherever they are shown.

use super::{ProcessFate, hears};
use crate::controller::diff::{Changes, TextDiff, listed};
use crate::model::FilePath;
use crate::model::effect::{Because, Effect, effect};
use crate::model::manifest::Manifest;
use crate::model::pattern::{PathPattern, changed_files};
use crate::model::run_spec::Profile;
use crate::model::strategy::Strategy;
use crate::model::systemd::SystemdSpec;
use crate::model::text::short;

/// The most characters of a line of a unit.
const MOST_OF_A_LINE: usize = 80;

/// What makes the fates of all that runs of a cell.
pub(super) struct Why<'a> {
    over: Option<&'a Manifest>,
    new: &'a Manifest,
    /// Why what runs is started anew, or is not.
    cause: String,
}

impl<'a> Why<'a> {
    pub(super) fn new(over: Option<&'a Manifest>, new: &'a Manifest) -> Self {
        let cause = over.map(|over| cause(over, new)).unwrap_or_default();
        Self { over, new, cause }
    }

    /// Why this becomes of a process that alone, or in the version before, would have come to `before`.
    pub(super) fn of(&self, process: &str, fate: ProcessFate, before: Option<ProcessFate>) -> String {
        match (fate, before) {
            (ProcessFate::Restarts | ProcessFate::Replaced | ProcessFate::Reloads, _) => self.cause.clone(),
            (ProcessFate::GoesOn, _) if self.reloads() && !hears(self.new, process) => {
                "nothing says how it is reloaded: it has no reload_signal".to_owned()
            }
            (ProcessFate::GoesOn, _) => self.cause.clone(),
            (ProcessFate::Starts, _) if self.over.is_none() => "nothing of the cell runs".to_owned(),
            (ProcessFate::Starts, None) => "it is new".to_owned(),
            (ProcessFate::Starts, Some(_)) => "it did not run all the time before".to_owned(),
            (ProcessFate::RunsOnce, _) => "it is a task".to_owned(),
            (ProcessFate::Scheduled, _) => "it has a schedule".to_owned(),
            (ProcessFate::ByHand, _) => "it has autostart: false".to_owned(),
            (ProcessFate::Stops, _) => match &self.new.profile {
                Profile::Deploy(_) => "the profile deploy runs nothing".to_owned(),
                _ => "the new version has it no more".to_owned(),
            },
        }
    }

    fn reloads(&self) -> bool {
        self.over.is_some_and(|over| matches!(effect(over, self.new), Effect::Reloads(_)))
    }
}

/// Why what runs of `over` is started anew as `new`, or is not.
fn cause(over: &Manifest, new: &Manifest) -> String {
    let (before, after) = (over.profile.name(), new.profile.name());
    if before != after {
        return format!("its profile is {after}, and was {before}");
    }
    let names = |patterns: &[PathPattern], path: &FilePath| patterns.iter().any(|it| it.matches(path.as_str()));
    match effect(over, new) {
        Effect::Restarts(Because::Asked) => SAME.to_owned(),
        Effect::Restarts(Because::File(path)) if names(&new.restart_if, path) => {
            format!("{path} changed, which restart_if names")
        }
        Effect::Restarts(Because::File(path)) => format!("{path} changed, which reload_if does not name"),
        Effect::Restarts(Because::Definition) => definition(over, new),
        Effect::Restarts(Because::Usual) if new.may_go_on() => "the version before was not set to go on".to_owned(),
        Effect::Restarts(Because::Usual) => usual(over, new),
        Effect::Reloads(files) if new.strategy == Strategy::Reload => match files.as_slice() {
            [] => "its strategy is reload".to_owned(),
            files => format!("its strategy is reload, and {} changed", listed(&texts(files))),
        },
        Effect::Reloads(files) => {
            let named: Vec<&FilePath> = files.into_iter().filter(|path| names(&new.reload_if, path)).collect();
            format!("{} changed, which reload_if names", listed(&texts(&named)))
        }
        Effect::GoesOn => "nothing changed that it is reloaded or restarted for".to_owned(),
    }
}

const SAME: &str = "the same content is deployed once more";

/// It is run otherwise: by which setting, and which line of its unit.
fn definition(over: &Manifest, new: &Manifest) -> String {
    if let Profile::Systemd(SystemdSpec::Own(own)) = &new.profile
        && changed_files(Some(over), new).contains(&&own.unit_file)
    {
        return format!("its unit {} changed", own.unit_file);
    }
    let changes = Changes::between(Some(over), new);
    let is_how_it_runs = |field: &str| ["profile.", "limits.", "strategy."].iter().any(|it| field.starts_with(it));
    let fields = changes.fields.iter().map(|change| change.field.clone()).filter(|field| is_how_it_runs(field));
    let said = format!("{} changed", listed(&fields.collect::<Vec<_>>()));
    match unit_line(&changes) {
        Some(line) => format!("{said}: {line}"),
        None => said,
    }
}

/// The first line of a unit that is another than before. What may be a secret was masked where the unit was rendered.
fn unit_line(changes: &Changes) -> Option<String> {
    let units = changes.definitions.iter().filter(|definition| !definition.name.starts_with("process "));
    let texts = units.filter_map(|definition| match &definition.diff {
        TextDiff::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let line = |text: &str, sign: char| {
        let line =
            text.lines().find(|line| line.starts_with(sign) && !line.starts_with(&sign.to_string().repeat(3)))?;
        Some(short(&line[1..], MOST_OF_A_LINE))
    };
    texts.into_iter().find_map(|text| line(text, '+').or_else(|| Some(format!("no {}", line(text, '-')?))))
}

/// Nothing says that it may go on: the first of what changed, and that.
fn usual(over: &Manifest, new: &Manifest) -> String {
    let changes = Changes::between(Some(over), new);
    let files = changes.files.iter().map(|change| change.path.to_string());
    // What only says where it comes from changes nothing.
    let origin = |field: &str| ["manifest", "deployment", "requires"].contains(&field);
    let fields = changes.fields.iter().map(|change| change.field.clone()).filter(|field| !origin(field));
    let mut changed: Vec<String> = fields.chain(files).collect();
    let more = changed.len().saturating_sub(1);
    match (changed.drain(..).next(), more) {
        (None, _) => SAME.to_owned(),
        (Some(one), 0) => format!("{one} changed, and no reload_if or restart_if lets it go on"),
        (Some(one), more) => format!("{one} and {more} more changed, and no reload_if or restart_if lets it go on"),
    }
}

fn texts(paths: &[&FilePath]) -> Vec<String> {
    paths.iter().map(ToString::to_string).collect()
}
