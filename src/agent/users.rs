//! Users and groups of the node, as `/etc/passwd` and `/etc/group` name them.

use std::path::Path;

use super::trouble::{Cure, Trouble};
use crate::model::Code;

/// The user and the group that own a cell's data folder, as numbers.
pub(super) fn owner(user: Option<&str>, group: Option<&str>) -> Result<Option<(u32, u32)>, Trouble> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let read = |path: &str| {
        std::fs::read_to_string(Path::new(path))
            .map_err(|error| Trouble::new(Code::Io, format!("reading {path}: {error}"), Cure::Time))
    };
    let passwd = read("/etc/passwd")?;
    let mut owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if let Some(name) = user {
        owner = find_user(&passwd, name).ok_or_else(|| unknown("user", name, "/etc/passwd"))?;
    }
    if let Some(name) = group {
        owner.1 = find_group(&read("/etc/group")?, name).ok_or_else(|| unknown("group", name, "/etc/group"))?;
    }
    Ok(Some(owner))
}

fn unknown(what: &str, name: &str, file: &str) -> Trouble {
    let message = format!("this node has no {what} {name:?} in {file}; create it, or name another in the manifest");
    Trouble::new(Code::UserUnknown, message, Cure::Time)
}

/// User id and primary group id.
fn find_user(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let fields = find(passwd, name)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

fn find_group(groups: &str, name: &str) -> Option<u32> {
    find(groups, name)?.get(2)?.parse().ok()
}

fn find<'a>(lines: &'a str, name: &str) -> Option<Vec<&'a str>> {
    lines.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nweb:x:33:34:Web,,,:/var/www:/usr/sbin/nologin\nbad:x:y:1::/:\n";

    #[test]
    fn users_and_groups_are_found_by_their_whole_name() {
        assert_eq!(find_user(PASSWD, "web"), Some((33, 34)));
        assert_eq!(find_user(PASSWD, "we"), None);
        assert_eq!(find_user(PASSWD, "bad"), None, "a damaged line is nobody");
        assert_eq!(find_group("adm:x:4:web\nweb:x:34:\n", "web"), Some(34));
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
