//! The pages. Each topic has its folder here, and its templates in `templates/`.

mod cell;
mod editor;
mod listing;
mod manifests;
mod orders;
mod overview;
mod used_by;

use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().and(cell::routes()).and(manifests::routes()).and(orders::routes()).and(overview::routes())
}
