//! Who owns what the agent makes for a cell.

use super::trouble::{Cure, Trouble};
use crate::model::Code;
use crate::store::in_full;
use crate::supervise::{Account, AccountError};

/// The user and the group that own a cell's data folder, as numbers; None is the agent itself.
pub(super) fn owner(user: Option<&str>, group: Option<&str>) -> Result<Option<(u32, u32)>, Trouble> {
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    match Account::find(user, group) {
        Ok(account) => allowed(account.map(|account| (account.uid, account.gid)), own),
        Err(error @ AccountError::Unreadable { .. }) => Err(Trouble::new(Code::Io, in_full(&error), Cure::Time)),
        Err(error) => Err(Trouble::new(Code::UserUnknown, error.to_string(), Cure::Time)),
    }
}

/// The owner, if an agent that is `own` may make anything theirs.
fn allowed(owner: Option<(u32, u32)>, own: (u32, u32)) -> Result<Option<(u32, u32)>, Trouble> {
    match owner {
        Some((user, group)) if own.0 != 0 && (user, group) != own => {
            let message = format!(
                "the agent runs as user {} and group {}, and only root can run a cell as user {user} and group {group}; \
                 leave user and group out of the manifest, or run the agent as root",
                own.0, own.1
            );
            Err(Trouble::new(Code::UserDenied, message, Cure::Time))
        }
        owner => Ok(owner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_runs_a_cell_as_somebody_else() {
        let (root, ann, bob) = ((0, 0), (1000, 1000), (1001, 1001));
        assert_eq!(allowed(Some(bob), root).unwrap(), Some(bob));
        assert_eq!(allowed(Some(ann), ann).unwrap(), Some(ann), "as itself anybody does");
        assert_eq!(allowed(None, ann).unwrap(), None);
        for other in [bob, (1000, 4)] {
            let trouble = allowed(Some(other), ann).unwrap_err();
            assert_eq!((trouble.code, trouble.cure), (Code::UserDenied, Cure::Time));
            assert!(trouble.message.contains("user 1000"), "{}", trouble.message);
        }
    }

    #[test]
    fn nobody_named_means_the_agent_itself_and_an_unknown_user_is_named() {
        assert_eq!(owner(None, None).unwrap(), None);
        let trouble = owner(Some("no-such-user-here"), None).unwrap_err();
        assert_eq!((trouble.code, trouble.cure), (Code::UserUnknown, Cure::Time));
        assert!(trouble.message.contains("no-such-user-here"));
        assert_eq!(owner(Some("root"), None).unwrap(), Some((0, 0)));
    }
}
