//! The `systemd` profile as people write it: a unit from settings, or one that the release brings.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Restart, Stop};
use crate::model::systemd::{self, ProtectHome, ProtectSystem, ServiceType};
use crate::model::{CellName, UnitName};
use crate::recipe::either::{EnvValue, Schedule};
use crate::recipe::value::{
    Capability, Name, ProtectHomeText, ProtectSystemText, Scalar, ServiceTypeText, Signal, UnitText,
};

/// A service of systemd: a `command` with its settings, or a `unit_file` of the version and nothing but who owns the
/// cell's data.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {"required": ["command"]},
    {"required": ["unit_file"], "propertyNames": {"enum": ["unit_file", "user", "group"]}},
]))]
pub struct Unit {
    /// The program and its arguments, each one item; never a shell line. A program without a leading `/` is one of
    /// the version's files. Templates may be used.
    #[schemars(with = "Option<Vec<Scalar>>", length(min = 1))]
    pub command: Option<Vec<String>>,
    /// A unit file of the version, in place of everything else: it is installed as it is, with a mark of whose it is.
    /// It may be a template.
    pub unit_file: Option<String>,
    /// What systemd shows of it, in one line; the cell's name if left out.
    #[schemars(length(min = 1, max = 200))]
    pub description: Option<String>,
    /// When systemd takes it for started: `exec`, once its program is executed; `simple`, without waiting for that;
    /// `notify`, once it says so; `oneshot`, once it has ended well. `exec` if left out.
    #[serde(rename = "type")]
    #[schemars(with = "Option<ServiceTypeText>")]
    pub kind: Option<ServiceType>,
    /// The environment. A value is text, in which templates may be used, a file on the node, or a credential.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// The user that it runs as; the agent's own if left out.
    #[schemars(with = "Option<Scalar>")]
    pub user: Option<String>,
    /// The group that it runs as; the user's own if left out.
    #[schemars(with = "Option<Scalar>")]
    pub group: Option<String>,
    /// Where it starts, relative to the version's files; their top folder if left out.
    pub working_dir: Option<String>,
    /// What happens when it ends. The policy of what runs on a schedule, and of the type `oneshot`, is `never` if left
    /// out.
    #[serde(default)]
    pub restart: Restart,
    /// How it is ended.
    #[serde(default)]
    pub stop: Stop,
    /// It is started after these units.
    #[serde(default)]
    #[schemars(with = "Vec<UnitText>")]
    pub after: Vec<UnitName>,
    /// It is started with these units, and ends with them.
    #[serde(default)]
    #[schemars(with = "Vec<UnitText>")]
    pub requires: Vec<UnitName>,
    /// The signal that reloads it.
    pub reload_signal: Option<Signal>,
    /// What is run to reload it, in place of a signal: a program and its arguments, as in `command`.
    #[schemars(with = "Option<Vec<Scalar>>", length(min = 1))]
    pub reload_command: Option<Vec<String>>,
    /// When it runs; all the time if left out.
    pub schedule: Option<Schedule>,
    /// What it is kept from; as systemd has it if left out.
    #[serde(default)]
    pub hardening: Hardening,
}

/// What a service is kept from, by the names of systemd.exec(5). What is left out stays as systemd has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hardening {
    /// It never gets more rights than it was started with.
    pub no_new_privileges: Option<bool>,
    /// What it cannot write to: `yes`, /usr and the boot loader's folders; `full`, /etc neither; `strict`, nothing but
    /// /dev, /proc and /sys. `no` if left out.
    #[schemars(with = "Option<ProtectSystemText>")]
    pub protect_system: Option<ProtectSystem>,
    /// What it sees of /home, /root and /run/user: `yes`, nothing; `read-only`; `tmpfs`, empty folders. `no` if left
    /// out.
    #[schemars(with = "Option<ProtectHomeText>")]
    pub protect_home: Option<ProtectHome>,
    /// It has a /tmp of its own, which is gone when it ends.
    pub private_tmp: Option<bool>,
    /// It sees no devices but /dev/null and the like.
    pub private_devices: Option<bool>,
    /// It has no network but a loopback of its own.
    pub private_network: Option<bool>,
    /// systemd makes up a user for it while it runs. It keeps files in its `state_directory` then.
    pub dynamic_user: Option<bool>,
    /// It cannot change the kernel's settings in /proc and /sys.
    pub protect_kernel_tunables: Option<bool>,
    /// It cannot load kernel modules.
    pub protect_kernel_modules: Option<bool>,
    /// It cannot change control groups.
    pub protect_control_groups: Option<bool>,
    /// It cannot make files setuid or setgid.
    pub restrict_suid_sgid: Option<bool>,
    /// It cannot take a realtime priority.
    pub restrict_realtime: Option<bool>,
    /// It cannot change the personality that the kernel has for it.
    pub lock_personality: Option<bool>,
    /// It cannot map memory that can be both written and executed, as a compiler at run time does.
    pub memory_deny_write_execute: Option<bool>,
    /// All the capabilities that it may ever have; an empty list is none at all.
    pub capabilities: Option<Vec<Capability>>,
    /// The capabilities that it has without being root.
    pub ambient_capabilities: Option<Vec<Capability>>,
    /// Absolute paths that it may write to in spite of the other settings.
    #[schemars(inner(regex(pattern = "^/")))]
    pub read_write_paths: Option<Vec<String>>,
    /// A folder of this name below /var/lib that is made for it and belongs to it.
    #[schemars(with = "Option<Name>")]
    pub state_directory: Option<CellName>,
}

impl Hardening {
    /// What stands here, and where nothing does what stands in `below`.
    pub(in crate::recipe) fn over(&self, below: &Self) -> Self {
        macro_rules! each {
            ($($setting:ident)*) => {
                Self { $($setting: self.$setting.clone().or_else(|| below.$setting.clone()),)* }
            };
        }
        each!(
            no_new_privileges protect_system protect_home private_tmp private_devices private_network dynamic_user
            protect_kernel_tunables protect_kernel_modules protect_control_groups restrict_suid_sgid restrict_realtime
            lock_personality memory_deny_write_execute capabilities ambient_capabilities read_write_paths
            state_directory
        )
    }
}

impl From<Hardening> for systemd::Hardening {
    fn from(written: Hardening) -> Self {
        let set = |capabilities: Vec<Capability>| capabilities.into_iter().map(|capability| capability.0).collect();
        Self {
            no_new_privileges: written.no_new_privileges,
            protect_system: written.protect_system,
            protect_home: written.protect_home,
            private_tmp: written.private_tmp,
            private_devices: written.private_devices,
            private_network: written.private_network,
            dynamic_user: written.dynamic_user,
            protect_kernel_tunables: written.protect_kernel_tunables,
            protect_kernel_modules: written.protect_kernel_modules,
            protect_control_groups: written.protect_control_groups,
            restrict_suid_sgid: written.restrict_suid_sgid,
            restrict_realtime: written.restrict_realtime,
            lock_personality: written.lock_personality,
            memory_deny_write_execute: written.memory_deny_write_execute,
            capabilities: written.capabilities.map(set),
            ambient_capabilities: written.ambient_capabilities.map(set).unwrap_or_default(),
            read_write_paths: written.read_write_paths.into_iter().flatten().collect(),
            state_directory: written.state_directory,
        }
    }
}
