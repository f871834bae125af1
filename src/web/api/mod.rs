//! The JSON API, below `/api/v1`: everything that the pages do, for programs.
//!
//! ```text
//! operation    what is said about each route, where the route is made
//! openapi      the description of all of them, made of that; reference: the same for people
//! problems     what failures are called
//! request      what requests carry; answer: how they are answered
//! idempotency  requests that are sent twice
//! fleet        nodes, cells, search      orders    what a cell is to be
//! events       what happens              alerts   what people are told of
//! bundles      versions in a file
//! inputs       what cells are made of    releases  deployments
//! bulk         many cells at once
//! apply        many manifests and cells
//! past         versions, history, logs   version   one version, its files
//! instants     what was at a time, and back  upkeep   whether the bucket is sound
//! bucket       audit, folders            object    one object
//! usage        buckets, how much is in   settings  config, keys, the doctor
//! users        users and tokens          me        whoever asks
//! ```
//!
//! Whatever an operation does goes through [`Authorized`](crate::access::Authorized), as pages do.

mod alerts;
mod answer;
mod apply;
mod bucket;
mod bulk;
mod bundles;
mod events;
mod fleet;
mod holds;
mod idempotency;
mod inputs;
mod instants;
mod me;
mod object;
mod openapi;
mod operation;
mod orders;
mod output;
mod past;
mod problems;
mod query;
mod reference;
mod releases;
mod request;
mod settings;
mod upkeep;
mod usage;
mod users;
mod version;

pub(super) use self::idempotency::{Answers, answer as answer_once};
use self::operation::Operations;
pub(super) use self::query::{Queries, check as check_query};
pub(super) use self::reference::{Reference, reference};
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    operations().into_routes()
}

/// The OpenAPI document of the API.
pub(super) fn description() -> serde_json::Value {
    openapi::document(operations().list())
}

/// What each operation may be asked.
pub(super) fn queries() -> Queries {
    Queries::of(operations().list())
}

fn operations() -> Operations {
    fleet::operations()
        .and(events::operations())
        .and(alerts::operations())
        .and(orders::operations())
        .and(bulk::operations())
        .and(holds::operations())
        .and(output::operations())
        .and(past::operations())
        .and(version::operations())
        .and(instants::operations())
        .and(inputs::operations())
        .and(apply::operations())
        .and(releases::operations())
        .and(bundles::operations())
        .and(bucket::operations())
        .and(object::operations())
        .and(usage::operations())
        .and(upkeep::operations())
        .and(settings::operations())
        .and(users::operations())
        .and(me::operations())
        .and(openapi::operations())
}
