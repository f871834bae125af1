//! Pausing a cell by an edit of its text, which leaves every other byte as it was written.

use super::written::{Binding, Paused};
use super::{RecipeError, Written, cell};
use crate::yaml::Field;

impl Written<Binding> {
    /// The cell's text with `paused` in it, or without. The cell that the new text gives differs in nothing else.
    ///
    /// # Errors
    /// When the text is written in a way that cannot be edited line by line.
    pub fn with_paused(&self, paused: Option<&Paused>) -> Result<String, RecipeError> {
        let mut lines: Vec<&str> = self.text().split_inclusive('\n').collect();
        if let Some(key) = lines.iter().position(|line| line.starts_with("paused:")) {
            lines.drain(key..end_of_block(&lines, key));
        }
        let mut text = lines.concat();
        if let Some(paused) = paused {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&written(paused));
        }
        let wanted = Binding { paused: paused.cloned(), ..self.value.clone() };
        match cell(&text, "cell.yaml") {
            Ok(edited) if edited.value == wanted => Ok(text),
            _ => {
                let help = "write each key on a line of its own, or edit the file by hand";
                let message = "`paused` cannot be edited in a text that is written like this";
                Err(self.document.error_at_key(&Field::root().key("paused"), message, Some(help)).into())
            }
        }
    }
}

/// The line behind the last one that belongs to the key at the margin of line `key`.
fn end_of_block(lines: &[&str], key: usize) -> usize {
    let mut end = key + 1;
    for (number, line) in lines.iter().enumerate().skip(key + 1) {
        if line.starts_with([' ', '\t']) {
            end = number + 1;
        } else if !line.trim().is_empty() {
            break;
        }
    }
    end
}

fn written(paused: &Paused) -> String {
    let Paused { reason, by, since } = paused;
    // A JSON string is a YAML string.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!("paused:\n  reason: {}\n", quoted(reason));
    if let Some(by) = by {
        text += &format!("  by: {}\n", quoted(by));
    }
    if let Some(since) = since {
        text += &format!("  since: {}\n", quoted(&since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused() -> Paused {
        Paused {
            reason: "moving: \"house\" # soon\n~".to_owned(),
            by: Some("alice".to_owned()),
            since: chrono::DateTime::from_timestamp(1_795_000_000, 0),
        }
    }

    fn edited(text: &str, paused: Option<&Paused>) -> Result<String, RecipeError> {
        cell(text, "cell.yaml").unwrap().with_paused(paused)
    }

    #[test]
    fn pausing_and_resuming_leave_every_other_byte() {
        for text in [
            "# mine\ncell: n1/web # here\nmanifest: web\n\nvars: {a: 1}\n# end\n",
            "cell: n1/web\nmanifest: web\nvars:\n  paused: 1\n",
        ] {
            let once = edited(text, Some(&paused())).unwrap();
            assert!(once.starts_with(text), "{once}");
            assert_eq!(cell(&once, "c").unwrap().paused, Some(paused()));
            assert_eq!(edited(&once, Some(&paused())).unwrap(), once, "pausing twice");
            assert_eq!(edited(&once, None).unwrap(), text);
        }
    }

    #[test]
    fn the_block_is_found_in_the_middle_and_replaced() {
        let text = "cell: n1/web\npaused:\n  reason: old\n\n  by: bob\n# kept\nmanifest: web";
        assert_eq!(edited(text, None).unwrap(), "cell: n1/web\n# kept\nmanifest: web");
    }

    #[test]
    fn a_text_that_cannot_be_edited_is_refused() {
        let error = edited("{cell: n1/web, manifest: web, paused: {reason: x}}\n", None).unwrap_err();
        assert!(error.to_string().starts_with("cell.yaml:1:31: paused: `paused` cannot be edited"), "{error}");
        assert!(edited("{cell: n1/web, manifest: web}\n", Some(&paused())).is_err());
    }
}
