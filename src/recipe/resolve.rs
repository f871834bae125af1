//! From a manifest, a cell and the files of a release to what a version is.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobMatcher};

use super::render::{self, Context};
use super::value::VarValue;
use super::written::{Binding, EnvValue, FileRule, FromFile, Limits, Overrides, Profile, Recipe, Restart, Run, Stop};
use super::{RecipeError, Written};
use crate::model::deployment::DeploymentFile;
use crate::model::manifest::{Mode, Origin};
use crate::model::path::check_together;
use crate::model::{FilePath, run_spec};
use crate::yaml::{self, Field, YamlError};

/// What a version is, but for the bytes of its templates and overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its files, sorted by path.
    pub files: Vec<ResolvedFile>,
    /// How it is run, with templates rendered.
    pub profile: run_spec::Profile,
    /// The most that it may use.
    pub limits: run_spec::Limits,
    /// The cell's labels: those of the manifest, and over them its own.
    pub labels: BTreeMap<String, String>,
    /// What its template files see; they are rendered by [`render::file`].
    pub context: Context,
}

/// One file of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedFile {
    /// Where it lies in the version.
    pub path: FilePath,
    /// Its permissions.
    pub mode: Mode,
    /// Where its bytes come from.
    pub source: Source,
    /// Whether those bytes are a template.
    pub template: bool,
}

impl ResolvedFile {
    /// How `manifest.json` names where the file comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self.source {
            _ if self.template => Origin::Template,
            Source::Release(_) => Origin::Deployment,
            Source::Override => Origin::Override,
        }
    }
}

/// Where the bytes of a file come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The release has it.
    Release(DeploymentFile),
    /// The cell has its own, in place of the release's or beside its files.
    Override,
}

/// Puts a manifest, a cell and files together.
///
/// `release` is empty where no release is deployed. An override is laid over the release's file of the same path and
/// takes its mode; one that no file of the release stands behind is added, whether a rule of the manifest names it or
/// not.
///
/// # Errors
/// Everything in the two documents that does not fit together or does not fit the files, each with its place.
pub fn resolve(
    recipe: &Written<Recipe>,
    binding: &Written<Binding>,
    release: &[DeploymentFile],
    overrides: &[FilePath],
) -> Result<Resolved, RecipeError> {
    let mut errors = Vec::new();
    let context = context(recipe, binding, &mut errors);
    let files = files(recipe, release, overrides, &mut errors);
    let profile = Runs { recipe, binding, context: &context, files: &files, errors: &mut errors }.profile();
    let limits = limits(&recipe.limits, &binding.overrides.limits);
    match profile {
        Some(profile) => {
            let labels = context.labels.clone();
            RecipeError::unless(errors, Resolved { files, profile, limits, labels, context })
        }
        None => Err(RecipeError { errors }),
    }
}

fn context(recipe: &Written<Recipe>, binding: &Written<Binding>, errors: &mut Vec<YamlError>) -> Context {
    let field = Field::root().key("vars");
    let mut vars: BTreeMap<String, VarValue> = BTreeMap::new();
    for (name, declaration) in &recipe.vars {
        match binding.vars.get(name).or(declaration.default.as_ref()) {
            Some(value) => {
                vars.insert(name.clone(), value.clone());
            }
            None => {
                let message = format!("the variable `{name}` has no default and this cell does not set it");
                let what = declaration.description.as_deref().unwrap_or("a value");
                let help = format!("add `{name}: …` to `vars`: {what}");
                errors.push(binding.document.error_at_key(&field.key(name), &message, Some(&help)));
            }
        }
    }
    for name in binding.vars.keys().filter(|name| !recipe.vars.contains_key(*name)) {
        let help = match yaml::nearest(name, recipe.vars.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it to the manifest's `vars`, or remove it here".to_owned(),
        };
        let message = format!("the manifest `{}` declares no variable `{name}`", recipe.name);
        errors.push(binding.document.error_at_key(&field.key(name), &message, Some(&help)));
    }
    let labels = recipe.labels.iter().chain(&binding.labels);
    let labels = labels.map(|(key, value)| (key.clone(), value.clone())).collect();
    Context::new(&binding.cell, vars, labels)
}

/// A rule of the manifest, ready to be asked.
struct Matcher<'r> {
    rule: &'r FileRule,
    glob: Option<GlobMatcher>,
    excluded: Vec<GlobMatcher>,
}

impl<'r> Matcher<'r> {
    fn new(rule: &'r FileRule) -> Self {
        // What is no glob was refused when the manifest was read.
        let glob_of = |pattern: &String| glob(pattern).ok();
        let excluded = rule.exclude.iter().filter_map(glob_of).collect();
        Self { rule, glob: rule.glob.as_ref().and_then(glob_of), excluded }
    }

    fn matches(&self, path: &FilePath) -> bool {
        let path = path.as_str();
        match &self.glob {
            Some(glob) => glob.is_match(path) && !self.excluded.iter().any(|excluded| excluded.is_match(path)),
            None => self.rule.path.as_deref() == Some(path),
        }
    }
}

/// Compiles a pattern in which `*` stays within a folder.
pub(super) fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    if pattern.len() > FilePath::MAX_BYTES {
        return Err(format!("the pattern is longer than {} bytes", FilePath::MAX_BYTES));
    }
    if pattern.is_empty() {
        return Err("the pattern is empty".to_owned());
    }
    if pattern.starts_with('/') || pattern.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(format!("`{pattern}` matches nothing: paths are relative to the release, without `.` and `..`"));
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(false).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| format!("`{pattern}` is not a pattern: {}", error.kind()))
}

