//! How a new version takes the place of the one that runs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::manifest::{Manifest, Mode};
use super::name::{ProcessName, SocketName, shown};
use super::path::FilePath;
use super::process::{ProcessKind, ProcessSpec};
use super::run_spec::Profile;
use super::systemd::{ServiceType, SystemdSpec};

/// How a new version takes the place of the one that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Strategy {
    /// The old one is stopped, then the new one is started.
    #[default]
    StopStart,
    /// The new one is started beside the old one, which is stopped once the new one is good.
    StartStop(StartStop),
    /// What runs goes on, and is told to read its files again.
    Reload,
}

impl Strategy {
    /// How manifests call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::StopStart => "stop_start",
            Self::StartStop(_) => "start_stop",
            Self::Reload => "reload",
        }
    }
}

/// Whether `new` may run beside `old` until it is good. What the node finds may still keep it from that.
#[must_use]
pub fn overlap(old: &Manifest, new: &Manifest) -> bool {
    let takes_turns = |manifest: &Manifest| matches!(manifest.strategy, Strategy::StartStop(_));
    takes_turns(old) && takes_turns(new) && old.profile.name() == new.profile.name()
}

/// How two versions of a cell can run at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartStop {
    /// Sockets that both are given, by the names that they know them by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sockets: BTreeMap<SocketName, Socket>,
    /// How the program shares its port by itself; absent where it is given sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<Sharing>,
}

/// A socket that a program is given; see `sd_listen_fds(3)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Where it listens.
    pub listen: Listen,
    /// The process that is given it; absent where there is only one service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessName>,
    /// The permissions of a socket at a path.
    #[serde(default = "anybody", skip_serializing_if = "is_anybody")]
    pub mode: Mode,
}

impl Socket {
    /// What a socket at a path has for permissions if nothing else is said: anybody may connect.
    pub const MODE: Mode = Mode::ANYBODY;
}

fn anybody() -> Mode {
    Socket::MODE
}

fn is_anybody(mode: &Mode) -> bool {
    *mode == Socket::MODE
}

/// How a program can run twice at once without being given sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// It sets `SO_REUSEPORT` on the sockets that it listens at.
    SoReuseport,
    /// Each of the two listens at a port of its own, by `FLEETMAN_INSTANCE`; or at none.
    SecondPort,
}

/// Where a socket listens: an IP address with its port, or an absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// For TCP connections.
    Tcp(SocketAddr),
    /// At a path.
    Unix(String),
}

/// A text that is no place to listen at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is nothing to listen at: {why}")]
pub struct NotListenable {
    text: String,
    why: &'static str,
}

impl Listen {
    /// The longest path that a socket may have; see `unix(7)`.
    pub const MOST_PATH: usize = 107;
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.fmt(f),
        }
    }
}

impl FromStr for Listen {
    type Err = NotListenable;

    fn from_str(text: &str) -> Result<Self, NotListenable> {
        let refuse = |why| NotListenable { text: shown(text), why };
        if let Some(path) = text.strip_prefix('/') {
            if text.len() > Self::MOST_PATH {
                return Err(refuse("the path is longer than the 107 bytes that a socket's may have"));
            }
            FilePath::new(path).map_err(|_| refuse("it is no path that could be a file's"))?;
            return Ok(Self::Unix(text.to_owned()));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => Err(refuse("port 0 is another one each time")),
            Ok(address) => Ok(Self::Tcp(address)),
            Err(_) => Err(refuse("expected an IP address with a port, or an absolute path")),
        }
    }
}

stands_as_text!(Listen, NotListenable);

/// Why a version cannot be brought up as its manifest says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("strategy: {0}")]
pub struct StrategyError(pub(crate) String);

/// What the second of two instances of a process is called: the first has the process's own name.
#[must_use]
pub fn second(process: &ProcessName) -> String {
    format!("{process}{SECOND}")
}

/// What is added to a process's name.
const SECOND: &str = "-b";

impl Strategy {
    /// The most sockets that a version may have.
    pub const MOST_SOCKETS: usize = 16;

