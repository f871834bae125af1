//! Whether a manifest or a cell makes sense by itself. What needs both, or the files of a release, is for
//! [`resolve`](super::resolve) to say.

mod dependencies;
mod drift;
mod health;
mod hooks;
mod processes;
mod strategy;
pub(super) mod units;
mod windows;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::either::EnvValue;
use super::render;
use super::written::{Binding, FileRule, Limits, Profile, Recipe};
use crate::model::{FilePath, PathPattern};
use crate::yaml::{Document, Field, YamlError};

/// Each file of a release, of which there are thousands, is compared with every pattern.
const MAX_PATTERNS: usize = 1_000;

/// What can be checked by itself.
pub(super) trait Check {
    fn check(&self, checker: &mut Checker<'_>);
}

/// Everything that is wrong with `value`, which was read from `document`.
pub(super) fn errors<T: Check>(document: &Document, value: &T) -> Vec<YamlError> {
    let mut checker = Checker { document, errors: Vec::new() };
    value.check(&mut checker);
    checker.errors
}

/// Collects errors about one document.
pub(super) struct Checker<'d> {
    document: &'d Document,
    errors: Vec<YamlError>,
}

impl Checker<'_> {
    fn value(&mut self, field: &Field, message: impl AsRef<str>, help: Option<&str>) {
        self.errors.push(self.document.error(field, message.as_ref(), help));
    }

    fn key(&mut self, field: &Field, message: impl AsRef<str>, help: Option<&str>) {
        self.errors.push(self.document.error_at_key(field, message.as_ref(), help));
    }

    fn path(&mut self, field: &Field, text: &str) {
        if let Err(error) = FilePath::new(text) {
            self.value(field, error.to_string(), None);
        }
    }

    /// A path on the node.
    fn absolute_path(&mut self, field: &Field, path: &str) {
        match path.strip_prefix('/').map(FilePath::new) {
            Some(Ok(_)) => {}
            Some(Err(error)) => self.value(field, error.to_string(), None),
            None => {
                let help = "begin it with `/`: it lies on the node";
                self.value(field, format!("`{path}` is not an absolute path"), Some(help));
            }
        }
    }

    fn working_dir(&mut self, field: &Field, dir: Option<&String>) {
        if let Some(dir) = dir {
            self.path(field, dir);
        }
    }

    fn labels(&mut self, labels: &BTreeMap<String, String>) {
        let field = Field::root().key("labels");
        let word = |text: &str, more: &str| {
            let within = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            text.len() <= 63 && text.chars().all(within) && ends(text.chars().next()) && ends(text.chars().last())
        };
        for (key, value) in labels {
            if !word(key, "._-/") {
                let rule =
                    "at most 63 letters, digits and `.`, `_`, `-`, `/`, beginning and ending with a letter or digit";
                self.key(&field.key(key), format!("`{key}` cannot be a label"), Some(rule));
            }
            if !value.is_empty() && !word(value, "._-") {
                let rule = "at most 63 letters, digits and `.`, `_`, `-`, beginning and ending with a letter or digit";
                self.value(&field.key(key), format!("`{value}` cannot be the value of a label"), Some(rule));
            }
        }
    }

    fn var_names<T>(&mut self, vars: &BTreeMap<String, T>) {
        for name in vars.keys().filter(|name| !is_identifier(name)) {
            let help = "use letters, digits and `_`, as in `{{ vars.max_clients }}`";
            self.key(
                &Field::root().key("vars").key(name),
                format!("`{name}` cannot be the name of a variable"),
                Some(help),
            );
        }
    }

    /// `vars` is absent in a cell, which cannot know what its manifest declares.
    fn command(&mut self, field: &Field, command: &[String], vars: Option<&Vars<'_>>) {
        match command.first() {
            None => self.value(field, "the command is empty", Some("write [bin/server, --port, \"8080\"]")),
            Some(program) if program.trim().is_empty() => {
                self.value(&field.index(0), "the program has no name", None);
            }
            Some(_) => {}
        }
        for (position, argument) in command.iter().enumerate() {
            self.text(&field.index(position), argument, vars);
        }
    }

    fn env(&mut self, field: &Field, env: &BTreeMap<String, EnvValue>, vars: Option<&Vars<'_>>) {
        for (name, value) in env {
            let field = field.key(name);
            if !is_identifier(name) {
                let help = "use letters, digits and `_`, and no digit first";
                self.key(&field, format!("`{name}` cannot be the name of an environment variable"), Some(help));
            } else if name.starts_with("FLEETMAN_") {
                self.key(&field, format!("`{name}` is set by the agent"), Some("choose a name without FLEETMAN_"));
            }
            match value {
                EnvValue::Text(text) => self.text(&field, text, vars),
                EnvValue::FromFile(file) => {
                    self.absolute_path(&field.key("from_file"), &file.from_file);
                    if let Some(key) = file.key.as_ref().filter(|key| !is_identifier(key)) {
                        let help = "use letters, digits and `_`: it stands before `=` in the file";
                        self.value(&field.key("key"), format!("`{key}` cannot be a key"), Some(help));
                    }
                }
                EnvValue::Credential(_) => {}
            }
        }
    }

    /// Text in which templates may be used.
    fn text(&mut self, field: &Field, text: &str, vars: Option<&Vars<'_>>) {
        if text.contains('\0') {
            self.value(field, "a NUL character cannot be passed to a program", None);
        }
        match render::names(text) {
            Err(error) => self.value(field, error.message, Some(&error.help)),
            Ok(names) => {
                for error in vars.into_iter().flat_map(|vars| render::undeclared(&names, vars)) {
                    self.value(field, error.message, Some(&error.help));
                }
            }
        }
    }

    fn user(&mut self, field: &Field, name: Option<&String>) {
        let within = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if let Some(name) = name
            && (name.is_empty() || name.len() > 32 || !name.chars().all(within) || name.starts_with(['-', '.']))
        {
            let help = "use letters, digits, `_`, `.` and `-`, at most 32";
            self.value(field, format!("`{name}` cannot be the name of a user or group"), Some(help));
        }
    }

    fn positive(&mut self, field: &Field, limit: Option<u64>) {
        if limit == Some(0) {
            self.value(field, "a limit of 0 lets nothing run", Some("leave it out to have no limit"));
        }
    }

    fn limits(&mut self, field: &Field, limits: &Limits) {
        self.positive(&field.key("open_files"), limits.open_files);
        self.positive(&field.key("memory"), limits.memory.map(|bytes| bytes.0));
        self.positive(&field.key("tasks"), limits.tasks);
    }

    fn files(&mut self, rules: &[FileRule]) {
        let patterns: usize = rules.iter().map(|rule| 1 + rule.exclude.len()).sum();
        if patterns > MAX_PATTERNS {
            let message = format!("{patterns} paths and globs are more than the {MAX_PATTERNS} that are looked for");
            self.key(&Field::root().key("files"), message, Some("use globs that match more"));
        }
        let mut seen = HashMap::new();
        for (position, rule) in rules.iter().enumerate() {
            let field = Field::root().key("files").index(position);
            match (&rule.path, &rule.glob) {
                (Some(path), None) => {
                    self.path(&field.key("path"), path);
                    if let Some(first) = seen.insert(path.as_str(), position) {
                        let help = format!("it is `files[{first}]` already");
                        self.value(&field.key("path"), format!("`{path}` is listed twice"), Some(&help));
                    }
                    if !rule.exclude.is_empty() {
                        self.key(&field.key("exclude"), "a path is one file, so nothing can be excluded from it", None);
                    }
                }
                (None, Some(pattern)) => {
                    let excluded = rule.exclude.iter().enumerate();
                    let excluded = excluded.map(|(position, pattern)| (field.key("exclude").index(position), pattern));
                    for (field, pattern) in [(field.key("glob"), pattern)].into_iter().chain(excluded) {
                        if let Err(error) = pattern.parse::<PathPattern>() {
                            self.value(&field, error.to_string(), None);
                        }
                    }
                }
                (Some(_), Some(_)) => {
                    let help = "make them two items of the list";
                    self.key(&field.key("glob"), "`path` and `glob` cannot stand together", Some(help));
                }
                (None, None) => {
                    let help = "add `path: <file>` or `glob: <pattern>`";
                    self.value(&field, "the item names no files", Some(help));
                }
            }
        }
    }
}

