//! Users and groups, as `/etc/passwd` and `/etc/group` name them; see `passwd(5)` and `group(5)`.

use std::fs;
use std::io;

/// A user as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user id.
    pub uid: u32,
    /// The id of the primary group.
    pub gid: u32,
    /// The ids of all its groups.
    pub groups: Vec<u32>,
}

/// Why there is no such account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is no such user.
    #[error("there is no user {0:?} in /etc/passwd; create it, or name another")]
    NoUser(String),
    /// There is no such group.
    #[error("there is no group {0:?} in /etc/group; create it, or name another")]
    NoGroup(String),
    /// The file could not be read.
    #[error("reading {path}")]
    Unreadable {
        /// The file.
        path: &'static str,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

impl Account {
    /// The account of this user and group, by name or number; None if neither is given, which means the caller's own.
    /// Without a user it is the caller's with another group; without a group it is the user's primary one.
    ///
    /// # Errors
    /// There is no such user or group.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, AccountError> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let passwd = read(PASSWD)?;
        let groups = read(GROUP)?;
        find_in(&passwd, &groups, user, group).map(Some)
    }
}

fn read(path: &'static str) -> Result<String, AccountError> {
    let bytes = fs::read(path).map_err(|source| AccountError::Unreadable { path, source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn find_in(passwd: &str, groups: &str, user: Option<&str>, group: Option<&str>) -> Result<Account, AccountError> {
    let mut account = Account {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        groups: Vec::new(),
    };
    if let Some(user) = user {
        let no_user = || AccountError::NoUser(user.to_owned());
        let fields = entry(passwd, user).ok_or_else(no_user)?;
        account.uid = number(&fields, 2).ok_or_else(no_user)?;
        account.gid = number(&fields, 3).ok_or_else(no_user)?;
        let name = fields.first().copied().unwrap_or_default();
        let member =
            |fields: &Vec<&str>| fields.get(3).is_some_and(|members| members.split(',').any(|one| one == name));
        account.groups.extend(lines(groups).filter(member).filter_map(|fields| number(&fields, 2)));
    }
    if let Some(group) = group {
        let gid = entry(groups, group).and_then(|fields| number(&fields, 2));
        account.gid = gid.ok_or_else(|| AccountError::NoGroup(group.to_owned()))?;
    }
    account.groups.push(account.gid);
    account.groups.sort_unstable();
    account.groups.dedup();
    Ok(account)
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

/// The entry of this name, or else of this number.
fn entry<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let by = |at: usize| lines(text).find(|fields| fields.get(at).copied() == Some(name));
    let is_number = name.parse::<u32>().is_ok();
    by(0).or_else(|| is_number.then(|| by(2)).flatten())
}

fn number(fields: &[&str], at: usize) -> Option<u32> {
    fields.get(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/bash\nweb:x:33:34:Web,,,:/var/www:/usr/sbin/nologin\nbad:x:y:1::/:\n";
    const GROUPS: &str = "root:x:0:\nadm:x:4:webmaster,web\nweb:x:34:\nssl:x:7:web\n";

    fn find(user: Option<&str>, group: Option<&str>) -> Result<(u32, u32, Vec<u32>), String> {
        let found = find_in(USERS, GROUPS, user, group);
        found.map(|Account { uid, gid, groups }| (uid, gid, groups)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_user_comes_with_all_its_groups() {
        assert_eq!(find(Some("web"), None), Ok((33, 34, vec![4, 7, 34])));
        assert_eq!(find(Some("33"), None), Ok((33, 34, vec![4, 7, 34])));
        assert_eq!(find(Some("web"), Some("adm")), Ok((33, 4, vec![4, 7])));
        assert_eq!(find(Some("root"), None), Ok((0, 0, vec![0])));
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert!(find(Some("we"), None).unwrap_err().contains("\"we\" in /etc/passwd"));
        assert!(find(Some("bad"), None).unwrap_err().contains("\"bad\""), "a damaged line is nobody");
        assert!(find(Some("web"), Some("nope")).unwrap_err().contains("\"nope\" in /etc/group"));
        assert_eq!(Account::find(None, None).unwrap(), None);
    }
}
