//! What can go wrong with a bucket, named by what the caller must do about it.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;

use super::kind::ErrorKind;
use crate::model::Sha256Digest;
use crate::model::keys::WriteRule;

/// What was being done to what, for messages: "reading s3://bucket/prefix/key".
// Boxed, like the path below, because results that hold an error are moved about a lot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doing(Box<Deed>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Deed {
    verb: &'static str,
    what: String,
    call: Option<Call>,
}

/// The request that failed, for whoever looks after the store. What came from the store is short, and on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// S3's name for what was asked.
    pub operation: &'static str,
    /// The HTTP status of the answer, if one came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The store's word for what is wrong, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The store's name for the request, by which its logs can be searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Doing {
    pub(super) fn new(verb: &'static str, what: String) -> Self {
        Self(Box::new(Deed { verb, what, call: None }))
    }

    /// The same by a request, if one was sent.
    pub(super) fn by(mut self, call: Option<Call>) -> Self {
        self.0.call = call;
        self
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.verb, self.0.what)
    }
}

/// Why a store gave no answer that could be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outage {
    /// No connection: refused, no such host, TLS not agreed upon.
    Connection,
    /// No answer in time.
    TimedOut(Duration),
    /// The answer's body broke off.
    Cut,
    /// The answer's body came too slowly to be waited for.
    Stalled(Duration),
    /// The store failed by its own account.
    Failed {
        /// The HTTP status.
        status: u16,
        /// The store's word for it.
        code: String,
    },
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("no connection"),
            Self::TimedOut(limit) => write!(f, "no answer within {limit:?}"),
            Self::Cut => f.write_str("the answer broke off"),
            Self::Stalled(limit) => write!(f, "hardly a byte came for {limit:?}"),
            Self::Failed { status, code } => write!(f, "the store failed with {status} {code}"),
        }
    }
}

/// What an object should be, or is: of one size, with one digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// In bytes.
    pub size: u64,
    /// Of all bytes.
    pub sha256: Sha256Digest,
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with sha256 {}", self.size, self.sha256)
    }
}

/// Whatever lies below an error.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why the bucket did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Wait for it, or do without.
    #[error("{doing}: there is no such object")]
    NotFound {
        /// What was being done.
        doing: Doing,
    },
    /// Have the rights put right. Never the same as [`StoreError::NotFound`].
    #[error("{doing}: the store denies it to these credentials ({code} {message}); they need the right to do it")]
    Denied {
        /// What was being done.
        doing: Doing,
        /// The store's word for it.
        code: String,
        /// The store's sentence about it: some stores tell a wrong key only here.
        message: String,
    },
    /// Read again and decide anew.
    #[error("{doing}: another writer was there first; read it again before changing it")]
    Conflict {
        /// What was being done.
        doing: Doing,
    },
    /// Come back later, and less often.
    #[error("{doing}: the store wants fewer requests ({code}), after {tries} tries")]
    Throttled {
        /// What was being done.
        doing: Doing,
        /// The store's word for it.
        code: String,
        /// How often it was tried.
        tries: u32,
    },
    /// Come back later.
    #[error("{doing}: {why}, after {tries} tries at {endpoint}")]
    Unreachable {
        /// What was being done.
        doing: Doing,
        /// Where the store was looked for.
        endpoint: String,
        /// What happened at the last try.
        why: Outage,
        /// How often it was tried.
        tries: u32,
        /// What the connection said.
        #[source]
        source: Option<Cause>,
    },
    /// Set this machine's clock.
    #[error("{doing}: the store refuses requests from this machine's clock, which {}; set it, for example with NTP", told(*skew))]
    ClockSkew {
        /// What was being done.
        doing: Doing,
        /// The store's time minus ours, where the store told its time.
        skew: Option<TimeDelta>,
    },
    /// Take the bytes for damaged or forged.
    #[error("{doing}: expected {expected}, got {got}")]
    Corrupt {
        /// What was being done.
        doing: Doing,
        /// What the bytes should have been.
        expected: Expect,
        /// What they were, in words.
        got: String,
    },
    /// Refuse the object.
    #[error("{doing}: it is larger than the {limit_bytes} bytes that are allowed")]
    TooLarge {
        /// What was being done.
        doing: Doing,
        /// The limit.
        limit_bytes: u64,
    },
    /// Ask for less at once.
    #[error("{doing}: there are more than {limit} objects and folders")]
    TooMany {
        /// What was being done.
        doing: Doing,
        /// The limit.
        limit: usize,
    },
    /// Do without the feature: this store does not have it.
    #[error("{doing}: this store cannot do that ({code}); `fleetman doctor` finds out and records what it can")]
    Unsupported {
        /// What was being done.
        doing: Doing,
        /// The store's word for it.
        code: String,
    },
    /// Report it: the store takes the request for wrong.
    #[error("{doing}: the store refuses the request with {status} {code}: {message}")]
    Refused {
        /// What was being done.
        doing: Doing,
        /// The HTTP status.
        status: u16,
        /// The store's word for it.
        code: String,
        /// The store's sentence about it.
        message: String,
    },
    /// Give credentials.
    #[error("{doing}: no credentials could be had from {looked}; mend one of these, or set keys in the config")]
    NoCredentials {
        /// What was being done.
        doing: Doing,
        /// Where they were looked for.
        looked: String,
        /// What was said there.
        #[source]
        source: Option<Cause>,
    },
    /// Give other credentials.
    #[error("{doing}: the credentials are not valid ({code}); renew them or check the secret key")]
    BadCredentials {
        /// What was being done.
        doing: Doing,
        /// The store's word for it.
        code: String,
    },
    /// Create the bucket or correct its name.
    #[error("{doing}: there is no bucket {bucket:?} at {endpoint}; create it or correct the name")]
    NoSuchBucket {
        /// What was being done.
        doing: Doing,
        /// The name asked for.
        bucket: String,
        /// Where it was looked for.
        endpoint: String,
    },
    /// Correct the config.
    #[error("the settings of bucket {bucket:?} are wrong: {what}")]
    Misconfigured {
        /// The bucket's name.
        bucket: String,
        /// What is wrong and how to mend it.
        what: String,
        /// What was said about it.
        #[source]
        source: Option<Cause>,
    },
    /// Start again with the file as it is now.
    #[error("{doing}: {path:?} changed while it was sent; expected {expected}, got {got}")]
    SourceChanged {
        /// What was being done.
        doing: Doing,
        /// The local file.
        path: Box<Path>,
        /// What it should have been.
        expected: Expect,
        /// What it was, in words.
        got: String,
    },
    /// Mend the local file or disk: the bucket is not to blame.
    #[error("{doing}: the local side failed")]
    Local {
        /// What was being done.
        doing: Doing,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Mend the program: this key may not be written this way.
    #[error("{doing}: this key may only be written as {rule:?}")]
    WriteRule {
        /// What was being done.
        doing: Doing,
        /// The key's rule.
        rule: WriteRule,
    },
}

