//! `controller_config.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use uuid::Uuid;

use super::access::{Signing, TrustedKey, with_access};
use super::alerts::{AlertsConfig, WrittenAlerts};
use super::error::ConfigError;
use super::file::{ConfigFile, open_warning, read_text};
use super::oidc::{OidcSettings, WrittenOidc};
use super::people::{self, ConfigUser, SessionSettings, WrittenSession, WrittenUser};
use super::serving::{Serving, WrittenServing, WrittenTls};
use super::user;
use crate::controller::UploadLimits;
use crate::model::sign::{PinnedKey, PrivateKey, Signer, Trust};
use crate::model::{Epoch, UserName};
use crate::recipe::value::HumanBytes;
use crate::store::StoreSettings;
use crate::yaml::{self, Document, Field, HumanDuration};

/// What `fleetman` works with.
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// The fleets, each in a bucket; never empty.
    pub buckets: Vec<FleetBucket>,
    /// Where `serve` listens.
    pub listen: SocketAddr,
    /// How `serve` is reached there.
    pub serving: Serving,
    /// Who besides this portal's own users may sign in there.
    pub oidc: Option<OidcSettings>,
    /// Who publishes; the one who runs the command if left out.
    pub user: Option<UserName>,
    /// How long to wait for another writer of a cell, on stores without conditions.
    pub lock_timeout: Duration,
    /// How long `--wait` waits unless told otherwise.
    pub wait_timeout: Duration,
    /// Where the portal keeps what it must not forget, and what passes through it.
    pub state_folder: PathBuf,
    /// The most that an upload through the portal may bring.
    pub uploads: UploadLimits,
    /// Whether everybody who reaches `serve` gets the metrics, and not only who may look at everything.
    pub open_metrics: bool,
    /// How alerts are judged, and who is told.
    pub alerts: AlertsConfig,
    /// Who may sign in besides those in the bucket.
    pub users: Vec<ConfigUser>,
    /// How long somebody stays signed in.
    pub session: SessionSettings,
    /// What the file's owner should hear.
    pub warnings: Vec<String>,
}

/// One fleet in its bucket.
#[derive(Debug, Clone)]
pub struct FleetBucket {
    /// What `--bucket` calls it.
    pub name: String,
    /// The fleet's id.
    pub fleet: Uuid,
    /// How to reach it.
    pub store: StoreSettings,
    /// Whom to believe, and what to sign with.
    pub keys: Keys,
}

/// Whom to believe and what to sign with, as the config says. Key files are read when they are needed: who only looks
/// does not have to have the right to read them.
#[derive(Debug, Clone)]
pub enum Keys {
    /// Signatures are off; spelled out in the config.
    Unsigned,
    /// These are believed, and nothing can be signed.
    Trusted(Vec<PinnedKey>),
    /// Signed with the key in this file.
    Signing {
        /// The private key.
        file: PathBuf,
        /// Its epoch; that of the same key among `trusted` if left out, else the first.
        epoch: Option<Epoch>,
        /// These are believed; only the signing key itself if left out.
        trusted: Option<Vec<PinnedKey>>,
    },
}

impl ControllerConfig {
    /// The default of [`Self::listen`].
    pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

