//! Where what belongs to one user of a machine lies; see the XDG Base Directory Specification.

use std::path::PathBuf;

/// `$XDG_STATE_HOME`, or the same below `$HOME`; None where neither is set.
#[must_use]
pub fn state_home() -> Option<PathBuf> {
    folder("XDG_STATE_HOME", ".local/state")
}

/// Where an ordinary user's configs are. Those of root are the machine's.
pub(super) fn config_home() -> Option<PathBuf> {
    if is_root() { None } else { folder("XDG_CONFIG_HOME", ".config") }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn folder(variable: &str, usual: &str) -> Option<PathBuf> {
    // A relative one is to be ignored.
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set(variable).or_else(|| Some(set("HOME")?.join(usual)))
}
