//! Who somebody is, as far as rights go.

use crate::model::users::{Grant, Role, TokenId};
use crate::model::{CellId, NodeName, UserName};

/// How somebody showed who they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Via {
    /// A password; the browser holds a session.
    Password,
    /// Another service that the config trusts vouched for them; the browser holds a session.
    Oidc,
    /// A token, which may do no more than its user may, and no more than its own grants.
    Token {
        /// The token's public half.
        id: TokenId,
        /// Its own grants.
        grants: Vec<Grant>,
    },
}

/// A user at the moment of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The name that the audit shows.
    pub user: UserName,
    /// What the user may.
    pub grants: Vec<Grant>,
    /// How they showed it.
    pub via: Via,
}

impl Identity {
    /// Whether `role` may be played on `cell`.
    #[must_use]
    pub fn may(&self, role: Role, cell: &CellId) -> bool {
        self.is_granted(role, |grant| grant.cells.fits(cell))
    }

    /// Whether it may be played on everything, also on what belongs to no cell.
    #[must_use]
    pub fn may_everywhere(&self, role: Role) -> bool {
        self.is_granted(role, |grant| grant.cells.is_everything())
    }

    /// Whether it may be played on anything at all.
    #[must_use]
    pub fn may_somewhere(&self, role: Role) -> bool {
        self.is_granted(role, |_| true)
    }

    /// Whether it may be played on every cell that `node` could have.
    #[must_use]
    pub fn may_on_node(&self, role: Role, node: &NodeName) -> bool {
        self.is_granted(role, |grant| grant.cells.covers(node))
    }

    /// Whether `node` is one that they know of.
    #[must_use]
    pub fn sees_node(&self, node: &NodeName) -> bool {
        self.is_granted(Role::Viewer, |grant| grant.cells.touches(node))
    }

    /// Whether a grant of the user gives `role` on what `fits` says; a token needs one of its own besides.
    fn is_granted(&self, role: Role, fits: impl Fn(&Grant) -> bool) -> bool {
        let is_in = |grants: &[Grant]| grants.iter().any(|grant| grant.role >= role && fits(grant));
        let of_token = match &self.via {
            Via::Token { grants, .. } => is_in(grants),
            Via::Password | Via::Oidc => true,
        };
        of_token && is_in(&self.grants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(grants: &[&str], via: Via) -> Identity {
        Identity { user: UserName::new("ada").unwrap(), grants: granted(grants), via }
    }

    fn granted(grants: &[&str]) -> Vec<Grant> {
        grants.iter().map(|grant| grant.parse().unwrap()).collect()
    }

    #[test]
    fn a_role_may_what_lesser_roles_may_and_only_where_it_was_granted() {
        let ada = identity(&["viewer", "operator:edge-*/*", "editor:*/web"], Via::Password);
        let may = |cell: &str| {
            let cell = cell.parse().unwrap();
            Role::ALL.map(|role| ada.may(role, &cell))
        };
        assert_eq!(may("n1/db"), [true, false, false, false]);
        assert_eq!(may("edge-1/db"), [true, true, false, false]);
        assert_eq!(may("n1/web"), [true, true, true, false]);
        assert_eq!(Role::ALL.map(|role| ada.may_everywhere(role)), [true, false, false, false]);
        assert_eq!(Role::ALL.map(|role| ada.may_somewhere(role)), [true, true, true, false]);
        let edge = NodeName::new("edge-1").unwrap();
        assert_eq!(Role::ALL.map(|role| ada.may_on_node(role, &edge)), [true, true, false, false]);
    }

    #[test]
    fn whoever_has_no_grant_may_nothing() {
        let nobody = identity(&[], Via::Oidc);
        assert!(!nobody.may(Role::Viewer, &"n1/web".parse().unwrap()));
        assert!(!nobody.may_somewhere(Role::Viewer) && !nobody.sees_node(&NodeName::new("n1").unwrap()));
    }

    #[test]
    fn a_token_may_no_more_than_its_user_and_no_more_than_itself() {
        let via = |grants| Via::Token { id: "t123456789".parse().unwrap(), grants: granted(grants) };
        let web = "n1/web".parse().unwrap();
        let admin_by_viewer_token = identity(&["admin"], via(&["viewer:n1/*"]));
        assert!(admin_by_viewer_token.may(Role::Viewer, &web) && !admin_by_viewer_token.may(Role::Operator, &web));
        assert!(!admin_by_viewer_token.may(Role::Viewer, &"n2/web".parse().unwrap()));
        let viewer_by_admin_token = identity(&["viewer:n1/*"], via(&["admin"]));
        assert!(viewer_by_admin_token.may(Role::Viewer, &web) && !viewer_by_admin_token.may(Role::Operator, &web));
        assert!(!viewer_by_admin_token.may_everywhere(Role::Viewer));
    }
}
