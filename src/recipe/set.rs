//! Documents that are applied together: each once, and each fitting the others.

use std::collections::{BTreeMap, BTreeSet};

use super::resolve::unfit_vars;
use super::written::{Binding, Recipe};
use super::{Parsed, RecipeError, Written, dependencies};
use crate::model::dependencies::Dependencies;
use crate::model::{CellId, ManifestName};
use crate::yaml::{Field, YamlError};

/// Manifests and cells, each of them once.
#[derive(Debug, Clone, Default)]
pub struct Set {
    /// The manifests.
    pub manifests: BTreeMap<ManifestName, Written<Recipe>>,
    /// The cells.
    pub cells: BTreeMap<CellId, Written<Binding>>,
}

impl Set {
    /// Takes documents in any order.
    ///
    /// # Errors
    /// Names every document that is there twice, and where the other one stands.
    pub fn of(documents: Vec<Parsed>) -> Result<Self, RecipeError> {
        let (mut set, mut errors) = (Self::default(), Vec::new());
        for document in documents {
            let twice = match document {
                Parsed::Manifest(recipe) => {
                    let twice = set.manifests.get(&recipe.name).map(|first| recipe.twice(first, "name"));
                    set.manifests.entry(recipe.name.clone()).or_insert(recipe);
                    twice
                }
                Parsed::Cell(binding) => {
                    let twice = set.cells.get(&binding.cell).map(|first| binding.twice(first, "cell"));
                    set.cells.entry(binding.cell.clone()).or_insert(binding);
                    twice
                }
            };
            errors.extend(twice);
        }
        RecipeError::unless(errors, set)
    }

    /// The manifests that a cell of the set is bound to and that are not in it themselves.
    #[must_use]
    pub fn missing(&self) -> BTreeSet<&ManifestName> {
        let named = self.cells.values().map(|binding| &binding.manifest);
        named.filter(|name| !self.manifests.contains_key(*name)).collect()
    }

    /// Checks every cell against its manifest: one of the set, or of `others`.
    ///
    /// # Errors
    /// Every cell whose manifest is nowhere, and every variable that does not fit, with its place.
    pub fn check(&self, others: &BTreeMap<ManifestName, Written<Recipe>>) -> Result<(), RecipeError> {
        let errors = self.cells.values().flat_map(|binding| match self.manifest_of(binding, others) {
            Some(recipe) => unfit_vars(recipe, binding),
            None => vec![nowhere(binding)],
        });
        RecipeError::unless(errors.collect(), ())
    }

    /// The labels of a cell of the set: those of its manifest, and over them its own.
    #[must_use]
    pub fn labels(
        &self,
        binding: &Binding,
        others: &BTreeMap<ManifestName, Written<Recipe>>,
    ) -> BTreeMap<String, String> {
        let mut labels = self.manifest_of(binding, others).map(|recipe| recipe.labels.clone()).unwrap_or_default();
        labels.extend(binding.labels.clone());
        labels
    }

    /// Refuses documents without these labels: what carries no mark of its owner could never be pruned.
    ///
    /// # Errors
    /// Every such document, with its place.
    pub fn check_labels(
        &self,
        labels: &BTreeMap<String, String>,
        others: &BTreeMap<ManifestName, Written<Recipe>>,
    ) -> Result<(), RecipeError> {
        let manifests = self.manifests.values().filter_map(|recipe| recipe.unlabelled(labels, &recipe.labels));
        let cells = self.cells.values().filter_map(|cell| cell.unlabelled(labels, &self.labels(cell, others)));
        RecipeError::unless(manifests.chain(cells).collect(), ())
    }

    /// What a cell of the set depends on.
    #[must_use]
    pub fn dependencies(
        &self,
        binding: &Written<Binding>,
        others: &BTreeMap<ManifestName, Written<Recipe>>,
    ) -> Dependencies {
        self.manifest_of(binding, others).map(|recipe| dependencies(recipe, binding)).unwrap_or_default()
    }

