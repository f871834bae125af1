//! The YAML that people write: manifests and the cells that bind them to nodes.
//!
//! A text goes through [`read`], [`manifest`] or [`cell`], which refuse what is not well formed or makes no sense,
//! with the exact place. [`resolve`] then puts a manifest, a cell and the files of a release together into what a
//! version is, and its templates are [rendered](render). All of it is pure: the same texts and files always give the
//! same version.
//!
//! A text may hold several documents. Each shows its kind by its first key: a manifest has a `name`, a cell is a
//! `cell: <node>/<cell>`. There is no envelope around either, so what `apply` takes is byte for byte what the bucket
//! keeps and what an editor checks against the [`schema`].

mod clash;
pub mod diagnostics;
pub mod either;
mod pause;
pub mod render;
pub mod resolve;
pub mod schema;
mod set;
mod validate;
pub mod value;
pub mod written;

use std::fmt;
use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::set::Set;
use self::validate::Check;
use self::written::{Binding, Recipe};
use crate::model::dependencies::Dependencies;
use crate::yaml::{self, Document, YamlError};

/// A value that was read, with the document that it was read from: to keep that as it was written, and to point at
/// places in it.
#[derive(Debug, Clone)]
pub struct Written<T> {
    value: T,
    document: Document,
}

impl<T> Written<T> {
    /// The document's own text, byte for byte.
    #[must_use]
    pub fn text(&self) -> &str {
        self.document.text()
    }
}

impl<T> Deref for Written<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The cells that a cell depends on, as the two documents say.
#[must_use]
pub fn dependencies(recipe: &Written<Recipe>, binding: &Written<Binding>) -> Dependencies {
    resolve::dependencies(recipe, binding)
}

/// One of the two kinds of document.
#[derive(Debug, Clone)]
pub enum Parsed {
    /// A manifest.
    Manifest(Written<Recipe>),
    /// A cell.
    Cell(Written<Binding>),
}

/// Everything that is wrong with one or more documents; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RecipeError {
    errors: Vec<YamlError>,
}

impl RecipeError {
    /// What is wrong, in the order of the documents.
    #[must_use]
    pub fn errors(&self) -> &[YamlError] {
        &self.errors
    }

    /// `value`, unless there are errors.
    fn unless<T>(errors: Vec<YamlError>, value: T) -> Result<T, Self> {
        if errors.is_empty() { Ok(value) } else { Err(Self { errors }) }
    }
}

impl From<YamlError> for RecipeError {
    fn from(error: YamlError) -> Self {
        Self { errors: vec![error] }
    }
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.errors.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for RecipeError {}

/// Reads every document of a text, manifests and cells in any order. `origin` names the text in errors.
///
/// # Errors
/// What is wrong with any of the documents.
pub fn read(text: &str, origin: &str) -> Result<Vec<Parsed>, RecipeError> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for document in yaml::documents(text, origin)? {
        let read = if document.has_key("cell") {
            checked(document).map(Parsed::Cell)
        } else if document.has_key("name") {
            checked(document).map(Parsed::Manifest)
        } else {
            let message = "this is neither a manifest nor a cell";
            let help = "a manifest has `name: <manifest>`, a cell has `cell: <node>/<cell>`";
            Err(document.error(&yaml::Field::root(), message, Some(help)).into())
        };
        match read {
            Ok(read) => found.push(read),
            Err(error) => errors.extend(error.errors),
        }
    }
    RecipeError::unless(errors, found)
}

/// Reads a text that holds one manifest.
///
/// # Errors
/// What is wrong with it.
pub fn manifest(text: &str, origin: &str) -> Result<Written<Recipe>, RecipeError> {
    checked(yaml::document(text, origin)?)
}

/// Reads a text that holds one cell.
///
/// # Errors
/// What is wrong with it.
pub fn cell(text: &str, origin: &str) -> Result<Written<Binding>, RecipeError> {
    checked(yaml::document(text, origin)?)
}

fn checked<T: DeserializeOwned + Check>(document: Document) -> Result<Written<T>, RecipeError> {
    let value: T = document.parse()?;
    let errors = validate::errors(&document, &value);
    RecipeError::unless(errors, Written { value, document })
}

#[cfg(test)]
mod tests;
