//! Which files of a release and of a cell belong to a version.

use std::collections::{BTreeMap, BTreeSet};

use super::{ResolvedFile, Source};
use crate::model::deployment::DeploymentFile;
use crate::model::manifest::Mode;
use crate::model::path::check_together;
use crate::model::{FilePath, PathPattern};
use crate::recipe::Written;
use crate::recipe::written::{FileRule, Recipe};
use crate::yaml::{self, Field, YamlError};

/// A rule of the manifest, ready to be asked.
struct Matcher<'r> {
    rule: &'r FileRule,
    glob: Option<PathPattern>,
    excluded: Vec<PathPattern>,
}

impl<'r> Matcher<'r> {
    fn new(rule: &'r FileRule) -> Self {
        // What is no glob was refused when the manifest was read.
        let glob_of = |pattern: &String| pattern.parse().ok();
        let excluded = rule.exclude.iter().filter_map(glob_of).collect();
        Self { rule, glob: rule.glob.as_ref().and_then(glob_of), excluded }
    }

    fn matches(&self, path: &FilePath) -> bool {
        let path = path.as_str();
        match &self.glob {
            Some(glob) => glob.matches(path) && !self.excluded.iter().any(|excluded| excluded.matches(path)),
            None => self.rule.path.as_deref() == Some(path),
        }
    }
}

pub(super) fn files(
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
pub(super) fn near_misses<'p>(wanted: &str, paths: &BTreeSet<&'p FilePath>) -> Vec<&'p FilePath> {
    const MOST: usize = 3;
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let elsewhere = format!("**/{wanted}").parse::<PathPattern>();
    let same_name = paths.iter().copied().filter(|path| {
        name(path.as_str()) == name(wanted) || elsewhere.as_ref().is_ok_and(|glob| glob.matches(path.as_str()))
    });
    let mut near: Vec<&FilePath> = same_name.take(MOST).collect();
    if near.is_empty() {
        let text = yaml::nearest(wanted, paths.iter().map(|path| path.as_str()));
        near.extend(text.and_then(|text| paths.iter().copied().find(|path| path.as_str() == text)));
    }
    near
}

pub(super) fn listed<'p>(paths: impl Iterator<Item = &'p FilePath>) -> String {
    paths.map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
}
