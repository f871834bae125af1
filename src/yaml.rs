//! Text to typed value, with line and column.
//!
//! Two parsers of different origin read every text. `serde_yaml` decides what each scalar *is*; `granit-parser`
//! tells *where* each key and value stands and finds what `serde_yaml` lets pass, such as a key given twice. Where
//! they do not see the same thing the text is refused with "quote this value", rather than one of them believed.
//! One deserializer then runs over the result, so that every refusal knows its place, its field and what was
//! expected; `serde_yaml`'s own errors point at the start of the document for several of these.
//!
//! What people write here is smaller than YAML, and each thing that is left out is refused by name:
//! - null: a key without a value says nothing;
//! - anchors, aliases and merge keys: what stands in a file is all there is, and nothing can grow in the reading;
//! - tags and directives;
//! - keys that are not text.
//!
//! A value that is wanted as text keeps the very characters that were written: `1.10`, `0644` and `off` stay so.

mod de;
mod error;
pub(crate) mod quantity;
mod tree;

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;

pub use self::error::{Diagnostic, YamlError};
pub use self::quantity::HumanDuration;
use self::tree::Node;

/// The longest text that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Reads one document.
///
/// `origin` names the text in errors: a file name, or whatever tells a person where to look.
///
/// # Errors
/// Names the first thing that is wrong, and its place. A text with no document, or with several, is refused too.
pub fn parse<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, YamlError> {
    document(text, origin)?.parse()
}

/// Reads one document that may hold secrets: an error points at the place but does not show the line, nor quote what is
/// wanted as text, number, list or map. What a type's own refusal says is up to the type.
///
/// # Errors
/// See [`parse`].
pub fn parse_private<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, YamlError> {
    parse(text, origin).map_err(YamlError::without_source)
}

/// Reads the one document of a text, for a caller that also has to point at places in it later.
///
/// # Errors
/// See [`parse`].
pub fn document(text: &str, origin: &str) -> Result<Document, YamlError> {
    let mut found = documents(text, origin)?;
    if let Some(second) = found.get(1) {
        return Err(second.error(
            &Field::root(),
            "a second document begins here",
            Some("put it into a file of its own"),
        ));
    }
    // `documents` never returns none.
    Ok(found.swap_remove(0))
}

/// Reads every document of a text. Places are those of the whole text; empty documents are passed over.
///
/// # Errors
/// What is wrong with the text as YAML; nothing typed is looked at yet. A text without any document is refused.
pub fn documents(text: &str, origin: &str) -> Result<Vec<Document>, YamlError> {
    let source = Source { text, origin };
    let found = tree::read(source)?;
    if found.is_empty() {
        return Err(source.error(tree::Place::START, "", "the document is empty", None));
    }
    let (text, origin): (Arc<str>, Arc<str>) = (text.into(), origin.into());
    // What stands alone is kept byte for byte, with a marker and comments above it.
    let is_alone = found.len() == 1;
    let document = |(range, root)| {
        let range = if is_alone { 0..text.len() } else { range };
        Document { text: text.clone(), origin: origin.clone(), range, root }
    };
    Ok(found.into_iter().map(document).collect())
}

/// One document of a text: its values, and where each of them stands.
#[derive(Debug, Clone)]
pub struct Document {
    /// The whole text, with the other documents: lines are counted in it.
    text: Arc<str>,
    origin: Arc<str>,
    range: Range<usize>,
    root: Node,
}

impl Document {
    /// The document's own text, byte for byte; where it is one of several, without the `---` line above it.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.get(self.range.clone()).unwrap_or_default()
    }

    fn source(&self) -> Source<'_> {
        Source { text: &self.text, origin: &self.origin }
    }

    /// Whether the document is a map with this key, for telling kinds of documents apart.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        self.root.entry(key).is_some()
    }

    /// Whether the document is one value rather than a map or a list.
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        matches!(self.root.kind, tree::Kind::Scalar(_))
    }

    /// Every value that is neither list nor map, in the order of the text. Empty lists and maps have none.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        gather(&self.root, &Field::root(), &mut leaves);
        leaves
    }

    /// Whether something is written at `field`.
    #[must_use]
    pub fn has(&self, field: &Field) -> bool {
        self.root.walk(&field.0).is_ok()
    }

    /// The typed value.
    ///
    /// # Errors
    /// Names the first thing that is wrong, and its place.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, YamlError> {
        de::from_node(&self.root).map_err(|fault| fault.into_error(self.source(), &self.root))
    }

    /// An error about a value that reads well but makes no sense. It points at the value of `field`, or where that
    /// is absent at the nearest thing around it.
    #[must_use]
    pub fn error(&self, field: &Field, message: &str, help: Option<&str>) -> YamlError {
        self.source().error(self.root.place_of(&field.0), &field.to_string(), message, help.map(str::to_owned))
    }

    /// As [`error`](Self::error), but points at the key of `field`.
    #[must_use]
    pub fn error_at_key(&self, field: &Field, message: &str, help: Option<&str>) -> YamlError {
        self.source().error(self.root.place_of_key(&field.0), &field.to_string(), message, help.map(str::to_owned))
    }
}

/// A value that is neither list nor map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The way to it.
    pub field: Field,
    /// As it was written, without quotes.
    pub text: String,
    /// Its line, counted from 1.
    pub line: usize,
}

fn gather(node: &Node, field: &Field, leaves: &mut Vec<Leaf>) {
    match &node.kind {
        tree::Kind::Scalar(scalar) => {
            leaves.push(Leaf { field: field.clone(), text: scalar.text.clone(), line: node.place.line });
        }
        tree::Kind::List(items) => {
            items.iter().enumerate().for_each(|(index, item)| gather(item, &field.index(index), leaves));
        }
        tree::Kind::Map(entries) => {
            entries.iter().for_each(|entry| gather(&entry.value, &field.key(entry.key.as_str()), leaves));
        }
    }
}

/// A text and its name.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    text: &'a str,
    origin: &'a str,
}

impl Source<'_> {
    fn error(self, place: tree::Place, field: &str, message: &str, help: Option<String>) -> YamlError {
        YamlError::new(self, place, field, message, help)
    }
}

/// The way from a document's root to one value. Displayed as `files[2].mode`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Field(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Field {
    /// The document itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// The value of `key` in this map.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.then(Step::Key(key.into()))
    }

    /// The item of this list, counted from zero.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// The keys on the way, outermost first.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if is_word(key) && position == 0 => f.write_str(key)?,
                Step::Key(key) if is_word(key) => write!(f, ".{key}")?,
                Step::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn is_word(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

/// The one of `known` that `given` most likely stands for, if any is near enough to suggest.
#[must_use]
pub fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    error::nearest(given, known)
}

#[cfg(test)]
mod tests;
