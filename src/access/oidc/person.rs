//! Who somebody is here, whom the service vouches for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::OidcError;
use super::token::Claims;
use crate::config::{GroupRole, OidcSettings};
use crate::model::UserName;
use crate::model::users::Grant;

/// The most characters of a user's name.
const MAX_NAME_CHARS: usize = 63;

/// Somebody whom the service vouches for. What identifies them is `issuer` and `subject` together: names change hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// What they are called here.
    pub user: UserName,
    /// What they may do: nothing, if they are in none of the groups of the config.
    pub grants: Vec<Grant>,
    /// The service.
    pub issuer: String,
    /// Who they are there.
    pub subject: String,
    /// Where they wanted to go: a path of this portal.
    pub next: String,
}

pub(super) fn vouched(claims: Claims, settings: &OidcSettings, next: &str) -> Result<Vouched, OidcError> {
    let user = name(&claims).map_err(|why| OidcError::Name { issuer: settings.issuer.clone(), why })?;
    let grants = grants(&claims.others, settings);
    Ok(Vouched { user, grants, issuer: claims.iss, subject: claims.sub, next: next.to_owned() })
}

/// `preferred_username`, else what stands before the `@` of an address that is not known to be somebody else's.
fn name(claims: &Claims) -> Result<UserName, String> {
    let is_theirs = claims.email_verified.as_ref().is_none_or(|verified| *verified != false && *verified != "false");
    let email = claims.email.as_deref().filter(|_| is_theirs);
    let given = claims.preferred_username.as_deref().or(email);
    let given = given.ok_or("there is neither a preferred_username nor an email of yours")?;
    let local = given.split('@').next().unwrap_or_default();
    UserName::new(plain(local)).map_err(|error| error.to_string())
}

/// The name in the letters that names have here: `Ada.Lovelace` is `ada-lovelace`.
fn plain(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let words = letters.take(MAX_NAME_CHARS).collect::<String>();
    words.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

fn grants(claims: &BTreeMap<String, Value>, settings: &OidcSettings) -> Vec<Grant> {
    let groups = claims.get(&settings.groups_claim);
    let is_member = |wanted: &str| match groups {
        Some(Value::String(group)) => group == wanted,
        Some(Value::Array(groups)) => groups.iter().any(|group| group == wanted),
        _ => false,
    };
    let given = settings.roles.iter().filter(|GroupRole { group, .. }| is_member(group));
    let mut grants: Vec<Grant> = given.map(|role| role.grant.clone()).collect();
    grants.sort();
    grants.dedup();
    grants
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(more: &Value) -> Claims {
        let mut all = json!({"iss": "https://id", "sub": "7", "aud": "c", "exp": 1});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn settings(claim: &str) -> OidcSettings {
        let roles = [("a", "admin"), ("b", "viewer:n1/*"), ("b", "operator:n2/*"), ("c", "viewer:n1/*")];
        let roles = roles.map(|(group, grant)| GroupRole { group: group.to_owned(), grant: grant.parse().unwrap() });
        OidcSettings {
            issuer: "https://id".to_owned(),
            client_id: "c".to_owned(),
            client_secret_file: None,
            groups_claim: claim.to_owned(),
            roles: roles.to_vec(),
            ca_file: None,
        }
    }

    #[test]
    fn a_name_is_written_as_names_are_here() {
        for (given, expected) in [
            (json!({"preferred_username": "ada"}), Some("ada")),
            (json!({"preferred_username": "Ada.Lovelace@example.com", "email": "x@example.com"}), Some("ada-lovelace")),
            (json!({"preferred_username": "__ada--l__"}), Some("ada-l")),
            (json!({"email": "ada_l@example.com"}), Some("ada-l")),
            (json!({"email": "ada@example.com", "email_verified": true}), Some("ada")),
            (json!({"email": "ada@example.com", "email_verified": false}), None),
            (json!({"preferred_username": "x".repeat(100)}), Some("x".repeat(63).as_str())),
            (json!({"preferred_username": "@example.com"}), None),
            (json!({"preferred_username": "Ω"}), None),
            (json!({}), None),
        ] {
            let name = name(&claims(&given));
            assert_eq!(name.as_ref().ok().map(UserName::as_str), expected, "{given} {name:?}");
        }
    }

    #[test]
    fn only_the_groups_of_the_config_count_wherever_they_stand() {
        let granted = |claim: &str, given: Value| {
            let claims = claims(&json!({"preferred_username": "ada", claim: given}));
            let vouched = vouched(claims, &settings(claim), "/").unwrap();
            vouched.grants.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(granted("groups", json!(["x", "a"])), ["admin:*"]);
        assert_eq!(granted("https://example.com/groups", json!(["c", "b"])), ["viewer:n1/*", "operator:n2/*"]);
        assert_eq!(granted("group", json!("a")), ["admin:*"]);
        for none in [json!([]), json!(["A", "aa"]), json!(""), json!({"a": true}), json!([["a"]]), json!(null)] {
            assert_eq!(granted("groups", none), [""; 0]);
        }
    }
}