fn files(
    recipe: &Written<Recipe>,
    release: &[DeploymentFile],
    overrides: &[FilePath],
    errors: &mut Vec<YamlError>,
) -> Vec<ResolvedFile> {
    let released: BTreeMap<&FilePath, &DeploymentFile> = release.iter().map(|file| (&file.path, file)).collect();
    let overridden: BTreeSet<&FilePath> = overrides.iter().collect();
    let matchers: Vec<Matcher<'_>> = recipe.files.iter().flatten().map(Matcher::new).collect();
    let mut used = vec![false; matchers.len()];
    let mut files = Vec::new();
    let paths: BTreeSet<&FilePath> = released.keys().chain(&overridden).copied().collect();
    for path in &paths {
        let matching: Vec<usize> = (0..matchers.len()).filter(|at| matchers[*at].matches(path)).collect();
        for at in &matching {
            used[*at] = true;
        }
        let by_path = matching.iter().find(|at| matchers[**at].glob.is_none());
        let rule = by_path.or(matching.last()).map(|at| matchers[*at].rule);
        let is_override = overridden.contains(path);
        if rule.is_none() && recipe.files.is_some() && !is_override {
            continue;
        }
        let file = released.get(path).copied();
        let mode = rule.and_then(|rule| rule.mode).map(|mode| mode.0).or(file.map(|file| file.mode));
        let source = match file {
            Some(file) if !is_override => Source::Release(file.clone()),
            _ => Source::Override,
        };
        files.push(ResolvedFile {
            path: (*path).clone(),
            mode: mode.unwrap_or(Mode::READ),
            source,
            template: rule.is_some_and(|rule| rule.template),
        });
    }
    for (at, matcher) in matchers.iter().enumerate().filter(|(at, _)| !used[*at]) {
        errors.push(unmatched(recipe, at, matcher.rule, &paths));
    }
    if let Err(clash) = check_together(files.iter().map(|file| &file.path)) {
        let help = "rename the override, or leave one of the two out of `files`";
        errors.push(recipe.document.error_at_key(&Field::root().key("files"), &clash.to_string(), Some(help)));
    }
    files
}

/// The error for a rule that names no file there is.
fn unmatched(recipe: &Written<Recipe>, at: usize, rule: &FileRule, paths: &BTreeSet<&FilePath>) -> YamlError {
    let field = Field::root().key("files").index(at);
    let (key, wanted) = match (&rule.path, &rule.glob) {
        (Some(path), _) => ("path", path.as_str()),
        (None, glob) => ("glob", glob.as_deref().unwrap_or_default()),
    };
    let help = match near_misses(wanted, paths).as_slice() {
        [] if paths.is_empty() => "the release has no files at all".to_owned(),
        [] if key == "path" && wanted.contains(['*', '?']) => "a pattern is written as `glob`".to_owned(),
        [] => format!("the release has {} files, such as {}", paths.len(), listed(paths.iter().copied().take(3))),
        near => format!("near it: {}", listed(near.iter().copied())),
    };
    let message = format!("no file of the release matches `{wanted}`");
    recipe.document.error(&field.key(key), &message, Some(&help))
}

/// Files that may have been meant: the same name elsewhere, or nearly the same path.
fn near_misses<'p>(wanted: &str, paths: &BTreeSet<&'p FilePath>) -> Vec<&'p FilePath> {
    const MOST: usize = 3;
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let elsewhere = glob(&format!("**/{wanted}"));
    let same_name = paths.iter().copied().filter(|path| {
        name(path.as_str()) == name(wanted) || elsewhere.as_ref().is_ok_and(|glob| glob.is_match(path.as_str()))
    });
    let mut near: Vec<&FilePath> = same_name.take(MOST).collect();
    if near.is_empty() {
        let text = yaml::nearest(wanted, paths.iter().map(|path| path.as_str()));
        near.extend(text.and_then(|text| paths.iter().copied().find(|path| path.as_str() == text)));
    }
    near
}

fn listed<'p>(paths: impl Iterator<Item = &'p FilePath>) -> String {
    paths.map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
}

/// Merges the two profiles and renders what may hold templates.
struct Runs<'a> {
    recipe: &'a Written<Recipe>,
    binding: &'a Written<Binding>,
    context: &'a Context,
    files: &'a [ResolvedFile],
    errors: &'a mut Vec<YamlError>,
}

/// The document that a setting was taken from, and where it stands there.
#[derive(Clone)]
struct Place<'a> {
    document: &'a yaml::Document,
    field: Field,
}

impl Runs<'_> {
    /// `None` if there is an error.
    fn profile(mut self) -> Option<run_spec::Profile> {
        match &self.recipe.profile {
            Profile::Deploy(owner) => {
                self.refuse_run_settings();
                let Overrides { user, group, .. } = &self.binding.overrides;
                Some(run_spec::Profile::Deploy(run_spec::DeploySpec {
                    user: user.clone().or_else(|| owner.user.clone()),
                    group: group.clone().or_else(|| owner.group.clone()),
                }))
            }
            Profile::Process(run) => self.run("process", run).map(run_spec::Profile::Process),
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
            restart: run_spec::Restart { policy, delay_ms, max_retries },
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
        let rendered = match render::text("", text, self.context) {
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

fn limits(own: &Limits, cells: &Limits) -> run_spec::Limits {
    run_spec::Limits {
        open_files: cells.open_files.or(own.open_files),
        memory_bytes: cells.memory.or(own.memory).map(|bytes| bytes.0),
        tasks: cells.tasks.or(own.tasks),
        core_bytes: cells.core.or(own.core).map(|bytes| bytes.0),
    }
}

#[cfg(test)]
mod tests;
