//! The JSON API, below `/api/v1`: everything that the pages do, for programs.
//!
//! ```text
//! operation    what is said about each route, where the route is made
//! openapi      the description of all of them, made of that; reference: the same for people
//! problems     what failures are called
//! request      what requests carry; answer: how they are answered
//! idempotency  requests that are sent twice
//! fleet        nodes, cells, search      orders    what a cell is to be
//! alerts       what people are told of
//! inputs       what cells are made of    releases  deployments
//! past         versions, history, logs   version   one version, its files
//! instants     what was at a time, and the way back
//! bucket       audit, folders            object    one object
//! usage        buckets, how much is in   settings  config, keys, the doctor
//! users        users and tokens          me        whoever asks
//! ```
//!
//! Whatever an operation does goes through [`Authorized`](crate::access::Authorized), as pages do.

mod alerts;
mod answer;
mod bucket;
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
mod past;
mod problems;
mod reference;
mod releases;
mod request;
mod settings;
mod usage;
mod users;
mod version;

pub(super) use self::idempotency::{Answers, answer as answer_once};
use self::operation::Operations;
pub(super) use self::reference::{Reference, reference};
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    operations().into_routes()
}

/// The OpenAPI document of the API.
pub(super) fn description() -> serde_json::Value {
    openapi::document(operations().list())
}

fn operations() -> Operations {
    fleet::operations()
        .and(alerts::operations())
        .and(orders::operations())
        .and(holds::operations())
        .and(past::operations())
        .and(version::operations())
        .and(instants::operations())
        .and(inputs::operations())
        .and(releases::operations())
        .and(bucket::operations())
        .and(object::operations())
        .and(usage::operations())
        .and(settings::operations())
        .and(users::operations())
        .and(me::operations())
        .and(openapi::operations())
}
