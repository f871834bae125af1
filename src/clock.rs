//! Time, as a value that is passed in. Nothing else asks the system for it (`clippy.toml` refuses the calls).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// A source of time: the system's, or one that a test drives.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock. It may jump; use it for what people read, never to measure.
    fn now(&self) -> DateTime<Utc>;

    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A clock that is handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The system's clock. It follows tokio's time, so a test that pauses tokio pauses this too.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    /// The system's clock, ready to be handed around.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's monotonic clock")]
    pub fn shared() -> SharedClock {
        Arc::new(Self { start: tokio::time::Instant::now() })
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clocks")]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic(&self) -> Duration {
        tokio::time::Instant::now().duration_since(self.start)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The time with second precision in RFC 3339 and UTC, as documents write it.
#[must_use]
pub fn to_seconds(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

/// The time with millisecond precision, for documents whose order by time matters.
#[must_use]
pub fn to_millis(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}
