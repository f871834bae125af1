//! A version's unit as text: pure.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use super::escape::{LONGEST_LINE, Unwritable, argument, assignment, path_word, program, rest_of_line};
use super::owned::MOST_UNSEALED;
use super::secrets::{self, WRITE_ENV};
use super::{Scope, UNITS};
use crate::agent::Start;
use crate::model::run_spec::{EnvValue, Limits, Restart, RestartPolicy, Stop, StopSignal};
use crate::model::systemd::{Capability, Hardening, ProtectHome, ProtectSystem, Schedule, ServiceType, UnitSpec};
use crate::supervise::EnvFile;

/// What is said only once whatever the unit is.
const HEAD: &str = "# Made by fleetagent, which finds what is changed here. To add to it: systemctl edit <unit>\n";

/// The units of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Units {
    /// The service.
    pub(super) service: Vec<u8>,
    /// The timer that runs it, if it does not run all the time.
    pub(super) timer: Option<Vec<u8>>,
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

/// The units that `spec` describes.
///
/// # Errors
/// A text that cannot be in a unit, or what this scope does not have.
pub(super) fn units(spec: &UnitSpec, start: &Start<'_>, scope: Scope, agent: &Path) -> Result<Units, Unwritable> {
    check_scope(spec, scope)?;
    let unit = |key: &'static str| move |problem| Unwritable::new(key, problem);
    let mut lines = Lines(String::new());
    lines.section("Unit");
    let described = match &spec.description {
        Some(text) => rest_of_line(text).map_err(unit("description"))?,
        None => format!("{} of Fleetman", start.cell),
    };
    lines.set("Description", &described);
    let network = (scope == Scope::System).then_some("network.target");
    let after: Vec<&str> = network.into_iter().chain(spec.after.iter().map(|name| name.as_str())).collect();
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
    execute(spec, start, agent, &mut lines)?;
    environment(spec, start, &mut lines)?;
    lines.maybe("User", checked_name("user", spec.run.user.as_deref())?);
    lines.maybe("Group", checked_name("group", spec.run.group.as_deref())?);
    stop_and_restart(&spec.run.restart, &spec.run.stop, &mut lines);
    limits(&start.manifest.limits, &mut lines);
    hardening(&spec.hardening, start.data, &mut lines)?;
    if !is_scheduled {
        lines.section("Install");
        lines.set("WantedBy", scope.target());
    }
    let timer = spec.schedule.as_ref().map(|schedule| timer(schedule, &described)).transpose()?;
    Ok(Units { service: checked_text(lines)?, timer: timer.map(checked_text).transpose()? })
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

fn execute(spec: &UnitSpec, start: &Start<'_>, agent: &Path, lines: &mut Lines) -> Result<(), Unwritable> {
    let files = files_of(&spec.run.env);
    if let Some(name) = spec.run.env.keys().find(|name| !files.is_empty() && steers_loader(name)) {
        let problem = "would steer the program that reads from_file values as root; set it in a script of the release";
        return Err(Unwritable::new(format!("env.{name}"), problem));
    }
    let secrets = (!files.is_empty()).then(|| -> Result<_, Unwritable> {
        let agent = program(&agent.to_string_lossy()).map_err(|it| Unwritable::new("the path of fleetagent", it))?;
        let told = argument(&secrets::told(&files)).map_err(|it| Unwritable::new("env", it))?;
        Ok((format!("{agent} {WRITE_ENV} {}", secrets::file(start.cell)), told))
    });
    let secrets = secrets.transpose()?;
    if let Some((write, told)) = &secrets {
        lines.set("ExecStartPre", format!("+{write} {told}"));
    }
    let mut words = Vec::new();
    for (at, word) in spec.run.command.iter().enumerate() {
        let escaped = match at {
            0 => program(&program_path(word, start.release)),
            _ => argument(word),
        };
        words.push(escaped.map_err(|problem| Unwritable::new(format!("command[{at}]"), problem))?);
    }
    lines.set("ExecStart", words.join(" "));
    if let Some((write, _)) = &secrets {
        // The file is there only while systemd has yet to read it.
        lines.set("ExecStartPost", format!("+-{write}"));
        lines.set("ExecStopPost", format!("+-{write}"));
    }
    let working_dir = spec.run.working_dir.as_ref();
    let working_dir = working_dir.map_or_else(|| start.release.into(), |dir| start.release.join(dir.as_str()));
    let working_dir = rest_of_line(&working_dir.to_string_lossy());
    lines.set("WorkingDirectory", working_dir.map_err(|problem| Unwritable::new("working_dir", problem))?);
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
pub(super) fn files_of(env: &BTreeMap<String, EnvValue>) -> BTreeMap<&str, EnvFile> {
    let files = env.iter().filter_map(|(name, value)| match value {
        EnvValue::FromFile(file) => {
            Some((name.as_str(), EnvFile { from_file: (&file.from_file).into(), key: file.key.clone() }))
        }
        EnvValue::Text(_) | EnvValue::Credential(_) => None,
    });
    files.collect()
}

fn environment(spec: &UnitSpec, start: &Start<'_>, lines: &mut Lines) -> Result<(), Unwritable> {
    let own = start.variables();
    let mut credentials = Vec::new();
    for (name, value) in &spec.run.env {
        let refuse = |problem| Unwritable::new(format!("env.{name}"), problem);
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
        lines.set("EnvironmentFile", format!("-{}", secrets::file(start.cell)));
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
    lines.set(
        "KillSignal",
        match stop.signal {
            StopSignal::Term => "SIGTERM",
            StopSignal::Int => "SIGINT",
            StopSignal::Quit => "SIGQUIT",
            StopSignal::Hup => "SIGHUP",
            StopSignal::Usr1 => "SIGUSR1",
            StopSignal::Usr2 => "SIGUSR2",
            StopSignal::Kill => "SIGKILL",
        },
    );
    // To systemd zero is forever.
    lines.set("TimeoutStopSec", milliseconds(stop.timeout_ms.max(1)));
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

/// The names of a cell's units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) service: String,
    pub(super) timer: String,
}

impl Names {
    pub(super) fn of(cell: &crate::model::CellName) -> Self {
        Self { service: format!("{UNITS}{cell}.service"), timer: format!("{UNITS}{cell}.timer") }
    }
}

#[cfg(test)]
mod tests;
