//! What the audit says of who came in, who did not, and who asked for what they may not do. Who came in is always said.
//! The rest anybody can cause, so there is a limit to it, of each user and address, and of all together: what comes too
//! thick is logged, and the next entry of its kind says how much it was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, info};

use super::allowance::Allowances;
use crate::clock::SharedClock;
use crate::controller::{Actor, Controller};
use crate::model::UserName;

/// How many entries of a kind one user may cause at once from one address, and after how long one more.
const OF_ONE: (u32, Duration) = (10, Duration::from_secs(60));

/// How many entries of a kind all may cause at once, and after how long one more.
const OF_ALL: (u32, Duration) = (100, Duration::from_secs(6));

/// How many users and addresses are told apart.
const MOST: usize = 5_000;

/// The verb of the audit.
type Kind = &'static str;

/// Writes entries that are no changes.
#[derive(Debug)]
pub(super) struct Ledger {
    controller: Arc<Controller>,
    clock: SharedClock,
    limits: Mutex<Limits>,
}

#[derive(Debug)]
struct Limits {
    of_one: Allowances<(Kind, UserName, String)>,
    of_all: Allowances<Kind>,
    /// How many were left out since the last of their kind that was written.
    left_out: HashMap<Kind, u64>,
}

impl Limits {
    fn new() -> Self {
        let ((one, one_every), (all, all_every)) = (OF_ONE, OF_ALL);
        let of_one = Allowances::new(one, one_every, MOST);
        Self { of_one, of_all: Allowances::new(all, all_every, MOST), left_out: HashMap::new() }
    }

    /// How many of its kind were left out before this one; None if this one is, too.
    fn admit(&mut self, kind: Kind, actor: &Actor, done: bool, now: Duration) -> Option<u64> {
        if !done {
            let one = (kind, actor.user.clone(), actor.host.clone());
            if self.of_one.wait(&one, now).is_some() || self.of_all.wait(&kind, now).is_some() {
                *self.left_out.entry(kind).or_default() += 1;
                return None;
            }
            self.of_one.take(one, now);
            self.of_all.take(kind, now);
        }
        Some(self.left_out.remove(kind).unwrap_or_default())
    }
}

impl Ledger {
    pub(super) fn new(controller: Arc<Controller>, clock: SharedClock) -> Self {
        Self { controller, clock, limits: Mutex::new(Limits::new()) }
    }

    /// Writes down what somebody did or tried, in the background: nobody waits for it, and without the bucket it is
    /// only logged.
    pub(super) fn note(&self, actor: Actor, action: Kind, object: String, done: bool, message: &str) {
        let now = self.clock.monotonic();
        let admitted = self.limits.lock().unwrap_or_else(PoisonError::into_inner).admit(action, &actor, done, now);
        let message = match admitted {
            None => {
                info!(action, %object, user = %actor.user, host = actor.host, message, "too many; not in the audit");
                return;
            }
            Some(0) => message.to_owned(),
            Some(left_out) => format!("{message} ({left_out} more of this kind were left out before)"),
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

    const NOW: Duration = Duration::from_secs(1);

    fn by(user: &str, host: &str) -> Actor {
        let (user, source) = (UserName::new(user).unwrap(), "portal".to_owned());
        Actor { user, source, host: host.to_owned(), reason: None }
    }

    #[test]
    fn a_flood_of_one_is_counted_and_hides_nobody_else() {
        let mut limits = Limits::new();
        let eve = by("eve", "192.0.2.1");
        for _ in 0..OF_ONE.0 {
            assert_eq!(limits.admit("denied", &eve, false, NOW), Some(0));
        }
        assert_eq!(limits.admit("denied", &eve, false, NOW), None);
        assert_eq!(limits.admit("denied", &eve, false, NOW), None);
        assert_eq!(limits.admit("sign-in", &eve, false, NOW), Some(0), "each kind has its own");
        assert_eq!(limits.admit("denied", &by("ada", "192.0.2.1"), false, NOW), Some(2), "the next entry tells");
        assert_eq!(limits.admit("denied", &by("eve", "192.0.2.2"), false, NOW), Some(0));
        assert_eq!(limits.admit("denied", &eve, false, NOW + OF_ONE.1), Some(0));
    }

    #[test]
    fn a_flood_of_many_is_bounded_and_who_comes_in_is_always_told() {
        let mut limits = Limits::new();
        let written = (0..1_000)
            .filter(|at| limits.admit("sign-in", &by(&format!("user{at}"), "192.0.2.1"), false, NOW).is_some());
        assert_eq!(written.count(), OF_ALL.0 as usize);
        assert_eq!(limits.admit("sign-in", &by("ada", "192.0.2.1"), true, NOW), Some(1_000 - u64::from(OF_ALL.0)));
        for _ in 0..1_000 {
            assert_eq!(limits.admit("sign-in", &by("ada", "192.0.2.1"), true, NOW), Some(0));
        }
        assert_eq!(limits.admit("sign-in", &by("bob", "192.0.2.1"), false, NOW), None);
        assert_eq!(limits.admit("sign-in", &by("bob", "192.0.2.1"), false, NOW + OF_ALL.1), Some(1));
    }
}
