//! How a bucket is reached. Everything here is decided before the first request.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::Prefix;

/// Where a bucket is and how to speak to it.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The bucket's name.
    pub bucket: String,
    /// What is put before every key.
    pub prefix: Prefix,
    /// The store's URL. None = `AWS_ENDPOINT_URL_S3` and its kin, else AWS itself.
    ///
    /// Plain `http` is allowed anywhere, because private networks have stores without TLS and integrity never rests
    /// on TLS; to another host than this one it is warned of once, because keys of the bucket's content travel
    /// readable.
    pub endpoint: Option<String>,
    /// None = what the AWS environment says; `us-east-1` where an endpoint is set and nothing else says otherwise.
    pub region: Option<String>,
    /// Whether the bucket stands in the path instead of the host name. None = yes where an endpoint is set.
    pub path_style: Option<bool>,
    /// Who asks.
    pub credentials: Credentials,
    /// PEM certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The way out.
    pub proxy: ProxySettings,
    /// When to give up waiting.
    pub deadlines: Deadlines,
    /// When to try again.
    pub retry: RetryPolicy,
}

impl StoreSettings {
    /// `bucket` on AWS, without a prefix, with the credentials that AWS tools would use.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: Prefix::default(),
            endpoint: None,
            region: None,
            path_style: None,
            credentials: Credentials::Chain { profile: None },
            ca_file: None,
            proxy: ProxySettings::FromEnv,
            deadlines: Deadlines::default(),
            retry: RetryPolicy::default(),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// What AWS tools find: environment, profile, web identity, container, instance metadata.
    Chain {
        /// Only this profile of the AWS config files, which may name keys, SSO, a role or a process.
        profile: Option<String>,
    },
    /// Keys out of the config.
    Static {
        /// Names the key; no secret.
        access_key: String,
        /// The key.
        secret_key: Secret,
        /// Goes with temporary keys.
        session_token: Option<Secret>,
    },
}

impl Credentials {
    /// Where they are looked for, in words.
    #[must_use]
    pub fn places(&self) -> String {
        match self {
            Self::Static { .. } => "the config".to_owned(),
            Self::Chain { profile: Some(profile) } => {
                format!("profile {profile:?} of ~/.aws/config and ~/.aws/credentials")
            }
            Self::Chain { profile: None } => {
                "AWS_ACCESS_KEY_ID of the environment, the profile in ~/.aws (AWS_PROFILE \
                names another than \"default\"), AWS_WEB_IDENTITY_TOKEN_FILE, container credentials, instance metadata"
                    .to_owned()
            }
        }
    }
}

/// A text that cannot be printed by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: the only way to it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The way out to the store, and to the AWS services that credentials come from. Instance metadata is always asked
/// directly: it is on this machine.
#[derive(Debug, Clone)]
pub enum ProxySettings {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    FromEnv,
    /// Directly, whatever the environment says.
    None,
    /// Through this proxy.
    Explicit {
        /// For example `http://proxy:3128`.
        url: String,
        /// User and password, if the proxy wants them.
        login: Option<(String, Secret)>,
        /// Hosts that are reached directly, separated by commas, as in `NO_PROXY`.
        no_proxy: Option<String>,
    },
}

/// When to give up waiting.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until credentials are found.
    pub credentials: Duration,
    /// Until the first byte of an answer to a read.
    pub first_byte: Duration,
    /// Until a small object, a page of a list or any other short answer is whole. What is sent counts extra, at
    /// [`Deadlines::SLOWEST_UPLOAD_BYTES_PER_SEC`].
    pub whole: Duration,
    /// Until a server-side copy is done, which may be one of 5 GB.
    pub copy: Duration,
    /// A body that brings less than `stall_bytes` in this time is given up.
    pub stall: Duration,
    /// See `stall`.
    pub stall_bytes: u64,
}

impl Deadlines {
    /// Slower than this an upload is given up.
    pub const SLOWEST_UPLOAD_BYTES_PER_SEC: u64 = 16 * 1024;

    /// How long a request that sends `bytes` may take in all.
    pub(super) fn sending(&self, bytes: u64) -> Duration {
        self.whole + Duration::from_secs(bytes / Self::SLOWEST_UPLOAD_BYTES_PER_SEC)
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            credentials: Duration::from_secs(8),
            first_byte: Duration::from_secs(10),
            whole: Duration::from_secs(30),
            copy: Duration::from_secs(300),
            stall: Duration::from_secs(20),
            stall_bytes: 20 * 1024,
        }
    }
}

/// When to try again: full jitter, doubled from `first` to `most`.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// How often in all, at least once.
    pub tries: u32,
    /// The longest wait before the second try.
    pub first: Duration,
    /// The longest wait before any try, also where the store asks for a longer one.
    pub most: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { tries: 5, first: Duration::from_millis(200), most: Duration::from_secs(20) }
    }
}

impl RetryPolicy {
    /// The longest wait after `tries` tries, before jitter.
    pub(super) fn ceiling(&self, tries: u32) -> Duration {
        let doubled = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.most)
    }
}
