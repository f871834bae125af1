//! How a cell runs as a service of systemd.
//!
//! Everything that reaches a unit is typed: names of units, users and switches hold nothing that a unit file could
//! take for something else, and what is free text is escaped when the unit is rendered.

use std::collections::BTreeSet;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FilePath;
use super::manifest::is_default;
use super::name::UnitName;
use super::run_spec::{EnvValue, RestartPolicy, RunSpec, StopSignal};

/// What systemd runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SystemdSpec {
    /// A unit that is made from what stands here.
    Rendered(Box<UnitSpec>),
    /// A unit that the release brings.
    Own(OwnUnit),
}

/// A unit that the release brings: it is installed with our marker added, and everything else as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnUnit {
    /// Where it lies in the version.
    pub unit_file: FilePath,
    /// Owner of the cell's data folder; the agent's user if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Group of the cell's data folder; the user's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A unit that is made from typed fields; see `systemd.service(5)`, `systemd.exec(5)` and `systemd.unit(5)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitSpec {
    /// The program, and how it is started, restarted and stopped.
    #[serde(flatten)]
    pub run: RunSpec,
    /// What `Description=` says; the cell's name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When systemd takes it for started.
    #[serde(rename = "type", default, skip_serializing_if = "is_default")]
    pub kind: ServiceType,
    /// It is started after these units.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<UnitName>,
    /// It is started with these units, and ends with them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub requires: BTreeSet<UnitName>,
    /// The signal by which it is told to read its files again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_signal: Option<StopSignal>,
    /// What is run to tell it so, in place of a signal: a program and its arguments. A relative program is looked up in
    /// the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_command: Option<Vec<String>>,
    /// When it is run, as `systemd.time(7)` writes calendar events; it runs all the time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What it is kept from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hardening: Hardening,
}

/// When systemd takes a service for started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceType {
    /// Once its program is executed.
    #[default]
    Exec,
    /// Once there is a process for it, whether its program can be executed or not.
    Simple,
    /// Once it says so, with `READY=1`.
    Notify,
    /// Once it has ended, well.
    Oneshot,
}

/// When a service is run by a timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// A calendar event, such as `*-*-* 03:00` or `hourly`.
    pub on_calendar: String,
    /// Whether a run that was missed while the machine was off is made up for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub persistent: bool,
    /// By how much it may be late, by chance.
    #[serde(default, skip_serializing_if = "is_default")]
    pub random_delay_ms: u64,
}

/// What a service is kept from; see `systemd.exec(5)`. What is absent stays as systemd has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardening {
    /// `NoNewPrivileges=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_new_privileges: Option<bool>,
    /// `ProtectSystem=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_system: Option<ProtectSystem>,
    /// `ProtectHome=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_home: Option<ProtectHome>,
    /// `PrivateTmp=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_tmp: Option<bool>,
    /// `PrivateDevices=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_devices: Option<bool>,
    /// `PrivateNetwork=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_network: Option<bool>,
    /// `DynamicUser=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_user: Option<bool>,
    /// `ProtectKernelTunables=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_kernel_tunables: Option<bool>,
    /// `ProtectKernelModules=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_kernel_modules: Option<bool>,
    /// `ProtectControlGroups=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_control_groups: Option<bool>,
    /// `RestrictSUIDSGID=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restrict_suid_sgid: Option<bool>,
    /// `RestrictRealtime=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restrict_realtime: Option<bool>,
    /// `LockPersonality=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_personality: Option<bool>,
    /// `MemoryDenyWriteExecute=`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_deny_write_execute: Option<bool>,
    /// `CapabilityBoundingSet=`: all that it may ever have; an empty list is none at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<BTreeSet<Capability>>,
    /// `AmbientCapabilities=`: what it has without being root.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub ambient_capabilities: BTreeSet<Capability>,
    /// `ReadWritePaths=`: absolute paths that it may write to in spite of the others.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub read_write_paths: BTreeSet<String>,
    /// `StateDirectory=`: a folder below `/var/lib`, made for the service and its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_directory: Option<super::CellName>,
}

/// `ProtectSystem=`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtectSystem {
    /// Nothing is protected.
    No,
    /// `/usr` and the boot loader's folders cannot be written to.
    Yes,
    /// `/etc` neither.
    Full,
    /// The whole file system, but for `/dev`, `/proc` and `/sys`.
    Strict,
}

/// `ProtectHome=`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtectHome {
    /// Homes are as they are.
    No,
    /// They are empty and cannot be entered.
    Yes,
    /// They cannot be written to.
    ReadOnly,
    /// There are empty ones in their place.
    Tmpfs,
}

/// A capability of `capabilities(7)`, such as `CAP_NET_BIND_SERVICE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(String);

/// A text that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("capability {text:?} is not valid: expected a name of capabilities(7), such as CAP_NET_BIND_SERVICE")]
pub struct CapabilityError {
    text: String,
}

