//! Who may do what in the portal and the API.
//!
//! [`Authorized`] is one fleet's controller in the hands of one [`Identity`], made for one request. Every read and
//! write of pages and API goes through its methods: each checks first, and then acts as the user. There is a file of
//! them for each topic. What belongs to no cell, such as the bucket itself, needs a grant on everything.

mod alerts;
mod allowance;
mod apply;
mod audit;
mod browse;
mod browser;
mod bucket;
mod bulk;
mod bundles;
mod cell_past;
mod cells;
mod deployments;
mod directory;
mod error;
mod events;
mod fleet;
mod gate;
mod identity;
mod instants;
mod ledger;
mod logs;
mod manifests;
mod nodes;
pub mod oidc;
mod once;
mod orders;
mod password;
pub mod roster;
mod seal;
mod session;
mod settings;
mod state;
mod throttle;
mod token;
mod users;
mod uses;

use std::sync::Arc;

pub use browse::BucketFacts;
pub use browser::KNOWN_FOR as BROWSER_KNOWN_FOR;
pub use bucket::StoreUse;
pub use bulk::{BulkDone, BulkNews, BulkOrder, MOST_CELLS as MOST_BULK_CELLS};
pub use directory::{Directory, Problem};
pub use error::{AccessError, Denied};
pub use gate::{Gate, Known, SignInError, SignedIn, SignedOut, Visitor};
pub use identity::{Identity, Via};
pub use instants::Reverted;
pub use once::GOOD_FOR as ONCE_GOOD_FOR;
pub use password::{GOOD_CHARS, LEAST_CHARS, PasswordError, Passwords};
pub use seal::{Purpose, SealKey};
pub use session::{Session, SessionEnd, Sessions, Voucher};
pub use state::{StateError, StateFolder};
pub use token::TokenText;
pub use users::{NewToken, PlannedUser, TOKEN_GOOD_FOR, TOKEN_GOOD_FOR_AT_MOST, UserChange, ended_vouched, listed};
pub use uses::LastUse;

use crate::controller::{Actor, Controller};
use crate::model::users::Role;
use crate::model::{CellId, NodeName};

/// What a request came to; the audit says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The pages.
    Portal,
    /// The JSON API.
    Api,
}

impl Source {
    /// As the audit writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Portal => "portal",
            Self::Api => "api",
        }
    }
}

/// A fleet's controller in the hands of one user, for one request. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Authorized {
    controller: Arc<Controller>,
    identity: Arc<Identity>,
    source: Source,
    host: Arc<str>,
    reason: Option<Arc<str>>,
}

impl Authorized {
    /// `controller` for `identity`, whose request came to `source` from the address `host`.
    #[must_use]
    pub fn new(controller: Arc<Controller>, identity: Arc<Identity>, source: Source, host: &str) -> Self {
        Self { controller, identity, source, host: host.into(), reason: None }
    }

    /// The same for a write that its maker gave a reason for. An empty one is none.
    #[must_use]
    pub fn because(&self, reason: &str) -> Self {
        let reason = Some(reason.trim()).filter(|reason| !reason.is_empty()).map(Into::into);
        Self { reason, ..self.clone() }
    }

    /// Who acts.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// For reads, which leave no trace in the audit.
    fn reading(&self) -> &Controller {
        &self.controller
    }

    /// For writes: the audit names the user.
    fn acting(&self) -> Controller {
        self.controller.acting_as(self.actor())
    }

    /// Who acts, for the audit.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor {
            user: self.identity.user.clone(),
            source: self.source.as_str().to_owned(),
            host: self.host.to_string(),
            reason: self.reason.as_deref().map(ToOwned::to_owned),
        }
    }

    /// Whether the user may play `role` on `cell`.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn need_on_cell(&self, role: Role, cell: &CellId) -> Result<(), Denied> {
        if self.identity.may(role, cell) {
            return Ok(());
        }
        Err(self.denied(role, format!("cell {cell}")))
    }

    /// For what belongs to no cell.
    pub(crate) fn need_everywhere(&self, role: Role, what: &str) -> Result<(), Denied> {
        if self.identity.may_everywhere(role) {
            return Ok(());
        }
        Err(self.denied(role, format!("{what}, which needs it for all cells")))
    }

    /// Whether the user may play `role` on anything at all: for what is no secret among users and belongs to no cell,
    /// such as the list of manifests, and for forms in which what it is about is still to be said.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn need_anywhere(&self, role: Role, what: &str) -> Result<(), Denied> {
        if self.identity.may_somewhere(role) {
            return Ok(());
        }
        Err(self.denied(role, what.to_owned()))
    }

    /// For a node as a whole: it is about every cell that it could have.
    pub(crate) fn need_on_node(&self, role: Role, node: &NodeName) -> Result<(), Denied> {
        if self.identity.may_on_node(role, node) {
            return Ok(());
        }
        Err(self.denied(role, format!("all cells of node {node}")))
    }

    fn denied(&self, needs: Role, what: String) -> Denied {
        Denied::Role { user: self.identity.user.clone(), needs, what }
    }
}
