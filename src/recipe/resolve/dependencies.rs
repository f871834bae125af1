//! The cells that a cell depends on: as its manifest says, unless it says otherwise itself.

use crate::model::dependencies::Dependencies;
use crate::recipe::Written;
use crate::recipe::written::{Binding, Recipe};
use crate::yaml::{Field, YamlError};

/// The dependencies of a cell. One on itself is an error of the document that has it.
pub(super) fn of(recipe: &Written<Recipe>, binding: &Written<Binding>, errors: &mut Vec<YamlError>) -> Dependencies {
    let mut list = |key: &str, of_recipe: &[_], of_cell: Option<&Vec<_>>| {
        let own = &binding.cell.cell;
        let (names, document) = of_cell.map_or((of_recipe, &recipe.document), |names| (names, &binding.document));
        if let Some(position) = names.iter().position(|name| name == own) {
            let message = format!("the cell {} cannot depend on itself", binding.cell);
            let help = match of_cell {
                Some(_) => "remove it".to_owned(),
                None => format!("leave it out of `{key}` of the cell, which then says what it depends on by itself"),
            };
            errors.push(document.error(&Field::root().key(key).index(position), &message, Some(&help)));
        }
        names.iter().cloned().collect()
    };
    Dependencies {
        after: list("after", &recipe.after, binding.after.as_ref()),
        requires: list("requires", &recipe.requires, binding.requires.as_ref()),
    }
}
