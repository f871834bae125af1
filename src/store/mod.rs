//! The bucket: the only place that names `aws_sdk_s3`.
//!
//! A [`Store`] is one bucket under one prefix. What it promises beyond the SDK:
//!
//! - Errors are named by what the caller must do ([`StoreError`]); a denied object is never an absent one.
//! - Every wait ends ([`Deadlines`]), every body has a limit, and what is fetched with a digest is compared with it.
//! - Every ambiguous answer to a write (a condition that failed after a try whose answer was lost, a timeout) is
//!   settled by reading back: "was it me?".
//! - On a store that is not known to keep its conditions, [`Store::create`] and [`Store::replace_if`] look before
//!   they write and read back after. That finds a lost race in most cases but does not prevent it: writers take
//!   turns above this layer.

mod attempt;
mod client;
mod copy;
mod counts;
mod download;
mod error;
mod kind;
mod list;
mod memory;
mod probe;
mod read;
mod remove;
mod settings;
mod stream;
mod upload;
mod watch;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::SharedInterceptor;
use chrono::TimeDelta;

pub use counts::{OperationCount, RequestClass, RequestCounts};
pub use error::{Call, Cause, Doing, Expect, Outage, StoreError};
pub use kind::{ErrorKind, in_full};
pub use list::{Depth, Entry, Listing, Pages};
pub use memory::Memory;
pub use read::{Fetched, Meta, Object};
pub use settings::{Credentials, Deadlines, ProxySettings, RetryPolicy, Secret, StoreSettings};
pub use stream::ObjectStream;
pub use write::{Created, Outcome};

use crate::clock::SharedClock;
use crate::model::Prefix;
pub use crate::model::fleet::Conditions;

/// The store's name for the bytes of an object. Opaque: equal tags mean equal bytes of one key, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ETag(String);

impl ETag {
    /// The tag as the store wrote it, quotes and all.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ETag {
    fn from(tag: String) -> Self {
        Self(tag)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One bucket under one prefix. Clones share connections, credentials and counters.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    conditions: Conditions,
    memory: Option<Arc<Memory>>,
}

struct Inner {
    client: aws_sdk_s3::Client,
    bucket: String,
    prefix: Prefix,
    /// None = AWS.
    endpoint: Option<String>,
    /// Where credentials are looked for, for messages.
    looked: String,
    clock: SharedClock,
    deadlines: Deadlines,
    retry: RetryPolicy,
    watch: watch::Watch,
    counter: counts::Counter,
    /// Since when there is something to count, by the monotonic clock.
    counted_since: Duration,
}

impl Inner {
    fn endpoint_shown(&self) -> String {
        self.endpoint.clone().unwrap_or_else(|| "AWS".to_owned())
    }
}

impl Store {
    /// Makes ready to speak to a bucket. Nothing is asked of the bucket yet, so that a store that is down, or
    /// credentials that are not there yet, fail the call that needs them and not the start.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] when the settings cannot work.
    pub async fn connect(settings: StoreSettings, clock: SharedClock) -> Result<Self, StoreError> {
        let watch = watch::Watch::new(clock.clone());
        let connected = client::connect(&settings, &clock, SharedInterceptor::new(watch.clone())).await?;
        let looked = settings.credentials.places();
        let StoreSettings { bucket, prefix, deadlines, retry, .. } = settings;
        let (client, endpoint) = (connected.client, connected.endpoint);
        let (counter, counted_since) = (counts::Counter::default(), clock.monotonic());
        let inner =
            Inner { client, bucket, prefix, endpoint, looked, clock, deadlines, retry, watch, counter, counted_since };
        Ok(Self { inner: Arc::new(inner), conditions: Conditions::default(), memory: None })
    }

    /// The same store, with what is known about its conditional writes.
    #[must_use]
    pub fn with_capabilities(self, conditions: Conditions) -> Self {
        Self { conditions, ..self }
    }

    /// The same store for who only looks: small objects and lists that were read before are to be had while it does not
    /// answer.
    #[must_use]
    pub fn remembering(self, memory: Arc<Memory>) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// The same store without a memory, for whoever writes by what it says.
    #[must_use]
    pub fn forgetful(self) -> Self {
        Self { memory: None, ..self }
    }

    /// What is taken to be known about its conditional writes.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// The store in words: `s3://bucket/prefix at http://host`.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("s3://{}/{} at {}", self.inner.bucket, self.inner.prefix, self.inner.endpoint_shown())
    }

    /// What is put before every key.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.inner.prefix
    }

    /// The store's time minus ours, as the last answer told it: right to a second or so. None before the first
    /// answer, and with stores that do not tell.
    #[must_use]
    pub fn clock_skew(&self) -> Option<TimeDelta> {
        self.inner.watch.skew()
    }

    /// How many requests were sent so far, and what came of them.
    #[must_use]
    pub fn request_counts(&self) -> RequestCounts {
        self.inner.counter.counts()
    }

    /// For how long requests were counted.
    #[must_use]
    pub fn counted_for(&self) -> Duration {
        self.inner.clock.monotonic().saturating_sub(self.inner.counted_since)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}, conditions {:?})", self.describe(), self.conditions)
    }
}
