//! What of a manifest may be a secret that its author wrote in plain text, and is not shown in comparisons.
//!
//! Secrets belong on the node (`from_file`, `credential`), and a reference to one is no secret. This is for those who
//! wrote one down all the same: whoever sees that it changed need not see what it is. The bucket has it in the clear.

use serde_json::Value;

/// What is shown in place of a secret.
pub(super) const MASK: &str = "(not shown)";

/// Parts of names of variables that hold secrets.
const WORDS: [&str; 9] =
    ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "APIKEY", "API_KEY", "PRIVATE_KEY"];

/// References: what follows them in a setting's name is where the secret lies, and not what it is.
const REFERENCES: [&str; 3] = [".from_file", ".key", ".credential"];

/// Whether a setting such as `profile.env.DB_PASSWORD` is a variable of the environment that is named as secrets are.
pub(super) fn is_named(field: &str) -> bool {
    let Some((_, variable)) = field.rsplit_once(".env.") else { return false };
    if REFERENCES.iter().any(|reference| variable.ends_with(reference)) {
        return false;
    }
    is_variable(variable)
}

/// Whether a variable of the environment is named as secrets are.
pub(super) fn is_variable(name: &str) -> bool {
    let variable = name.to_ascii_uppercase();
    WORDS.iter().any(|word| variable.contains(word))
}

/// Whether a value has an address with a password in it, such as `postgres://web:secret@db/`.
pub(super) fn is_inside(value: &Value) -> bool {
    match value {
        Value::String(text) => has_password(text),
        Value::Array(values) => values.iter().any(is_inside),
        Value::Object(fields) => fields.values().any(is_inside),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a text has an address with a password in it.
pub(super) fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|after| {
        let authority = after.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_are_named_as_secrets_are_and_references_are_not() {
        for secret in
            ["profile.env.DB_PASSWORD", "profile.processes.main.env.github_token", "profile.env.AWS_SECRET_KEY"]
        {
            assert!(is_named(secret), "{secret}");
        }
        for plain in [
            "profile.env.PORT",
            "profile.env.DB_PASSWORD.from_file",
            "profile.env.TOKEN.credential",
            "profile.env.TOKEN.key",
            "profile.token",
        ] {
            assert!(!is_named(plain), "{plain}");
        }
    }

    #[test]
    fn an_address_with_a_password_is_a_secret_and_one_without_is_not() {
        let inside = |text: &str| is_inside(&Value::from(vec![text]));
        assert!(inside("postgres://web:hunter2@db/web"));
        assert!(inside("--url=https://a:b@c"));
        for plain in ["https://example.com:8080/a@b:c", "https://web@db/", "https://web:@db/", "a:b@c", "://"] {
            assert!(!inside(plain), "{plain}");
        }
    }
}
