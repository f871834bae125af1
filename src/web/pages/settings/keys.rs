//! `/settings/keys`: what this controller signs with, and whom it believes.

use askama::Template;
use axum::response::Response;

use crate::model::Epoch;
use crate::model::sign::{KeyId, PublicKey};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

#[derive(Template)]
#[template(path = "settings/keys.html")]
struct Page {
    shell: Shell,
    /// Whether signatures are off.
    is_unsigned: bool,
    /// Why nothing is signed here.
    no_key: Option<String>,
    keys: Vec<Row>,
}

/// A key.
struct Row {
    id: KeyId,
    text: String,
    epoch: Epoch,
    is_own: bool,
    is_trusted: bool,
    /// How many cells' newest trigger it signed.
    cells: usize,
}

pub(super) async fn keys(page: PageContext) -> Result<Response, Failure> {
    let keys = page.may().signing_keys()?;
    let shell = page.shell("Keys", Nav::Settings, "fleetman doctor".to_owned());
    // Without a view nothing is known of the cells, and the keys are still the keys.
    let view = page.caller.whole_view().ok();
    let signed = |id: KeyId| {
        let cells = view.iter().flat_map(|view| view.cells());
        cells.filter(|cell| cell.desired().is_some_and(|desired| desired.signed_by == Some(id))).count()
    };
    let row = |key: &PublicKey, epoch: Epoch, is_own: bool, is_trusted: bool| Row {
        id: key.id(),
        text: key.to_string(),
        epoch,
        is_own,
        is_trusted,
        cells: signed(key.id()),
    };
    let is_unsigned = keys.trusted.is_none();
    let trusted = keys.trusted.unwrap_or_default();
    let is_own = |key: &PublicKey| keys.own.as_ref().is_some_and(|(own, _)| own == key);
    let mut rows: Vec<Row> =
        trusted.iter().map(|pinned| row(&pinned.key, pinned.epoch, is_own(&pinned.key), true)).collect();
    if let Some((own, epoch)) = &keys.own
        && !rows.iter().any(|row| row.is_own)
    {
        rows.insert(0, row(own, *epoch, true, false));
    }
    let no_key = page.caller.fleet.unsigned_reason.clone();
    page.render(&Page { shell, is_unsigned, no_key, keys: rows })
}
