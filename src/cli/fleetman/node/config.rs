//! The config of a node, made from what the controller's own config says of the bucket.

use askama::Template;
use clap::ValueEnum;
use uuid::Uuid;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config::FleetBucket;
use crate::model::NodeName;
use crate::model::sign::{PinnedKey, Trust};

/// A profile that a node can be set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    Deploy,
    Process,
    Systemd,
    Supervisor,
}

impl Profile {
    /// What `init` sets a node up for, and `node add` unless told otherwise: what needs nothing of the host.
    pub(crate) const USUAL: [Self; 2] = [Self::Deploy, Self::Process];

    fn about(self) -> &'static str {
        match self {
            Self::Deploy => "Plain files: <target_folder>/<cell> becomes a link to the cell's current version.",
            Self::Process => "Programs under Fleetman's own supervisor, below <state_folder>/process.",
            Self::Systemd => "Programs as units of systemd.",
            Self::Supervisor => "Programs under a supervisord that runs here.",
        }
    }

    fn yaml(self) -> &'static str {
        match self {
            Self::Deploy => "deploy:\n  target_folder: /srv/cells",
            Self::Process => "process: {}",
            Self::Systemd => "systemd: {}",
            Self::Supervisor => "supervisor: {}",
        }
    }
}

/// A profile's part of the config; a comment unless the node is set up for it.
struct Section {
    about: &'static str,
    yaml: &'static str,
    is_set_up: bool,
}

#[derive(Template)]
#[template(path = "node_config.yaml", escape = "none")]
struct AgentTemplate<'a> {
    node: &'a str,
    fleet: Uuid,
    bucket: String,
    prefix: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    path_style: Option<bool>,
    ca_file: Option<String>,
    keys: Option<(String, String)>,
    trusted_keys: &'a [PinnedKey],
    sections: Vec<Section>,
}

/// What of a config only whoever sets the node up knows.
pub(crate) struct Own<'a> {
    /// Its name; left to be filled in if there is none.
    pub(crate) node: Option<&'a NodeName>,
    /// Its keys, likewise.
    pub(crate) keys: Option<(&'a str, &'a str)>,
    /// The other profiles are there as comments.
    pub(crate) profiles: &'a [Profile],
}

/// The config of a node of the fleet in `bucket`.
///
/// # Errors
/// When the signing key's file has to tell the public key and cannot be read.
pub(crate) fn agent_config(bucket: &FleetBucket, own: &Own<'_>) -> Result<String, Failure> {
    let trusted = match bucket.trust()? {
        Trust::Keys(keys) => keys,
        Trust::Unsigned => Vec::new(),
    };
    let store = &bucket.store;
    let section = |profile: &Profile| {
        let is_set_up = own.profiles.contains(profile);
        Section { about: profile.about(), yaml: profile.yaml(), is_set_up }
    };
    let template = AgentTemplate {
        node: own.node.map_or("CHANGE-ME", NodeName::as_str),
        fleet: bucket.fleet,
        bucket: quoted(&store.bucket),
        prefix: (!store.prefix.as_str().is_empty()).then(|| quoted(store.prefix.as_str())),
        endpoint: store.endpoint.as_deref().map(quoted),
        region: store.region.as_deref().map(quoted),
        path_style: store.path_style,
        ca_file: store.ca_file.as_ref().map(|path| quoted(&path.display().to_string())),
        keys: own.keys.map(|(access, secret)| (quoted(access), quoted(secret))),
        trusted_keys: &trusted,
        sections: Profile::value_variants().iter().map(section).collect(),
    };
    template.render().map_err(|error| Failure::new(Exit::Internal, "template", error.to_string()))
}

/// `text` as YAML, in quotes unless it is as plain as can be.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain);
    // A JSON string is a YAML string.
    if word && !matches!(text, "true" | "false" | "null") {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "agent")]
    #[test]
    fn the_config_is_one_that_the_agent_reads_as_it_was_meant() {
        use crate::config::{AgentConfig, ConfigFile, ControllerConfig};
        use crate::model::sign::PrivateKey;
        use crate::store::Credentials;

        let folder = tempfile::tempdir().unwrap();
        let key = PrivateKey::from_seed(&[7; 32]);
        std::fs::write(folder.path().join("k"), key.to_file_text()).unwrap();
        let node = NodeName::new("n1").unwrap();
        for signing in ["signing: unsigned", "signing_key_file: k\n    signing_key_epoch: 2"] {
            let text = format!(
                "buckets:\n  - name: a\n    fleet: {}\n    bucket: b\n    prefix: \"007\"\n    region: eu\n    \
                 endpoint: http://127.0.0.1:1\n    path_style: false\n    ca_file: ca.pem\n    {signing}\n",
                Uuid::nil()
            );
            let file = ConfigFile::written(&folder.path().join("c.yaml"), text);
            let bucket = ControllerConfig::parse(&file).unwrap().buckets.remove(0);
            let parse = |own: &Own<'_>| {
                let text = agent_config(&bucket, own).unwrap().replace("CHANGE-ME", "n1");
                AgentConfig::parse(&ConfigFile::written(&folder.path().join("a.yaml"), text)).unwrap()
            };
            let agent = parse(&Own { node: None, keys: None, profiles: &Profile::USUAL });
            assert_eq!(agent.trust, bucket.trust().unwrap());
            assert!(agent.profiles.deploy.is_some() && agent.profiles.process.is_some());
            assert_eq!(
                (agent.fleet, &agent.store.prefix, &agent.store.endpoint, agent.store.path_style, agent.store.ca_file),
                (bucket.fleet, &bucket.store.prefix, &bucket.store.endpoint, Some(false), None)
            );
            let keys = Some(("id: 1", "s3cr3t \"\\"));
            let agent = parse(&Own { node: Some(&node), keys, profiles: &[Profile::Process] });
            assert!(agent.profiles.deploy.is_none() && agent.profiles.process.is_some());
            let all = parse(&Own { node: Some(&node), keys: None, profiles: Profile::value_variants() }).profiles;
            assert!(all.deploy.is_some() && all.process.is_some());
            assert!(all.systemd.is_some() && all.supervisor.is_some());
            let Credentials::Static { access_key, secret_key, .. } = agent.store.credentials else { panic!("no keys") };
            assert_eq!((access_key.as_str(), secret_key.expose()), ("id: 1", "s3cr3t \"\\"));
        }
    }

    #[test]
    fn what_yaml_would_take_for_something_else_is_quoted() {
        for (text, yaml) in [
            ("eu-west-1", "eu-west-1"),
            ("007", "\"007\""),
            ("true", "\"true\""),
            ("a: b", "\"a: b\""),
            ("", "\"\""),
            ("a\"\n", "\"a\\\"\\n\""),
        ] {
            assert_eq!(quoted(text), yaml);
        }
    }
}
