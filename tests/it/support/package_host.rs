//! A host that the Debian packages are installed on, and a bucket outside of it.

use std::path::PathBuf;

use serde_json::Value;

use super::cli::{Ran, Workplace};
use super::host::Host;
use super::{skip, wait_for};

/// The agent as the package installs it.
pub(crate) const PROGRAM: &str = "/usr/bin/fleetagent";

/// Where the installed agent looks for its config.
pub(crate) const CONFIG: &str = "/etc/fleetman/agent_config.yaml";

/// What deploys to a process cell with these two commands: a manifest, the cell `n1/web` and a release.
const CELL: &str = "name: site\nprofile: {process: {command: [/bin/sh, serve], stop: {timeout: 2s}}}\n\
                    health: {min_healthy_time: 100ms}\n---\ncell: n1/web\nmanifest: site\n";

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

    /// Gives the node a config with the `process` profile, and everything else as usual.
    pub(crate) async fn configure_agent(&self) {
        self.host.write(CONFIG, &self.agent_config("").await);
    }

    /// Such a config, with another line in it.
    pub(crate) async fn agent_config(&self, line: &str) -> String {
        let config = std::fs::read_to_string(self.place.agent_config("n1").await).unwrap();
        let (begin, _) = config.split_once("deploy:").unwrap();
        format!("{}process: {{}}\n{line}\n", begin.replace("state_folder: n1-state\n", ""))
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

    /// Deploys what `serve` says to the process cell `n1/web`.
    pub(crate) async fn publish(&self, release: &str, serve: &str) {
        self.place.write("site.yaml", CELL);
        self.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
        self.place.write(&format!("{release}/serve"), serve);
        self.place.fleetman(&["upload", "site", release, "--as", release]).await.exits(0);
        self.place.fleetman(&["publish", "n1/web", "-d", release, "--as", release, "-y", "--wait"]).await.exits(0);
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

    /// The process of the cell's service, as the agent reports it, by its number on the host.
    pub(crate) async fn service_pid(&self) -> String {
        let status = self.host.run(&[PROGRAM, "status", "--config", CONFIG, "-o", "json"]).await;
        let report: Value = status.json();
        report["heartbeat"]["cells"]["web"]["processes"]["main"]["pid"].to_string()
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
