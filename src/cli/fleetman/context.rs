//! What verbs stand on: the config, the bucket, who acts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Global;
use crate::access::oidc::Oidc;
use crate::access::{Directory, Gate, SealKey, Sessions, StateFolder};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{
    self, CONTROLLER_FILE, ConfigError, ConfigFile, ControllerConfig, FleetBucket, SessionSettings, Setting, Source,
};
use crate::controller::{Actor, AlertSettings, Controller, ControllerSettings};
use crate::entropy;
use crate::model::UserName;
use crate::model::sign::Signer;
use crate::store::Store;
use crate::web::{self, Site, SiteFleet};

/// What a verb works with. Nothing is read or asked before a verb needs it.
pub(super) struct Context {
    pub(super) output: Output,
    pub(super) clock: SharedClock,
    config: Option<PathBuf>,
    bucket: Option<String>,
}

impl Context {
    pub(super) fn new(global: Global, output: Output) -> Self {
        Self { output, clock: SystemClock::shared(), config: global.config, bucket: global.bucket }
    }

    /// The same for the first bucket of another config.
    #[cfg(all(feature = "agent", feature = "embedded"))]
    pub(super) fn with_config(&self, config: PathBuf) -> Self {
        Self { output: self.output, clock: self.clock.clone(), config: Some(config), bucket: None }
    }

    /// Where the config is.
    pub(super) fn find_config(&self) -> Result<PathBuf, ConfigError> {
        config::find(self.config.as_deref(), CONTROLLER_FILE)
    }

    /// Where the config is to be, if there is none.
    pub(super) fn config_to_write(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(CONTROLLER_FILE))
    }

    /// The config. Its warnings are told.
    pub(super) fn config(&self) -> Result<ControllerConfig, Failure> {
        let config = self.quiet_config()?;
        for warning in &config.warnings {
            self.warn(warning);
        }
        Ok(config)
    }

    /// The config, for verbs that tell its warnings in their own way.
    pub(super) fn quiet_config(&self) -> Result<ControllerConfig, Failure> {
        Ok(ControllerConfig::parse(&ConfigFile::read(&self.find_config()?)?)?)
    }

    /// Every setting, and where its value comes from; `listen` is what an option says of that.
    pub(super) fn settings(&self, listen: Option<SocketAddr>) -> Result<Vec<Setting>, Failure> {
        let path = self.find_config()?;
        let env = |name: &str| std::env::var(name).ok();
        // Both may come from an option or from the environment, which the option outdoes.
        let given = |name: &str, value: String, flag: &str, variable: &str| {
            let source = match env(variable) {
                Some(set) if set == value => Source::Env { name: variable.to_owned() },
                _ => Source::Flag { name: flag.to_owned() },
            };
            Setting { name: name.to_owned(), value, source }
        };
        let mut all = vec![match &self.config {
            Some(path) => given("config", path.display().to_string(), "--config", "FLEETMAN_CONFIG"),
            None => Setting { name: "config".to_owned(), value: path.display().to_string(), source: Source::Default },
        }];
        all.extend(self.bucket.clone().map(|bucket| given("bucket", bucket, "--bucket", "FLEETMAN_BUCKET")));
        all.extend(listen.map(|listen| Setting {
            name: "listen".to_owned(),
            value: listen.to_string(),
            source: Source::Flag { name: "--listen".to_owned() },
        }));
        Ok(config::settings(&ConfigFile::read(&path)?, all, env)?)
    }

    fn warn(&self, warning: &str) {
        self.output.say(&format!("warning: {warning}"));
    }

    /// The bucket that was chosen.
    pub(super) fn chosen<'c>(&self, config: &'c ControllerConfig) -> Result<&'c FleetBucket, Failure> {
        Ok(config.bucket(self.bucket.as_deref())?)
    }

    /// The objects of a bucket.
    pub(super) async fn store_of(&self, bucket: &FleetBucket) -> Result<Store, Failure> {
        Ok(Store::connect(bucket.store.clone(), self.clock.clone()).await?)
    }

    /// A controller that can sign.
    pub(super) async fn controller(&self) -> Result<Controller, Failure> {
        let config = self.config()?;
        let bucket = self.chosen(&config)?;
        let (signer, warning) = bucket.signer()?;
        if let Some(warning) = warning {
            self.warn(&warning);
        }
        let controller = self.connect(&config, bucket, signer).await?;
        // Before anything is read, so that the wrong bucket is not taken for one whose signatures are all bad.
        controller.check_fleet().await?;
        Ok(controller)
    }

    /// A controller for verbs that only look, which need no signing key.
    pub(super) async fn looker(&self) -> Result<Controller, Failure> {
        self.looker_of(&self.config()?).await
    }

    /// The same with a config whose warnings were told.
    pub(super) async fn looker_of(&self, config: &ControllerConfig) -> Result<Controller, Failure> {
        let bucket = self.chosen(config)?;
        self.connect(config, bucket, Signer::Unsigned).await
    }

    /// What is served: the bucket that was chosen, or all of the config. A bucket whose signing key is not to be had is
    /// served to look at. `listen` is what an option says of where.
    pub(super) async fn site(&self, listen: Option<SocketAddr>) -> Result<Site, Failure> {
        let (config, settings) = (self.config()?, self.settings(listen)?);
        let chosen = match &self.bucket {
            Some(_) => vec![self.chosen(&config)?],
            None => config.buckets.iter().collect(),
        };
        let mut fleets = Vec::new();
        for bucket in chosen {
            let (signer, unsigned_reason) = match bucket.signer() {
                Ok((signer, warning)) => {
                    warning.iter().for_each(|warning| self.warn(warning));
                    (signer, None)
                }
                Err(error) => {
                    let reason = format!("this controller cannot sign for bucket {:?}: {error}", bucket.name);
                    self.warn(&format!("{reason}; nothing can be changed"));
                    (Signer::Unsigned, Some(reason))
                }
            };
            let controller = Arc::new(self.connect(&config, bucket, signer).await?);
            let portal = portal_of(&config, fleets.len(), &bucket.name);
            let alerts = self.alerts_of(&config, &bucket.name, portal)?;
            fleets.push(SiteFleet { name: bucket.name.clone(), controller, unsigned_reason, alerts });
        }
        // The users of the first bucket are those of the portal.
        let first = fleets.first().map(|fleet| fleet.controller.clone());
        let first = first.ok_or_else(|| Failure::usage("the config names no bucket"))?;
        let directory = self.directory(&config, first)?;
        config.session.key_warning().iter().for_each(|warning| self.warn(warning));
        let key = StateFolder::open(&config.state_folder)?.seal_key(config.session.key_file.as_deref())?;
        let SessionSettings { idle, absolute, .. } = config.session;
        let oidc = self.oidc(&config, key.clone())?;
        let gate = Gate::new(directory, Sessions { key, idle, absolute }, self.clock.clone());
        let gate = Arc::new(match &oidc {
            Some(oidc) => gate.vouched_by(oidc.issuer().to_owned()),
            None => gate,
        });
        let ControllerConfig { state_folder, uploads, open_metrics, .. } = config;
        Ok(Site { fleets, gate, oidc, open_metrics, settings, state_folder, uploads })
    }

    /// How the alerts of a bucket are judged, and who is told. Before anything runs, so that a receiver that cannot be
    /// reached as the config says is not found out about on the day when it is needed.
    fn alerts_of(
        &self,
        config: &ControllerConfig,
        bucket: &str,
        portal: Option<String>,
    ) -> Result<AlertSettings, Failure> {
        let mut receivers = Vec::new();
        for written in config.alerts.receivers.iter().filter(|receiver| receiver.is_for(bucket)) {
            let (receiver, warnings) = written.open()?;
            warnings.iter().for_each(|warning| self.warn(warning));
            receivers.push(Arc::new(receiver));
        }
        Ok(AlertSettings { rules: config.alerts.rules, receivers, portal })
    }

    /// Another service that says who people are, if the config names one.
    fn oidc(&self, config: &ControllerConfig, key: SealKey) -> Result<Option<Arc<Oidc>>, Failure> {
        // The config has no service without a URL to come back to.
        let (Some(settings), Some(public_url)) = (&config.oidc, &config.serving.public_url) else { return Ok(None) };
        let (secret, warning) = settings.secret()?;
        warning.iter().for_each(|warning| self.warn(warning));
        Ok(Some(Arc::new(Oidc::new(settings.clone(), secret, public_url.clone(), key, self.clock.clone())?)))
    }

    /// Who may sign in to a portal that `controller` serves first.
    pub(super) fn directory(
        &self,
        config: &ControllerConfig,
        controller: Arc<Controller>,
    ) -> Result<Directory, Failure> {
        let folder = StateFolder::open(&config.state_folder)?;
        Ok(Directory::open(controller, self.clock.clone(), folder, config.users.clone())?)
    }

    async fn connect(
        &self,
        config: &ControllerConfig,
        bucket: &FleetBucket,
        signer: Signer,
    ) -> Result<Controller, Failure> {
        let settings = ControllerSettings {
            store: self.store_of(bucket).await?,
            fleet: bucket.fleet,
            signer,
            trust: bucket.trust()?,
            actor: Actor {
                user: config.user.clone().map_or_else(user_of_the_system, Ok)?,
                source: "cli".to_owned(),
                host: host(),
                reason: None,
            },
            controller_id: entropy::uuid().map_err(|error| Failure::local("asking for randomness", &error))?,
            lock_timeout: config.lock_timeout,
        };
        Ok(Controller::new(settings, self.clock.clone()))
    }
}