    /// Checks the text of `file`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], pointing at the place.
    pub fn parse(file: &ConfigFile) -> Result<Self, ConfigError> {
        let invalid = |error: yaml::YamlError| ConfigError::Invalid(error.without_source());
        let origin = file.path.display().to_string();
        let document = yaml::document(&file.text, &origin).map_err(invalid)?;
        let written: Written = document.parse().map_err(invalid)?;
        let list = Field::root().key("buckets");
        if written.buckets.is_empty() {
            return Err(invalid(document.error(
                &list,
                "there is no bucket",
                Some("`fleetman init` writes a first one"),
            )));
        }
        let mut buckets: Vec<FleetBucket> = Vec::new();
        for (index, bucket) in written.buckets.iter().enumerate() {
            let at = list.index(index);
            if buckets.iter().any(|other| other.name == bucket.name) {
                let message = format!("a second bucket is called {:?}", bucket.name);
                return Err(invalid(document.error(&at.key("name"), &message, Some("--bucket must tell them apart"))));
            }
            buckets.push(bucket.check(file, &document, &at)?);
        }
        let serving = written.serving().check(file, &document)?;
        let holds_secrets = !written.users.is_empty()
            || written.alerts.holds_secrets()
            || written.buckets.iter().any(|bucket| bucket.access().holds_secrets());
        let names: Vec<String> = buckets.iter().map(|bucket| bucket.name.clone()).collect();
        Ok(Self {
            buckets,
            listen: written.listen.unwrap_or(Self::LISTEN),
            oidc: written.oidc.as_ref().map(|oidc| oidc.check(file, &document, &serving)).transpose()?,
            serving,
            user: written.user,
            lock_timeout: written.lock_timeout.map_or(Duration::from_secs(30), |written| written.0),
            wait_timeout: written.wait_timeout.map_or(Duration::from_secs(600), |written| written.0),
            state_folder: file.resolve(written.state_folder.unwrap_or_else(default_state_folder)),
            uploads: written.uploads.limits(&document).map_err(invalid)?,
            alerts: written.alerts.check(file, &document, &names).map_err(invalid)?,
            open_metrics: written.metrics.is_some_and(|metrics| metrics.open),
            users: people::users(written.users, &document).map_err(invalid)?,
            session: written.session.check(file, &document).map_err(invalid)?,
            warnings: file.warning(holds_secrets).into_iter().collect(),
        })
    }

    /// The bucket called `name`, or the first.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchBucket`] naming those that there are.
    pub fn bucket(&self, name: Option<&str>) -> Result<&FleetBucket, ConfigError> {
        let found = match name {
            None => self.buckets.first(),
            Some(name) => self.buckets.iter().find(|bucket| bucket.name == name),
        };
        found.ok_or_else(|| ConfigError::NoSuchBucket {
            name: name.unwrap_or_default().to_owned(),
            known: self.buckets.iter().map(|bucket| format!("{:?}", bucket.name)).collect::<Vec<_>>().join(", "),
        })
    }
}

impl FleetBucket {
    /// Whom to believe.
    ///
    /// # Errors
    /// When only the signing key's file could tell and it cannot be read.
    pub fn trust(&self) -> Result<Trust, ConfigError> {
        match &self.keys {
            Keys::Unsigned => Ok(Trust::Unsigned),
            Keys::Trusted(trusted) | Keys::Signing { trusted: Some(trusted), .. } => Ok(Trust::Keys(trusted.clone())),
            Keys::Signing { file, epoch, trusted: None } => {
                Ok(Trust::Keys(vec![PinnedKey { key: read_key(file)?.0.public(), epoch: epoch.unwrap_or_default() }]))
            }
        }
    }

    /// What to sign with, and what the key's owner should hear.
    ///
    /// # Errors
    /// When there is no key, or none that this config itself believes.
    pub fn signer(&self) -> Result<(Signer, Option<String>), ConfigError> {
        let (file, epoch, trusted) = match &self.keys {
            Keys::Unsigned => return Ok((Signer::Unsigned, None)),
            Keys::Trusted(_) => return Err(ConfigError::NoSigningKey { bucket: self.name.clone() }),
            Keys::Signing { file, epoch, trusted } => (file, *epoch, trusted),
        };
        let (key, open) = read_key(file)?;
        let public = key.public();
        let epoch = match trusted {
            None => epoch.unwrap_or_default(),
            Some(trusted) => trusted
                .iter()
                .filter(|pinned| pinned.key == public)
                .map(|pinned| pinned.epoch)
                .find(|pinned| epoch.is_none_or(|epoch| epoch == *pinned))
                .ok_or_else(|| ConfigError::KeyNotTrusted {
                    path: file.clone(),
                    key: format!("{public}{}", epoch.map(|epoch| format!(" of epoch {epoch}")).unwrap_or_default()),
                    bucket: self.name.clone(),
                })?,
        };
        Ok((Signer::Key(key, epoch), open.then(|| open_warning(file))))
    }
}

/// The private key in `file`, and whether every user can read it.
fn read_key(file: &std::path::Path) -> Result<(PrivateKey, bool), ConfigError> {
    let (text, open) = read_text(file)?;
    let key =
        PrivateKey::from_file_text(&text).map_err(|source| ConfigError::KeyFile { path: file.to_owned(), source })?;
    Ok((key, open))
}