/// What a manifest declares, for finding templates that use something else.
pub(super) type Vars<'v> = BTreeSet<&'v str>;

fn is_identifier(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Check for Recipe {
    fn check(&self, checker: &mut Checker<'_>) {
        let Self {
            name: _,
            description: _,
            labels,
            vars,
            files,
            profile,
            health,
            hooks,
            strategy,
            reload_if,
            restart_if,
            limits,
            drift,
            windows,
            lock,
            after,
            requires,
        } = self;
        let root = Field::root();
        checker.labels(labels);
        checker.var_names(vars);
        checker.files(files.as_deref().unwrap_or_default());
        let vars: Vars<'_> = vars.keys().map(String::as_str).collect();
        let field = root.key("profile");
        match profile {
            Profile::Deploy(owner) => {
                checker.user(&field.key("deploy").key("user"), owner.user.as_ref());
                checker.user(&field.key("deploy").key("group"), owner.group.as_ref());
            }
            Profile::Process(spec) => checker.processes(&field, "process", spec, &vars),
            Profile::Systemd(unit) => checker.unit(&field.key("systemd"), unit, &vars),
            Profile::Supervisor(spec) => checker.processes(&field, "supervisor", spec, &vars),
        }
        if let Some(health) = health {
            checker.health(health, profile, &vars);
        }
        checker.hooks(hooks, &vars);
        if let Some(drift) = drift {
            checker.drift(drift);
        }
        checker.strategy(strategy, profile, &vars);
        checker.changed_files([("reload_if", reload_if), ("restart_if", restart_if)], profile);
        let field = root.key("limits");
        checker.limits(&field, limits);
        for key in limits.keys() {
            if let Some((message, help)) = unlimited(profile, key) {
                checker.key(&field.key(key), message, Some(help));
            }
        }
        checker.windows(windows);
        if let Some(lock) = lock {
            checker.path(&root.key("lock"), lock);
        }
        checker.dependencies([("after", after), ("requires", requires)]);
    }
}

/// Why a profile cannot set a limit, and what to do about it.
pub(super) fn unlimited(profile: &Profile, key: &str) -> Option<(&'static str, &'static str)> {
    match profile {
        Profile::Systemd(unit) if unit.unit_file.is_some() => {
            Some(("a unit file of the version sets its limits itself", "write it into the unit file"))
        }
        Profile::Supervisor(_) if Limits::OF_CELLS.contains(&key) => {
            Some(("supervisord cannot limit a whole cell", "remove it; the profile `systemd` can"))
        }
        _ => None,
    }
}

impl Check for Binding {
    fn check(&self, checker: &mut Checker<'_>) {
        let Self { cell: _, manifest: _, description: _, vars, labels, after, requires, overrides, paused } = self;
        let root = Field::root();
        checker.labels(labels);
        checker.var_names(vars);
        let lists = [("after", after), ("requires", requires)];
        checker.dependencies(lists.map(|(key, names)| (key, names.as_deref().unwrap_or_default())));
        let field = root.key("overrides");
        checker.settings(&field, overrides.settings(), None);
        checker.hardening(&field.key("hardening"), &overrides.hardening);
        checker.limits(&field.key("limits"), &overrides.limits);
        for (name, process) in &overrides.processes {
            checker.settings(&field.key("processes").key(name.as_str()), process.settings(), None);
        }
        if let Some(paused) = paused
            && paused.reason.trim().is_empty()
        {
            checker.value(
                &root.key("paused").key("reason"),
                "the reason is empty",
                Some("say why, for whoever comes next"),
            );
        }
    }
}
