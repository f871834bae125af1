//! Names of nodes, cells, processes, manifests, users, versions and deployments.
//!
//! They become unit names, ARNs, object keys and paths on a root machine, so nothing else is allowed in them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Why a text is not a name: the rule that it broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {rule}")]
pub struct NameError {
    /// What the text was meant to be, such as `node name`.
    pub what: &'static str,
    /// The text, cut to a printable length.
    pub text: String,
    /// The rule that it broke, in words.
    pub rule: &'static str,
}

impl NameError {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self { what, text: shown(text), rule }
    }
}

/// Enough of a refused text to recognise it; a hostile one may be megabytes long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain(['…']).collect()
}

/// `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`
fn check_label(text: &str) -> Result<(), &'static str> {
    let ends_well = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err("it is empty");
    }
    if bytes.len() > 63 {
        return Err("it is longer than 63 characters");
    }
    if !bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-') {
        return Err("only lower-case letters, digits and '-' are allowed");
    }
    if !ends_well(bytes.first()) || !ends_well(bytes.last()) {
        return Err("it must begin and end with a letter or a digit");
    }
    Ok(())
}

/// `^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$`
fn check_version(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err("it is empty");
    }
    if bytes.len() > 128 {
        return Err("it is longer than 128 characters");
    }
    if !bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(byte)) {
        return Err("only letters, digits and '.', '_', '+', '-' are allowed");
    }
    if !bytes[0].is_ascii_alphanumeric() {
        return Err("it must begin with a letter or a digit");
    }
    Ok(())
}

/// The part of `systemd.unit(5)` that needs no escapes.
fn check_unit(text: &str) -> Result<(), &'static str> {
    const KINDS: [&str; 11] =
        ["automount", "device", "mount", "path", "scope", "service", "slice", "socket", "swap", "target", "timer"];
    if text.len() > 255 {
        return Err("it is longer than 255 characters");
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_.@-".contains(&byte)) {
        return Err("only letters, digits and ':', '_', '.', '@', '-' are allowed");
    }
    match text.rsplit_once('.') {
        Some((name, kind)) if !name.is_empty() && KINDS.contains(&kind) => Ok(()),
        _ => Err("it must end in the kind of unit, such as .service or .target"),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks `text` and takes it as a name.
            ///
            /// # Errors
            /// When `text` breaks a rule, naming the rule.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                let text = text.as_ref();
                match $check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(rule) => Err(NameError::new($what, text, rule)),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        stands_as_text!($name, NameError);
    };
}

name!(
    /// A machine that runs `fleetagent`.
    NodeName, "node name", check_label
);
name!(
    /// A deployable unit on one node.
    CellName, "cell name", check_label
);
name!(
    /// One process of a cell.
    ProcessName, "process name", check_label
);
name!(
    /// One of the checks of a version's health.
    CheckName, "check name", check_label
);
name!(
    /// One of the sockets that a program is given.
    SocketName, "socket name", check_label
);
name!(
    /// A recipe that people edit.
    ManifestName, "manifest name", check_label
);
name!(
    /// A person or a program that publishes.
    UserName, "user name", check_label
);
name!(
    /// One immutable version of a cell.
    VersionName, "version name", check_version
);
name!(
    /// One uploaded release of a manifest.
    DeploymentName, "deployment name", check_version
);

name!(
    /// A secret that systemd keeps for services; see `systemd.exec(5)` on credentials.
    CredentialName, "credential name", check_version
);
name!(
    /// A unit of systemd.
    UnitName, "unit name", check_unit
);

impl ProcessName {
    /// The only process of a cell whose manifest names none.
    #[must_use]
    pub fn main() -> Self {
        Self(SmolStr::new_static("main"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names_are_refused_with_the_rule_that_they_broke() {
        for (text, rule) in [
            ("", "it is empty"),
            ("-a", "it must begin and end with a letter or a digit"),
            ("a-", "it must begin and end with a letter or a digit"),
            ("_requests", "only lower-case letters, digits and '-' are allowed"),
            ("Web", "only lower-case letters, digits and '-' are allowed"),
            ("a.b", "only lower-case letters, digits and '-' are allowed"),
            ("a/b", "only lower-case letters, digits and '-' are allowed"),
            ("wéb", "only lower-case letters, digits and '-' are allowed"),
            ("a\nb", "only lower-case letters, digits and '-' are allowed"),
        ] {
            assert_eq!(NodeName::new(text).unwrap_err().rule, rule, "{text:?}");
        }
        assert_eq!(NodeName::new("a".repeat(64)).unwrap_err().rule, "it is longer than 63 characters");
        assert!(NodeName::new("a".repeat(63)).is_ok());
        for (text, rule) in [
            ("..", "it must begin with a letter or a digit"),
            ("-rf", "it must begin with a letter or a digit"),
            ("1 2", "only letters, digits and '.', '_', '+', '-' are allowed"),
            ("1/2", "only letters, digits and '.', '_', '+', '-' are allowed"),
        ] {
            assert_eq!(VersionName::new(text).unwrap_err().rule, rule, "{text:?}");
        }
        for (text, rule) in [
            ("", "it must end in the kind of unit, such as .service or .target"),
            ("postgresql", "it must end in the kind of unit, such as .service or .target"),
            (".service", "it must end in the kind of unit, such as .service or .target"),
            ("a b.service", "only letters, digits and ':', '_', '.', '@', '-' are allowed"),
            ("a\n.service", "only letters, digits and ':', '_', '.', '@', '-' are allowed"),
            ("%n.service", "only letters, digits and ':', '_', '.', '@', '-' are allowed"),
        ] {
            assert_eq!(UnitName::new(text).unwrap_err().rule, rule, "{text:?}");
        }
        assert!(UnitName::new("postgresql@14-main.service").is_ok());
        assert!(VersionName::new("a".repeat(129)).is_err());
        assert!(VersionName::new("1.4.2+build_7-rc.1").is_ok());
    }

    #[test]
    fn serde_goes_through_the_same_constructor() {
        assert!(serde_json::from_str::<CellName>("\"web\"").is_ok());
        let error = serde_json::from_str::<CellName>("\"We b\"").unwrap_err().to_string();
        assert!(error.contains("only lower-case letters"), "{error}");
    }

    #[test]
    fn a_refused_text_is_cut_before_it_is_shown() {
        assert!(CellName::new("x".repeat(1_000_000)).unwrap_err().text.len() < 300);
    }

    proptest! {
        #[test]
        fn the_checks_agree_with_the_documented_patterns(text in "[a-zA-Z0-9._+/ -]{0,70}") {
            let label = !text.is_empty() && text.len() <= 63
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                && !text.starts_with('-') && !text.ends_with('-');
            prop_assert_eq!(NodeName::new(text.clone()).is_ok(), label);
            let version = text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c));
            prop_assert_eq!(VersionName::new(text).is_ok(), version);
        }
    }
}
