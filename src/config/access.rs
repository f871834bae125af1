//! How a bucket is reached: the part that both config files have.

use std::path::PathBuf;

use serde::Deserialize;

use super::error::ConfigError;
use super::file::ConfigFile;
use crate::model::sign::{PinnedKey, PublicKey};
use crate::model::{Epoch, Prefix};
use crate::store::{Credentials, Deadlines, ProxySettings, RetryPolicy, Secret, StoreSettings};
use crate::yaml::{Document, Field};

/// Declares a struct of fields that people write, with those that reach a bucket among them. (Serde's `flatten` would
/// do it too, but loses line and column.)
macro_rules! with_access {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        $vis struct $name {
            $($(#[$field_doc])* $field: $type,)*
            bucket: String,
            #[serde(default)]
            prefix: $crate::model::Prefix,
            endpoint: Option<String>,
            region: Option<String>,
            path_style: Option<bool>,
            access_key: Option<String>,
            secret_key: Option<$crate::config::access::WrittenSecret>,
            profile: Option<String>,
            ca_file: Option<std::path::PathBuf>,
            proxy: Option<String>,
            proxy_login: Option<$crate::config::access::ProxyLogin>,
            no_proxy: Option<String>,
        }

        impl $name {
            fn access(&self) -> $crate::config::access::Access<'_> {
                $crate::config::access::Access {
                    bucket: &self.bucket,
                    prefix: &self.prefix,
                    endpoint: self.endpoint.as_ref(),
                    region: self.region.as_ref(),
                    path_style: self.path_style,
                    access_key: self.access_key.as_ref(),
                    secret_key: self.secret_key.as_ref(),
                    profile: self.profile.as_ref(),
                    ca_file: self.ca_file.as_ref(),
                    proxy: self.proxy.as_ref(),
                    proxy_login: self.proxy_login.as_ref(),
                    no_proxy: self.no_proxy.as_ref(),
                }
            }
        }
    };
}
pub(super) use with_access;

/// A text that cannot be printed by mistake.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "String")]
pub(super) struct WrittenSecret(pub(super) Secret);

impl From<String> for WrittenSecret {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

/// User and password at a proxy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProxyLogin {
    user: String,
    password: WrittenSecret,
}

/// A key that is believed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustedKey {
    key: PublicKey,
    #[serde(default)]
    epoch: Epoch,
}

impl From<TrustedKey> for PinnedKey {
    fn from(TrustedKey { key, epoch }: TrustedKey) -> Self {
        Self { key, epoch }
    }
}

/// Whether signatures count. There is one word, so that nobody goes without them by leaving something out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Signing {
    Unsigned,
}

/// The fields that reach a bucket, as they were written.
pub(super) struct Access<'a> {
    pub(super) bucket: &'a String,
    pub(super) prefix: &'a Prefix,
    pub(super) endpoint: Option<&'a String>,
    pub(super) region: Option<&'a String>,
    pub(super) path_style: Option<bool>,
    pub(super) access_key: Option<&'a String>,
    pub(super) secret_key: Option<&'a WrittenSecret>,
    pub(super) profile: Option<&'a String>,
    pub(super) ca_file: Option<&'a PathBuf>,
    pub(super) proxy: Option<&'a String>,
    pub(super) proxy_login: Option<&'a ProxyLogin>,
    pub(super) no_proxy: Option<&'a String>,
}

impl Access<'_> {
    /// Whether the file has to be kept from others.
    pub(super) fn holds_secrets(&self) -> bool {
        self.secret_key.is_some() || self.proxy_login.is_some()
    }

    /// The settings; `at` is where these fields stand in `document`.
    pub(super) fn settings(
        &self,
        file: &ConfigFile,
        document: &Document,
        at: &Field,
    ) -> Result<StoreSettings, ConfigError> {
        let refuse = |field: &str, message: &str, help: &str| {
            Err(ConfigError::Invalid(document.error(&at.key(field), message, Some(help)).without_source()))
        };
        if self.bucket.is_empty() || self.bucket.contains(['/', ':']) {
            return refuse(
                "bucket",
                "this is not the name of a bucket",
                "the name alone: without s3:// and without path",
            );
        }
        if let Some(endpoint) = self.endpoint
            && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
        {
            return refuse(
                "endpoint",
                "this is not a URL",
                "write it as https://s3.example.com or http://127.0.0.1:9000",
            );
        }
        let credentials = match (self.access_key, self.secret_key, self.profile) {
            (Some(access_key), Some(secret_key), None) => Credentials::Static {
                access_key: access_key.clone(),
                secret_key: secret_key.0.clone(),
                session_token: None,
            },
            (None, None, profile) => Credentials::Chain { profile: profile.cloned() },
            (Some(_), None, _) => {
                return refuse(
                    "access_key",
                    "an access_key without a secret_key",
                    "give both, or neither for AWS's own chain",
                );
            }
            (None, Some(_), _) => {
                return refuse(
                    "secret_key",
                    "a secret_key without an access_key",
                    "give both, or neither for AWS's own chain",
                );
            }
            (Some(_), Some(_), Some(_)) => {
                return refuse("profile", "a profile and keys contradict each other", "remove one of the two");
            }
        };
        let proxy = match (self.proxy.map(String::as_str), self.proxy_login, self.no_proxy) {
            (Some("none"), None, None) => ProxySettings::None,
            (Some(url), login, no_proxy) if url.starts_with("http://") || url.starts_with("https://") => {
                ProxySettings::Explicit {
                    url: url.to_owned(),
                    login: login.map(|login| (login.user.clone(), login.password.0.clone())),
                    no_proxy: no_proxy.cloned(),
                }
            }
            (None, None, None) => ProxySettings::FromEnv,
            (Some("none") | None, Some(_), _) => {
                return refuse("proxy_login", "a login without a proxy", "set proxy to its URL");
            }
            (Some("none") | None, None, Some(_)) => {
                return refuse("no_proxy", "exceptions without a proxy", "set proxy to its URL");
            }
            (Some(_), _, _) => return refuse("proxy", "this is not a URL", "write http://proxy:3128, or none"),
        };
        Ok(StoreSettings {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            endpoint: self.endpoint.cloned(),
            region: self.region.cloned(),
            path_style: self.path_style,
            credentials,
            ca_file: self.ca_file.map(|path| file.resolve(path.clone())),
            proxy,
            deadlines: Deadlines::default(),
            retry: RetryPolicy::default(),
        })
    }
}