    fn manifest_of<'a>(
        &'a self,
        binding: &Binding,
        others: &'a BTreeMap<ManifestName, Written<Recipe>>,
    ) -> Option<&'a Written<Recipe>> {
        self.manifests.get(&binding.manifest).or_else(|| others.get(&binding.manifest))
    }
}

impl<T> Written<T> {
    /// That this document says again what `first` said; `key` names both.
    fn twice(&self, first: &Self, key: &str) -> YamlError {
        let key = Field::root().key(key);
        let there = first.document.error(&key, "", None);
        let help = format!("the other one stands at {}:{}; leave one of the two out", there.file, there.line);
        self.document.error(&key, "it is there twice", Some(&help))
    }
}

impl<T> Written<T> {
    fn unlabelled(&self, wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Option<YamlError> {
        let (key, value) = wanted.iter().find(|(key, value)| found.get(*key) != Some(*value))?;
        let message = format!("the label `{key}: {value}` is missing, by which what may be pruned is known");
        let help = "add it to `labels`, or prune by other labels";
        Some(self.document.error(&Field::root().key("labels").key(key), &message, Some(help)))
    }
}

fn nowhere(binding: &Written<Binding>) -> YamlError {
    let message = format!("there is no manifest `{}`, neither here nor in the bucket", binding.manifest);
    let help = "apply it together with the cell, or correct the name";
    binding.document.error(&Field::root().key("manifest"), &message, Some(help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;

    const SITE: &str = "name: site\nlabels: {app: a, tier: web}\nvars: {port: {}}\nprofile: {deploy: {}}\n";

    fn set(texts: &[(&str, &str)]) -> Result<Set, RecipeError> {
        Set::of(texts.iter().flat_map(|(origin, text)| recipe::read(text, origin).unwrap()).collect())
    }

    fn places(error: RecipeError) -> Vec<(String, usize, usize)> {
        error.errors().iter().map(|error| (error.file.clone(), error.line, error.column)).collect()
    }

    #[test]
    fn what_is_there_twice_is_named_with_both_places() {
        let cell = "cell: n1/web\nmanifest: site\n";
        let error = set(&[("a.yaml", SITE), ("b.yaml", &format!("{cell}---\n{SITE}")), ("c.yaml", cell)]).unwrap_err();
        assert!(error.errors()[0].help.as_deref().unwrap().contains("a.yaml:1"), "{error}");
        assert_eq!(places(error), [("b.yaml".to_owned(), 4, 7), ("c.yaml".to_owned(), 1, 7)]);
    }

    #[test]
    fn a_cell_is_held_against_its_manifest_wherever_that_is() {
        let alone = set(&[("c.yaml", "cell: n1/web\nmanifest: site\nvars: {prot: 1}\n")]).unwrap();
        assert_eq!(alone.missing().len(), 1);
        assert_eq!(places(alone.check(&BTreeMap::new()).unwrap_err()), [("c.yaml".to_owned(), 2, 11)]);
        let others = set(&[("s", SITE)]).unwrap().manifests;
        assert_eq!(alone.check(&others).unwrap_err().errors().len(), 2, "one is missing and one unknown");
        let whole = set(&[("s", SITE), ("c", "cell: n1/web\nmanifest: site\nvars: {port: 1}\nlabels: {app: b}\n")]);
        let whole = whole.unwrap();
        whole.check(&BTreeMap::new()).unwrap();
        assert!(whole.missing().is_empty());
        let labels = whole.labels(&whole.cells.values().next().unwrap().clone(), &BTreeMap::new());
        assert_eq!((labels["app"].as_str(), labels["tier"].as_str()), ("b", "web"));
        let marked = |key: &str, value: &str| {
            let wanted = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            whole.check_labels(&wanted, &BTreeMap::new()).map_err(places)
        };
        assert_eq!(marked("tier", "web"), Ok(()), "the cell has it from its manifest");
        assert_eq!(marked("app", "a"), Err(vec![("c".to_owned(), 4, 15)]), "the cell says otherwise");
        assert_eq!(marked("team", "x").unwrap_err().len(), 2);
    }
}
