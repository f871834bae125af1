//! The pages of one cell: how it stands, what it was, what it could be.

mod diff;
mod file;
mod frame;
mod history;
mod log;
mod output;
mod overrides;
mod status;
mod version;
mod versions;
mod windows;
mod words;

use crate::web::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/cells/{node}/{cell}", status::status)
        .get("/cells/{node}/{cell}/versions", versions::versions)
        .get("/cells/{node}/{cell}/versions/{version}", version::version)
        .get("/cells/{node}/{cell}/versions/{version}/file", file::of_version)
        .get("/cells/{node}/{cell}/diff", diff::diff)
        .get("/cells/{node}/{cell}/overrides", overrides::overrides)
        .get("/cells/{node}/{cell}/overrides.csv", overrides::csv)
        .get("/cells/{node}/{cell}/overrides.json", overrides::json)
        .get("/cells/{node}/{cell}/overrides/file", file::of_override)
        .get("/cells/{node}/{cell}/history", history::history)
        .get("/cells/{node}/{cell}/log", log::log)
        .get("/cells/{node}/{cell}/output", output::form)
        .post("/cells/{node}/{cell}/output", output::ask)
        .get("/cells/{node}/{cell}/output/{order}", output::read)
        .post("/cells/{node}/{cell}/output/{order}/end", output::end)
}
