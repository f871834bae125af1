//! A version's units of systemd as text.

mod escape;
mod socket;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

pub(crate) use self::escape::Unwritable;
use self::escape::{LONGEST_LINE, argument, assignment, path_word, program, rest_of_line};
pub(crate) use self::socket::SocketUnits;
#[cfg(feature = "agent")]
pub(crate) use self::socket::{Sockets, prefix as socket_prefix, sockets};
use super::OnNode;
use super::instance::Instance;
use crate::model::CellName;
use crate::model::run_spec::{EnvValue, Limits, Restart, RestartPolicy, Stop, StopSignal};
use crate::model::strategy::Strategy;
use crate::model::systemd::{
    Capability, Hardening, ProtectHome, ProtectSystem, Schedule, ServiceType, UnitSpec, is_variable,
};
use crate::supervise::EnvFile;

/// What is said only once whatever the unit is.
const HEAD: &str = "# Made by fleetagent, which finds what is changed here. To add to it: systemctl edit <unit>\n";

/// What the names of all our units begin with.
pub(crate) const PREFIX: &str = "fleetman-";

/// The word that makes the agent's program write down the values that stand in files of the node.
pub const WRITE_ENV: &str = "write-env";

/// The most that a unit may have before it is sealed: there is room for the longest marker.
const MOST_UNSEALED: usize = 4_000_000;

/// Whose manager runs the cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The system's, which is PID 1.
    #[default]
    System,
    /// That of the agent's own user.
    User,
}

impl Scope {
    /// What cells start with.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::System => "multi-user.target",
            Self::User => "default.target",
        }
    }
}

/// The units of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Units {
    /// The service.
    pub(crate) service: Vec<u8>,
    /// The timer that runs it, if it does not run all the time.
    pub(crate) timer: Option<Vec<u8>>,
    /// The sockets that it is given, by the names of their units without the end.
    pub(crate) sockets: BTreeMap<String, SocketUnits>,
}

/// The lines of a unit file, all of which are whole.
struct Lines(String);

impl Lines {
    fn section(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(&format!("[{name}]\n"));
    }

    /// A directive whose value is a number, a word of ours, or escaped already.
    fn set(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key}={value}\n"));
    }

    fn maybe(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    fn switch(&mut self, key: &str, value: Option<bool>) {
        self.maybe(key, value.map(|on| if on { "yes" } else { "no" }));
    }
}

