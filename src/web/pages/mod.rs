//! The pages. Each topic has its folder here, and its templates in `templates/`.

mod agents;
mod alerts;
mod apply;
mod audit;
mod buckets;
mod bulk;
mod bundles;
mod cell;
mod cell_inputs;
mod cells;
mod deployments;
mod editor;
mod events;
mod holds;
mod instants;
mod lasting;
mod manifests;
mod orders;
mod overview;
mod reference;
mod search;
mod settings;
mod sides;
mod sign_in;
mod steps;
mod typed;
mod uploads;
mod used_by;

pub(super) use self::alerts::{Message, messages, no_receiver, tested_lately};
pub(super) use self::buckets::count_usage;
pub(super) use self::bundles::{download as download_bundle, load as load_bundle, receive as receive_bundle};
pub(super) use self::cell_inputs::diagnose as diagnose_cell;
pub(crate) use self::cells::listed as listed_cells;
pub(super) use self::deployments::Arrived as ArrivedRelease;
pub(super) use self::search::recipes;
pub(super) use self::settings::{Keys, change_password};
pub(super) use self::sign_in::set_cookies;
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .and(agents::routes())
        .and(alerts::routes())
        .and(apply::routes())
        .and(audit::routes())
        .and(buckets::routes())
        .and(bulk::routes())
        .and(bundles::routes())
        .and(cell::routes())
        .and(cell_inputs::routes())
        .and(cells::routes())
        .and(deployments::routes())
        .and(events::routes())
        .and(holds::routes())
        .and(instants::routes())
        .and(manifests::routes())
        .and(orders::routes())
        .and(overview::routes())
        .and(reference::routes())
        .and(search::routes())
        .and(settings::routes())
        .and(sign_in::routes())
        .and(uploads::routes())
}
