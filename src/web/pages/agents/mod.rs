//! `/agents`: the machines, and what is to be known of one of them.

mod delete;
mod detail;
mod list;
mod select;

use crate::web::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/agents", list::page)
        .get("/agents.csv", list::csv)
        .get("/agents.json", list::json)
        .get("/agents/{node}", detail::page)
        .get("/agents/{node}/delete", delete::page)
        .post("/agents/{node}/delete", delete::delete)
}
