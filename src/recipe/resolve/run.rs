//! How a version is run: the manifest's profile with what the cell has different, and templates rendered.

use std::collections::{BTreeMap, BTreeSet};

use super::ResolvedFile;
use super::files::{listed, near_misses};
use crate::model::process::ProcessSpec;
use crate::model::{FilePath, run_spec};
use crate::recipe::Written;
use crate::recipe::either::{EnvValue, FromFile};
use crate::recipe::render::{self, Context};
use crate::recipe::written::{Binding, Limits, Overrides, Profile, Recipe, Restart, Run, Stop};
use crate::yaml::{self, Field, YamlError};

/// Merges the two profiles and renders what may hold templates.
pub(super) struct Runs<'a> {
    pub(super) recipe: &'a Written<Recipe>,
    pub(super) binding: &'a Written<Binding>,
    pub(super) context: &'a Context,
    pub(super) files: &'a [ResolvedFile],
    pub(super) errors: &'a mut Vec<YamlError>,
}

/// The document that a setting was taken from, and where it stands there.
#[derive(Clone)]
struct Place<'a> {
    document: &'a yaml::Document,
    field: Field,
}

impl Runs<'_> {
    /// `None` if there is an error.
    pub(super) fn profile(mut self) -> Option<run_spec::Profile> {
        match &self.recipe.profile {
            Profile::Deploy(owner) => {
                self.refuse_run_settings();
                let Overrides { user, group, .. } = &self.binding.overrides;
                Some(run_spec::Profile::Deploy(run_spec::DeploySpec {
                    user: user.clone().or_else(|| owner.user.clone()),
                    group: group.clone().or_else(|| owner.group.clone()),
                }))
            }
            Profile::Process(run) => self.run("process", run).map(ProcessSpec::main).map(run_spec::Profile::Process),
            Profile::Systemd(run) => self.run("systemd", run).map(run_spec::Profile::Systemd),
            Profile::Supervisor(run) => self.run("supervisor", run).map(run_spec::Profile::Supervisor),
        }
    }

    fn refuse_run_settings(&mut self) {
        let Overrides { command, env, user: _, group: _, working_dir, restart, stop, limits: _ } =
            &self.binding.overrides;
        for (key, is_set) in [
            ("command", command.is_some()),
            ("env", !env.is_empty()),
            ("working_dir", working_dir.is_some()),
            ("restart", *restart != Restart::default()),
            ("stop", *stop != Stop::default()),
        ] {
            if is_set {
                let message =
                    format!("the manifest `{}` has the profile `deploy`, which runs nothing", self.recipe.name);
                let field = Field::root().key("overrides").key(key);
                self.errors.push(self.binding.document.error_at_key(&field, &message, Some("remove it")));
            }
        }
    }

    fn run(&mut self, profile: &str, run: &Run) -> Option<run_spec::RunSpec> {
        let (recipe, binding) = (self.recipe, self.binding);
        let Overrides { command, env, user, group, working_dir, restart, stop, limits: _ } = &binding.overrides;
        let own = Place { document: &recipe.document, field: Field::root().key("profile").key(profile) };
        let cells = Place { document: &binding.document, field: Field::root().key("overrides") };
        let place = |overridden: bool, key: &str| {
            let Place { document, field } = if overridden { cells.clone() } else { own.clone() };
            Place { document, field: field.key(key) }
        };
        let errors_before = self.errors.len();

        let command_place = place(command.is_some(), "command");
        let command = self.command(&command_place, command.as_ref().unwrap_or(&run.command));
        let mut merged = BTreeMap::new();
        for (overridden, env) in [(false, &run.env), (true, env)] {
            for (name, value) in env {
                let mut place = place(overridden, "env");
                place.field = place.field.key(name);
                // An override is in place of the manifest's value, which may then be one that this cell cannot render.
                merged.insert(name, (place, value));
            }
        }
        let env = merged.into_iter().map(|(name, (place, value))| (name.clone(), self.env_value(&place, value)));
        let env = env.collect();
        let dir_place = place(working_dir.is_some(), "working_dir");
        let working_dir = working_dir.as_ref().or(run.working_dir.as_ref());
        let working_dir = working_dir.and_then(|dir| self.working_dir(&dir_place, dir));

        let defaults = run_spec::Restart::default();
        let policy = restart.policy.or(run.restart.policy).map_or(defaults.policy, run_spec::RestartPolicy::from);
        let delay_ms = restart.delay.or(run.restart.delay).map_or(defaults.delay_ms, |delay| delay.as_millis());
        let max_retries = restart.max_retries.or(run.restart.max_retries);
        let stop_defaults = run_spec::Stop::default();
        let signal = stop.signal.or(run.stop.signal).map_or(stop_defaults.signal, |signal| signal.0);
        let timeout_ms = stop.timeout.or(run.stop.timeout).map_or(stop_defaults.timeout_ms, |time| time.as_millis());

        (self.errors.len() == errors_before).then(|| run_spec::RunSpec {
            command,
            env,
            user: user.clone().or_else(|| run.user.clone()),
            group: group.clone().or_else(|| run.group.clone()),
            working_dir,
            restart: run_spec::Restart { policy, delay_ms, max_retries, ..run_spec::Restart::default() },
            stop: run_spec::Stop { signal, timeout_ms },
        })
    }

    fn refuse(&mut self, place: &Place<'_>, message: &str, help: &str) {
        self.errors.push(place.document.error(&place.field, message, Some(help)));
    }

    fn command(&mut self, place: &Place<'_>, command: &[String]) -> Vec<String> {
        let item = |at| Place { document: place.document, field: place.field.index(at) };
        let arguments = command.iter().enumerate();
        let rendered: Vec<String> = arguments.map(|(at, argument)| self.text(&item(at), argument)).collect();
        if let Some(program) = rendered.first().filter(|program| !program.starts_with('/')) {
            self.check_program(&item(0), program);
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
                let paths: BTreeSet<&FilePath> = self.files.iter().map(|file| &file.path).collect();
                let help = match near_misses(program, &paths).as_slice() {
                    [] => format!("begin a program of the node itself with `/`, as in /usr/bin/{program}"),
                    near => format!("near it: {}", listed(near.iter().copied())),
                };
                self.refuse(place, &format!("the version has no file `{program}` to execute"), &help);
            }
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
        }
    }

    fn text(&mut self, place: &Place<'_>, text: &str) -> String {
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