/// Where people look at a fleet that is served at this place among others, if the config says where the portal is.
fn portal_of(config: &ControllerConfig, place: usize, bucket: &str) -> Option<String> {
    let url = config.serving.public_url.as_ref()?;
    Some(format!("{url}{}", web::base(place, bucket)))
}

/// The machine's name.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who runs the command, as a name that documents may hold.
fn user_of_the_system() -> Result<UserName, Failure> {
    let named = ["USER", "LOGNAME"].iter().find_map(|name| as_user(&std::env::var(name).ok()?));
    named
        .or_else(|| as_user(&format!("uid-{}", rustix::process::getuid().as_raw())))
        .ok_or_else(|| Failure::usage("who runs this command cannot be told").help("set `user` in the config"))
}

/// `text` as the nearest user name; None where nothing of it can stay.
fn as_user(text: &str) -> Option<UserName> {
    let allowed = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = text.to_lowercase().chars().map(allowed).collect();
    let name = name.trim_matches('-');
    UserName::new(name.get(..name.len().min(63))?.trim_end_matches('-')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_user_becomes_a_name_that_documents_may_hold() {
        for (text, name) in [
            ("alice", Some("alice")),
            ("DOMAIN\\Bob.Smith", Some("domain-bob-smith")),
            ("_svc_", Some("svc")),
            ("", None),
            ("---", None),
        ] {
            assert_eq!(as_user(text).as_ref().map(UserName::as_str), name, "{text:?}");
        }
        assert_eq!(as_user(&"x".repeat(100)).map(|name| name.as_str().len()), Some(63));
    }
}
