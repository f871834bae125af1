//! What admins look after.

mod about;
mod doctor;
mod keys;

use crate::web::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/settings", about::about)
        .get("/settings/keys", keys::keys)
        .get("/settings/doctor", doctor::doctor)
        .post("/settings/doctor", doctor::examine)
}
