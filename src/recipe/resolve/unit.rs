//! How a service of systemd is run: the manifest's settings with what the cell has different.

use super::profile::Runs;
use super::run::{Layer, last};
use crate::model::FilePath;
use crate::model::process::ProcessKind;
use crate::model::run_spec::{EnvValue, RestartPolicy, RunSpec};
use crate::model::systemd::{self, OwnUnit, ServiceType, SystemdSpec, UnitSpec};
use crate::recipe::clash::Together;
use crate::recipe::either::Schedule;
use crate::recipe::validate::units::{UNWRITABLE, is_unwritable};
use crate::recipe::written::Unit;

impl<'a> Runs<'a> {
    /// `None` if there is an error.
    pub(super) fn unit(&mut self, layers: [Layer<'a>; 2], unit: &'a Unit) -> Option<SystemdSpec> {
        let [_, cells] = &layers;
        self.refuse_processes(&cells.place);
        match &unit.unit_file {
            Some(path) => self.own(&layers, path).map(SystemdSpec::Own),
            None => self.rendered(&layers, unit).map(|unit| SystemdSpec::Rendered(Box::new(unit))),
        }
    }

    fn own(&mut self, [own, cells]: &[Layer<'a>; 2], path: &str) -> Option<OwnUnit> {
        let why = "brings a unit file, which is installed as it is; it can only have another `user` and `group`";
        self.refuse_settings(&cells.place, &Unit::BESIDE_FILE, why);
        if !self.files.iter().any(|file| file.path.as_str() == path) {
            let help = self.near(path).unwrap_or_else(|| "it is one of the version's files".to_owned());
            self.refuse(&own.place.key("unit_file"), &format!("the version has no file `{path}`"), &help);
        }
        let (user, group) = (cells.settings.user.or(own.settings.user), cells.settings.group.or(own.settings.group));
        // What is no path was refused when the document was read.
        Some(OwnUnit { unit_file: FilePath::new(path).ok()?, user: user.cloned(), group: group.cloned() })
    }

    fn rendered(&mut self, layers: &[Layer<'a>; 2], unit: &Unit) -> Option<UnitSpec> {
        let [_, cells] = layers;
        let overrides = &self.binding.overrides;
        self.refuse_unknown(&cells.place, overrides.ways());
        let schedule = match (&overrides.schedule, &unit.schedule) {
            (Some(cells), Some(own)) => Some(cells.over(own)),
            (cells, own) => cells.as_ref().or(own.as_ref()).cloned(),
        };
        let hardening = overrides.hardening.over(&unit.hardening);
        let kind = unit.kind.unwrap_or_default();
        let policy = last(layers, |settings| settings.restart.policy);
        let together = Together {
            kind,
            policy,
            schedule: schedule.as_ref(),
            named_owner: last(layers, |settings| settings.user.or(settings.group)).is_some(),
            hardening: &hardening,
        };
        for clash in together.clashes() {
            // What the manifest says stands together: it was refused otherwise when it was read.
            let field = clash.place(cells.place.document, &cells.place.field);
            self.errors.push(cells.place.document.error(&field, &clash.message, Some(clash.help)));
        }
        let mut run = self.run(layers, ProcessKind::Service)?;
        if policy.is_none() && (kind == ServiceType::Oneshot || schedule.is_some()) {
            run.restart.policy = RestartPolicy::Never;
        }
        self.check_env(layers, &run);
        let [own, _] = layers;
        let place = own.place.key("reload_command");
        let reload_command = unit.reload_command.as_ref().map(|command| self.command(&place, command));
        // What the cell says comes before what the manifest says, whichever of the two ways that is.
        let reload_signal = last(layers, |settings| settings.reload_signal).map(|signal| signal.0);
        let reload_command = reload_command.filter(|_| reload_signal.is_none());
        Some(UnitSpec {
            run,
            description: unit.description.clone(),
            kind,
            after: unit.after.iter().cloned().collect(),
            requires: unit.requires.iter().cloned().collect(),
            reload_signal,
            reload_command,
            schedule: schedule.and_then(resolved),
            hardening: hardening.into(),
        })
    }

    /// A template may give what could not have been written.
    fn check_env(&mut self, layers: &[Layer<'a>; 2], run: &RunSpec) {
        for (name, value) in &run.env {
            if let EnvValue::Text(text) = value
                && is_unwritable(text)
                && let Some(layer) =
                    layers.iter().rev().find(|layer| layer.settings.env.is_some_and(|env| env.contains_key(name)))
            {
                let (message, help) = UNWRITABLE;
                self.refuse(&layer.place.key("env").key(name), message, help);
            }
        }
    }
}

/// `None` without an event, which was refused.
fn resolved(schedule: Schedule) -> Option<systemd::Schedule> {
    let Schedule { on_calendar, persistent, random_delay } = schedule;
    Some(systemd::Schedule {
        on_calendar: on_calendar?.0,
        persistent: persistent.unwrap_or_default(),
        random_delay_ms: random_delay.map(|delay| delay.as_millis()).unwrap_or_default(),
    })
}
