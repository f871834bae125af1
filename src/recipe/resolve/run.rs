//! How one program is run: what the manifest says, what the cell has different, and templates rendered.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{listed, near_misses};
use super::profile::Runs;
use crate::model::process::ProcessKind;
use crate::model::{FilePath, run_spec};
use crate::recipe::either::{EnvValue, FromCredential, FromFile};
use crate::recipe::render;
use crate::recipe::written::{Limits, Settings, unknown_to};
use crate::yaml::{self, Field, HumanDuration};

/// Where in which document something stands.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) document: &'a yaml::Document,
    pub(super) field: Field,
}

impl Place<'_> {
    pub(super) fn key(&self, key: &str) -> Self {
        Self { document: self.document, field: self.field.key(key) }
    }

    pub(super) fn index(&self, index: usize) -> Self {
        Self { document: self.document, field: self.field.index(index) }
    }
}

/// What one place says of a program. Of several layers the last one that has a setting decides.
pub(super) struct Layer<'a> {
    pub(super) place: Place<'a>,
    pub(super) settings: Settings<'a>,
}

impl Layer<'_> {
    /// Only what several processes have in common.
    pub(super) fn shared(&self) -> Self {
        Self { place: self.place.clone(), settings: self.settings.shared() }
    }
}

/// The setting of the last layer that has it, and that layer's place.
pub(super) fn placed<'l, 'a, T>(
    layers: &'l [Layer<'a>],
    of: impl Fn(&Settings<'a>) -> Option<T>,
) -> Option<(&'l Place<'a>, T)> {
    layers.iter().rev().find_map(|layer| Some((&layer.place, of(&layer.settings)?)))
}

/// The setting of the last layer that has it.
pub(super) fn last<'a, T>(layers: &[Layer<'a>], of: impl Fn(&Settings<'a>) -> Option<T>) -> Option<T> {
    placed(layers, of).map(|(_, value)| value)
}