/// The units that `spec` describes, if it is run as `instance`.
///
/// # Errors
/// A text that cannot be in a unit, or what this scope does not have.
pub(crate) fn units(
    spec: &UnitSpec,
    on_node: &OnNode<'_>,
    instance: Instance,
    scope: Scope,
    agent: &Path,
) -> Result<Units, Unwritable> {
    check_scope(spec, scope)?;
    let shared = match &on_node.manifest.strategy {
        Strategy::StopStart | Strategy::Reload => None,
        Strategy::StartStop(how) => Some(how),
    };
    let unit = |key: &'static str| move |problem| Unwritable::new(key, problem);
    let mut lines = Lines(String::new());
    lines.section("Unit");
    let described = match &spec.description {
        Some(text) => rest_of_line(text).map_err(unit("description"))?,
        None => format!("{} of Fleetman", on_node.cell),
    };
    lines.set("Description", &described);
    let network = (scope == Scope::System).then_some("network.target");
    let cells = cells_before(on_node);
    let units = spec.after.iter().map(|name| name.as_str()).chain(cells.iter().map(String::as_str));
    let after: Vec<&str> = network.into_iter().chain(units).collect();
    if !after.is_empty() {
        lines.set("After", after.join(" "));
    }
    if !spec.requires.is_empty() {
        lines.set("Requires", spec.requires.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "));
    }
    start_limit(&spec.run.restart, &mut lines);

    lines.section("Service");
    let is_scheduled = spec.schedule.is_some();
    lines.set("Type", kind(spec.kind));
    if spec.kind == ServiceType::Oneshot && !is_scheduled {
        // What ended well stays up, so that it is known to have run.
        lines.set("RemainAfterExit", "yes");
    }
    let secrets = env_file(on_node.cell, instance);
    execute(spec, on_node, agent, &secrets, &mut lines)?;
    environment(spec, on_node, &secrets, &mut lines)?;
    if let Some(how) = shared {
        socket::share(on_node.cell, how, instance, &mut lines);
    }
    lines.maybe("User", checked_name("user", spec.run.user.as_deref())?);
    lines.maybe("Group", checked_name("group", spec.run.group.as_deref())?);
    stop_and_restart(&spec.run.restart, &spec.run.stop, &mut lines);
    limits(&on_node.manifest.limits, &mut lines);
    hardening(&spec.hardening, on_node.data, &mut lines)?;
    if !is_scheduled {
        lines.section("Install");
        lines.set("WantedBy", scope.target());
    }
    let timer = spec.schedule.as_ref().map(|schedule| timer(schedule, &described)).transpose()?;
    let sockets = shared.map(|how| socket::units(on_node.cell, how)).transpose()?.unwrap_or_default();
    Ok(Units { service: checked_text(lines)?, timer: timer.map(checked_text).transpose()?, sockets })
}

/// The units of the cells that this one depends on, whichever of them there are. Only the order is systemd's to keep, for
/// a boot: what else it knows would start a cell that somebody stopped, or stop one because another one is stopped.
fn cells_before(on_node: &OnNode<'_>) -> Vec<String> {
    let units = |cell| {
        let Names { service, second, .. } = Names::of(cell);
        [service, second]
    };
    on_node.manifest.dependencies.all().into_iter().flat_map(units).collect()
}

fn checked_text(lines: Lines) -> Result<Vec<u8>, Unwritable> {
    if lines.0.len() > MOST_UNSEALED {
        return Err(Unwritable::new("the unit", "would be longer than 4 MB, and then nobody's"));
    }
    match lines.0.lines().find(|line| line.len() > LONGEST_LINE) {
        None => Ok(format!("{HEAD}{}", lines.0).into_bytes()),
        Some(line) => {
            let key = line.split_once('=').map_or("a line", |(key, _)| key);
            Err(Unwritable::new(key, "is longer than the 1 MiB that systemd reads of a line"))
        }
    }
}

/// What only the system's manager can do is said before a program fails for want of it.
fn check_scope(spec: &UnitSpec, scope: Scope) -> Result<(), Unwritable> {
    if scope == Scope::System {
        return Ok(());
    }
    let Hardening { dynamic_user, capabilities, ambient_capabilities, .. } = &spec.hardening;
    let asks_credential = spec.run.env.values().any(|value| matches!(value, EnvValue::Credential(_)));
    let asked = [
        ("user", spec.run.user.is_some()),
        ("group", spec.run.group.is_some()),
        ("hardening.dynamic_user", *dynamic_user == Some(true)),
        ("hardening.capabilities", capabilities.is_some()),
        ("hardening.ambient_capabilities", !ambient_capabilities.is_empty()),
        ("a credential in env", asks_credential),
    ];
    let asked = asked.into_iter().find(|(_, is_asked)| *is_asked);
    asked.map_or(Ok(()), |(field, _)| {
        Err(Unwritable::new(field, "needs the system's manager; this node's config has `scope: user`"))
    })
}

fn kind(kind: ServiceType) -> &'static str {
    match kind {
        ServiceType::Exec => "exec",
        ServiceType::Simple => "simple",
        ServiceType::Notify => "notify",
        ServiceType::Oneshot => "oneshot",
    }
}

/// Names of users are words that no unit file and no shell takes for anything else.
fn checked_name<'a>(field: &'static str, name: Option<&'a str>) -> Result<Option<&'a str>, Unwritable> {
    let is_plain = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
            && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    };
    match name {
        Some(name) if !is_plain(name) => Err(Unwritable::new(field, "is no name of an account that systemd takes")),
        name => Ok(name),
    }
}