impl Capability {
    /// The capability as systemd writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Capability {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        let is_named = |name: &str| {
            !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        match text.strip_prefix("CAP_") {
            Some(name) if is_named(name) => Ok(Self(text.to_owned())),
            _ => Err(CapabilityError { text: super::name::shown(text) }),
        }
    }
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

stands_as_text!(Capability, CapabilityError);

/// Why a specification cannot be a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SystemdError {
    /// There is nothing to execute.
    #[error("the command is empty")]
    NoCommand,
    /// A text that no unit file can hold.
    #[error("{field} {problem}")]
    Unwritable {
        /// Where it stands.
        field: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two ways to tell it the same.
    #[error("it is reloaded either by a signal or by a command that is not empty")]
    Reload,
    /// A oneshot that is to be restarted whatever its end.
    #[error("a oneshot service cannot have the restart policy always")]
    RestartedOneshot,
}

impl SystemdSpec {
    /// The unit, if it is made from fields.
    #[must_use]
    pub fn rendered(&self) -> Option<&UnitSpec> {
        match self {
            Self::Rendered(unit) => Some(unit),
            Self::Own(_) => None,
        }
    }

    /// A unit with nothing set but what every profile knows.
    #[must_use]
    pub fn plain(run: RunSpec) -> Self {
        Self::Rendered(Box::new(UnitSpec {
            run,
            description: None,
            kind: ServiceType::default(),
            after: BTreeSet::new(),
            requires: BTreeSet::new(),
            reload_signal: None,
            reload_command: None,
            schedule: None,
            hardening: Hardening::default(),
        }))
    }

    /// Whether nothing is set but what every profile knows.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.rendered().is_some_and(|unit| *self == Self::plain(unit.run.clone()))
    }

    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub fn check(&self) -> Result<(), SystemdError> {
        let Some(unit) = self.rendered() else { return Ok(()) };
        let UnitSpec { run, description, kind, schedule, hardening, reload_signal, reload_command, .. } = unit;
        if run.command.is_empty() {
            return Err(SystemdError::NoCommand);
        }
        if *kind == ServiceType::Oneshot && run.restart.policy == RestartPolicy::Always {
            return Err(SystemdError::RestartedOneshot);
        }
        if reload_command.as_ref().is_some_and(|command| command.is_empty() || reload_signal.is_some()) {
            return Err(SystemdError::Reload);
        }
        let unwritable = |field: String, problem| Err(SystemdError::Unwritable { field, problem });
        for (name, command) in [("command", Some(&run.command)), ("reload_command", reload_command.as_ref())] {
            if let Some(at) = command.and_then(|words| words.iter().position(|word| word.contains('\0'))) {
                return unwritable(format!("{name}[{at}]"), "has a NUL character in it, which no program can be given");
            }
        }
        if let Some(name) = run.env.keys().find(|name| !is_variable(name)) {
            let problem = "is no name of a variable: expected letters, digits and `_`, and no digit first";
            return unwritable(format!("env.{name}"), problem);
        }
        let values = run.env.iter().filter_map(|(name, value)| match value {
            // systemd passes over an assignment that holds any other control character.
            EnvValue::Text(text) => Some((format!("env.{name}"), text, &['\t', '\n'][..])),
            EnvValue::FromFile(_) | EnvValue::Credential(_) => None,
        });
        let paths = hardening.read_write_paths.iter().map(|path| ("hardening.read_write_paths".to_owned(), path));
        let paths = paths.map(|(field, text)| (field, text, &[][..]));
        for (field, text, taken) in values.chain(paths) {
            if text.contains(|c: char| c.is_control() && !taken.contains(&c)) {
                return unwritable(field, CONTROL);
            }
        }
        let description = description.iter().map(|text| ("description", text));
        let event = schedule.iter().map(|schedule| ("schedule.on_calendar", &schedule.on_calendar));
        for (field, text) in description.chain(event) {
            check_line(text).or_else(|problem| unwritable(field.to_owned(), problem))?;
        }
        Ok(())
    }

    /// The user and group that own the cell's data folder; `None` is the agent's own.
    #[must_use]
    pub fn owner(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Rendered(unit) => (unit.run.user.as_deref(), unit.run.group.as_deref()),
            Self::Own(own) => (own.user.as_deref(), own.group.as_deref()),
        }
    }
}

const CONTROL: &str = "has a control character in it, which systemd does not take";

/// Checks a text that becomes all that a line of a unit assigns, outside of quotes.
///
/// # Errors
/// Why systemd would not read it back as it is.
pub(crate) fn check_line(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty, which to systemd is as if it were left out");
    }
    if text.contains(char::is_control) {
        return Err(CONTROL);
    }
    if text.ends_with('\\') {
        return Err("ends in `\\`, which would join the next line to it");
    }
    if text.trim() != text {
        return Err("begins or ends with a blank, which systemd does not keep");
    }
    check_characters(text)
}

