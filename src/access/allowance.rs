//! So many at once, and one more every so often: for what anybody can cause.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// What each of many may still do. Times are those of [`Clock::monotonic`](crate::clock::Clock::monotonic).
#[derive(Debug)]
pub(super) struct Allowances<K> {
    burst: u32,
    every: Duration,
    most: usize,
    held: HashMap<K, Allowance>,
}

#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: u32,
    /// Up to when what was earned is in `left`.
    counted: Duration,
}

impl<K: Hash + Eq + Clone> Allowances<K> {
    /// Each may do `burst` at once, and one more after each `every`. At most `most` are remembered.
    pub(super) fn new(burst: u32, every: Duration, most: usize) -> Self {
        Self { burst, every, most, held: HashMap::new() }
    }

    /// How long `key` has to wait for the next; None if it need not.
    pub(super) fn wait(&self, key: &K, now: Duration) -> Option<Duration> {
        let Allowance { left, counted } = self.of(key, now);
        (left == 0).then(|| (counted + self.every).saturating_sub(now))
    }

    /// Takes one, for which [`Self::wait`] has nothing to wait.
    pub(super) fn take(&mut self, key: K, now: Duration) {
        let Allowance { left, counted } = self.of(&key, now);
        if self.held.len() >= self.most && !self.held.contains_key(&key) {
            self.make_room(now);
        }
        self.held.insert(key, Allowance { left: left.saturating_sub(1), counted });
    }

    /// Gives back one that was taken.
    pub(super) fn give_back(&mut self, key: &K) {
        if let Some(allowance) = self.held.get_mut(key) {
            allowance.left = self.burst.min(allowance.left + 1);
        }
    }

    fn of(&self, key: &K, now: Duration) -> Allowance {
        let Some(Allowance { left, counted }) = self.held.get(key).copied() else {
            return Allowance { left: self.burst, counted: now };
        };
        let earned = now.saturating_sub(counted).as_nanos() / self.every.as_nanos();
        match u32::try_from(earned).ok().and_then(|earned| left.checked_add(earned).map(|left| (earned, left))) {
            Some((earned, left)) if left < self.burst => Allowance { left, counted: counted + self.every * earned },
            _ => Allowance { left: self.burst, counted: now },
        }
    }

    /// Forgets whoever has all that one may have, or else the one who has most of it.
    fn make_room(&mut self, now: Duration) {
        let left: HashMap<K, u32> = self.held.keys().map(|key| (key.clone(), self.of(key, now).left)).collect();
        self.held.retain(|key, _| left.get(key).is_some_and(|left| *left < self.burst));
        if self.held.len() >= self.most
            && let Some((key, _)) = left.iter().max_by_key(|(_, left)| **left)
        {
            self.held.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(6);

    #[test]
    fn a_burst_is_taken_and_earned_again() {
        let mut all = Allowances::new(3, EVERY, 10);
        let takes = |all: &mut Allowances<&str>, now| {
            let may = all.wait(&"a", now).is_none();
            if may {
                all.take("a", now);
            }
            may
        };
        assert!((0..3).all(|_| takes(&mut all, Duration::ZERO)) && !takes(&mut all, Duration::ZERO));
        assert_eq!(all.wait(&"a", EVERY / 3), Some(EVERY - EVERY / 3));
        assert!(takes(&mut all, EVERY) && !takes(&mut all, EVERY + EVERY / 2));
        assert!(takes(&mut all, EVERY * 2), "parts of the time are not lost");
        assert!((0..3).all(|_| takes(&mut all, EVERY * 1_000)));
        assert!(!takes(&mut all, EVERY * 1_000), "no more are saved up than a burst");
        assert_eq!(all.wait(&"b", EVERY), None);
        all.give_back(&"a");
        assert!(takes(&mut all, EVERY * 1_000) && !takes(&mut all, EVERY * 1_000));
    }

    #[test]
    fn memory_is_bounded_and_who_took_most_is_remembered() {
        let mut all = Allowances::new(3, EVERY, 10);
        (0..3).for_each(|_| all.take(0, Duration::ZERO));
        (1..100).for_each(|other| all.take(other, Duration::ZERO));
        assert!(all.held.len() == 10 && all.wait(&0, Duration::ZERO).is_some());
        all.take(100, EVERY * 10);
        assert_eq!(all.held.len(), 1, "what was earned again is forgotten first");
    }
}
