//! `/alerts`: what is wrong and was told, who is on it, what nobody is told of for a while, and whether telling works.

mod list;
mod seen;
mod silence;
mod test;

pub(in crate::web) use self::list::{Message, messages};
pub(in crate::web) use self::test::{no_receiver, tested_lately};
use crate::web::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/alerts", list::page)
        .get("/alerts/silence", silence::ask)
        .post("/alerts/silence", silence::silence)
        .get("/alerts/unsilence", silence::ask_end)
        .post("/alerts/unsilence", silence::end)
        .get("/alerts/ack", seen::ask)
        .post("/alerts/ack", seen::acknowledge)
        .get("/alerts/unack", seen::ask_back)
        .post("/alerts/unack", seen::take_back)
        .post("/alerts/test", test::test)
}
