//! Capabilities by the names of `capabilities(7)`.

use serde::de::{Deserialize, Deserializer, Error};

use crate::model::systemd;
use crate::yaml;

/// A capability that Linux has: systemd passes over names that it does not know, and the program would miss it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(pub systemd::Capability);

impl Capability {
    /// Without `CAP_`.
    const NAMES: [&'static str; 41] = [
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "PERFMON",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYSLOG",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "WAKE_ALARM",
    ];

    /// Every name in full.
    pub(in crate::recipe) fn names() -> impl Iterator<Item = String> {
        Self::NAMES.iter().map(|name| format!("CAP_{name}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let known = text.strip_prefix("CAP_").is_some_and(|name| Self::NAMES.contains(&name));
        if known && let Ok(capability) = text.parse() {
            return Ok(Self(capability));
        }
        let upper = text.to_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        Err(match yaml::nearest(name, Self::NAMES) {
            Some(near) => format!("unknown capability `{text}`\ndid you mean `CAP_{near}`?"),
            None => format!("unknown capability `{text}`\ncapabilities(7) names them, such as CAP_NET_BIND_SERVICE"),
        })
    }
}

impl<'de> Deserialize<'de> for Capability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_those_of_linux() {
        for name in Capability::names() {
            assert_eq!(Capability::parse(&name).unwrap().0.as_str(), name);
        }
        for text in ["net_bind_service", "NET_BIND_SERVICE", "CAP_NET_BIND_SERVCE", "cap_net_bind_service"] {
            let error = Capability::parse(text).unwrap_err();
            assert_eq!(error, format!("unknown capability `{text}`\ndid you mean `CAP_NET_BIND_SERVICE`?"));
        }
        assert!(Capability::parse("ALL").unwrap_err().contains("capabilities(7) names them"));
    }
}