fn execute(
    spec: &UnitSpec,
    on_node: &OnNode<'_>,
    agent: &Path,
    secrets_file: &str,
    lines: &mut Lines,
) -> Result<(), Unwritable> {
    let files = files_of(&spec.run.env);
    if let Some(name) = spec.run.env.keys().find(|name| !files.is_empty() && steers_loader(name)) {
        let problem = "would steer the program that reads from_file values as root; set it in a script of the release";
        return Err(Unwritable::new(format!("env.{name}"), problem));
    }
    let secrets = (!files.is_empty()).then(|| -> Result<_, Unwritable> {
        let agent = program(&agent.to_string_lossy()).map_err(|it| Unwritable::new("the path of fleetagent", it))?;
        let told = argument(&told(&files)).map_err(|it| Unwritable::new("env", it))?;
        Ok((format!("{agent} {WRITE_ENV} {secrets_file}"), told))
    });
    let secrets = secrets.transpose()?;
    if let Some((write, told)) = &secrets {
        lines.set("ExecStartPre", format!("+{write} {told}"));
    }
    lines.set("ExecStart", words("command", &spec.run.command, on_node)?);
    reload(spec, on_node, lines)?;
    if let Some((write, _)) = &secrets {
        // The file is there only while systemd has yet to read it.
        lines.set("ExecStartPost", format!("+-{write}"));
        lines.set("ExecStopPost", format!("+-{write}"));
    }
    let working_dir = spec.run.working_dir.as_ref();
    let working_dir = working_dir.map_or_else(|| on_node.release.into(), |dir| on_node.release.join(dir.as_str()));
    let working_dir = rest_of_line(&working_dir.to_string_lossy());
    lines.set("WorkingDirectory", working_dir.map_err(|problem| Unwritable::new("working_dir", problem))?);
    Ok(())
}

/// A program and its arguments, as systemd reads them back.
fn words(field: &str, command: &[String], on_node: &OnNode<'_>) -> Result<String, Unwritable> {
    let words = command.iter().enumerate().map(|(at, word)| {
        let escaped = match at {
            0 => program(&program_path(word, on_node.release)),
            _ => argument(word),
        };
        escaped.map_err(|problem| Unwritable::new(format!("{field}[{at}]"), problem))
    });
    Ok(words.collect::<Result<Vec<_>, _>>()?.join(" "))
}

/// How systemd tells it to read its files again.
fn reload(spec: &UnitSpec, on_node: &OnNode<'_>, lines: &mut Lines) -> Result<(), Unwritable> {
    if let Some(signal) = spec.reload_signal {
        // A shell is on every host, and a program that sends signals is not.
        lines.set("ExecReload", format!("/bin/sh -c \"kill -s {} $$MAINPID\"", name_of(signal)));
    }
    if let Some(command) = &spec.reload_command {
        lines.set("ExecReload", words("reload_command", command, on_node)?);
    }
    Ok(())
}

/// Whether a variable has any program load code or data from elsewhere, as `ld.so(8)` and the C library's own pages
/// tell. systemd gives a unit's environment to its privileged commands too.
fn steers_loader(name: &str) -> bool {
    name.starts_with("LD_") || ["GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH"].contains(&name)
}

/// A program without a leading `/` is one of the version's files. It is named in its own release, not behind the
/// link: the unit that names it is what decides which version runs, after any crash (I4).
fn program_path(program: &str, release: &Path) -> String {
    if program.starts_with('/') { program.to_owned() } else { release.join(program).display().to_string() }
}

/// The variables whose values are read from the node's own files at each start.
pub(crate) fn files_of(env: &BTreeMap<String, EnvValue>) -> BTreeMap<&str, EnvFile> {
    let files = env.iter().filter_map(|(name, value)| match value {
        EnvValue::FromFile(file) => {
            Some((name.as_str(), EnvFile { from_file: (&file.from_file).into(), key: file.key.clone() }))
        }
        EnvValue::Text(_) | EnvValue::Credential(_) => None,
    });
    files.collect()
}

