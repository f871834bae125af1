//! The pages. Each topic has its folder here, and its templates in `templates/`.

mod orders;
mod overview;

use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().and(overview::routes()).and(orders::routes())
}
