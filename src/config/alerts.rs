//! Alerts: how they are judged, and who is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use serde::Deserialize;

use super::error::ConfigError;
use super::file::{ConfigFile, open_warning, read_text};
use crate::controller::{AlertFilter, AlertRules, Channel, MailSettings, MailTls, Receiver, ReceiverRules};
use crate::model::alert::{AlertKind, Severity};
use crate::model::users::CellPattern;
use crate::store::Secret;
use crate::yaml::{self, Document, Field, HumanDuration};

/// The usual waits of a receiver.
const GROUP_WAIT: Duration = Duration::from_secs(30);
const GROUP_INTERVAL: Duration = Duration::from_secs(300);
const RETRY_WAIT: Duration = Duration::from_secs(10);

/// The most receivers, and filters and addresses of each.
const MOST: usize = 50;

/// How alerts are judged, and who is told.
#[derive(Debug, Clone, Default)]
pub struct AlertsConfig {
    /// How they are judged.
    pub rules: AlertRules,
    /// Who is told.
    pub receivers: Vec<ReceiverConfig>,
}

/// Somebody who is told.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// What they are told of.
    pub rules: ReceiverRules,
    /// The buckets whose alerts they are told of; all of the config if empty.
    pub buckets: Vec<String>,
    channel: WrittenChannel,
    plain_http: bool,
}

impl ReceiverConfig {
    /// Whether they are told of what happens in the fleet of `bucket`.
    #[must_use]
    pub fn is_for(&self, bucket: &str) -> bool {
        self.buckets.is_empty() || self.buckets.iter().any(|name| name == bucket)
    }

    /// The receiver, its secrets read now, and what their owner should hear.
    ///
    /// # Errors
    /// When a secret cannot be read, or the settings cannot work.
    pub fn open(&self) -> Result<(Receiver, Vec<String>), ConfigError> {
        let mut warnings = Vec::new();
        let channel = match &self.channel {
            WrittenChannel::Webhook(written) => Channel::Webhook {
                url: written.url.read(&mut warnings)?.unwrap_or_else(|| Secret::new("")),
                secret: written.secret.read(&mut warnings)?,
                ca_file: written.ca_file.clone(),
                plain_http: self.plain_http,
            },
            WrittenChannel::Slack(written) => Channel::Slack {
                url: written.url.read(&mut warnings)?.unwrap_or_else(|| Secret::new("")),
                ca_file: written.ca_file.clone(),
                plain_http: self.plain_http,
            },
            WrittenChannel::Mail(mail) => {
                let password = mail.password.read(&mut warnings)?;
                let login = mail.user.clone().zip(password);
                Channel::Mail(MailSettings {
                    server: mail.server.clone(),
                    port: mail.port.unwrap_or_else(|| mail.tls.port()),
                    tls: mail.tls,
                    login,
                    from: mail.from.clone(),
                    to: mail.to.clone(),
                    ca_file: mail.ca_file.clone(),
                })
            }
        };
        let receiver = Receiver::new(self.rules.clone(), channel)?;
        Ok((receiver, warnings))
    }
}

/// Where a secret is.
#[derive(Debug, Clone)]
enum SecretPlace {
    Nowhere,
    Here(Secret),
    File(PathBuf),
    Env(String),
}

impl SecretPlace {
    fn read(&self, warnings: &mut Vec<String>) -> Result<Option<Secret>, ConfigError> {
        match self {
            Self::Nowhere => Ok(None),
            Self::Here(secret) => Ok(Some(secret.clone())),
            Self::File(path) => {
                let (text, open_to_others) = read_text(path)?;
                warnings.extend(open_to_others.then(|| open_warning(path)));
                let text = text.trim();
                if text.is_empty() {
                    return Err(ConfigError::EmptySecret { path: path.clone() });
                }
                Ok(Some(Secret::new(text)))
            }
            Self::Env(name) => match std::env::var(name) {
                Ok(text) if !text.trim().is_empty() => Ok(Some(Secret::new(text.trim()))),
                _ => Err(ConfigError::UnsetSecret { name: name.clone() }),
            },
        }
    }
}

#[derive(Debug, Clone)]
enum WrittenChannel {
    Webhook(CheckedWebhook),
    Slack(CheckedWebhook),
    Mail(CheckedMail),
}