fn environment(spec: &UnitSpec, on_node: &OnNode<'_>, secrets_file: &str, lines: &mut Lines) -> Result<(), Unwritable> {
    let own = on_node.variables();
    let mut credentials = Vec::new();
    for (name, value) in &spec.run.env {
        let refuse = |problem| Unwritable::new(format!("env.{name}"), problem);
        if !is_variable(name) {
            return Err(refuse("is no name of a variable"));
        }
        match value {
            EnvValue::Text(_) | EnvValue::FromFile(_) if own.iter().any(|(own, _)| own == name) => {}
            EnvValue::Text(text) => lines.set("Environment", assignment(name, text).map_err(refuse)?),
            EnvValue::Credential(from) => {
                // `%d` is where systemd shows the service its credentials.
                lines.set("Environment", format!("\"{name}=%d/{}\"", from.credential));
                credentials.push(&from.credential);
            }
            EnvValue::FromFile(_) => {}
        }
    }
    for (name, value) in own {
        lines.set("Environment", assignment(name, &value).map_err(|problem| Unwritable::new(name, problem))?);
    }
    if !files_of(&spec.run.env).is_empty() {
        lines.set("EnvironmentFile", format!("-{secrets_file}"));
    }
    credentials.sort_unstable();
    credentials.dedup();
    for credential in credentials {
        lines.set("LoadCredential", credential);
    }
    Ok(())
}

/// So many restarts, counted in a window that none of them falls out of unless the service ran well in between.
fn start_limit(restart: &Restart, lines: &mut Lines) {
    let limited = restart.max_retries.filter(|_| restart.policy != RestartPolicy::Never);
    match limited {
        None => lines.set("StartLimitIntervalSec", 0),
        Some(retries) => {
            let starts = u64::from(retries) + 1;
            let window = restart.delay_ms.saturating_add(restart.reset_after_ms).saturating_mul(starts);
            lines.set("StartLimitIntervalSec", milliseconds(window.max(1)));
            lines.set("StartLimitBurst", starts.min(u64::from(u32::MAX)));
        }
    }
}

fn stop_and_restart(restart: &Restart, stop: &Stop, lines: &mut Lines) {
    lines.set(
        "Restart",
        match restart.policy {
            RestartPolicy::Never => "no",
            RestartPolicy::OnFailure => "on-failure",
            RestartPolicy::Always => "always",
        },
    );
    lines.set("RestartSec", milliseconds(restart.delay_ms));
    lines.set("KillSignal", format!("SIG{}", name_of(stop.signal)));
    // To systemd zero is forever.
    lines.set("TimeoutStopSec", milliseconds(stop.timeout_ms.max(1)));
}

fn name_of(signal: StopSignal) -> &'static str {
    match signal {
        StopSignal::Term => "TERM",
        StopSignal::Int => "INT",
        StopSignal::Quit => "QUIT",
        StopSignal::Hup => "HUP",
        StopSignal::Usr1 => "USR1",
        StopSignal::Usr2 => "USR2",
        StopSignal::Kill => "KILL",
    }
}

/// systemd counts microseconds in 64 bits, and all of them are forever.
fn milliseconds(ms: u64) -> String {
    format!("{}ms", ms.min(u64::MAX / 2000))
}

fn limits(limits: &Limits, lines: &mut Lines) {
    lines.maybe("LimitNOFILE", limits.open_files);
    lines.maybe("LimitCORE", limits.core_bytes);
    lines.maybe("MemoryMax", limits.memory_bytes);
    lines.maybe("TasksMax", limits.tasks);
}

