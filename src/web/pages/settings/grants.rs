//! What somebody may do, as forms write it: a role a line, with `:` and a pattern of cells if it is not for all.

use axum::http::StatusCode;

use crate::model::users::{CellPattern, Grant};
use crate::web::failure::Failure;

/// Reads what a form sent.
pub(super) fn read(text: &str) -> Result<Vec<Grant>, Failure> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
    let grants: Result<Vec<Grant>, _> = words.map(str::parse).collect();
    grants.map_err(|error| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "grants", error.to_string()))
}

/// As forms show it.
pub(super) fn written(grants: &[Grant]) -> String {
    let line = |grant: &Grant| match &grant.cells {
        CellPattern::Everything => grant.role.to_string(),
        CellPattern::Cells { .. } => grant.to_string(),
    };
    grants.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_shows_is_what_it_reads() {
        let text = "viewer\noperator:edge-*/*";
        assert_eq!(written(&read(text).unwrap()), text);
        assert_eq!(written(&read(" viewer,\r\n operator:edge-*/* ").unwrap()), text);
        assert_eq!(read("").unwrap(), []);
        assert_eq!(read("viewer root").unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
}
