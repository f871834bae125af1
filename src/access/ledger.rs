//! What the audit says of who came in, who did not, and who asked for what they may not do. Anybody can cause such
//! entries, so there is a limit to them: what comes too thick is only counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::debug;

use crate::clock::SharedClock;
use crate::controller::{Actor, Controller};

/// How many entries may be written at once.
const BURST: u32 = 20;

/// After so long one more may.
const EVERY: Duration = Duration::from_secs(6);

/// Writes entries that are no changes.
#[derive(Debug)]
pub(super) struct Ledger {
    controller: Arc<Controller>,
    clock: SharedClock,
    allowance: Mutex<Allowance>,
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    /// When it was counted last, by the monotonic clock.
    counted: Duration,
    /// How many were left out since the last that was written.
    left_out: u64,
}

impl Allowance {
    fn new(now: Duration) -> Self {
        Self { left: BURST, counted: now, left_out: 0 }
    }

    /// How many were left out before this one; None if this one is, too.
    fn take(&mut self, now: Duration) -> Option<u64> {
        let earned = now.saturating_sub(self.counted).as_millis() / EVERY.as_millis();
        let earned = u32::try_from(earned).unwrap_or(BURST);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.counted = if self.left == BURST { now } else { self.counted + EVERY * earned };
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out += 1;
                None
            }
        }
    }
}

impl Ledger {
    pub(super) fn new(controller: Arc<Controller>, clock: SharedClock) -> Self {
        let allowance = Mutex::new(Allowance::new(clock.monotonic()));
        Self { controller, clock, allowance }
    }

    /// Writes down what somebody did or tried, in the background: nobody waits for it, and without the bucket it is
    /// only logged.
    pub(super) fn note(&self, actor: Actor, action: &'static str, object: String, done: bool, message: &str) {
        let now = self.clock.monotonic();
        let taken = self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(now);
        let message = match taken {
            None => return,
            Some(0) => message.to_owned(),
            Some(left_out) => format!("{message} ({left_out} more entries of this kind were left out before)"),
        };
        let controller = self.controller.acting_as(actor);
        tokio::spawn(async move {
            if let Err(error) = controller.record(action, object, done, message).await {
                debug!(action, error = &error as &dyn std::error::Error, "not in the audit");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let mut allowance = Allowance::new(Duration::ZERO);
        for _ in 0..BURST {
            assert_eq!(allowance.take(Duration::ZERO), Some(0));
        }
        assert_eq!(allowance.take(Duration::ZERO), None);
        assert_eq!(allowance.take(EVERY - Duration::from_millis(1)), None);
        assert_eq!(allowance.take(EVERY), Some(2));
        assert_eq!(allowance.take(EVERY + EVERY / 2), None);
        assert_eq!(allowance.take(EVERY * 2), Some(1), "parts of the time are not lost");
        for _ in 0..BURST {
            assert_eq!(allowance.take(EVERY * 1_000), Some(0));
        }
        assert_eq!(allowance.take(EVERY * 1_000), None, "no more are saved up than a burst");
    }
}