fn hardening(hardening: &Hardening, data: &Path, lines: &mut Lines) -> Result<(), Unwritable> {
    let names = |capabilities: &mut dyn Iterator<Item = &Capability>| {
        capabilities.map(|capability| capability.as_str()).collect::<Vec<_>>().join(" ")
    };
    lines.switch("NoNewPrivileges", hardening.no_new_privileges);
    lines.maybe(
        "ProtectSystem",
        hardening.protect_system.map(|protect| match protect {
            ProtectSystem::No => "no",
            ProtectSystem::Yes => "yes",
            ProtectSystem::Full => "full",
            ProtectSystem::Strict => "strict",
        }),
    );
    lines.maybe(
        "ProtectHome",
        hardening.protect_home.map(|protect| match protect {
            ProtectHome::No => "no",
            ProtectHome::Yes => "yes",
            ProtectHome::ReadOnly => "read-only",
            ProtectHome::Tmpfs => "tmpfs",
        }),
    );
    lines.switch("PrivateTmp", hardening.private_tmp);
    lines.switch("PrivateDevices", hardening.private_devices);
    lines.switch("PrivateNetwork", hardening.private_network);
    lines.switch("DynamicUser", hardening.dynamic_user);
    lines.switch("ProtectKernelTunables", hardening.protect_kernel_tunables);
    lines.switch("ProtectKernelModules", hardening.protect_kernel_modules);
    lines.switch("ProtectControlGroups", hardening.protect_control_groups);
    lines.switch("RestrictSUIDSGID", hardening.restrict_suid_sgid);
    lines.switch("RestrictRealtime", hardening.restrict_realtime);
    lines.switch("LockPersonality", hardening.lock_personality);
    lines.switch("MemoryDenyWriteExecute", hardening.memory_deny_write_execute);
    lines.maybe("CapabilityBoundingSet", hardening.capabilities.as_ref().map(|set| names(&mut set.iter())));
    if !hardening.ambient_capabilities.is_empty() {
        lines.set("AmbientCapabilities", names(&mut hardening.ambient_capabilities.iter()));
    }
    let data = data.to_string_lossy();
    // A cell may write what it keeps, unless its user is made up at each start and owns nothing before.
    let is_closed = hardening.protect_system == Some(ProtectSystem::Strict) && hardening.dynamic_user != Some(true);
    let own = is_closed.then_some(&*data).into_iter();
    for path in own.chain(hardening.read_write_paths.iter().map(String::as_str)) {
        let word = path_word(path).map_err(|problem| Unwritable::new("hardening.read_write_paths", problem))?;
        lines.set("ReadWritePaths", word);
    }
    lines.maybe("StateDirectory", hardening.state_directory.as_ref());
    Ok(())
}

fn timer(schedule: &Schedule, described: &str) -> Result<Lines, Unwritable> {
    let mut lines = Lines(String::new());
    lines.section("Unit");
    lines.set("Description", format!("When to run: {described}"));
    lines.section("Timer");
    let when = rest_of_line(&schedule.on_calendar);
    lines.set("OnCalendar", when.map_err(|problem| Unwritable::new("schedule.on_calendar", problem))?);
    // Within a minute, unless said.
    lines.set("AccuracySec", "1s");
    lines.switch("Persistent", schedule.persistent.then_some(true));
    if schedule.random_delay_ms > 0 {
        lines.set("RandomizedDelaySec", milliseconds(schedule.random_delay_ms));
    }
    lines.section("Install");
    lines.set("WantedBy", "timers.target");
    Ok(lines)
}

/// Where the values of a cell are while its service starts, as units name it: `%t` is `/run`, or the user's own. Of two
/// services each has a file of its own, because either may start at any time.
fn env_file(cell: &CellName, instance: Instance) -> String {
    match instance {
        Instance::A => format!("%t/fleetman/{cell}.env"),
        Instance::B => format!("%t/fleetman/{cell}.{}.env", instance.name()),
    }
}

/// What to read, as the program is told.
pub(crate) fn told(files: &BTreeMap<&str, EnvFile>) -> String {
    // Maps of text have nothing that JSON lacks.
    serde_json::to_string(files).unwrap_or_default()
}

/// The names of a cell's units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    service: String,
    second: String,
    pub(crate) timer: String,
}

impl Names {
    pub(crate) fn of(cell: &CellName) -> Self {
        Self {
            service: format!("{PREFIX}{cell}.service"),
            second: format!("{PREFIX}{cell}.{}.service", Instance::B.name()),
            timer: format!("{PREFIX}{cell}.timer"),
        }
    }

    /// The service: what takes turns with nothing is the first of the two.
    pub(crate) fn service(&self, instance: Instance) -> &str {
        match instance {
            Instance::A => &self.service,
            Instance::B => &self.second,
        }
    }
}

#[cfg(test)]
mod tests;
