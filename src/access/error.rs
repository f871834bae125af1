//! Why somebody may not do something, or could not.

use crate::controller::ControllerError;
use crate::model::UserName;
use crate::model::users::Role;

/// Somebody may not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The user has no such right. Asking again does not help; an admin can.
    #[error("{user} lacks the role {needs} on {what}")]
    Role {
        /// Who asked.
        user: UserName,
        /// The least role that it takes.
        needs: Role,
        /// What it was asked for, such as `cell n1/web`.
        what: String,
    },
    /// No token may, whatever its grants are. The user may, signed in.
    #[error("managing {what} takes a session in a browser; a token of {user} is not enough")]
    Token {
        /// In whose name it acts.
        user: UserName,
        /// What it was asked for, such as `users`.
        what: &'static str,
    },
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
