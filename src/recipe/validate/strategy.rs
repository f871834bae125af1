//! Whether a new version can take the place of the one that runs as it is to.

use std::collections::BTreeSet;

use super::{Checker, Vars};
use crate::model::strategy::{self, Listen};
use crate::recipe::written::{ProcessKind, Profile, Socket, StartStop, Strategy};
use crate::yaml::Field;

impl Checker<'_> {
    pub(super) fn strategy(&mut self, strategy: &Strategy, profile: &Profile, vars: &Vars<'_>) {
        let field = Field::root().key("strategy");
        let Strategy::StartStop(how) = strategy else { return };
        let (message, help) = match profile {
            Profile::Process(_) => return self.start_stop(&field, how, profile, vars),
            Profile::Deploy(_) => (
                "the profile `deploy` runs nothing of which there could be two",
                "remove it: files are always switched at once",
            ),
            Profile::Systemd(_) => (
                "the profile `systemd` runs one version at a time",
                "remove it; the profile `process` runs two at once",
            ),
            Profile::Supervisor(_) => {
                ("supervisord runs one version at a time", "remove it; the profile `process` runs two at once")
            }
        };
        self.value(&field, message, Some(help));
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
    let Profile::Process(spec) = profile else { return BTreeSet::new() };
    let Some(processes) = &spec.processes else { return ["main"].into() };
    let services = processes.iter().filter(|(_, process)| process.kind != Some(ProcessKind::Task));
    services.map(|(name, _)| name.as_str()).collect()
}