/// The file as people write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    buckets: Vec<WrittenBucket>,
    listen: Option<SocketAddr>,
    public_url: Option<String>,
    #[serde(default)]
    trusted_proxies: Vec<String>,
    tls: Option<WrittenTls>,
    oidc: Option<WrittenOidc>,
    user: Option<UserName>,
    lock_timeout: Option<HumanDuration>,
    wait_timeout: Option<HumanDuration>,
    state_folder: Option<PathBuf>,
    #[serde(default)]
    users: Vec<WrittenUser>,
    #[serde(default)]
    session: WrittenSession,
    #[serde(default)]
    uploads: WrittenUploads,
    metrics: Option<WrittenMetrics>,
    #[serde(default)]
    alerts: WrittenAlerts,
}

/// Who gets the metrics.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenMetrics {
    open: bool,
}

fn default_state_folder() -> PathBuf {
    let of_user = if user::is_root() { None } else { user::state_home() };
    of_user.unwrap_or_else(|| "/var/lib".into()).join("fleetman")
}

/// `uploads`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenUploads {
    file: Option<HumanBytes>,
    release: Option<HumanBytes>,
}

impl WrittenUploads {
    fn limits(&self, document: &Document) -> Result<UploadLimits, yaml::YamlError> {
        let UploadLimits { file_bytes, release_bytes } = UploadLimits::default();
        let field = Field::root().key("uploads").key("file");
        if self.file.is_some_and(|written| written.0 > file_bytes) {
            let help = format!("no file of a release may have more than {file_bytes} bytes");
            return Err(document.error(&field, "the limit is higher than what a release takes", Some(&help)));
        }
        Ok(UploadLimits {
            file_bytes: self.file.map_or(file_bytes, |written| written.0),
            release_bytes: self.release.map_or(release_bytes, |written| written.0),
        })
    }
}

impl Written {
    fn serving(&self) -> WrittenServing<'_> {
        WrittenServing {
            public_url: self.public_url.as_ref(),
            trusted_proxies: &self.trusted_proxies,
            tls: self.tls.as_ref(),
        }
    }
}

with_access! {
    /// An entry of `buckets`.
    pub(super) struct WrittenBucket {
        name: String,
        fleet: Uuid,
        signing: Option<Signing>,
        signing_key_file: Option<PathBuf>,
        signing_key_epoch: Option<Epoch>,
        trusted_keys: Option<Vec<TrustedKey>>,
    }
}

impl WrittenBucket {
    fn check(&self, file: &ConfigFile, document: &Document, at: &Field) -> Result<FleetBucket, ConfigError> {
        let refuse = |field: &str, message: &str, help: &str| {
            Err(ConfigError::Invalid(document.error(&at.key(field), message, Some(help)).without_source()))
        };
        let trusted = self.trusted_keys.as_ref();
        let keys = match (self.signing, &self.signing_key_file, trusted) {
            (Some(Signing::Unsigned), None, None) => Keys::Unsigned,
            (Some(Signing::Unsigned), _, _) => {
                return refuse("signing", "unsigned contradicts the keys beside it", "remove one of the two");
            }
            (None, _, Some(trusted)) if trusted.is_empty() => {
                return refuse("trusted_keys", "nobody is trusted", "give at least one key");
            }
            (None, Some(key), trusted) => Keys::Signing {
                file: file.resolve(key.clone()),
                epoch: self.signing_key_epoch,
                trusted: trusted.map(|keys| keys.iter().cloned().map(PinnedKey::from).collect()),
            },
            (None, None, Some(trusted)) => Keys::Trusted(trusted.iter().cloned().map(PinnedKey::from).collect()),
            (None, None, None) => {
                let help = "set signing_key_file (`fleetman keygen` makes one), or trusted_keys to only look, or spell \
                    out `signing: unsigned`";
                return Err(ConfigError::Invalid(
                    document.error(at, "nothing says whether this bucket is signed", Some(help)).without_source(),
                ));
            }
        };
        if self.signing_key_epoch.is_some() && self.signing_key_file.is_none() {
            return refuse("signing_key_epoch", "an epoch without a signing_key_file", "set the file, or remove this");
        }
        if self.name.is_empty() {
            return refuse("name", "the name is empty", "give it a name for --bucket");
        }
        let store = self.access().settings(file, document, at)?;
        Ok(FleetBucket { name: self.name.clone(), fleet: self.fleet, store, keys })
    }
}
