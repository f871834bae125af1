//! Slowing down whoever guesses: by the address that guesses, and by the account that is guessed at.
//!
//! The first failures cost nothing, so that people may mistype. After them each costs a wait twice as long as the one
//! before. A try during a wait is not looked at, and so costs nothing either: whoever waits gets in.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::UserName;

/// Failures of an account that cost nothing.
const FREE_OF_ACCOUNT: u32 = 5;

/// Failures of an address that cost nothing: many people may come from one.
const FREE_OF_ADDRESS: u32 = 20;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// After so long without a failure everything is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(15 * 60);

/// The most addresses and the most accounts that are remembered.
const MOST: usize = 10_000;

/// Who failed how often. Times are those of [`Clock::monotonic`](crate::clock::Clock::monotonic).
#[derive(Debug, Default)]
pub(super) struct Throttle {
    addresses: Mutex<Counts<IpAddr>>,
    accounts: Mutex<Counts<UserName>>,
}

impl Throttle {
    /// How long whoever comes from `address` has to wait before `account` may be tried.
    #[must_use]
    pub(super) fn wait(&self, address: IpAddr, account: Option<&UserName>, now: Duration) -> Option<Duration> {
        let of_address = lock(&self.addresses).wait(&network(address), now);
        let of_account = account.and_then(|account| lock(&self.accounts).wait(account, now));
        of_address.max(of_account)
    }

    /// Somebody failed.
    pub(super) fn failed(&self, address: IpAddr, account: Option<&UserName>, now: Duration) {
        lock(&self.addresses).failed(network(address), FREE_OF_ADDRESS, now);
        if let Some(account) = account {
            lock(&self.accounts).failed(account.clone(), FREE_OF_ACCOUNT, now);
        }
    }

    /// Somebody got in, so their account starts afresh. Their address does not: it may be one's own account that lets
    /// one guess at those of others.
    pub(super) fn succeeded(&self, account: &UserName) {
        lock(&self.accounts).0.remove(account);
    }
}

fn lock<T>(counts: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Counts are right enough whatever another thread died of.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A household has a whole network of IPv6 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[derive(Debug)]
struct Counts<K>(HashMap<K, Failures>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    newest: Duration,
    /// Until when nothing is tried.
    until: Duration,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Counts<K> {
    fn wait(&self, key: &K, now: Duration) -> Option<Duration> {
        let wait = self.0.get(key)?.until.saturating_sub(now);
        (!wait.is_zero()).then_some(wait)
    }

    fn failed(&mut self, key: K, free: u32, now: Duration) {
        let is_fresh = |failures: &Failures| now.saturating_sub(failures.newest) < FORGOTTEN;
        let count = self.0.get(&key).filter(|failures| is_fresh(failures)).map_or(0, |failures| failures.count) + 1;
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            self.0.retain(|_, failures| is_fresh(failures));
            self.make_room();
        }
        let penalty = match count.saturating_sub(free) {
            0 => Duration::ZERO,
            beyond => LONGEST.min(Duration::from_secs(1) * 2_u32.pow((beyond - 1).min(16))),
        };
        self.0.insert(key, Failures { count, newest: now, until: now + penalty });
    }

    /// Forgets whoever failed least, and of those the earliest.
    fn make_room(&mut self) {
        if self.0.len() < MOST {
            return;
        }
        let least = self.0.iter().min_by_key(|(_, failures)| (failures.count, failures.newest));
        if let Some(key) = least.map(|(key, _)| key.clone()) {
            self.0.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ada() -> UserName {
        UserName::new("ada").unwrap()
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn an_account_is_guessed_at_ever_more_slowly_from_wherever() {
        let throttle = Throttle::default();
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for guess in 0..14 {
            throttle.failed(address(guess), Some(&ada()), now);
            let wait = throttle.wait(address(200), Some(&ada()), now).unwrap_or_default();
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(throttle.wait(address(200), Some(&ada()), now), None, "whoever waits is looked at");
        assert_eq!(throttle.wait(address(1), Some(&UserName::new("bob").unwrap()), now), None);
    }

    #[test]
    fn an_address_is_slowed_down_whatever_it_guesses_at() {
        let throttle = Throttle::default();
        for guess in 0..=FREE_OF_ADDRESS {
            assert_eq!(throttle.wait(address(1), None, SECOND), None, "{guess}");
            let account = UserName::new(format!("user{guess}")).unwrap();
            throttle.failed(address(1), Some(&account), SECOND);
        }
        assert_eq!(throttle.wait(address(1), None, SECOND), Some(SECOND));
        assert_eq!(throttle.wait(address(2), None, SECOND), None);
        let of_six = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..=FREE_OF_ADDRESS {
            throttle.failed(of_six("2001:db8:1:2::3"), None, SECOND);
        }
        assert_eq!(throttle.wait(of_six("2001:db8:1:2:ffff::9"), None, SECOND), Some(SECOND));
        assert_eq!(throttle.wait(of_six("2001:db8:1:3::3"), None, SECOND), None);
        assert_eq!(throttle.wait(of_six("::ffff:192.0.2.1"), None, SECOND), Some(SECOND), "the same by another name");
    }

    #[test]
    fn a_success_forgives_the_account_and_time_forgives_all() {
        let throttle = Throttle::default();
        for _ in 0..30 {
            throttle.failed(address(1), Some(&ada()), SECOND);
        }
        throttle.succeeded(&ada());
        assert_eq!(throttle.wait(address(2), Some(&ada()), SECOND), None);
        assert!(throttle.wait(address(1), Some(&ada()), SECOND).is_some());
        let later = SECOND + FORGOTTEN;
        throttle.failed(address(1), Some(&ada()), later);
        assert_eq!(throttle.wait(address(1), Some(&ada()), later), None);
    }

    #[test]
    fn memory_is_bounded_and_the_worst_are_not_forgotten() {
        let throttle = Throttle::default();
        for _ in 0..=FREE_OF_ADDRESS {
            throttle.failed(address(1), None, SECOND);
        }
        for number in 0..MOST as u32 + 100 {
            throttle.failed(IpAddr::from(number.to_be_bytes()), None, SECOND);
        }
        assert_eq!(lock(&throttle.addresses).0.len(), MOST);
        assert!(throttle.wait(address(1), None, SECOND).is_some());
    }
}