#[derive(Debug, Clone)]
struct CheckedWebhook {
    url: SecretPlace,
    secret: SecretPlace,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct CheckedMail {
    server: String,
    port: Option<u16>,
    tls: MailTls,
    user: Option<String>,
    password: SecretPlace,
    from: String,
    to: Vec<String>,
    ca_file: Option<PathBuf>,
}

/// `alerts` as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenAlerts {
    #[serde(default)]
    rules: BTreeMap<AlertKind, WrittenRule>,
    flap_window: Option<HumanDuration>,
    #[serde(default)]
    receivers: Vec<WrittenReceiver>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    enabled: Option<bool>,
    looks: Option<u32>,
    after: Option<HumanDuration>,
    clear_looks: Option<u32>,
    clear_after: Option<HumanDuration>,
    severity: Option<Severity>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenReceiver {
    name: String,
    webhook: Option<WrittenWebhook>,
    slack: Option<WrittenSlack>,
    mail: Option<WrittenMail>,
    #[serde(default)]
    only: Vec<WrittenFilter>,
    #[serde(default)]
    buckets: Vec<String>,
    group_wait: Option<HumanDuration>,
    group_interval: Option<HumanDuration>,
    retry_wait: Option<HumanDuration>,
    #[serde(default)]
    acknowledged: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWebhook {
    url: Option<String>,
    url_file: Option<PathBuf>,
    secret: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    plain_http: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSlack {
    url: Option<String>,
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    plain_http: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMail {
    server: String,
    port: Option<u16>,
    tls: Option<WrittenTls>,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    from: String,
    to: Vec<String>,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenTls {
    Starttls,
    Tls,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFilter {
    #[serde(default)]
    types: Vec<AlertKind>,
    severity: Option<Severity>,
    cells: Option<CellPattern>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl WrittenAlerts {
    /// Whether the file itself holds something that is nobody's business.
    pub(super) fn holds_secrets(&self) -> bool {
        self.receivers.iter().any(|receiver| {
            let webhook = receiver.webhook.as_ref().is_some_and(|it| it.secret.is_some());
            let slack = receiver.slack.as_ref().is_some_and(|it| it.url.is_some());
            webhook || slack || receiver.mail.as_ref().is_some_and(|it| it.password.is_some())
        })
    }

    pub(super) fn check(
        self,
        file: &ConfigFile,
        document: &Document,
        buckets: &[String],
    ) -> Result<AlertsConfig, yaml::YamlError> {
        let at = Field::root().key("alerts");
        let mut rules = AlertRules::default();
        if let Some(window) = self.flap_window {
            rules.flap_window = delta(window);
        }
        for (kind, written) in self.rules {
            let rule = rules.of_mut(kind);
            rule.enabled = written.enabled.unwrap_or(rule.enabled);
            rule.looks = written.looks.unwrap_or(rule.looks);
            rule.after = written.after.map_or(rule.after, delta);
            rule.clear_looks = written.clear_looks.unwrap_or(rule.clear_looks);
            rule.clear_after = written.clear_after.map_or(rule.clear_after, delta);
            rule.severity = written.severity.or(rule.severity);
        }
        let list = at.key("receivers");
        if self.receivers.len() > MOST {
            return Err(document.error(&list, &format!("there are more than {MOST} receivers"), None));
        }
        let mut receivers: Vec<ReceiverConfig> = Vec::new();
        for (index, written) in self.receivers.into_iter().enumerate() {
            let at = list.index(index);
            if written.name.trim().is_empty() || written.name.len() > 63 {
                return Err(document.error(&at.key("name"), "a receiver's name has 1 to 63 characters", None));
            }
            if receivers.iter().any(|other| other.rules.name == written.name) {
                let help = "what was told to whom is remembered by this name";
                return Err(document.error(&at.key("name"), "a second receiver of this name", Some(help)));
            }
            receivers.push(written.check(file, document, &at, buckets)?);
        }
        Ok(AlertsConfig { rules, receivers })
    }
}

impl WrittenReceiver {
    fn check(
        self,
        file: &ConfigFile,
        document: &Document,
        at: &Field,
        buckets: &[String],
    ) -> Result<ReceiverConfig, yaml::YamlError> {
        if let Some(index) = self.buckets.iter().position(|name| !buckets.contains(name)) {
            let help = format!("there are {}", buckets.join(", "));
            return Err(document.error(&at.key("buckets").index(index), "there is no such bucket", Some(&help)));
        }
        if self.only.len() > MOST {
            return Err(document.error(&at.key("only"), &format!("there are more than {MOST} filters"), None));
        }
        let plain_http = self.webhook.as_ref().is_some_and(|it| it.plain_http)
            || self.slack.as_ref().is_some_and(|it| it.plain_http);
        let ca_file = |path: Option<PathBuf>| path.map(|path| file.resolve(path));
        let place = |at: &Field, name: &str, here: Option<String>, path: Option<PathBuf>, env| {
            let place = match (here, path, env) {
                (None, None, None) => SecretPlace::Nowhere,
                (Some(text), None, None) => SecretPlace::Here(Secret::new(text)),
                (None, Some(path), None) => SecretPlace::File(file.resolve(path)),
                (None, None, Some(name)) => SecretPlace::Env(name),
                _ => {
                    let message = format!("the {name} is given more than once");
                    return Err(document.error(at, &message, Some("keep one of them")));
                }
            };
            Ok(place)
        };
        let needed = |at: &Field, place: SecretPlace| match place {
            SecretPlace::Nowhere => Err(document.error(at, "there is no url", Some("give url or url_file"))),
            place => Ok(place),
        };
        let channel = match (self.webhook, self.slack, self.mail) {
            (Some(written), None, None) => {
                let at = at.key("webhook");
                let url = needed(&at, place(&at, "url", written.url, written.url_file, None)?)?;
                let secret = place(&at, "secret", written.secret, written.secret_file, written.secret_env)?;
                WrittenChannel::Webhook(CheckedWebhook { url, secret, ca_file: ca_file(written.ca_file) })
            }
            (None, Some(written), None) => {
                let at = at.key("slack");
                let url = needed(&at, place(&at, "url", written.url, written.url_file, written.url_env)?)?;
                let secret = SecretPlace::Nowhere;
                WrittenChannel::Slack(CheckedWebhook { url, secret, ca_file: ca_file(written.ca_file) })
            }
            (None, None, Some(written)) => {
                let at = at.key("mail");
                WrittenChannel::Mail(written.check(document, &at, ca_file, place)?)
            }
            _ => {
                let help = "give exactly one of webhook, slack and mail";
                return Err(document.error(
                    at,
                    "nothing says how this receiver is reached, or too much does",
                    Some(help),
                ));
            }
        };
        let filter = |written: WrittenFilter| AlertFilter {
            kinds: written.types,
            severity: written.severity,
            cells: written.cells,
            labels: written.labels,
        };
        let rules = ReceiverRules {
            name: self.name,
            only: self.only.into_iter().map(filter).collect(),
            group_wait: self.group_wait.map_or_else(|| delta(HumanDuration(GROUP_WAIT)), delta),
            group_interval: self.group_interval.map_or_else(|| delta(HumanDuration(GROUP_INTERVAL)), delta),
            retry_wait: self.retry_wait.map_or_else(|| delta(HumanDuration(RETRY_WAIT)), delta),
            acknowledged: self.acknowledged,
        };
        Ok(ReceiverConfig { rules, buckets: self.buckets, channel, plain_http })
    }
}

impl WrittenMail {
    fn check(
        self,
        document: &Document,
        at: &Field,
        ca_file: impl Fn(Option<PathBuf>) -> Option<PathBuf>,
        place: impl Fn(
            &Field,
            &str,
            Option<String>,
            Option<PathBuf>,
            Option<String>,
        ) -> Result<SecretPlace, yaml::YamlError>,
    ) -> Result<CheckedMail, yaml::YamlError> {
        let password = place(at, "password", self.password, self.password_file, self.password_env)?;
        if self.user.is_some() == matches!(password, SecretPlace::Nowhere) {
            return Err(document.error(at, "a user and a password belong together", Some("give both, or neither")));
        }
        if self.to.is_empty() || self.to.len() > MOST {
            return Err(document.error(&at.key("to"), &format!("expected 1 to {MOST} addresses"), None));
        }
        let tls = match self.tls {
            None | Some(WrittenTls::Starttls) => MailTls::StartTls,
            Some(WrittenTls::Tls) => MailTls::Implicit,
            Some(WrittenTls::None) => MailTls::None,
        };
        let is_here = ["localhost", "127.0.0.1", "::1"].contains(&self.server.as_str());
        if tls == MailTls::None && !is_here {
            let help = "only a server on this machine is spoken to in the clear: say starttls or tls";
            return Err(document.error(&at.key("tls"), "mail would cross the network readable", Some(help)));
        }
        Ok(CheckedMail {
            server: self.server,
            port: self.port,
            tls,
            user: self.user,
            password,
            from: self.from,
            to: self.to,
            ca_file: ca_file(self.ca_file),
        })
    }
}

/// No duration that is taken is too long for it.
fn delta(written: HumanDuration) -> TimeDelta {
    TimeDelta::from_std(written.0).unwrap_or(TimeDelta::MAX)
}
