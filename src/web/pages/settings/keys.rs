//! `/settings/keys`: what this controller signs with, and whom it believes.

use askama::Template;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;

use crate::model::Epoch;
use crate::model::sign::{KeyId, PublicKey};
use crate::web::caller::Caller;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

#[derive(Template)]
#[template(path = "settings/keys.html")]
struct Page {
    shell: Shell,
    found: Keys,
}

/// What this controller signs with, and whom it believes.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::web) struct Keys {
    /// Whether signatures are off.
    is_unsigned: bool,
    /// Why nothing is signed here, if so.
    no_key: Option<String>,
    /// The keys: its own, and those that it trusts.
    keys: Vec<Key>,
}

/// A public key.
#[derive(Debug, Serialize, JsonSchema)]
struct Key {
    /// How documents name it.
    id: String,
    /// As it stands in configs.
    public_key: String,
    /// Its epoch: what a key of a higher one signed counts for more.
    epoch: Epoch,
    /// Whether this controller signs with it.
    is_own: bool,
    /// Whether this controller believes it.
    is_trusted: bool,
    /// How many cells' newest trigger it signed.
    cells: usize,
}

impl Keys {
    /// Those of the fleet that `caller` asks about.
    pub(in crate::web) fn of(caller: &Caller) -> Result<Self, Failure> {
        let keys = caller.may.signing_keys()?;
        // Without a view nothing is known of the cells, and the keys are still the keys.
        let view = caller.whole_view().ok();
        let signed = |id: KeyId| {
            let cells = view.iter().flat_map(|view| view.cells());
            cells.filter(|cell| cell.desired().is_some_and(|desired| desired.signed_by == Some(id))).count()
        };
        let key = |key: &PublicKey, epoch: Epoch, is_own: bool, is_trusted: bool| Key {
            id: key.id().to_string(),
            public_key: key.to_string(),
            epoch,
            is_own,
            is_trusted,
            cells: signed(key.id()),
        };
        let is_unsigned = keys.trusted.is_none();
        let trusted = keys.trusted.unwrap_or_default();
        let is_own = |key: &PublicKey| keys.own.as_ref().is_some_and(|(own, _)| own == key);
        let mut found: Vec<Key> =
            trusted.iter().map(|pinned| key(&pinned.key, pinned.epoch, is_own(&pinned.key), true)).collect();
        if let Some((own, epoch)) = &keys.own
            && !found.iter().any(|key| key.is_own)
        {
            found.insert(0, key(own, *epoch, true, false));
        }
        Ok(Self { is_unsigned, no_key: caller.fleet.unsigned_reason.clone(), keys: found })
    }
}

pub(super) async fn keys(page: PageContext) -> Result<Response, Failure> {
    let found = Keys::of(&page.caller)?;
    let shell = page.shell("Keys", Nav::Settings, "fleetman config show".to_owned());
    page.render(&Page { shell, found })
}