impl StoreError {
    /// A word for this kind that never changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().0
    }

    /// What kind of failure it is, for exit codes and HTTP statuses.
    #[must_use]
    pub fn error_kind(&self) -> ErrorKind {
        self.kind().2
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind().1
    }

    /// The request that failed, if one was sent.
    #[must_use]
    pub fn call(&self) -> Option<&Call> {
        self.doing()?.0.call.as_ref()
    }

    fn doing(&self) -> Option<&Doing> {
        match self {
            Self::NotFound { doing }
            | Self::Denied { doing, .. }
            | Self::Conflict { doing }
            | Self::Throttled { doing, .. }
            | Self::Unreachable { doing, .. }
            | Self::ClockSkew { doing, .. }
            | Self::Corrupt { doing, .. }
            | Self::TooLarge { doing, .. }
            | Self::TooMany { doing, .. }
            | Self::Unsupported { doing, .. }
            | Self::Refused { doing, .. }
            | Self::NoCredentials { doing, .. }
            | Self::BadCredentials { doing, .. }
            | Self::NoSuchBucket { doing, .. }
            | Self::SourceChanged { doing, .. }
            | Self::Local { doing, .. }
            | Self::WriteRule { doing, .. } => Some(doing),
            Self::Misconfigured { .. } => None,
        }
    }

    /// Code, whether waiting may help, and what kind of failure it is.
    fn kind(&self) -> (&'static str, bool, ErrorKind) {
        match self {
            Self::NotFound { .. } => ("not_found", false, ErrorKind::NotFound),
            Self::Denied { .. } => ("denied", false, ErrorKind::Denied),
            Self::Conflict { .. } => ("conflict", false, ErrorKind::Conflict),
            Self::Throttled { .. } => ("throttled", true, ErrorKind::Unreachable),
            Self::Unreachable { .. } => ("unreachable", true, ErrorKind::Unreachable),
            Self::ClockSkew { .. } => ("clock_skew", false, ErrorKind::Invalid),
            Self::Corrupt { .. } => ("corrupt", false, ErrorKind::Tampered),
            Self::TooLarge { .. } => ("too_large", false, ErrorKind::Internal),
            Self::TooMany { .. } => ("too_many", false, ErrorKind::Internal),
            Self::Unsupported { .. } => ("unsupported", false, ErrorKind::Internal),
            Self::Refused { .. } => ("refused", false, ErrorKind::Internal),
            Self::NoCredentials { .. } => ("no_credentials", false, ErrorKind::Denied),
            Self::BadCredentials { .. } => ("bad_credentials", false, ErrorKind::Denied),
            Self::NoSuchBucket { .. } => ("no_such_bucket", false, ErrorKind::NotFound),
            Self::Misconfigured { .. } => ("misconfigured", false, ErrorKind::Invalid),
            Self::SourceChanged { .. } => ("source_changed", false, ErrorKind::Conflict),
            Self::Local { .. } => ("local", false, ErrorKind::Internal),
            Self::WriteRule { .. } => ("write_rule", false, ErrorKind::Internal),
        }
    }
}

/// The skew in words.
fn told(skew: Option<TimeDelta>) -> String {
    match skew.map(|skew| skew.num_seconds()) {
        None => "is too far from the store's".to_owned(),
        Some(secs) if secs >= 0 => format!("is {secs} s behind the store's"),
        Some(secs) => format!("is {} s ahead of the store's", -secs),
    }
}
