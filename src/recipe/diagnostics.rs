//! What an editor shows of a text that is being written: everything that is wrong with it, each with its place.

use schemars::JsonSchema;
use serde::Serialize;

use super::resolve::unfit_vars;
use super::written::{Binding, Recipe};
use super::{Written, checked};
use crate::model::{CellId, ManifestName};
use crate::yaml::{self, Field, YamlError};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The text is refused.
    Error,
    /// The text can be kept, but nothing can be published with it.
    Warning,
}

/// One thing that is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diagnostic {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The first column behind the place, where it ends on the same line.
    pub end_column: Option<usize>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    fn new(severity: Severity, error: &YamlError) -> Self {
        let yaml::Diagnostic { line, column, end_column, message, help, .. } = &**error;
        let (message, help) = (message.clone(), help.clone());
        Self { line: *line, column: *column, end_column: *end_column, severity, message, help }
    }
}

/// What is wrong with the text of a manifest. With `name` it has to be the one of that name.
#[must_use]
pub fn of_manifest(text: &str, name: Option<&ManifestName>) -> Vec<Diagnostic> {
    let found = match read::<Recipe>(text) {
        Ok(recipe) => recipe,
        Err(diagnostics) => return diagnostics,
    };
    let other = name.filter(|name| found.name != **name);
    let other = other.map(|name| misnamed(&found, "name", &found.name.to_string(), &format!("manifest `{name}`")));
    other.into_iter().collect()
}

/// What is wrong with the text of a cell. With `cell` it has to be that one; with the manifest that it names, what does
/// not fit that is warned of.
#[must_use]
pub fn of_cell(text: &str, cell: Option<&CellId>, manifest: Option<&Written<Recipe>>) -> Vec<Diagnostic> {
    let found = match read::<Binding>(text) {
        Ok(binding) => binding,
        Err(diagnostics) => return diagnostics,
    };
    let other = cell.filter(|cell| found.cell != **cell);
    let other = other.map(|cell| misnamed(&found, "cell", &found.cell.to_string(), &format!("cell `{cell}`")));
    let unfit = manifest.filter(|manifest| manifest.name == found.manifest);
    let unfit = unfit.map(|manifest| unfit_vars(manifest, &found)).unwrap_or_default();
    other.into_iter().chain(unfit.iter().map(|error| Diagnostic::new(Severity::Warning, error))).collect()
}

fn read<T: serde::de::DeserializeOwned + super::validate::Check>(text: &str) -> Result<Written<T>, Vec<Diagnostic>> {
    let refused = |errors: &[YamlError]| errors.iter().map(|error| Diagnostic::new(Severity::Error, error)).collect();
    let document = yaml::document(text, "").map_err(|error| refused(&[error]))?;
    checked(document).map_err(|error| refused(error.errors()))
}

/// Names cannot be changed by editing: the text would belong elsewhere.
fn misnamed<T>(written: &Written<T>, field: &str, found: &str, expected: &str) -> Diagnostic {
    let message = format!("this is the text of {expected}, and it says `{found}`");
    let help = "put the name back; under another name it is another one, which is made anew";
    Diagnostic::new(Severity::Error, &written.document.error(&Field::root().key(field), &message, Some(help)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;

    #[test]
    fn each_mistake_has_its_place() {
        let text = "name: web\nprofile:\n  process:\n    comand: [x]\n";
        let found = of_manifest(text, None);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].line, found[0].column, found[0].end_column), (4, 5, Some(11)));
        assert_eq!(found[0].severity, Severity::Error);
        assert!(found[0].help.as_ref().unwrap().contains("command"), "{found:?}");
        assert_eq!(of_manifest("name: web\nprofile: {deploy: {}}\n", None), []);
    }

    #[test]
    fn mistakes_that_can_be_seen_side_by_side_are_told_together() {
        let text = "name: web\nlabels:\n  -a: b\n  c: -d\nprofile: {deploy: {}}\n";
        let lines: Vec<usize> = of_manifest(text, None).iter().map(|found| found.line).collect();
        assert_eq!(lines, [3, 4]);
    }

    #[test]
    fn a_text_that_is_no_yaml_is_refused_where_it_breaks_off() {
        let found = of_cell("cell: n1/web\nmanifest: [\n", None, None);
        assert_eq!(found.len(), 1);
        assert!(found[0].line >= 2, "{found:?}");
        assert_eq!(of_manifest("", None).len(), 1, "an empty text is no manifest");
    }

    #[test]
    fn a_text_that_belongs_elsewhere_is_refused_at_its_name() {
        let name = ManifestName::new("api").unwrap();
        let found = of_manifest("# the site\nname: web\nprofile: {deploy: {}}\n", Some(&name));
        assert_eq!((found[0].line, found[0].column, found[0].severity), (2, 7, Severity::Error));
        let cell: CellId = "n1/api".parse().unwrap();
        assert_eq!(of_cell("cell: n1/web\nmanifest: web\n", Some(&cell), None)[0].line, 1);
        assert_eq!(of_cell("cell: n1/api\nmanifest: web\n", Some(&cell), None), []);
    }

    #[test]
    fn what_does_not_fit_the_manifest_is_warned_of() {
        let text = "name: web\nvars:\n  port: {}\n  user: {default: web}\nprofile: {deploy: {}}\n";
        let manifest = recipe::manifest(text, "").unwrap();
        let found = of_cell("cell: n1/web\nmanifest: web\nvars:\n  prot: 1\n", None, Some(&manifest));
        assert_eq!(found.len(), 2, "one is missing and one unknown: {found:?}");
        assert!(found.iter().all(|found| found.severity == Severity::Warning), "{found:?}");
        assert!(found.iter().any(|found| found.help.as_deref() == Some("did you mean `port`?")), "{found:?}");
        let other = "cell: n1/web\nmanifest: other\nvars: {prot: 1}\n";
        assert_eq!(of_cell(other, None, Some(&manifest)), [], "another manifest says nothing about it");
    }
}
