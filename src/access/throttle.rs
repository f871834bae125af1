//! Slowing down whoever guesses.
//!
//! A try counts as failed before it is made, so that many at once are no way around, nor is hanging up. The first
//! failures cost nothing, so that people may mistype. After them each costs a wait twice as long as the one before. A try
//! during a wait is not looked at, and so costs nothing either: whoever waits gets in.
//!
//! Counted are the failures of a network whatever it tries, those of a network at an account, and those of all strangers
//! at an account together, which have a rate instead: as long as few networks guess, they hold up nobody else. A browser
//! in which the account's user signed in before has a count of its own, and no other holds it up.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::allowance::Allowances;
use crate::model::UserName;
use crate::model::users::SessionId;

/// Failures at an account that cost nothing, of each network and of each browser.
const FREE_AT_ACCOUNT: u32 = 5;

/// Failures of a network that cost nothing: many people may come from one.
const FREE_OF_NETWORK: u32 = 20;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// Failures of all strangers together at one account: so many at once, and after them one in so long. A network that
/// goes on and on takes no more than one each [`LONGEST`], so it takes several to use this up.
const STRANGERS: u32 = 60;
const STRANGERS_EVERY: Duration = Duration::from_secs(30);

/// After so long without a failure everything is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(15 * 60);

/// The most of each that are remembered.
const MOST: usize = 10_000;

/// Who failed how often. Times are those of [`Clock::monotonic`](crate::clock::Clock::monotonic).
#[derive(Debug)]
pub(super) struct Throttle(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    networks: Penalties<IpAddr>,
    at_accounts: Penalties<(UserName, Place)>,
    strangers: Allowances<UserName>,
}

/// Where somebody tries from, as far as it is told apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Network(IpAddr),
    Browser(SessionId),
}

/// A try. It counts as failed unless something else is said of it.
#[derive(Debug)]
#[must_use]
pub(super) struct Attempt<'t> {
    counts: &'t Mutex<Counts>,
    network: Option<Counted<IpAddr>>,
    at_account: Option<Counted<(UserName, Place)>>,
    stranger_at: Option<UserName>,
}

impl Default for Throttle {
    fn default() -> Self {
        let strangers = Allowances::new(STRANGERS, STRANGERS_EVERY, MOST);
        Self(Mutex::new(Counts { networks: Penalties::default(), at_accounts: Penalties::default(), strangers }))
    }
}

impl Throttle {
    /// Counts a try from `address` at `account`.
    ///
    /// # Errors
    /// How long to wait, if it is not to be made now; then it does not count.
    pub(super) fn begin(
        &self,
        address: IpAddr,
        account: Option<&UserName>,
        now: Duration,
    ) -> Result<Attempt<'_>, Duration> {
        let network = network(address);
        let place = account.map(|account| (account.clone(), Place::Network(network)));
        let counts = &mut *lock(&self.0);
        let waits = [
            counts.networks.wait(&network, now),
            place.as_ref().and_then(|place| counts.at_accounts.wait(place, now)),
            account.and_then(|account| counts.strangers.wait(account, now)),
        ];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(wait);
        }
        if let Some(account) = account {
            counts.strangers.take(account.clone(), now);
        }
        Ok(Attempt {
            counts: &self.0,
            network: Some(counts.networks.count(network, FREE_OF_NETWORK, now)),
            at_account: place.map(|place| counts.at_accounts.count(place, FREE_AT_ACCOUNT, now)),
            stranger_at: account.cloned(),
        })
    }

    /// The same from a browser in which the user of `account` signed in before.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(super) fn begin_known(
        &self,
        browser: SessionId,
        account: &UserName,
        now: Duration,
    ) -> Result<Attempt<'_>, Duration> {
        let place = (account.clone(), Place::Browser(browser));
        let counts = &mut *lock(&self.0);
        if let Some(wait) = counts.at_accounts.wait(&place, now) {
            return Err(wait);
        }
        let at_account = Some(counts.at_accounts.count(place, FREE_AT_ACCOUNT, now));
        Ok(Attempt { counts: &self.0, network: None, at_account, stranger_at: None })
    }
}

impl Attempt<'_> {
    /// It was no guess, or nobody looked at it.
    pub(super) fn take_back(self) {
        let counts = &mut *lock(self.counts);
        if let Some(counted) = self.at_account {
            counts.at_accounts.take_back(counted);
        }
        counts.take_back(self.network, self.stranger_at.as_ref());
    }

    /// It was right, so at this account the place starts afresh. Its network does not: it may be one's own account that
    /// lets one guess at those of others.
    pub(super) fn succeeded(self) {
        let counts = &mut *lock(self.counts);
        if let Some(counted) = &self.at_account {
            counts.at_accounts.0.remove(&counted.key);
        }
        counts.take_back(self.network, self.stranger_at.as_ref());
    }
}

