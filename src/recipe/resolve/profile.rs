//! How a version is run: the manifest's profile with what the cell has different.

use std::collections::{BTreeMap, BTreeSet};

use super::ResolvedFile;
use super::run::{Layer, Place, last};
use crate::model::process::{self, ProcessKind, ProcessSpec};
use crate::model::{ProcessName, run_spec};
use crate::recipe::Written;
use crate::recipe::render::Context;
use crate::recipe::validate::unlimited;
use crate::recipe::written::{Binding, Owner, Process, Processes, Profile, Recipe, Settings, unknown_to};
use crate::yaml::{self, Field, YamlError};

/// Puts the two documents' settings together and renders what may hold templates.
pub(super) struct Runs<'a> {
    pub(super) recipe: &'a Written<Recipe>,
    pub(super) binding: &'a Written<Binding>,
    pub(super) context: &'a Context,
    pub(super) files: &'a [ResolvedFile],
    pub(super) errors: &'a mut Vec<YamlError>,
}

impl<'a> Runs<'a> {
    /// `None` if there is an error.
    pub(super) fn profile(mut self) -> Option<run_spec::Profile> {
        let (recipe, binding) = (self.recipe, self.binding);
        let own = |settings| {
            let field = Field::root().key("profile").key(recipe.profile.name());
            Layer { place: Place { document: &recipe.document, field }, settings }
        };
        let place = Place { document: &binding.document, field: Field::root().key("overrides") };
        let cells = Layer { place, settings: binding.overrides.settings() };
        let unlimited = binding.overrides.limits.keys().filter_map(|key| Some((key, unlimited(&recipe.profile, key)?)));
        for (key, (message, help)) in unlimited {
            self.refuse_key(&cells.place.key("limits").key(key), message, help);
        }
        match &recipe.profile {
            Profile::Deploy(owner) => Some(run_spec::Profile::Deploy(self.deploy(owner, &cells))),
            Profile::Process(spec) => {
                self.processes([own(spec.settings()), cells], spec).map(run_spec::Profile::Process)
            }
            Profile::Systemd(unit) => self.unit([own(unit.settings()), cells], unit).map(run_spec::Profile::Systemd),
            Profile::Supervisor(spec) => {
                self.processes([own(spec.settings()), cells], spec).map(run_spec::Profile::Supervisor)
            }
        }
    }

    fn deploy(&mut self, owner: &Owner, cells: &Layer<'a>) -> run_spec::DeploySpec {
        self.refuse_settings(&cells.place, &["user", "group"], "has the profile `deploy`, which runs nothing");
        self.refuse_processes(&cells.place);
        let Settings { user, group, .. } = cells.settings;
        run_spec::DeploySpec {
            user: user.or(owner.user.as_ref()).cloned(),
            group: group.or(owner.group.as_ref()).cloned(),
        }
    }

    fn processes(&mut self, layers: [Layer<'a>; 2], spec: &'a Processes) -> Option<ProcessSpec> {
        let [_, cells] = &layers;
        let overrides = &self.binding.overrides;
        let Some(written) = &spec.processes else {
            self.refuse_unknown(&cells.place, overrides.ways());
            self.refuse_processes(&cells.place);
            let main = self.process(&layers, ProcessKind::Service)?;
            let (user, group) = (main.run.user.clone(), main.run.group.clone());
            return Some(ProcessSpec { user, group, processes: BTreeMap::from([(ProcessName::main(), main)]) });
        };
        let why = "names its processes; set it for one of them, in `overrides.processes.<name>`";
        let of_units = overrides.of_units().map(|key| vec![key]);
        self.refuse_unknown(&cells.place, of_units);
        let taken = [&Settings::SHARED[..], &overrides.of_units().collect::<Vec<_>>()].concat();
        self.refuse_settings(&cells.place, &taken, why);
        self.refuse_unknown_processes(&cells.place, written);
        let mut processes = BTreeMap::new();
        for (name, process) in written {
            let below = |layer: &Layer<'a>, settings| {
                let place = layer.place.key("processes").key(name.as_str());
                Layer { place, settings }
            };
            let [own, cells] = &layers;
            let mut layers = vec![own.shared(), cells.shared(), below(own, process.settings())];
            if let Some(different) = overrides.processes.get(name) {
                let layer = below(cells, different.settings());
                self.refuse_unknown(&layer.place, layer.settings.ways());
                layers.push(layer);
            }
            let kind = process.kind.map(ProcessKind::from).unwrap_or_default();
            if let Some(resolved) = self.process(&layers, kind) {
                let (after, autostart) = (process.after.iter().cloned().collect(), process.autostart.unwrap_or(true));
                processes.insert(name.clone(), process::Process { after, autostart, ..resolved });
            }
        }
        let user = last(&layers, |settings| settings.user).cloned();
        let group = last(&layers, |settings| settings.group).cloned();
        (processes.len() == written.len()).then_some(ProcessSpec { user, group, processes })
    }

    /// A process that waits for no other and is started with the cell.
    fn process(&mut self, layers: &[Layer<'a>], kind: ProcessKind) -> Option<process::Process> {
        Some(process::Process {
            kind,
            run: self.run(layers, kind)?,
            umask: last(layers, |settings| settings.umask).map(|umask| umask.0),
            after: BTreeSet::new(),
            autostart: true,
            reload_signal: last(layers, |settings| settings.reload_signal).map(|signal| signal.0),
        })
    }

    /// Refuses what the cell has different and its manifest cannot take: all settings but the ones `taken`.
    pub(super) fn refuse_settings(&mut self, cells: &Place<'a>, taken: &[&str], why: &str) {
        for key in self.binding.overrides.keys().filter(|key| !taken.contains(key)) {
            self.refuse_key(&cells.key(key), &format!("the manifest `{}` {why}", self.recipe.name), "remove it");
        }
    }

    /// Refuses what only other profiles know.
    pub(super) fn refuse_unknown(&mut self, cells: &Place<'a>, ways: impl Iterator<Item = Vec<&'static str>>) {
        let (manifest, profile) = (&self.recipe.name, self.recipe.profile.name());
        for way in ways {
            if let (Some(help), Some(key)) = (unknown_to(profile, &way), way.last()) {
                let place = way.iter().fold(cells.clone(), |place, key| place.key(key));
                let message =
                    format!("the manifest `{manifest}` has the profile `{profile}`, which does not know `{key}`");
                self.refuse_key(&place, &message, &help);
            }
        }
    }

    pub(super) fn refuse_processes(&mut self, cells: &Place<'a>) {
        if !self.binding.overrides.processes.is_empty() {
            let message = format!("the manifest `{}` does not name processes", self.recipe.name);
            self.refuse_key(&cells.key("processes"), &message, "set it in `overrides` itself, or remove it");
        }
    }

    fn refuse_unknown_processes(&mut self, cells: &Place<'a>, written: &BTreeMap<ProcessName, Process>) {
        for name in self.binding.overrides.processes.keys().filter(|name| !written.contains_key(*name)) {
            let near = yaml::nearest(name.as_str(), written.keys().map(ProcessName::as_str));
            let help = near.map_or_else(|| "remove it".to_owned(), |near| format!("did you mean `{near}`?"));
            let message = format!("the manifest `{}` has no process `{name}`", self.recipe.name);
            self.refuse_key(&cells.key("processes").key(name.as_str()), &message, &help);
        }
    }
}
