//! The beginning of an object, as far as a page can show it. What it is, its bytes say: never its name.

use serde::de::IgnoredAny;

use super::{Controller, no_object};
use crate::controller::ControllerError;
use crate::model::ObjectKey;
use crate::store::Meta;
use crate::yaml;

/// The beginning of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// What is known of the object.
    pub meta: Meta,
    /// What its beginning holds.
    pub content: Content,
    /// How many bytes the beginning has; fewer than the object if it is cut.
    pub shown_bytes: u64,
}

/// What bytes are, as far as their beginning tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// There are none.
    Empty,
    /// UTF-8 text, of strangers: it may hold every control character but NUL.
    Text {
        /// What kind of text.
        kind: TextKind,
        /// The text.
        text: String,
    },
    /// Anything else.
    Binary,
}

/// What kind of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// A JSON value, or the beginning of one.
    Json,
    /// A map or list in YAML, whole.
    Yaml,
    /// Some other text.
    Plain,
}

impl Preview {
    /// Whether the object goes on behind what is shown.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.shown_bytes < self.meta.size
    }
}

impl TextKind {
    /// The kind as a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Plain => "text",
        }
    }
}

impl Controller {
    /// The first `most_bytes` of the object at `key`.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none.
    pub async fn preview(&self, key: &ObjectKey, most_bytes: u64) -> Result<Preview, ControllerError> {
        let meta = self.object(key).await?;
        if meta.size == 0 {
            return Ok(Preview { meta, content: Content::Empty, shown_bytes: 0 });
        }
        let shown_bytes = meta.size.min(most_bytes);
        let mut stream = match self.store().open_range(key, 0, shown_bytes).await {
            Err(crate::store::StoreError::NotFound { .. }) => return Err(no_object(key)),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await? {
            bytes.extend_from_slice(&piece);
        }
        let content = recognise(bytes, shown_bytes < meta.size);
        Ok(Preview { meta, content, shown_bytes })
    }
}

fn recognise(mut bytes: Vec<u8>, is_cut: bool) -> Content {
    if let Err(error) = std::str::from_utf8(&bytes)
        && is_cut
        && error.error_len().is_none()
    {
        // The cut went through a character.
        bytes.truncate(error.valid_up_to());
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.is_empty() => Content::Binary,
        Ok(text) if !text.contains('\0') => Content::Text { kind: kind(&text, is_cut), text },
        _ => Content::Binary,
    }
}

fn kind(text: &str, is_cut: bool) -> TextKind {
    if text.trim_start().starts_with(['{', '[']) {
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => return TextKind::Json,
            Err(error) if is_cut && error.is_eof() => return TextKind::Json,
            Err(_) => {}
        }
    }
    // Half a document may read well and mean something else, so only a whole one is taken for YAML.
    let is_yaml = !is_cut && yaml::document(text, "").is_ok_and(|document| !document.is_scalar());
    if is_yaml { TextKind::Yaml } else { TextKind::Plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(bytes: &[u8], is_cut: bool) -> Option<TextKind> {
        match recognise(bytes.to_vec(), is_cut) {
            Content::Text { kind, .. } => Some(kind),
            Content::Empty | Content::Binary => None,
        }
    }

    #[test]
    fn bytes_say_what_they_are() {
        assert_eq!(kind_of(b" {\"a\": [1, 2]}\n", false), Some(TextKind::Json));
        assert_eq!(kind_of(b"{\"a\": [1, 2", true), Some(TextKind::Json));
        assert_eq!(kind_of(b"{\"a\": [1, 2", false), Some(TextKind::Plain));
        assert_eq!(kind_of(b"name: site # kept\nvars: {a: 1}\n", false), Some(TextKind::Yaml));
        assert_eq!(kind_of(b"- a\n- b\n", false), Some(TextKind::Yaml));
        assert_eq!(kind_of(b"name: site\nvars: {a", true), Some(TextKind::Plain));
        assert_eq!(kind_of(b"<script>alert(1)</script>", false), Some(TextKind::Plain));
        assert_eq!(kind_of(b"\x1b[31mred\x07", false), Some(TextKind::Plain));
        assert_eq!(kind_of(b"PK\x03\x04\0\0", false), None);
        assert_eq!(kind_of(b"\xff\xfe", false), None);
    }

    #[test]
    fn a_cut_through_a_character_leaves_text_and_a_broken_one_does_not() {
        let text = "grün".as_bytes();
        assert_eq!(recognise(text[..3].to_vec(), true), Content::Text { kind: TextKind::Plain, text: "gr".into() });
        assert_eq!(recognise(text[..3].to_vec(), false), Content::Binary);
        assert_eq!(recognise(b"gr\xffn".to_vec(), true), Content::Binary);
    }
}
