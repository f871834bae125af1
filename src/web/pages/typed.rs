//! The name of what is deleted, typed once more, so that nothing goes by mistake.

use std::fmt::Display;

use axum::http::StatusCode;
use serde::Deserialize;

use crate::web::failure::Failure;

/// What the form sends of a deletion that needs no more than that.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Sent {
    /// The name, typed once more.
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) reason: String,
    /// What the form was about, as [`Facts`](super::sides::Facts) write themselves.
    #[serde(default)]
    pub(super) seen: String,
}

/// Refuses to delete `name` if something else was typed.
pub(super) fn check(typed: &str, name: &impl Display) -> Result<(), Failure> {
    if typed.trim() == name.to_string() {
        return Ok(());
    }
    let detail = format!("Type {name} to go on; found {typed:?}.");
    Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "name_differs", detail))
}
