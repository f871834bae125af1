//! `/alerts`: what is wrong and was told, and what nobody is told of for a while.

mod list;
mod silence;

pub(in crate::web) use self::list::{Message, messages};
use crate::web::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/alerts", list::page)
        .get("/alerts/silence", silence::ask)
        .post("/alerts/silence", silence::silence)
        .get("/alerts/unsilence", silence::ask_end)
        .post("/alerts/unsilence", silence::end)
}
