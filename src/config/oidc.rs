//! Signing in with another service (OpenID Connect): which one, and what its groups may do.

use std::path::PathBuf;

use serde::Deserialize;

use super::error::ConfigError;
use super::file::{ConfigFile, open_warning, read_text};
use super::serving::Serving;
use crate::model::users::{CellPattern, Grant, Role};
use crate::outbound::is_safe;
use crate::store::Secret;
use crate::yaml::{Document, Field};

/// A service that says who people are.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// Its URL, letter by letter as its tokens say it.
    pub issuer: String,
    /// What it calls this portal.
    pub client_id: String,
    /// Where the password is that this portal shows it; None for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// The claim in which the groups of a person stand.
    pub groups_claim: String,
    /// What the members of groups may do here. Nobody else gets in.
    pub roles: Vec<GroupRole>,
    /// PEM certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// What the members of a group may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRole {
    /// The group, as the service names it.
    pub group: String,
    /// What its members may.
    pub grant: Grant,
}

impl OidcSettings {
    /// The secret, read now, and what its owner should hear.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn secret(&self) -> Result<(Option<Secret>, Option<String>), ConfigError> {
        let Some(path) = &self.client_secret_file else { return Ok((None, None)) };
        let (text, open_to_others) = read_text(path)?;
        let text = text.trim();
        if text.is_empty() {
            return Err(ConfigError::EmptySecret { path: path.clone() });
        }
        Ok((Some(Secret::new(text)), open_to_others.then(|| open_warning(path))))
    }
}

/// As people write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenOidc {
    issuer: String,
    client_id: String,
    client_secret_file: Option<PathBuf>,
    groups_claim: Option<String>,
    roles: Vec<WrittenGroupRole>,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenGroupRole {
    group: String,
    role: Role,
    cells: CellPattern,
}

impl WrittenOidc {
    /// The settings. People come back from the service to `public_url`, so there has to be one.
    pub(super) fn check(
        &self,
        file: &ConfigFile,
        document: &Document,
        serving: &Serving,
    ) -> Result<OidcSettings, ConfigError> {
        let at = Field::root().key("oidc");
        let refuse = |field: &Field, message: &str, help: &str| {
            Err(ConfigError::Invalid(document.error(field, message, Some(help)).without_source()))
        };
        if !is_issuer(&self.issuer) {
            let help = "https:// and a host, without ? and #, as `issuer` in its .well-known/openid-configuration says";
            return refuse(&at.key("issuer"), "this is not the URL of an issuer", help);
        }
        if self.client_id.is_empty() {
            return refuse(&at.key("client_id"), "the client's id is empty", "the service tells it");
        }
        if self.roles.is_empty() {
            let help = "give at least one: [{group: fleet-admins, role: admin, cells: '*'}]";
            return refuse(&at.key("roles"), "no group has a role, so nobody would get in", help);
        }
        if serving.public_url.is_none() {
            let help = "set public_url, and register it with /sign-in/oidc/callback after it at the service";
            return refuse(&at, "people could not come back from there: there is no public_url", help);
        }
        let roles = self
            .roles
            .iter()
            .cloned()
            .map(|WrittenGroupRole { group, role, cells }| GroupRole { group, grant: Grant { role, cells } });
        Ok(OidcSettings {
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            client_secret_file: self.client_secret_file.clone().map(|path| file.resolve(path)),
            groups_claim: self.groups_claim.clone().unwrap_or_else(|| "groups".to_owned()),
            roles: roles.collect(),
            ca_file: self.ca_file.clone().map(|path| file.resolve(path)),
        })
    }
}

/// A URL with TLS, or of this very machine.
fn is_issuer(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    is_safe(&uri) && uri.query().is_none() && !url.contains('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_spoken_to_with_tls_or_on_this_machine() {
        for good in
            ["https://id.example.com", "https://id.example.com/realms/a", "http://127.0.0.1:8080", "http://[::1]"]
        {
            assert!(is_issuer(good), "{good}");
        }
        for bad in [
            "http://id.example.com",
            "id.example.com",
            "https://id.example.com/?x=1",
            "https://id.example.com/#x",
            "https://me@id.example.com",
            "http://localhost.example.com",
            "ftp://id.example.com",
            "",
        ] {
            assert!(!is_issuer(bad), "{bad}");
        }
    }
}
