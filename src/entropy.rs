//! Randomness, for ids and jitter. Pure code gets what it needs as an argument.

use std::time::Duration;

use chrono::{DateTime, Utc};
use ulid::Ulid;
use uuid::Uuid;

/// `N` random bytes from the operating system.
///
/// # Errors
/// Only where the operating system has no source of randomness, which is not recoverable.
#[expect(clippy::disallowed_methods, reason = "the one place that asks the system for randomness")]
pub fn bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// A new random UUID (version 4), for fleets and agent instances.
///
/// # Errors
/// See [`bytes()`].
pub fn uuid() -> std::io::Result<Uuid> {
    Ok(uuid::Builder::from_random_bytes(bytes()?).into_uuid())
}

/// A new ULID for `now`: unique, and sorted by time as text.
///
/// # Errors
/// See [`bytes()`].
pub fn ulid(now: DateTime<Utc>) -> std::io::Result<Ulid> {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    Ok(Ulid::from_parts(millis, u128::from_le_bytes(bytes()?)))
}

/// `interval` lengthened or shortened by up to a fifth, so that a fleet does not poll in step.
#[must_use]
pub fn jittered(interval: Duration) -> Duration {
    // Without randomness the interval itself is still right, only in step with others.
    let fraction = bytes::<4>().map_or(0.5, |bytes| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX));
    interval.mul_f64(0.8 + 0.4 * fraction)
}

/// A duration between zero and `most`: full jitter for retries.
#[must_use]
pub fn up_to(most: Duration) -> Duration {
    let fraction = bytes::<4>().map_or(1.0, |bytes| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX));
    most.mul_f64(fraction)
}
