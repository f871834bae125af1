//! From a manifest, a cell and the files of a release to what a version is.

mod dependencies;
mod files;
mod health;
mod hooks;
mod profile;
mod run;
mod strategy;
mod unit;

use std::collections::BTreeMap;

use super::render::Context;
use super::value::VarValue;
use super::written::{Binding, Drift, Recipe};
use super::{RecipeError, Written};
use crate::model::dependencies::Dependencies;
use crate::model::deployment::DeploymentFile;
use crate::model::drift::DriftSpec;
use crate::model::health::Health;
use crate::model::hook::Hooks;
use crate::model::manifest::{Mode, Origin};
use crate::model::strategy::Strategy;
use crate::model::window::Windows;
use crate::model::{FilePath, PathPattern, run_spec};
use crate::yaml::{self, Field, YamlError};

/// What a version is, but for the bytes of its templates and overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its files, sorted by path.
    pub files: Vec<ResolvedFile>,
    /// How it is run, with templates rendered.
    pub profile: run_spec::Profile,
    /// When it counts as good.
    pub health: Health,
    /// What is run around its deployment.
    pub hooks: Hooks,
    /// How it takes the place of the version before.
    pub strategy: Strategy,
    /// Files that what runs only reads again when they have changed.
    pub reload_if: Vec<PathPattern>,
    /// Files that what runs is started anew for.
    pub restart_if: Vec<PathPattern>,
    /// The most that it may use.
    pub limits: run_spec::Limits,
    /// What is done when what is on the node is not this any more.
    pub drift: DriftSpec,
    /// When it may be fetched and switched to.
    pub windows: Windows,
    /// The file by which the application keeps what runs from being switched away.
    pub lock: Option<FilePath>,
    /// The other cells of its node that it starts after, or not without.
    pub dependencies: Dependencies,
    /// The cell's labels: those of the manifest, and over them its own.
    pub labels: BTreeMap<String, String>,
    /// What its template files see; [`file`](super::render::file) renders them.
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
    let files = files::files(recipe, release, overrides, &mut errors);
    if !errors.is_empty() {
        // A program that uses what is missing would only be refused for the same once more.
        return Err(RecipeError { errors });
    }
    let mut runs = profile::Runs { recipe, binding, context: &context, files: &files, errors: &mut errors };
    let health = runs.health();
    let (hooks, strategy) = (runs.hooks(), runs.strategy());
    let profile = runs.profile();
    let limits = run::limits(&recipe.limits, &binding.overrides.limits);
    let drift = recipe.drift.as_ref().map(Drift::spec).unwrap_or_default();
    let dependencies = dependencies::of(recipe, binding, &mut errors);
    match profile {
        Some(profile) => {
            errors.extend(strategy::unreloadable(recipe, &profile));
            let windows = Windows::from(&recipe.windows);
            // What is no path was refused when the document was read.
            let lock = recipe.lock.as_ref().and_then(|path| FilePath::new(path).ok());
            let labels = context.labels.clone();
            // Nor are these.
            let patterns = |texts: &[String]| texts.iter().filter_map(|pattern| pattern.parse().ok()).collect();
            let resolved = Resolved {
                files,
                profile,
                health,
                hooks,
                strategy,
                reload_if: patterns(&recipe.reload_if),
                restart_if: patterns(&recipe.restart_if),
                limits,
                drift,
                windows,
                lock,
                dependencies,
                labels,
                context,
            };
            RecipeError::unless(errors, resolved)
        }
        None => Err(RecipeError { errors }),
    }
}

/// The cells that a cell depends on. One on itself is there as well.
pub(super) fn dependencies(recipe: &Written<Recipe>, binding: &Written<Binding>) -> Dependencies {
    dependencies::of(recipe, binding, &mut Vec::new())
}

/// What of a cell's variables does not fit its manifest, whatever files there are.
pub(super) fn unfit_vars(recipe: &Written<Recipe>, binding: &Written<Binding>) -> Vec<YamlError> {
    let mut errors = Vec::new();
    context(recipe, binding, &mut errors);
    errors
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

#[cfg(test)]
mod tests;