enum Program<'a> {
    Command(&'a [String]),
    Shell(&'a str),
}

impl<'a> Runs<'a> {
    /// `None` if there is an error.
    pub(super) fn run(&mut self, layers: &[Layer<'a>], kind: ProcessKind) -> Option<run_spec::RunSpec> {
        let errors_before = self.errors.len();
        // A document that names no program was refused when it was read.
        let (place, program) = placed(layers, |settings| {
            let shell = settings.shell.map(|line| Program::Shell(line));
            settings.command.map(|command| Program::Command(command)).or(shell)
        })?;
        let command = match program {
            Program::Command(command) => self.command(&place.key("command"), command),
            Program::Shell(line) => {
                vec!["/bin/sh".to_owned(), "-c".to_owned(), self.text(&place.key("shell"), line)]
            }
        };
        let mut merged = BTreeMap::new();
        for Layer { place, settings } in layers {
            for (name, value) in settings.env.into_iter().flatten() {
                // It is in place of the value of an earlier layer, which may then be one that this cell cannot render.
                merged.insert(name, (place.key("env").key(name), value));
            }
        }
        let env = merged.into_iter().map(|(name, (place, value))| (name.clone(), self.env_value(&place, value)));
        let env = env.collect();
        let working_dir = placed(layers, |settings| settings.working_dir);
        let working_dir = working_dir.and_then(|(place, dir)| self.working_dir(&place.key("working_dir"), dir));
        let restart = self.restart(layers, kind);
        let stop = run_spec::Stop::default();
        let stop = run_spec::Stop {
            signal: last(layers, |settings| settings.stop.signal).map_or(stop.signal, |signal| signal.0),
            timeout_ms: last(layers, |settings| settings.stop.timeout).map_or(stop.timeout_ms, |time| time.as_millis()),
        };
        let (user, group) = (last(layers, |settings| settings.user), last(layers, |settings| settings.group));
        let (user, group) = (user.cloned(), group.cloned());
        (self.errors.len() == errors_before).then_some(run_spec::RunSpec {
            command,
            env,
            user,
            group,
            working_dir,
            restart,
            stop,
        })
    }

    fn restart(&mut self, layers: &[Layer<'a>], kind: ProcessKind) -> run_spec::Restart {
        let usual = run_spec::Restart::default();
        let policy = placed(layers, |settings| settings.restart.policy.map(run_spec::RestartPolicy::from));
        let policy = match (kind, policy) {
            (ProcessKind::Service, policy) => policy.map_or(usual.policy, |(_, policy)| policy),
            (ProcessKind::Task, Some((place, policy))) if policy != run_spec::RestartPolicy::Never => {
                self.refuse(&place.key("restart").key("policy"), "a task runs once", "remove it");
                policy
            }
            (ProcessKind::Task, _) => run_spec::RestartPolicy::Never,
        };
        let millis = |of: fn(&Settings<'a>) -> Option<HumanDuration>| last(layers, of).map(HumanDuration::as_millis);
        run_spec::Restart {
            policy,
            delay_ms: millis(|settings| settings.restart.delay).unwrap_or(usual.delay_ms),
            max_retries: last(layers, |settings| settings.restart.max_retries),
            backoff_percent: last(layers, |settings| settings.restart.backoff).map_or(usual.backoff_percent, |it| it.0),
            max_delay_ms: millis(|settings| settings.restart.max_delay).unwrap_or(usual.max_delay_ms),
            jitter_percent: last(layers, |settings| settings.restart.jitter).map_or(usual.jitter_percent, |it| it.0),
            reset_after_ms: millis(|settings| settings.restart.reset_after).unwrap_or(usual.reset_after_ms),
        }
    }

    pub(super) fn refuse_key(&mut self, place: &Place<'_>, message: &str, help: &str) {
        self.errors.push(place.document.error_at_key(&place.field, message, Some(help)));
    }

    pub(super) fn refuse(&mut self, place: &Place<'_>, message: &str, help: &str) {
        self.errors.push(place.document.error(&place.field, message, Some(help)));
    }

    pub(super) fn command(&mut self, place: &Place<'_>, command: &[String]) -> Vec<String> {
        let arguments = command.iter().enumerate();
        let rendered: Vec<String> = arguments.map(|(at, argument)| self.text(&place.index(at), argument)).collect();
        if let Some(program) = rendered.first().filter(|program| !program.starts_with('/')) {
            self.check_program(&place.index(0), program);
        }
        rendered
    }

    /// A program of the version must be there, and must be one.
    fn check_program(&mut self, place: &Place<'_>, program: &str) {
        match self.files.iter().find(|file| file.path.as_str() == program) {
            Some(file) if file.mode.bits() & 0o111 != 0 => {}
            Some(file) => {
                let message = format!("`{program}` cannot be executed: its mode is {}", file.mode);
                self.refuse(place, &message, "give it the mode \"0755\" in `files`");
            }
            None => {
                let help = match self.near(program) {
                    Some(near) => near,
                    None => format!("begin a program of the node itself with `/`, as in /usr/bin/{program}"),
                };
                self.refuse(place, &format!("the version has no file `{program}` to execute"), &help);
            }
        }
    }

    /// Files of the version that may have been meant.
    pub(super) fn near(&self, path: &str) -> Option<String> {
        let paths: BTreeSet<&FilePath> = self.files.iter().map(|file| &file.path).collect();
        match near_misses(path, &paths).as_slice() {
            [] => None,
            near => Some(format!("near it: {}", listed(near.iter().copied()))),
        }
    }

    fn working_dir(&mut self, place: &Place<'_>, dir: &str) -> Option<FilePath> {
        let inside = format!("{dir}/");
        if !self.files.iter().any(|file| file.path.as_str().starts_with(&inside)) {
            let help = "it is relative to the version's files; leave it out for their top folder";
            self.refuse(place, &format!("the version has no folder `{dir}`"), help);
        }
        // What is no path was refused when the document was read.
        FilePath::new(dir).ok()
    }

    fn env_value(&mut self, place: &Place<'_>, value: &EnvValue) -> run_spec::EnvValue {
        match value {
            EnvValue::Text(text) => run_spec::EnvValue::Text(self.text(place, text)),
            EnvValue::FromFile(FromFile { from_file, key }) => {
                run_spec::EnvValue::FromFile(run_spec::FromFile { from_file: from_file.clone(), key: key.clone() })
            }
            EnvValue::Credential(FromCredential { credential }) => {
                if let Some(help) = unknown_to(self.recipe.profile.name(), &["credential"]) {
                    let (manifest, profile) = (&self.recipe.name, self.recipe.profile.name());
                    let message =
                        format!("the manifest `{manifest}` has the profile `{profile}`, which has no credentials");
                    self.refuse_key(&place.key("credential"), &message, &help);
                }
                run_spec::EnvValue::Credential(run_spec::FromCredential { credential: credential.clone() })
            }
        }
    }

    pub(super) fn text(&mut self, place: &Place<'_>, text: &str) -> String {
        let rendered = match render::value(text, self.context) {
            Ok(rendered) => rendered,
            Err(error) => {
                self.refuse(place, &error.message, &error.help);
                return String::new();
            }
        };
        if rendered.contains('\0') {
            self.refuse(place, "a NUL character cannot be passed to a program", "look into the variables that it uses");
        }
        rendered
    }
}

/// The limits of a cell: its own, and where it has none the manifest's.
pub(super) fn limits(own: &Limits, cells: &Limits) -> run_spec::Limits {
    run_spec::Limits {
        open_files: cells.open_files.or(own.open_files),
        memory_bytes: cells.memory.or(own.memory).map(|bytes| bytes.0),
        tasks: cells.tasks.or(own.tasks),
        core_bytes: cells.core.or(own.core).map(|bytes| bytes.0),
    }
}
