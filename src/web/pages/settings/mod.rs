//! What admins look after, and what everybody has of their own: an account and tokens.

mod about;
mod account;
mod doctor;
mod grants;
mod keys;
mod review;
mod tokens;
mod users;

pub(in crate::web) use self::account::change_own as change_password;
pub(in crate::web) use self::keys::Keys;
use crate::web::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/settings", about::about)
        .get("/settings/keys", keys::keys)
        .get("/settings/doctor", doctor::doctor)
        .post("/settings/doctor", doctor::examine)
        .post("/settings/review", review::confirm)
        .get("/settings/users", users::list)
        .post("/settings/users", users::add)
        .post("/settings/vouched/end", users::end_vouched)
        .get("/settings/users/{user}", users::one)
        .post("/settings/users/{user}", users::change)
        .get("/settings/tokens", tokens::list)
        .post("/settings/tokens", tokens::add)
        .post("/settings/tokens/{id}/revoke", tokens::revoke)
        .get("/settings/account", account::account)
        .post("/settings/account", account::change_password)
        .post("/settings/account/end-sessions", account::end_sessions)
}