/// systemd takes a line with a noncharacter of Unicode for broken UTF-8, and passes over it.
pub(crate) fn check_characters(text: &str) -> Result<(), &'static str> {
    let is_noncharacter = |c: char| (0xfdd0..=0xfdef).contains(&u32::from(c)) || u32::from(c) & 0xfffe == 0xfffe;
    if text.contains(is_noncharacter) {
        return Err("has a noncharacter of Unicode in it, which systemd does not take");
    }
    Ok(())
}

impl<'de> Deserialize<'de> for SystemdSpec {
    /// By hand, because serde's untagged enums do not say what was wrong.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.get("unit_file").is_some() {
            return OwnUnit::deserialize(value).map(Self::Own).map_err(D::Error::custom);
        }
        UnitSpec::deserialize(value).map(|unit| Self::Rendered(Box::new(unit))).map_err(D::Error::custom)
    }
}

/// What systemd takes for the name of a variable.
pub(crate) fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(more: Value) -> Value {
        let mut value = json!({"command": ["/x"], "restart": {"policy": "on_failure", "delay_ms": 1000},
            "stop": {"signal": "TERM", "timeout_ms": 1}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    }

    fn spec(more: Value) -> SystemdSpec {
        SystemdSpec::deserialize(written(more)).unwrap()
    }

    #[test]
    fn a_unit_stands_in_a_document_as_it_was_written() {
        assert!(spec(json!({})).is_plain());
        assert_eq!(serde_json::to_value(spec(json!({}))).unwrap(), written(json!({})));
        for more in [
            json!({"description": "a b"}),
            json!({"type": "oneshot", "schedule": {"on_calendar": "hourly", "persistent": true, "random_delay_ms": 5}}),
            json!({"after": ["network-online.target"], "requires": ["postgresql.service"]}),
            json!({"hardening": {"no_new_privileges": false, "protect_system": "strict", "protect_home": "read-only",
                "capabilities": [], "ambient_capabilities": ["CAP_NET_BIND_SERVICE"], "state_directory": "web"}}),
        ] {
            assert!(!spec(more.clone()).is_plain());
            assert_eq!(serde_json::to_value(spec(more.clone())).unwrap(), written(more));
        }
        let own = json!({"unit_file": "etc/web.service", "user": "web"});
        let spec = SystemdSpec::deserialize(own.clone()).unwrap();
        assert_eq!((spec.owner(), spec.rendered()), ((Some("web"), None), None));
        assert_eq!(serde_json::to_value(&spec).unwrap(), own);
    }

    #[test]
    fn what_is_wrong_with_a_form_is_said() {
        let error = |value: Value| SystemdSpec::deserialize(value).unwrap_err().to_string();
        assert!(error(json!({"restart": {}})).contains("missing field `command`"));
        assert!(error(written(json!({"unit_file": "a.service"}))).contains("unknown field `command`"));
        assert!(error(written(json!({"after": ["a\nb"]}))).contains("unit name \"a\\nb\" is not valid"));
        let capability = error(written(json!({"hardening": {"capabilities": ["cap_sys_admin"]}})));
        assert!(capability.contains("capability \"cap_sys_admin\" is not valid"), "{capability}");
    }

    #[test]
    fn what_no_unit_can_hold_is_refused() {
        let refused = |more| spec(more).check().unwrap_err().to_string();
        assert_eq!(refused(json!({"command": []})), "the command is empty");
        assert_eq!(
            refused(json!({"type": "oneshot", "restart": {"policy": "always"}})),
            "a oneshot service cannot have the restart policy always"
        );
        for (more, field) in [
            (json!({"command": ["/x", "a\0"]}), "command[1]"),
            (json!({"env": {"A=B": ""}}), "env.A=B"),
            (json!({"env": {"1": ""}}), "env.1"),
            (json!({"env": {"A": "\u{1b}"}}), "env.A"),
            (json!({"description": "a\nb"}), "description"),
            (json!({"description": "a\\"}), "description"),
            (json!({"description": " a"}), "description"),
            (json!({"description": "a\u{3000}"}), "description"),
            (json!({"description": "\u{fdd0}"}), "description"),
            (json!({"description": ""}), "description"),
            (json!({"schedule": {"on_calendar": "daily\n"}}), "schedule.on_calendar"),
            (json!({"hardening": {"read_write_paths": ["/a\tb"]}}), "hardening.read_write_paths"),
        ] {
            assert_eq!(refused(more).split(' ').next(), Some(field));
        }
        assert_eq!(spec(json!({"command": ["/x", "\n\u{1}"], "env": {"A": "\t\n%$\\"}})).check(), Ok(()));
    }
}
