//! Whether a new version can take the place of the one that runs as it is to.

use std::collections::BTreeSet;

use super::{Checker, Vars};
use crate::model::PathPattern;
use crate::model::effect::MOST_PATTERNS;
use crate::model::strategy::{self, Listen};
use crate::model::systemd::ServiceType;
use crate::recipe::written::{ProcessKind, Profile, Socket, StartStop, Strategy, Unit};
use crate::yaml::Field;

impl Checker<'_> {
    pub(super) fn strategy(&mut self, strategy: &Strategy, profile: &Profile, vars: &Vars<'_>) {
        let field = Field::root().key("strategy");
        let how = match strategy {
            Strategy::StopStart => return,
            Strategy::Reload => return self.goes_on(&field, profile),
            Strategy::StartStop(how) => how,
        };
        let (message, help) = match profile {
            Profile::Process(_) => return self.start_stop(&field, how, profile, vars),
            Profile::Systemd(unit) => {
                self.two_units(&field, how, unit);
                return self.start_stop(&field, how, profile, vars);
            }
            Profile::Deploy(_) => (
                "the profile `deploy` runs nothing of which there could be two",
                "remove it: files are always switched at once",
            ),
            Profile::Supervisor(_) => (
                "supervisord runs one version at a time",
                "remove it; the profiles `process` and `systemd` run two at once",
            ),
        };
        self.value(&field, message, Some(help));
    }

    /// Which changed files reload or restart what runs.
    pub(super) fn changed_files(&mut self, lists: [(&str, &[String]); 2], profile: &Profile) {
        for (key, patterns) in lists {
            let field = Field::root().key(key);
            if patterns.is_empty() {
                continue;
            }
            self.goes_on(&field, profile);
            if patterns.len() > MOST_PATTERNS {
                let message =
                    format!("{} patterns are more than the {MOST_PATTERNS} that there may be", patterns.len());
                self.key(&field, message, Some("write several names as one: {a,b}"));
            }
            for (at, pattern) in patterns.iter().enumerate() {
                if let Err(error) = pattern.parse::<PathPattern>() {
                    self.value(&field.index(at), error.to_string(), None);
                }
            }
        }
    }

    /// Refuses to let go on what does not run on.
    fn goes_on(&mut self, field: &Field, profile: &Profile) {
        match profile {
            Profile::Deploy(_) => {
                let message = "the profile `deploy` runs nothing that could be reloaded or go on";
                self.value(field, message, Some("remove it; a hook can tell others: after_activate, with if_changed"));
            }
            Profile::Systemd(unit) if unit.schedule.is_some() || unit.kind == Some(ServiceType::Oneshot) => {
                self.value(field, "what ends by itself cannot be reloaded, nor go on", Some("remove it"));
            }
            _ => {}
        }
    }

    fn start_stop(&mut self, field: &Field, how: &StartStop, profile: &Profile, vars: &Vars<'_>) {
        let StartStop { sockets, shares } = how;
        match (sockets.is_empty(), shares) {
            (true, None) => {
                let help = "write {start_stop: {sockets: {http: {listen: \"0.0.0.0:8080\"}}}} and let the program take its \
                            socket from there (sd_listen_fds(3)), or {start_stop: {shares: so_reuseport}} if it sets \
                            SO_REUSEPORT, or {start_stop: {shares: second_port}} if each of the two listens elsewhere";
                self.value(field, "two versions at once cannot both listen at the same port by themselves", Some(help));
            }
            (false, Some(_)) => {
                let help = "remove it if the program takes the sockets, or else `sockets`";
                let message = "a program that is given `sockets` does not share its port by itself";
                self.key(&field.key("start_stop").key("shares"), message, Some(help));
            }
            _ => {}
        }
        let services = services(profile);
        let field = field.key("start_stop").key("sockets");
        if sockets.len() > strategy::Strategy::MOST_SOCKETS {
            let most = strategy::Strategy::MOST_SOCKETS;
            self.key(
                &field,
                format!("{} sockets are more than the {most} that a version may have", sockets.len()),
                None,
            );
        }
        let mut places = BTreeSet::new();
        for (name, socket) in sockets {
            let field = field.key(name.as_str());
            self.socket(&field, socket, vars);
            if !places.insert(&socket.listen) {
                let message = format!("two sockets listen at `{}`", socket.listen);
                self.value(&field.key("listen"), message, Some("remove one of them"));
            }
            match &socket.process {
                Some(process) if !services.contains(process.as_str()) => {
                    let there = services.iter().copied().collect::<Vec<_>>().join(", ");
                    let message = format!("`{process}` is no service of this cell");
                    self.value(&field.key("process"), message, Some(&format!("its services are {there}")));
                }
                None if services.len() != 1 => {
                    let message = "it is not said which process is given the socket";
                    self.value(&field, message, Some("add `process: <name>`"));
                }
                _ => {}
            }
        }
        self.seconds(profile);
    }

    /// What of a service of systemd there cannot be two.
    fn two_units(&mut self, field: &Field, how: &StartStop, unit: &Unit) {
        let of_unit = Field::root().key("profile").key("systemd");
        if unit.unit_file.is_some() {
            let help = "describe the service by its fields in place of `unit_file`, or remove this";
            return self.value(field, "a unit file of the version's own is started alone", Some(help));
        }
        if unit.schedule.is_some() {
            let help = "remove it, or the strategy `start_stop`";
            self.key(&of_unit.key("schedule"), "what runs by a schedule runs alone", Some(help));
        }
        if unit.kind == Some(ServiceType::Oneshot) {
            let help = "write another type, or remove the strategy `start_stop`";
            self.value(&of_unit.key("type"), "a oneshot ends by itself, so that nothing can run beside it", Some(help));
        }
        if unit.hardening.dynamic_user == Some(true) {
            let message = "systemd would make up another user for each of the two that `start_stop` runs at once";
            self.key(&of_unit.key("hardening").key("dynamic_user"), message, Some("name a `user` instead"));
        }
        if !how.sockets.is_empty() && unit.restart.max_retries.is_some() {
            let message = "systemd closes a socket under both versions once it gives up one that is given it";
            let help = "remove it: a version that is restarted too often is gone back from all the same";
            self.key(&of_unit.key("restart").key("max_retries"), message, Some(help));
        }
    }

    fn socket(&mut self, field: &Field, socket: &Socket, vars: &Vars<'_>) {
        let help = "write it as 0.0.0.0:8080, [::]:8080 or /run/web/http.sock";
        let parse = |text: &str| text.parse::<Listen>().map(|_| ());
        self.asked(&field.key("listen"), &socket.listen, parse, help, vars);
        if socket.mode.is_some() && !socket.listen.starts_with(['/', '{']) {
            self.key(&field.key("mode"), "only a socket at a path has permissions", Some("remove it"));
        }
    }

    /// The second one of each process needs a name that is free.
    fn seconds(&mut self, profile: &Profile) {
        let Profile::Process(spec) = profile else { return };
        let Some(processes) = &spec.processes else { return };
        let field = Field::root().key("profile").key("process").key("processes");
        for name in processes.keys() {
            let second = strategy::second(name);
            match crate::model::ProcessName::new(second.as_str()) {
                Ok(taken) if !processes.contains_key(&taken) => {}
                Ok(taken) => {
                    let message = format!("`{taken}` is what the second of two `{name}` is called while both run");
                    self.key(&field.key(taken.as_str()), message, Some("rename one of them"));
                }
                Err(_) => {
                    let message = format!("the name is too long for a second one, which is called `{second}`");
                    self.key(&field.key(name.as_str()), message, Some("at most 61 letters"));
                }
            }
        }
    }
}

/// The services of a cell, by name.
fn services(profile: &Profile) -> BTreeSet<&str> {
    let Profile::Process(spec) = profile else { return ["main"].into() };
    let Some(processes) = &spec.processes else { return ["main"].into() };
    let services = processes.iter().filter(|(_, process)| process.kind != Some(ProcessKind::Task));
    services.map(|(name, _)| name.as_str()).collect()
}