impl Counts {
    fn take_back(&mut self, network: Option<Counted<IpAddr>>, stranger_at: Option<&UserName>) {
        if let Some(counted) = network {
            self.networks.take_back(counted);
        }
        if let Some(account) = stranger_at {
            self.strangers.give_back(account);
        }
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

/// Failures that cost ever longer waits.
#[derive(Debug)]
struct Penalties<K>(HashMap<K, Failures>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failures {
    count: u32,
    newest: Duration,
    /// Until when nothing is tried.
    until: Duration,
}

/// A failure that was counted, and what was known before.
#[derive(Debug)]
struct Counted<K> {
    key: K,
    before: Option<Failures>,
    after: Failures,
}

impl<K> Default for Penalties<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Penalties<K> {
    fn wait(&self, key: &K, now: Duration) -> Option<Duration> {
        let wait = self.0.get(key)?.until.saturating_sub(now);
        (!wait.is_zero()).then_some(wait)
    }

    fn count(&mut self, key: K, free: u32, now: Duration) -> Counted<K> {
        let is_fresh = |failures: &Failures| now.saturating_sub(failures.newest) < FORGOTTEN;
        let before = self.0.get(&key).copied().filter(is_fresh);
        let count = before.map_or(0, |failures| failures.count) + 1;
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            self.0.retain(|_, failures| is_fresh(failures));
            self.make_room();
        }
        let penalty = match count.saturating_sub(free) {
            0 => Duration::ZERO,
            beyond => LONGEST.min(Duration::from_secs(1) * 2_u32.pow((beyond - 1).min(16))),
        };
        let after = Failures { count, newest: now, until: now + penalty };
        self.0.insert(key.clone(), after);
        Counted { key, before, after }
    }

    /// Makes it as if a failure had not been, unless others came after it: then it is one less.
    fn take_back(&mut self, counted: Counted<K>) {
        let Counted { key, before, after } = counted;
        match (self.0.get_mut(&key), before) {
            (Some(failures), Some(before)) if *failures == after => *failures = before,
            (Some(failures), None) if *failures == after => drop(self.0.remove(&key)),
            (Some(failures), _) => failures.count = failures.count.saturating_sub(1),
            (None, _) => {}
        }
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

    /// Whether a try that fails was made, and how long the next one has to wait.
    fn fails(throttle: &Throttle, from: u8, account: Option<&UserName>, now: Duration) -> (bool, Duration) {
        let is_made = throttle.begin(address(from), account, now).is_ok();
        (is_made, wait(throttle, from, account, now))
    }

    fn wait(throttle: &Throttle, from: u8, account: Option<&UserName>, now: Duration) -> Duration {
        match throttle.begin(address(from), account, now) {
            Ok(attempt) => {
                attempt.take_back();
                Duration::ZERO
            }
            Err(wait) => wait,
        }
    }

    #[test]
    fn an_account_is_guessed_at_ever_more_slowly_and_nobody_else_waits_for_it() {
        let throttle = Throttle::default();
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..14 {
            let (is_made, wait) = fails(&throttle, 1, Some(&ada()), now);
            assert!(is_made, "whoever waits is looked at");
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        now -= SECOND;
        assert_eq!(wait(&throttle, 1, Some(&ada()), now), SECOND);
        assert_eq!(wait(&throttle, 1, Some(&UserName::new("bob").unwrap()), now), Duration::ZERO);
        assert_eq!(wait(&throttle, 2, Some(&ada()), now), Duration::ZERO, "from elsewhere her account is open");
        // For as long as it likes: one network alone never uses up what all strangers have together.
        for _ in 0..1_000 {
            now += fails(&throttle, 1, Some(&ada()), now).1;
        }
        assert_eq!(wait(&throttle, 2, Some(&ada()), now), Duration::ZERO);
    }

    #[test]
    fn tries_at_once_count_before_they_are_made_and_also_when_they_are_given_up() {
        let throttle = Throttle::default();
        let under_way: Vec<_> = (0..50).map_while(|_| throttle.begin(address(1), Some(&ada()), SECOND).ok()).collect();
        assert_eq!(under_way.len(), FREE_AT_ACCOUNT as usize + 1);
        drop(under_way);
        assert_eq!(wait(&throttle, 1, Some(&ada()), SECOND), SECOND);
    }

    #[test]
    fn guesses_from_everywhere_hold_up_strangers_and_no_browser_that_is_known() {
        let throttle = Throttle::default();
        let browser = SessionId::from([1; 16]);
        let known = |now| throttle.begin_known(browser.clone(), &ada(), now);
        for from in 0..100 {
            fails(&throttle, from, Some(&ada()), SECOND);
        }
        assert_eq!(wait(&throttle, 200, Some(&ada()), SECOND), STRANGERS_EVERY);
        assert_eq!(wait(&throttle, 200, Some(&UserName::new("bob").unwrap()), SECOND), Duration::ZERO);
        known(SECOND).unwrap().succeeded();
        assert_eq!(wait(&throttle, 200, Some(&ada()), SECOND), STRANGERS_EVERY, "she forgives nobody else");
        assert_eq!(wait(&throttle, 200, Some(&ada()), SECOND + STRANGERS_EVERY), Duration::ZERO);
        // Whoever has her browser has no more tries than others.
        for _ in 0..=FREE_AT_ACCOUNT {
            drop(known(SECOND).unwrap());
        }
        assert_eq!(known(SECOND).unwrap_err(), SECOND);
        drop(throttle.begin_known(SessionId::from([2; 16]), &ada(), SECOND).unwrap());
    }

    #[test]
    fn an_address_is_slowed_down_whatever_it_guesses_at() {
        let throttle = Throttle::default();
        for guess in 0..=FREE_OF_NETWORK {
            let account = UserName::new(format!("user{guess}")).unwrap();
            assert!(fails(&throttle, 1, Some(&account), SECOND).0, "{guess}");
        }
        assert_eq!(wait(&throttle, 1, None, SECOND), SECOND);
        assert_eq!(wait(&throttle, 2, None, SECOND), Duration::ZERO);
        let begin = |text: &str| throttle.begin(text.parse().unwrap(), None, SECOND).map(drop);
        for _ in 0..=FREE_OF_NETWORK {
            begin("2001:db8:1:2::3").unwrap();
        }
        assert_eq!(begin("2001:db8:1:2:ffff::9"), Err(SECOND));
        assert_eq!(begin("2001:db8:1:3::3"), Ok(()));
        assert_eq!(begin("::ffff:192.0.2.1"), Err(SECOND), "the same by another name");
    }

    #[test]
    fn what_was_no_guess_counts_no_more_and_leaves_the_others_counted() {
        let throttle = Throttle::default();
        for _ in 0..100 {
            throttle.begin(address(1), Some(&ada()), SECOND).unwrap().take_back();
        }
        let begin = || throttle.begin(address(1), Some(&ada()), SECOND).unwrap();
        let (one, _other) = (begin(), begin());
        one.take_back();
        for _ in 0..FREE_AT_ACCOUNT {
            drop(begin());
        }
        assert_eq!(wait(&throttle, 1, Some(&ada()), SECOND), SECOND);
        let last = throttle.begin(address(1), Some(&ada()), SECOND * 2).unwrap();
        assert_eq!(wait(&throttle, 1, Some(&ada()), SECOND * 2), SECOND * 2);
        last.take_back();
        assert_eq!(wait(&throttle, 1, Some(&ada()), SECOND * 2), Duration::ZERO, "its wait is gone, too");
    }

    #[test]
    fn a_success_forgives_the_account_and_time_forgives_all() {
        let throttle = Throttle::default();
        let eve = UserName::new("eve").unwrap();
        for _ in 0..FREE_AT_ACCOUNT {
            drop(throttle.begin(address(1), Some(&ada()), SECOND));
        }
        throttle.begin(address(1), Some(&ada()), SECOND).unwrap().succeeded();
        for _ in 0..=FREE_AT_ACCOUNT {
            assert!(fails(&throttle, 1, Some(&ada()), SECOND).0);
        }
        for _ in 0..FREE_OF_NETWORK {
            fails(&throttle, 1, Some(&eve), SECOND);
            fails(&throttle, 1, None, SECOND);
        }
        assert_ne!(wait(&throttle, 1, None, SECOND), Duration::ZERO, "its network is not forgiven");
        let later = SECOND + FORGOTTEN;
        assert_eq!(fails(&throttle, 1, Some(&ada()), later), (true, Duration::ZERO));
    }

    #[test]
    fn memory_is_bounded_and_the_worst_are_not_forgotten() {
        let throttle = Throttle::default();
        for _ in 0..=FREE_OF_NETWORK {
            drop(throttle.begin(address(1), None, SECOND));
        }
        for number in 0..MOST as u32 + 100 {
            drop(throttle.begin(IpAddr::from(number.to_be_bytes()), None, SECOND));
        }
        assert_eq!(lock(&throttle.0).networks.0.len(), MOST);
        assert_eq!(wait(&throttle, 1, None, SECOND), SECOND);
    }
}
