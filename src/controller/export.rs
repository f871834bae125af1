//! The texts of manifests and cells as one, as `apply` takes them.

use std::fmt::Write as _;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::inputs::READS;
use super::{Controller, ControllerError};
use crate::model::{CellId, ObjectKey};
use crate::recipe::{self, Parsed};

/// The most bytes of all texts together.
const MOST_BYTES: usize = 32 << 20;

impl Controller {
    /// The texts of all manifests, and of the cells that are wanted, byte for byte. What would not be itself again when
    /// the whole is taken apart is left out, and named in a comment at the beginning.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`] when it is too much for one text, or why the store did not answer.
    pub async fn export_texts(&self, is_wanted: impl Fn(&CellId) -> bool) -> Result<String, ControllerError> {
        // Cells are read first: a manifest that is made for a new cell meanwhile does no harm, a cell without its
        // manifest would.
        let cells: Vec<CellId> = self.cell_ids().await?.into_iter().filter(is_wanted).collect();
        let cells: Vec<Option<(ObjectKey, String)>> = stream::iter(cells)
            .map(async |cell| match self.get_cell(&cell).await {
                Ok(text) => Ok(Some((ObjectKey::CellYaml(cell), text.text))),
                // A removed cell's triggers stay.
                Err(ControllerError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            })
            .buffered(READS)
            .try_collect()
            .await?;
        let mut texts = Vec::new();
        for manifest in self.manifests().await? {
            let text = self.get_manifest(&manifest.name).await?.text;
            texts.push((ObjectKey::ManifestYaml(manifest.name), text));
        }
        texts.extend(cells.into_iter().flatten());
        let (mut whole, mut left_out) = (String::new(), String::new());
        for (key, text) in texts {
            if !is_itself(&text) {
                // Writing into a String cannot fail.
                let _ = writeln!(left_out, "# left out, because it is not one document with a line end: {key}");
                continue;
            }
            if !whole.is_empty() {
                whole.push_str("---\n");
            }
            whole.push_str(&text);
            if whole.len() > MOST_BYTES {
                let problem =
                    format!("they have more than {MOST_BYTES} bytes; `fleetman export` writes them to a folder");
                return Err(ControllerError::invalid("the manifests and cells", problem));
            }
        }
        Ok(left_out + &whole)
    }
}

/// Whether a text is one document, which ends where the next one may begin.
fn is_itself(text: &str) -> bool {
    let Ok(documents) = recipe::read(text, "") else { return false };
    let [document] = &documents[..] else { return false };
    let read = match document {
        Parsed::Manifest(recipe) => recipe.text(),
        Parsed::Cell(binding) => binding.text(),
    };
    text.ends_with('\n') && read == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_itself_again_if_it_is_one_document_with_a_line_end() {
        let manifest = "# mine\nname: site\nprofile: {deploy: {}}\n";
        assert!(is_itself(manifest));
        for other in ["", "name: site\nprofile: {deploy: {}}", "name: [", &format!("{manifest}---\n{manifest}")] {
            assert!(!is_itself(other), "{other}");
        }
    }
}
