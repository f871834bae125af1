//! Who signs in to the portals of tests.

use std::fmt::Write as _;
use std::path::Path;

/// Everybody's password.
pub(crate) const PASSWORD: &str = "a long test password";

/// Its hash, at the least cost that there is.
const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$c2FsdCBvZiBhIHRlc3QhIQ$0HCQY+FlqtfPDe4Z/uLCwoSlpNP0O/c0Vc1MoGs4YdA";

/// Who may do everything, wherever a test names nobody.
pub(crate) const ADMIN: &str = "tester";

/// Puts users into the config in `folder`, each with what they may do, such as `operator:edge-*/*`.
pub(crate) fn admit(folder: &Path, users: &[(&str, &[&str])]) {
    let path = folder.join("controller_config.yaml");
    let mut config = std::fs::read_to_string(&path).unwrap();
    config.push_str("users:\n");
    for (name, grants) in users {
        write!(config, "  - name: {name}\n    password_hash: {HASH}\n    grants:\n").unwrap();
        for grant in *grants {
            let (role, cells) = grant.split_once(':').unwrap_or((grant, "*"));
            writeln!(config, "      - {{role: {role}, cells: {cells:?}}}").unwrap();
        }
    }
    std::fs::write(path, config).unwrap();
}

/// The same with [`ADMIN`] alone, unless there are users already.
pub(crate) fn admit_admin(folder: &Path) {
    let config = std::fs::read_to_string(folder.join("controller_config.yaml")).unwrap();
    if !config.contains("\nusers:\n") {
        admit(folder, &[(ADMIN, &["admin"])]);
    }
}

/// What the form of the sign-in page sends.
pub(crate) fn form(name: &str) -> String {
    format!("name={name}&password={}", PASSWORD.replace(' ', "+"))
}
