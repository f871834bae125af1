//! `agent_config.yaml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use uuid::Uuid;

use super::access::{Signing, TrustedKey, with_access};
use super::error::ConfigError;
use super::file::ConfigFile;
use super::user;
use super::windows::WrittenWindows;
use crate::agent::{AgentError, AgentSettings, DriftSettings, Profiles, Reset, ResetSettings};
use crate::clock::SharedClock;
use crate::model::NodeName;
use crate::model::drift::{DriftMode, DriftSpec};
use crate::model::sign::{PinnedKey, Trust};
use crate::model::window::Windows;
use crate::profiles::{
    DeploySettings, ProcessSettings, ProfileSettings, Program, Scope, SupervisorSettings, SystemdSettings,
};
use crate::store::{Store, StoreError, StoreSettings};
use crate::yaml::{self, Field, HumanDuration};

/// What `fleetagent` works with.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The node's name.
    pub node: NodeName,
    /// The fleet that it belongs to.
    pub fleet: Uuid,
    /// How to reach the bucket.
    pub store: StoreSettings,
    /// Whom to believe.
    pub trust: Trust,
    /// Where the agent keeps its state and the releases.
    pub state_folder: PathBuf,
    /// How often the index is looked at, before jitter.
    pub poll_interval: Duration,
    /// How often a heartbeat is due without news; whole seconds.
    pub heartbeat_interval: Duration,
    /// How often every trigger is looked at.
    pub full_scan_interval: Duration,
    /// How many versions of a cell are kept beside the current and the known good one.
    pub keep_versions: usize,
    /// What the node's owner says of it.
    pub labels: BTreeMap<String, String>,
    /// Which profiles the node is set up for.
    pub profiles: ProfileSettings,
    /// How cells are looked at for drift whose versions do not say.
    pub drift: DriftSettings,
    /// When the node's owner lets its cells change.
    pub windows: Windows,
    /// Whether what cells write may be asked for.
    pub serves_logs: bool,
    /// Where monitoring finds the agent's figures.
    pub metrics: MetricsSettings,
    /// What the file's owner should hear.
    pub warnings: Vec<String>,
}

/// Where monitoring finds the agent's figures: nowhere unless the config says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Where `/metrics` is served over HTTP.
    pub listen: Option<SocketAddr>,
    /// The file for node_exporter's textfile collector.
    pub text_file: Option<PathBuf>,
}

/// The file as people write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    node: NodeName,
    fleet: Uuid,
    bucket: WrittenBucket,
    signing: Option<Signing>,
    trusted_keys: Option<Vec<TrustedKey>>,
    state_folder: Option<PathBuf>,
    poll_interval: Option<HumanDuration>,
    heartbeat_interval: Option<HumanDuration>,
    full_scan_interval: Option<HumanDuration>,
    keep_versions: Option<usize>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    deploy: Option<WrittenDeploy>,
    process: Option<WrittenProcess>,
    supervisor: Option<WrittenSupervisor>,
    systemd: Option<WrittenSystemd>,
    #[serde(default)]
    drift: WrittenDrift,
    metrics: Option<WrittenMetrics>,
    #[serde(default)]
    windows: WrittenWindows,
    #[serde(default)]
    orders: WrittenOrders,
}

/// Which orders the node's owner lets be carried out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenOrders {
    logs: Option<bool>,
}

with_access! {
    /// How to reach the bucket.
    pub(super) struct WrittenBucket {}
}

/// Settings of the profile `deploy`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenDeploy {
    target_folder: PathBuf,
}

/// Settings of the profile `process`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenProcess {
    folder: Option<PathBuf>,
    with_agent: Option<bool>,
}

/// Settings of the profile `supervisor`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenSupervisor {
    conf_d_folder: Option<PathBuf>,
    config_file: Option<PathBuf>,
    socket: Option<PathBuf>,
    folder: Option<PathBuf>,
}

/// Settings of the profile `systemd`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenSystemd {
    service_folder: Option<PathBuf>,
    folder: Option<PathBuf>,
    scope: Option<Scope>,
}

/// How cells are looked at for drift whose versions do not say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenDrift {
    mode: Option<DriftMode>,
    interval: Option<HumanDuration>,
    repairs_per_hour: Option<u32>,
}

/// Where monitoring finds the agent's figures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenMetrics {
    listen: Option<SocketAddr>,
    insecure_http: Option<bool>,
    text_file: Option<PathBuf>,
}

