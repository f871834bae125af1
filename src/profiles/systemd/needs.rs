//! What a version needs of the node, and what of it is read there before anything is written.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Scope, disk, secrets, waiting};
use crate::agent::ProfileError;
use crate::model::Code;
use crate::model::run_spec::EnvValue;
use crate::model::systemd::UnitSpec;
use crate::render::unit::files_of;
use crate::store::in_full;
use crate::supervise::{Account, AccountError};

/// A longer unit is none that a person wrote.
const MOST_UNIT: u64 = 1 << 20;

/// Where systemd looks for credentials that are named without a path; see `systemd.exec(5)`.
const CREDENTIALS: [&str; 5] =
    ["/run/credentials/@system", "/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore"];

/// Where `StateDirectory=` makes folders.
const STATE_DIRECTORIES: &str = "/var/lib";

/// The ids of users that `DynamicUser=` makes up; see `systemd.exec(5)`.
const MADE_UP_USERS: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// Whether the node has what the version needs.
pub(super) fn check_node(spec: &UnitSpec, scope: Scope) -> Result<(), ProfileError> {
    let run = &spec.run;
    let is_made_up = spec.hardening.dynamic_user == Some(true);
    let account = if is_made_up { Ok(None) } else { Account::find(run.user.as_deref(), run.group.as_deref()) };
    let account = account.map_err(|error| match error {
        AccountError::Unreadable { .. } => waiting(Code::Io, in_full(&error)),
        error => waiting(Code::UserUnknown, error.to_string()),
    })?;
    if let Some(name) = spec.hardening.state_directory.as_ref().filter(|_| scope == Scope::System) {
        let path = Path::new(STATE_DIRECTORIES).join(name.as_str());
        let owner = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_dir).map(|meta| meta.uid());
        let is_the_services = |uid| match is_made_up {
            true => MADE_UP_USERS.contains(&uid),
            false => uid == account.as_ref().map_or(0, |account| account.uid),
        };
        if let Some(uid) = owner.filter(|uid| !is_the_services(*uid)) {
            let message = format!(
                "{} is there and belongs to user {uid}; as the state_directory systemd would give all of it to the \
                 service's user",
                path.display()
            );
            return Err(waiting(Code::UnitNotOwned, message));
        }
    }
    secrets::text(files_of(&run.env).iter().map(|(name, file)| (*name, file)))
        .map_err(|error| waiting(Code::SecretMissing, in_full(&error)))?;
    for value in run.env.values() {
        let EnvValue::Credential(from) = value else { continue };
        let name = from.credential.as_str();
        if !CREDENTIALS.iter().any(|folder| Path::new(folder).join(name).is_file()) {
            let message = format!("there is no credential {name}; put it into /etc/credstore/{name}, for root alone");
            return Err(waiting(Code::SecretMissing, message));
        }
    }
    Ok(())
}

/// The unit that a release brings.
pub(super) fn own_unit(path: &Path) -> Result<Vec<u8>, ProfileError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ProfileError::Version(format!("the version has no {}", path.display())),
        _ => disk("reading", path, &error),
    };
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|file| file.take(MOST_UNIT + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MOST_UNIT {
        return Err(ProfileError::Version(format!("{} has more than {MOST_UNIT} bytes", path.display())));
    }
    Ok(bytes)
}
