//! Who asks, and about which fleet: the way of every handler to the bucket.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};

use super::app::{Fleet, Portal};
use super::failure::Failure;
use super::identity;
use super::listener::Arrival;
use crate::access::{Authorized, Source};
use crate::controller::FleetView;
use crate::model::UserName;
use crate::model::users::PasswordHash;

/// Who asks, and about which fleet.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) portal: Arc<Portal>,
    pub(super) fleet: Arc<Fleet>,
    /// The fleet in their hands: every read and every write goes through it.
    pub(super) may: Authorized,
}

impl FromRequestParts<Arc<Portal>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, portal: &Arc<Portal>) -> Result<Self, Failure> {
        let fleet = fleet_of(parts, portal);
        let identity = identity::of(parts)?;
        let is_api = parts.uri.path().starts_with("/api/");
        let source = if is_api { Source::Api } else { Source::Portal };
        let host = parts.extensions.get::<Arrival>().map(|arrival| arrival.client().to_string()).unwrap_or_default();
        // A page may show what was read before, and says how old it is. A program is told that there is no answer, and
        // nothing is changed by what is old.
        let is_look = parts.method == Method::GET && !is_api;
        let controller = if is_look { &fleet.looking } else { &fleet.controller };
        let may = Authorized::new(controller.clone(), identity, source, &host);
        Ok(Self { portal: portal.clone(), fleet, may })
    }
}

/// The fleet that the path means.
pub(super) fn fleet_of(parts: &Parts, portal: &Portal) -> Arc<Fleet> {
    parts.extensions.get::<Arc<Fleet>>().unwrap_or_else(|| portal.first()).clone()
}

impl Caller {
    /// What they may see of the fleet, as it was read last.
    pub(super) fn view(&self) -> Result<Arc<FleetView>, Failure> {
        let view = self.fleet.snapshot.view().map_err(Failure::unavailable)?;
        Ok(self.may.fleet(&view))
    }

    /// The whole fleet, for what is decided and not shown.
    pub(super) fn whole_view(&self) -> Result<Arc<FleetView>, Failure> {
        self.fleet.snapshot.view().map_err(Failure::unavailable)
    }

    /// Why nothing can be changed at present, if so.
    pub(super) fn read_only(&self) -> Option<String> {
        match self.fleet.snapshot.age().problem {
            Some(problem) => Some(format!("the bucket does not answer: {problem}")),
            None => self.fleet.unsigned_reason.clone(),
        }
    }

    /// Refuses a change that cannot be made at present.
    pub(super) fn check_writable(&self) -> Result<(), Failure> {
        match self.read_only() {
            Some(why) => Err(Failure::read_only(why, self.fleet.snapshot.age().problem.is_some())),
            None => Ok(()),
        }
    }

    /// What another password of somebody is checked against from then on.
    pub(super) async fn hash_password(&self, user: &UserName, password: &str) -> Result<PasswordHash, Failure> {
        let hashed = self.portal.gate.passwords().hash(user, password).await;
        hashed.map_err(|error| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "password", error.to_string()))
    }
}