    /// How two versions run at once, if they are to.
    #[must_use]
    pub fn sharing(&self) -> Option<&StartStop> {
        match self {
            Self::StartStop(how) => Some(how),
            Self::StopStart | Self::Reload => None,
        }
    }

    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// The profile cannot do it, or it does not fit the processes.
    pub fn check(&self, profile: &Profile) -> Result<(), StrategyError> {
        let refuse = |problem: &str| Err(StrategyError(problem.to_owned()));
        let Some(how) = self.sharing() else { return Ok(()) };
        match profile {
            Profile::Process(spec) => how.check(spec),
            Profile::Systemd(spec) => how.check_unit(spec),
            Profile::Deploy(_) => refuse("the profile deploy runs nothing of which there could be two"),
            Profile::Supervisor(_) => {
                refuse("supervisord runs one version at a time; the profiles process and systemd run two at once")
            }
        }
    }
}

impl StartStop {
    fn check(&self, spec: &ProcessSpec) -> Result<(), StrategyError> {
        let refuse = |problem: String| Err(StrategyError(problem));
        for (name, socket) in &self.sockets {
            if self.taker(spec, socket).is_none() {
                return refuse(match &socket.process {
                    Some(process) => format!("socket {name} is for {process}, which is no service of the cell"),
                    None => format!("socket {name} names no process, and the cell has not just one service"),
                });
            }
        }
        for name in spec.processes.keys() {
            let second = second(name);
            match ProcessName::new(second.as_str()) {
                Ok(taken) if !spec.processes.contains_key(&taken) => {}
                Ok(_) => return refuse(format!("process {second} has the name of a second {name}")),
                Err(_) => return refuse(format!("the name of process {name} is too long for a second one")),
            }
        }
        self.check_sockets()
    }

    fn check_unit(&self, spec: &SystemdSpec) -> Result<(), StrategyError> {
        let refuse = |problem: String| Err(StrategyError(problem));
        if let Some(why) = unit_runs_alone(spec, !self.sockets.is_empty()) {
            return refuse(why.to_owned());
        }
        let main = ProcessName::main();
        let mut takers = self.sockets.iter().filter_map(|(name, socket)| Some((name, socket.process.as_ref()?)));
        if let Some((name, process)) = takers.find(|(_, process)| **process != main) {
            return refuse(format!("socket {name} is for {process}, and the only service is {main}"));
        }
        self.check_sockets()
    }

    fn check_sockets(&self) -> Result<(), StrategyError> {
        let refuse = |problem: String| Err(StrategyError(problem));
        if self.sockets.is_empty() == self.shares.is_none() {
            return refuse(
                "two versions run at once either with sockets that both are given, or as shares says".into(),
            );
        }
        if self.sockets.len() > Strategy::MOST_SOCKETS {
            return refuse(format!("{} sockets are more than {}", self.sockets.len(), Strategy::MOST_SOCKETS));
        }
        for (name, socket) in &self.sockets {
            let same = |(other, at): (&SocketName, &Socket)| other < name && at.listen == socket.listen;
            if self.sockets.iter().any(same) {
                return refuse(format!("two sockets listen at {}", socket.listen));
            }
        }
        Ok(())
    }

    /// The process that is given the socket.
    #[must_use]
    pub fn taker<'a>(&'a self, spec: &'a ProcessSpec, socket: &'a Socket) -> Option<&'a ProcessName> {
        let services = spec.processes.iter().filter(|(_, process)| process.kind == ProcessKind::Service);
        let mut services = services.map(|(name, _)| name);
        match &socket.process {
            Some(process) => services.find(|name| *name == process),
            None => services.next().filter(|_| services.next().is_none()),
        }
    }
}

