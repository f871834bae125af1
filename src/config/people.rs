//! Who may sign in, as far as the config says it, and how long a session lasts.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::file::{ConfigFile, open_warning, read_text};
use crate::model::UserName;
use crate::model::users::{CellPattern, Grant, PasswordHash, Role};
use crate::yaml::{self, Document, Field, HumanDuration};

/// A user whom the config names. Their password changes where the config is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigUser {
    /// The name that they sign in with.
    pub name: UserName,
    /// What their password is checked against.
    pub password_hash: PasswordHash,
    /// What they may do.
    pub grants: Vec<Grant>,
}

/// How long somebody stays signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// The key of sessions, which controllers of one portal share; one of this controller's own if left out.
    pub key_file: Option<PathBuf>,
    /// After so long without a request a session is over.
    pub idle: Duration,
    /// After so long it is over in any case.
    pub absolute: Duration,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { key_file: None, idle: Duration::from_secs(30 * 60), absolute: Duration::from_secs(12 * 60 * 60) }
    }
}

impl SessionSettings {
    /// What its owner should hear of the file with the key, if anything: whoever reads it can make sessions of anybody.
    #[must_use]
    pub fn key_warning(&self) -> Option<String> {
        let path = self.key_file.as_deref()?;
        // One that cannot be read is told of where it is used.
        let (_, open_to_others) = read_text(path).ok()?;
        open_to_others.then(|| open_warning(path))
    }
}

/// An entry of `users`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenUser {
    name: UserName,
    password_hash: PasswordHash,
    grants: Vec<WrittenGrant>,
}

/// An entry of `grants`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenGrant {
    role: Role,
    cells: CellPattern,
}

/// `session`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenSession {
    key_file: Option<PathBuf>,
    idle: Option<HumanDuration>,
    absolute: Option<HumanDuration>,
}

/// The users, of whom no two have one name.
pub(super) fn users(written: Vec<WrittenUser>, document: &Document) -> Result<Vec<ConfigUser>, yaml::YamlError> {
    let mut users: Vec<ConfigUser> = Vec::new();
    for (index, WrittenUser { name, password_hash, grants }) in written.into_iter().enumerate() {
        if users.iter().any(|other| other.name == name) {
            let field = Field::root().key("users").index(index).key("name");
            return Err(document.error(&field, &format!("a second user is called {name}"), None));
        }
        let grants = grants.into_iter().map(|WrittenGrant { role, cells }| Grant { role, cells }).collect();
        users.push(ConfigUser { name, password_hash, grants });
    }
    Ok(users)
}

impl WrittenSession {
    pub(super) fn check(self, file: &ConfigFile, document: &Document) -> Result<SessionSettings, yaml::YamlError> {
        let usual = SessionSettings::default();
        let settings = SessionSettings {
            key_file: self.key_file.map(|path| file.resolve(path)),
            idle: self.idle.map_or(usual.idle, |written| written.0),
            absolute: self.absolute.map_or(usual.absolute, |written| written.0),
        };
        let least = Duration::from_secs(2 * 60);
        if settings.idle < least || settings.absolute < settings.idle {
            let field = Field::root().key("session");
            let help = "idle is at least 2m, and absolute no shorter than idle";
            return Err(document.error(&field, "nobody could stay signed in", Some(help)));
        }
        Ok(settings)
    }
}
