//! Why somebody may not do something, or could not.

use crate::controller::ControllerError;
use crate::model::UserName;
use crate::model::users::Role;

/// The user has no such right. Asking again does not help; an admin can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{user} lacks the role {needs} on {what}")]
pub struct Denied {
    /// Who asked.
    pub user: UserName,
    /// The least role that it takes.
    pub needs: Role,
    /// What it was asked for, such as `cell n1/web`.
    pub what: String,
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The user may not; nothing was asked of the bucket.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The user may, and it went wrong.
    #[error(transparent)]
    Controller(#[from] ControllerError),
}