/// Why there cannot be two of this service of systemd, if there cannot.
fn unit_runs_alone(spec: &SystemdSpec, is_given_sockets: bool) -> Option<&'static str> {
    let Some(spec) = spec.rendered() else {
        return Some("a unit that the version brings by itself is started alone; describe the service by its fields");
    };
    if spec.schedule.is_some() {
        return Some("what runs by a schedule runs alone");
    }
    if spec.kind == ServiceType::Oneshot {
        return Some("a oneshot ends by itself, so that there is nothing to run beside");
    }
    if spec.hardening.dynamic_user == Some(true) {
        return Some("with dynamic_user the two would be different users; name a user");
    }
    // Once it gives one of them up systemd closes the sockets of both: `service-start-limit-hit` of a socket.
    (is_given_sockets && spec.run.restart.max_retries.is_some())
        .then_some("with sockets restart.max_retries cannot be kept: systemd would close them under both versions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::process::Process;
    use crate::model::run_spec::{DeploySpec, Restart, RunSpec, Stop};
    use crate::model::systemd::UnitSpec;

    fn run() -> RunSpec {
        RunSpec {
            command: vec!["/x".to_owned()],
            env: BTreeMap::new(),
            user: None,
            group: None,
            working_dir: None,
            restart: Restart::default(),
            stop: Stop::default(),
        }
    }

    fn processes(names: &[&str]) -> Profile {
        let processes = names.iter().map(|name| (name.parse().unwrap(), Process::service(run())));
        Profile::Process(ProcessSpec { user: None, group: None, processes: processes.collect() })
    }

    fn sockets(sockets: &[(&str, &str, Option<&str>)]) -> Strategy {
        let sockets = sockets.iter().map(|(name, listen, process)| {
            let process = process.map(|process| process.parse().unwrap());
            (name.parse().unwrap(), Socket { listen: listen.parse().unwrap(), process, mode: Socket::MODE })
        });
        Strategy::StartStop(StartStop { sockets: sockets.collect(), shares: None })
    }

    #[test]
    fn addresses_and_paths_can_be_listened_at() {
        for text in ["0.0.0.0:80", "[::]:8080", "[::1]:1", "127.0.0.1:65535", "/run/web/http.sock"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        let long = format!("/{}", "x".repeat(107));
        for (text, why) in [
            ("8080", "expected an IP address"),
            ("localhost:80", "expected an IP address"),
            ("127.0.0.1:0", "port 0"),
            ("/run/../x", "no path"),
            (long.as_str(), "107 bytes"),
            ("", "expected an IP address"),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn two_versions_run_at_once_only_where_that_can_be() {
        let (one, two) = (processes(&["web"]), processes(&["web", "jobs"]));
        let http = sockets(&[("http", "[::]:80", None)]);
        assert_eq!(http.check(&one), Ok(()));
        assert_eq!(sockets(&[("http", "[::]:80", Some("web"))]).check(&two), Ok(()));
        let shares = Strategy::StartStop(StartStop { sockets: BTreeMap::new(), shares: Some(Sharing::SecondPort) });
        assert_eq!(shares.check(&two), Ok(()));
        assert_eq!(Strategy::StopStart.check(&Profile::Deploy(DeploySpec::default())), Ok(()));
        let unit = |change: fn(&mut UnitSpec)| {
            let SystemdSpec::Rendered(mut spec) = SystemdSpec::plain(run()) else { unreachable!() };
            change(&mut spec);
            Profile::Systemd(SystemdSpec::Rendered(spec))
        };
        let retries: fn(&mut UnitSpec) = |spec| spec.run.restart.max_retries = Some(3);
        assert_eq!(http.check(&unit(|_| {})), Ok(()));
        assert_eq!(shares.check(&unit(retries)), Ok(()));
        assert_eq!(sockets(&[("http", "[::]:80", Some("main"))]).check(&unit(|_| {})), Ok(()));
        let nothing = Strategy::StartStop(StartStop::default());
        let twice = sockets(&[("a", "[::]:80", None), ("b", "[::]:80", None)]);
        let long = "x".repeat(62);
        for (strategy, profile, why) in [
            (&http, Profile::Deploy(DeploySpec::default()), "runs nothing"),
            (&http, Profile::Supervisor(ProcessSpec::main(run())), "supervisord runs one version at a time"),
            (&nothing, unit(|_| {}), "either with sockets"),
            (&http, unit(retries), "max_retries"),
            (&shares, unit(|spec| spec.kind = ServiceType::Oneshot), "a oneshot ends"),
            (&shares, unit(|spec| spec.hardening.dynamic_user = Some(true)), "different users"),
            (&sockets(&[("http", "[::]:80", Some("web"))]), unit(|_| {}), "the only service is main"),
            (&http, two, "socket http names no process"),
            (&sockets(&[("http", "[::]:80", Some("db"))]), one.clone(), "is for db, which is no service"),
            (&nothing, one.clone(), "either with sockets"),
            (&twice, one, "two sockets listen at [::]:80"),
            (&shares, processes(&["web", "web-b"]), "process web-b has the name of a second web"),
            (&shares, processes(&[&long]), "is too long"),
        ] {
            let error = strategy.check(&profile).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
