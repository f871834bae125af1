//! The pages. Each topic has its folder here, and its templates in `templates/`.

mod agents;
mod alerts;
mod audit;
mod buckets;
mod cell;
mod cell_inputs;
mod cells;
mod deployments;
mod editor;
mod holds;
mod instants;
mod manifests;
mod orders;
mod overview;
mod reference;
mod search;
mod settings;
mod sides;
mod sign_in;
mod typed;
mod uploads;
mod used_by;

pub(super) use self::buckets::count_usage;
pub(super) use self::cell_inputs::diagnose as diagnose_cell;
pub(super) use self::deployments::upload;
pub(super) use self::search::recipes;
pub(super) use self::settings::{Keys, change_password};
pub(super) use self::sign_in::set_cookies;
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .and(agents::routes())
        .and(alerts::routes())
        .and(audit::routes())
        .and(buckets::routes())
        .and(cell::routes())
        .and(cell_inputs::routes())
        .and(cells::routes())
        .and(deployments::routes())
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
