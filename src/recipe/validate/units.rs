//! Whether what is said of a service of systemd makes sense.

use super::{Checker, Vars};
use crate::model::systemd::check_line;
use crate::recipe::clash::Together;
use crate::recipe::either::EnvValue;
use crate::recipe::written::{Hardening, Unit};
use crate::yaml::Field;

/// In characters: it stands on one line with other things wherever systemd shows it.
const MAX_DESCRIPTION: usize = 200;

/// Whether systemd would pass over a variable of this value.
pub(in crate::recipe) fn is_unwritable(value: &str) -> bool {
    value.contains(|c: char| c.is_control() && !matches!(c, '\t' | '\n'))
}

/// What to do about that.
pub(in crate::recipe) const UNWRITABLE: (&str, &str) =
    ("a control character cannot be given by systemd", "only tabs and line breaks can; or read the value from a file");

impl Checker<'_> {
    pub(super) fn unit(&mut self, field: &Field, unit: &Unit, vars: &Vars<'_>) {
        let settings = unit.settings();
        self.settings(field, settings, Some(vars));
        if let Some(path) = &unit.unit_file {
            self.path(&field.key("unit_file"), path);
            for key in unit.keys().filter(|key| !Unit::BESIDE_FILE.contains(key)) {
                let message = format!("`{key}` cannot stand beside `unit_file`, which is installed as it is");
                self.key(&field.key(key), message, Some("write it into the unit file"));
            }
            return;
        }
        if unit.command.is_none() {
            let help = "add `command: [bin/server]`, or `unit_file: <file>` for a unit of your own";
            self.value(field, "there is nothing to run", Some(help));
        }
        if let Some(command) = &unit.reload_command {
            self.command(&field.key("reload_command"), command, Some(vars));
            if unit.reload_signal.is_some() {
                let message = "it is reloaded either by a command or by a signal";
                self.key(&field.key("reload_signal"), message, Some("remove one of them"));
            }
        }
        for (name, value) in &unit.env {
            if let EnvValue::Text(text) = value
                && is_unwritable(text)
            {
                let (message, help) = UNWRITABLE;
                self.value(&field.key("env").key(name), message, Some(help));
            }
        }
        if let Some(text) = &unit.description {
            self.description(&field.key("description"), text);
        }
        self.hardening(&field.key("hardening"), &unit.hardening);
        let together = Together {
            kind: unit.kind.unwrap_or_default(),
            policy: unit.restart.policy,
            schedule: unit.schedule.as_ref(),
            named_owner: unit.user.is_some() || unit.group.is_some(),
            hardening: &unit.hardening,
        };
        for clash in together.clashes() {
            self.value(&clash.place(self.document, field), clash.message, Some(clash.help));
        }
    }

    fn description(&mut self, field: &Field, text: &str) {
        let length = text.chars().count();
        if text.trim().is_empty() {
            self.value(field, "the description is empty", Some("leave it out to have the cell's name"));
        } else if let Err(problem) = check_line(text) {
            self.value(field, format!("the description {problem}"), None);
        } else if length > MAX_DESCRIPTION {
            let message = format!("the description has {length} characters, expected at most {MAX_DESCRIPTION}");
            self.value(field, message, Some("say the rest in the manifest's own `description`"));
        }
    }

    pub(super) fn hardening(&mut self, field: &Field, hardening: &Hardening) {
        for (position, path) in hardening.read_write_paths.iter().flatten().enumerate() {
            self.absolute_path(&field.key("read_write_paths").index(position), path);
        }
    }
}
