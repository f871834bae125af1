//! Whether a program makes sense, and several processes together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Vars};
use crate::model::ProcessName;
use crate::model::process::{ProcessSpec, circle};
use crate::recipe::either::EnvValue;
use crate::recipe::written::{Process, ProcessKind, Processes, RestartPolicy, Settings, unknown_to};
use crate::yaml::{self, Field};

impl Checker<'_> {
    /// What a manifest or a cell says of a program. `vars` is absent in a cell, which cannot know what its manifest
    /// declares.
    pub(super) fn settings(&mut self, field: &Field, settings: Settings<'_>, vars: Option<&Vars<'_>>) {
        let Settings { command, shell, env, user, group, working_dir, .. } = settings;
        if let Some(command) = command {
            self.command(&field.key("command"), command, vars);
        }
        if let Some(line) = shell {
            self.shell(&field.key("shell"), line, vars);
        }
        if command.is_some() && shell.is_some() {
            self.key(&field.key("shell"), "`command` and `shell` cannot stand together", Some("remove one of them"));
        }
        if let Some(env) = env {
            self.env(&field.key("env"), env, vars);
        }
        self.user(&field.key("user"), user);
        self.user(&field.key("group"), group);
        self.working_dir(&field.key("working_dir"), working_dir);
    }

    fn shell(&mut self, field: &Field, line: &str, vars: Option<&Vars<'_>>) {
        if line.trim().is_empty() {
            self.value(field, "the shell line is empty", None);
        }
        self.text(field, line, vars);
    }

    /// What `profile`, which stands at `field`, runs.
    pub(super) fn processes(&mut self, field: &Field, profile: &str, spec: &Processes, vars: &Vars<'_>) {
        let field = &field.key(profile);
        let settings = spec.settings();
        self.settings(field, settings, Some(vars));
        self.unknown(field, profile, settings);
        let Some(processes) = &spec.processes else {
            if spec.command.is_none() && spec.shell.is_none() {
                let help = "add `command: [bin/server]`, `shell: …` or `processes: {…}`";
                self.value(field, "there is nothing to run", Some(help));
            }
            return;
        };
        for key in settings.keys().filter(|key| !Settings::SHARED.contains(key)) {
            let message = format!("`{key}` is each process's own where there are `processes`");
            self.key(&field.key(key), message, Some("move it to the processes that it is for"));
        }
        let field = field.key("processes");
        let count = processes.len();
        if count == 0 || count > ProcessSpec::MOST_PROCESSES {
            let message = format!("{count} processes, expected 1 to {}", ProcessSpec::MOST_PROCESSES);
            self.key(&field, message, None);
        }
        for (name, process) in processes {
            let field = field.key(name.as_str());
            self.process(&field, process, vars);
            self.unknown(&field, profile, process.settings());
            if let Some(help) = unknown_to(profile, &["after"]).filter(|_| !process.after.is_empty()) {
                self.key(&field.key("after"), format!("the profile `{profile}` does not know `after`"), Some(&help));
            }
        }
        self.order(&field, processes);
    }

    /// Refuses what `profile` does not know.
    fn unknown(&mut self, field: &Field, profile: &str, settings: Settings<'_>) {
        for way in settings.ways() {
            if let (Some(help), Some(key)) = (unknown_to(profile, &way), way.last()) {
                let field = way.iter().fold(field.clone(), |field, key| field.key(*key));
                self.key(&field, format!("the profile `{profile}` does not know `{key}`"), Some(&help));
            }
        }
        let env = settings.env.into_iter().flatten();
        for (name, _) in env.filter(|(_, value)| matches!(value, EnvValue::Credential(_))) {
            let field = field.key("env").key(name).key("credential");
            let help = unknown_to(profile, &["credential"]);
            self.key(&field, format!("the profile `{profile}` has no credentials"), help.as_deref());
        }
    }

    fn process(&mut self, field: &Field, process: &Process, vars: &Vars<'_>) {
        self.settings(field, process.settings(), Some(vars));
        if process.command.is_none() && process.shell.is_none() {
            self.value(field, "there is nothing to run", Some("add `command: [bin/server]` or `shell: …`"));
        }
        let restarts = process.restart.policy.is_some_and(|policy| policy != RestartPolicy::Never);
        if process.kind == Some(ProcessKind::Task) && restarts {
            let help = "remove it, or make the process a service";
            self.value(&field.key("restart").key("policy"), "a task runs once", Some(help));
        }
    }

    /// Each process must be able to start some time.
    fn order(&mut self, field: &Field, processes: &BTreeMap<ProcessName, Process>) {
        for (name, process) in processes {
            for (position, after) in process.after.iter().enumerate() {
                let place = field.key(name.as_str()).key("after").index(position);
                let Some(other) = processes.get(after) else {
                    let near = yaml::nearest(after.as_str(), processes.keys().map(ProcessName::as_str));
                    let help = near.map(|near| format!("did you mean `{near}`?"));
                    self.value(&place, format!("there is no process `{after}`"), help.as_deref());
                    continue;
                };
                if other.autostart == Some(false) && process.autostart != Some(false) {
                    let message = format!("`{after}` is not started by itself, so `{name}` would wait for ever");
                    self.value(&place, message, Some("let both start by themselves, or neither"));
                }
            }
        }
        let after = processes.iter().map(|(name, process)| (name, process.after.iter().collect::<BTreeSet<_>>()));
        if let Some([first, rest @ ..]) = circle(&after.collect()).as_deref() {
            let rest: Vec<String> = rest.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("`{first}` waits for itself: it starts after {}", rest.join(", which starts after "));
            let place = field.key(first.as_str()).key("after");
            self.key(&place, message, Some("leave one of them out"));
        }
    }
}
