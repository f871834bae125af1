//! A host that the Debian packages are installed on, and a bucket outside of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::cli::{Ran, Workplace};
use super::host::Host;
use super::{skip, wait_for};

/// The agent as the package installs it.
pub(crate) const PROGRAM: &str = "/usr/bin/fleetagent";

/// Where the installed agent looks for its config.
pub(crate) const CONFIG: &str = "/etc/fleetman/agent_config.yaml";

/// The cells of the node `n1` that run something, by their profiles. Each is made from a manifest of its own name.
pub(crate) const CELLS: [(&str, &str); 3] = [("own", "process"), ("unit", "systemd"), ("program", "supervisor")];

/// A node that nothing of Fleetman is on yet.
pub(crate) struct PackageHost {
    pub(crate) host: Host,
    pub(crate) place: Workplace,
    packages: PathBuf,
}

impl PackageHost {
    /// Boots a host for the node `n1`; see [`Host::boot`]. `FLEETMAN_PACKAGES` has to name the folder with what
    /// `dist/package` made: both packages, and a newer one of the agent.
    pub(crate) async fn boot() -> Option<Self> {
        let Some(packages) = std::env::var_os("FLEETMAN_PACKAGES").map(PathBuf::from) else {
            return skip("FLEETMAN_PACKAGES names no folder with packages");
        };
        let host = Host::boot("n1").await?;
        Some(Self { host, place: Workplace::with_bucket().await, packages })
    }

    /// What dpkg says when it installs a package of this revision.
    pub(crate) async fn install(&self, package: &str, revision: u32) -> Ran {
        let begin = format!("{package}_{}-{revision}_", env!("CARGO_PKG_VERSION"));
        let found = std::fs::read_dir(&self.packages).unwrap().map(|entry| entry.unwrap().path());
        let mut found = found.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&begin));
        let file = found.next().unwrap_or_else(|| panic!("no {begin} in {}", self.packages.display()));
        self.host.copy_in(&file, "/root/package.deb");
        self.host.run(&["dpkg", "--install", "/root/package.deb"]).await
    }

    /// What dpkg says when it removes or purges a package.
    pub(crate) async fn dpkg(&self, action: &str, package: &str) -> Ran {
        self.host.run(&["dpkg", action, package]).await
    }

    /// Gives the node a config with all profiles that run something, and everything else as usual.
    pub(crate) async fn configure_agent(&self) {
        self.host.write(CONFIG, &self.agent_config("systemd: {}\nsupervisor: {}").await);
    }

    /// A config with the `process` profile, and these lines in it too.
    pub(crate) async fn agent_config(&self, lines: &str) -> String {
        let config = std::fs::read_to_string(self.place.agent_config("n1").await).unwrap();
        let (begin, _) = config.split_once("deploy:").unwrap();
        format!("{}process: {{}}\n{lines}\n", begin.replace("state_folder: n1-state\n", ""))
    }

    /// Replaces these parts of the agent's config.
    pub(crate) fn reconfigure_agent(&self, changes: &[(&str, &str)]) {
        let mut config = self.host.read(CONFIG).unwrap();
        for (part, instead) in changes {
            assert!(config.contains(part), "{part}: {config}");
            config = config.replace(part, instead);
        }
        self.host.write(CONFIG, &config);
    }

    /// Deploys what `serve` says to one of the [`CELLS`]. Under supervisord it has another process beside it, so that
    /// the two make up a group.
    pub(crate) async fn publish(&self, cell: &str, release: &str, serve: &str) {
        let (_, profile) = CELLS.into_iter().find(|(name, _)| *name == cell).unwrap();
        let command = "{command: [/bin/sh, serve], stop: {timeout: 2s}}";
        let spec = match profile {
            "supervisor" => format!("{{processes: {{main: {command}, second: {{command: [/bin/sleep, '1000']}}}}}}"),
            _ => command.to_owned(),
        };
        let recipe = format!(
            "name: {cell}\nprofile: {{{profile}: {spec}}}\nhealth: {{min_healthy_time: 100ms}}\n---\n\
             cell: n1/{cell}\nmanifest: {cell}\n"
        );
        self.place.write("cell.yaml", &recipe);
        self.place.fleetman(&["apply", "-f", "cell.yaml"]).await.exits(0);
        self.place.write(&format!("{release}/serve"), serve);
        self.place.fleetman(&["upload", cell, release, "--as", release]).await.exits(0);
        let to = format!("n1/{cell}");
        self.place.fleetman(&["publish", &to, "-d", release, "--as", release, "-y", "--wait"]).await.exits(0);
    }

    /// Deploys it to all of them.
    pub(crate) async fn publish_to_all(&self, release: &str, serve: &str) {
        for (cell, _) in CELLS {
            self.publish(cell, release, serve).await;
        }
    }

    /// A property of a unit, as systemd shows it.
    pub(crate) async fn property(&self, unit: &str, property: &str) -> String {
        let property = format!("--property={property}");
        self.host.run(&["systemctl", "show", "--value", &property, unit]).await.exits(0).out.trim().to_owned()
    }

    /// Waits until the property is what it should be.
    pub(crate) async fn wait_property(&self, unit: &str, property: &str, wanted: impl Fn(&str) -> bool) {
        let is_so = async || wanted(&self.property(unit, property).await);
        wait_for(is_so, &format!("{property} of {unit}")).await;
    }

    /// The processes of all cells, as the agent reports them: their numbers on the host, by cell and name. An agent that
    /// has just begun has reported none.
    pub(crate) async fn pids(&self) -> BTreeMap<String, String> {
        let status = self.host.run(&[PROGRAM, "status", "--config", CONFIG, "-o", "json"]).await;
        let report: Value = status.json();
        let mut pids = BTreeMap::new();
        for (cell, said) in report["heartbeat"]["cells"].as_object().into_iter().flatten() {
            for (process, said) in said["processes"].as_object().into_iter().flatten() {
                pids.insert(format!("{cell}/{process}"), said["pid"].to_string());
            }
        }
        pids
    }

    /// Whether a process on the host runs still.
    pub(crate) async fn is_alive(&self, pid: &str) -> bool {
        self.host.run(&["test", "-d", &format!("/proc/{pid}")]).await.code == 0
    }

    /// The number of the heartbeat that lies in the bucket, if there is one.
    pub(crate) async fn heartbeat(&self) -> Option<u64> {
        let nodes = self.place.fleetman(&["-o", "json", "describe", "node", "n1"]).await;
        if nodes.code == 0 { nodes.json()["heartbeat"]["sequence"].as_u64() } else { None }
    }

    /// Does something and waits until the agent that is there afterwards has reported to the bucket.
    pub(crate) async fn heartbeat_after(&self, command: &[&str]) {
        let before = self.heartbeat().await;
        self.host.run(command).await.exits(0);
        wait_for(async || self.heartbeat().await > before, "a heartbeat in the bucket").await;
    }
}