impl WrittenMetrics {
    /// An error is what is wrong with which field, and how to mend it.
    fn check(self, file: &ConfigFile) -> Result<MetricsSettings, (&'static str, String, &'static str)> {
        let text_file = self.text_file.map(|path| file.resolve(path));
        let is_let_in = self.insecure_http == Some(true);
        if let Some(address) = self.listen.filter(|address| !address.ip().is_loopback() && !is_let_in) {
            let message = format!("{address} is open to other machines, and nothing asks who comes");
            let help = "listen on 127.0.0.1, use text_file, or spell out `insecure_http: true` beside it";
            return Err(("listen", message, help));
        }
        if text_file.as_ref().is_some_and(|path| path.extension().is_none_or(|end| end != "prom")) {
            let help = "node_exporter reads files that end in .prom, for example fleetagent.prom";
            return Err(("text_file", "nobody would read this file".to_owned(), help));
        }
        if self.listen.is_none() && text_file.is_none() {
            return Err(("listen", "nothing says where the metrics go".to_owned(), "give listen, text_file, or both"));
        }
        Ok(MetricsSettings { listen: self.listen, text_file })
    }
}

impl AgentConfig {
    /// What the agent that this config describes is to be. `program` is what it is.
    ///
    /// # Errors
    /// The settings of its bucket cannot be used.
    pub async fn settings(self, program: &Program, clock: SharedClock) -> Result<AgentSettings, StoreError> {
        let store = Store::connect(self.store, clock.clone()).await?;
        let profiles = self.profiles.profiles(program, &clock);
        Ok(AgentSettings {
            labels: self.labels,
            poll_interval: self.poll_interval,
            heartbeat_interval: self.heartbeat_interval,
            full_scan_interval: self.full_scan_interval,
            keep_versions: self.keep_versions,
            drift: self.drift,
            windows: self.windows,
            serves_logs: self.serves_logs,
            ..AgentSettings::new(self.node, self.fleet, self.trust, store, self.state_folder, profiles)
        })
    }

    /// What takes this node's cells off the host, with the state folder taken. `program` is what the agent is.
    ///
    /// # Errors
    /// See [`Reset::open`].
    pub async fn reset(self, program: &Program, clock: SharedClock) -> Result<(Reset, Profiles), AgentError> {
        let profiles = self.profiles.profiles(program, &clock);
        let settings = ResetSettings {
            node: self.node,
            fleet: self.fleet,
            trust: self.trust,
            state_folder: self.state_folder,
            profiles: profiles.clone(),
        };
        Ok((Reset::open(settings, clock).await?, profiles))
    }
}

impl AgentConfig {
    /// Where root's agent keeps its state unless the config says otherwise.
    pub const STATE_FOLDER: &'static str = "/var/lib/fleetagent";

    /// Where the state is kept unless the config says otherwise: of an ordinary user, `$XDG_STATE_HOME/fleetagent`.
    fn default_state_folder() -> PathBuf {
        let own = user::state_home().filter(|_| !user::is_root()).map(|home| home.join("fleetagent"));
        own.unwrap_or_else(|| Self::STATE_FOLDER.into())
    }

