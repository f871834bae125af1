//! A host whose agent is a unit of its systemd, and a bucket outside of it.

use serde_json::Value;

use super::cli::Workplace;
use super::host::{FLEETAGENT, Host};

/// Where the agent's config is on the host, and its state and its target folder, which the config names beside it.
pub(crate) const HOME: &str = "/srv/fleetagent";

/// A node of a fleet.
pub(crate) struct AgentHost {
    pub(crate) host: Host,
    pub(crate) place: Workplace,
}

impl AgentHost {
    /// Boots a host for the node `n1`; see [`Host::boot`].
    pub(crate) async fn boot() -> Option<Self> {
        let host = Host::boot("n1").await?;
        Some(Self { host, place: Workplace::with_bucket().await })
    }

    /// Starts the agent, now and at every boot. It may write nothing but its own folder. Its unit has `settings` too,
    /// and its config `config`.
    pub(crate) async fn start_agent(&self, settings: &str, config: &str) {
        Self::install_agent(&self.host, &self.place, settings, config).await;
    }

    /// The same for a host of a larger fleet; its node has the host's name.
    pub(crate) async fn install_agent(host: &Host, place: &Workplace, settings: &str, config: &str) {
        let node = host.name();
        let usual = place.agent_config(node).await;
        let usual = std::fs::read_to_string(usual).unwrap();
        host.write(&format!("{HOME}/{node}.yaml"), &format!("{usual}{config}"));
        host.write(
            "/etc/systemd/system/fleetagent.service",
            &format!(
                "[Unit]\nAfter=network.target\n\
                 [Service]\nType=exec\nExecStart={FLEETAGENT} run --config {HOME}/{node}.yaml\nRestart=on-failure\n\
                 ProtectSystem=strict\nPrivateTmp=yes\nReadWritePaths={HOME}\nLimitNOFILE=2048\n{settings}\
                 [Install]\nWantedBy=multi-user.target\n"
            ),
        );
        host.run(&["systemctl", "enable", "--now", "fleetagent"]).await.exits(0);
    }

    /// Uploads the folder of a release of `site`, and deploys it to the cell `web`.
    pub(crate) async fn publish(&self, release: &str) {
        self.place.fleetman(&["upload", "site", release, "--as", release]).await.exits(0);
        self.place.fleetman(&["publish", "n1/web", "-d", release, "--as", release, "-y", "--wait"]).await.exits(0);
    }

    /// The process of the agent's unit, by its number on the host.
    pub(crate) async fn agent_pid(&self) -> String {
        self.property("fleetagent", "MainPID").await
    }

    /// A property of a unit, as systemd shows it.
    pub(crate) async fn property(&self, unit: &str, property: &str) -> String {
        let property = format!("--property={property}");
        self.host.run(&["systemctl", "show", "--value", &property, unit]).await.exits(0).out.trim().to_owned()
    }

    /// What the agent says of itself, if it has said anything yet.
    pub(crate) async fn status(&self) -> Option<Value> {
        let config = format!("{HOME}/n1.yaml");
        let ran = self.host.run(&[FLEETAGENT, "status", "--config", &config, "-o", "json"]).await;
        (!ran.out.is_empty()).then(|| ran.json())
    }
}
