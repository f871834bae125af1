//! Who owns what the agent makes for a cell.

use super::trouble::{Cure, Trouble};
use crate::model::Code;
use crate::store::in_full;
use crate::supervise::{Account, AccountError};

/// The user and the group that own a cell's data folder, as numbers; None is the agent itself.
pub(super) fn owner(user: Option<&str>, group: Option<&str>) -> Result<Option<(u32, u32)>, Trouble> {
    match Account::find(user, group) {
        Ok(account) => Ok(account.map(|account| (account.uid, account.gid))),
        Err(error @ AccountError::Unreadable { .. }) => Err(Trouble::new(Code::Io, in_full(&error), Cure::Time)),
        Err(error) => Err(Trouble::new(Code::UserUnknown, error.to_string(), Cure::Time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_named_means_the_agent_itself_and_an_unknown_user_is_named() {
        assert_eq!(owner(None, None).unwrap(), None);
        let trouble = owner(Some("no-such-user-here"), None).unwrap_err();
        assert_eq!((trouble.code, trouble.cure), (Code::UserUnknown, Cure::Time));
        assert!(trouble.message.contains("no-such-user-here"));
        assert_eq!(owner(Some("root"), None).unwrap(), Some((0, 0)));
    }
}