    /// Checks the text of `file`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], pointing at the place.
    pub fn parse(file: &ConfigFile) -> Result<Self, ConfigError> {
        let invalid = |error: yaml::YamlError| ConfigError::Invalid(error.without_source());
        let origin = file.path.display().to_string();
        let document = yaml::document(&file.text, &origin).map_err(invalid)?;
        let written: Written = document.parse().map_err(invalid)?;
        let root = Field::root();
        let fault = |field: &Field, message: &str, help: &str| invalid(document.error(field, message, Some(help)));

        let trust = match (written.signing, written.trusted_keys) {
            (Some(Signing::Unsigned), None) => Trust::Unsigned,
            (None, Some(keys)) if !keys.is_empty() => Trust::Keys(keys.into_iter().map(PinnedKey::from).collect()),
            (None, Some(_)) => {
                return Err(fault(&root.key("trusted_keys"), "nobody is trusted", "give at least one key"));
            }
            (Some(Signing::Unsigned), Some(_)) => {
                return Err(fault(&root.key("signing"), "unsigned contradicts trusted_keys", "remove one of the two"));
            }
            (None, None) => {
                let help = "give trusted_keys, as `fleetman keygen` prints them, or spell out `signing: unsigned`";
                return Err(fault(&root, "nothing says whom to believe", help));
            }
        };
        let interval = |name: &str, given: Option<HumanDuration>, default: Duration, least: Duration| match given {
            None => Ok(default),
            Some(HumanDuration(given)) if (least..=LONGEST_INTERVAL).contains(&given) => Ok(given),
            Some(_) => {
                let help = format!("between {least:?} and {} h", LONGEST_INTERVAL.as_secs() / 3600);
                Err(fault(&root.key(name), "this interval is out of range", &help))
            }
        };
        let poll_interval =
            interval("poll_interval", written.poll_interval, Duration::from_secs(15), Duration::from_millis(100))?;
        let heartbeat_interval = interval(
            "heartbeat_interval",
            written.heartbeat_interval,
            Duration::from_secs(60),
            Duration::from_secs(1),
        )?;
        if heartbeat_interval.subsec_millis() != 0 {
            return Err(fault(&root.key("heartbeat_interval"), "heartbeats count in whole seconds", "for example 60s"));
        }
        let full_scan_interval =
            interval("full_scan_interval", written.full_scan_interval, Duration::from_secs(1800), poll_interval)?;
        let usual = DriftSettings::default();
        let at = root.key("drift");
        let drift = DriftSettings {
            mode: written.drift.mode.unwrap_or(usual.mode),
            interval: match written.drift.interval.map_or(usual.interval, |interval| interval.0) {
                interval if (SHORTEST_LOOKS..=LONGEST_LOOKS).contains(&interval) => interval,
                _ => return Err(fault(&at.key("interval"), "this interval is out of range", "from 1s to 7d")),
            },
            repairs_per_hour: match written.drift.repairs_per_hour.unwrap_or(usual.repairs_per_hour) {
                repairs @ 1..=DriftSpec::MOST_REPAIRS_PER_HOUR => repairs,
                _ => {
                    let help = "from 1 to 60; with `mode: report` nothing is put back";
                    return Err(fault(&at.key("repairs_per_hour"), "so many repairs are never made", help));
                }
            },
        };
        let keep_versions = written.keep_versions.unwrap_or(3);
        if keep_versions > 100 {
            return Err(fault(&root.key("keep_versions"), "more than 100 versions are never kept", "0 to 100"));
        }
        for (key, value) in &written.labels {
            if key.is_empty() || key.len() > 63 || value.len() > 63 || !is_plain(key) || !is_plain(value) {
                let help = "at most 63 printable characters each, without spaces, `,` and `=`";
                return Err(fault(&root.key("labels").key(key), "this cannot be a label", help));
            }
        }
        let bucket = written.bucket.access();
        let state_folder = file.resolve(written.state_folder.unwrap_or_else(Self::default_state_folder));
        let process = written.process.map(|process| ProcessSettings {
            folder: process.folder.map_or_else(|| state_folder.join("process"), |folder| file.resolve(folder)),
            with_agent: process.with_agent.unwrap_or(false),
        });
        let supervisor = written.supervisor.map(|supervisor| {
            let path = |given: Option<PathBuf>, default: &str| file.resolve(given.unwrap_or_else(|| default.into()));
            let folder = supervisor.folder;
            let settings = SupervisorSettings {
                conf_d_folder: path(supervisor.conf_d_folder, "/etc/supervisor/conf.d"),
                config_file: path(supervisor.config_file, "/etc/supervisor/supervisord.conf"),
                socket: path(supervisor.socket, "/run/supervisor.sock"),
                folder: folder.map_or_else(|| state_folder.join("supervisor"), |folder| file.resolve(folder)),
            };
            if !SupervisorSettings::takes(&settings.folder) {
                let help = "an absolute path of letters, digits and ._+-@, because supervisord gives others a meaning";
                let message = format!("supervisord cannot be given the path {}", settings.folder.display());
                return Err(fault(&root.key("supervisor"), &message, help));
            }
            Ok(settings)
        });
        let supervisor = supervisor.transpose()?;
        let systemd = written.systemd.map(|systemd| {
            let scope = systemd.scope.unwrap_or_default();
            SystemdSettings {
                service_folder: systemd.service_folder.map_or_else(|| scope.service_folder(), |it| file.resolve(it)),
                folder: systemd.folder.map_or_else(|| state_folder.join("systemd"), |it| file.resolve(it)),
                scope,
            }
        });
        if let Some(systemd) = &systemd
            && let Err(problem) = SystemdSettings::check_folder(&systemd.folder)
        {
            let message = format!("systemd can run nothing in {:?}: {problem}", systemd.folder);
            return Err(fault(&root.key("systemd"), &message, "give it a plain folder"));
        }
        let at = root.key("metrics");
        let metrics = written.metrics.map_or(Ok(MetricsSettings::default()), |metrics| {
            metrics.check(file).map_err(|(field, message, help)| fault(&at.key(field), &message, help))
        })?;
        Ok(Self {
            node: written.node,
            fleet: written.fleet,
            store: bucket.settings(file, &document, &root.key("bucket"))?,
            trust,
            state_folder,
            poll_interval,
            heartbeat_interval,
            full_scan_interval,
            keep_versions,
            labels: written.labels,
            profiles: ProfileSettings {
                deploy: written
                    .deploy
                    .map(|deploy| DeploySettings { target_folder: file.resolve(deploy.target_folder) }),
                process,
                supervisor,
                systemd,
            },
            drift,
            serves_logs: written.orders.logs.unwrap_or(true),
            metrics,
            windows: written.windows.check(&document, &root.key("windows")).map_err(invalid)?,
            warnings: file.warning(bucket.holds_secrets()).into_iter().collect(),
        })
    }
}

/// An agent that looks less often than this is taken for dead by people, whatever the software says.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Between two looks at a cell for drift.
const SHORTEST_LOOKS: Duration = Duration::from_secs(1);
const LONGEST_LOOKS: Duration = Duration::from_millis(DriftSpec::INTERVALS_MS.1);

/// What `-l key=value,…` can select.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic() && c != ',' && c != '=')
}
