//! The JSON API, below `/api/v1`: everything that the pages do, for programs.
//!
//! ```text
//! operation    what is said about each route, where the route is made
//! openapi      the description of all of them, made of that; reference: the same for people
//! request      what requests carry; answer: how they are answered
//! idempotency  requests that are sent twice
//! fleet        nodes, cells, search      orders    what a cell is to be
//! inputs       what cells are made of    releases  deployments
//! past         versions, history, logs   bucket    audit, doctor, objects
//! users        users and tokens
//! ```
//!
//! Whatever an operation does goes through [`Authorized`](crate::access::Authorized), as pages do.

mod answer;
mod bucket;
mod fleet;
mod idempotency;
mod inputs;
mod openapi;
mod operation;
mod orders;
mod past;
mod reference;
mod releases;
mod request;
mod users;

pub(super) use self::idempotency::{Answers, answer as answer_once};
use self::operation::Operations;
pub(super) use self::reference::{Reference, reference};
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    operations().into_routes()
}

fn operations() -> Operations {
    fleet::operations()
        .and(orders::operations())
        .and(past::operations())
        .and(inputs::operations())
        .and(releases::operations())
        .and(bucket::operations())
        .and(users::operations())
        .and(openapi::operations())
}
