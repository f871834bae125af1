//! Whether and when a process that ended is started again: pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::definition::{Kind, Restart, RestartPolicy};
use super::state::{End, Exit};

/// What comes once everything that a process started is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Then {
    /// Nothing.
    Rest,
    /// It is started.
    Start,
    /// It was under way to be started before: its restarts go on being counted.
    StartAgain,
    /// What its restart policy says of this end.
    Judge {
        /// How it ended.
        end: End,
        /// How long it ran before that.
        ran_for: Duration,
    },
}

/// What follows from an end that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is started again after the delay.
    Again(Duration),
    /// It did what it was there for.
    Complete,
    /// It ended badly, and is not to be started again.
    Crashed,
    /// It ended badly once too often.
    Failed,
}

/// How often a process was started again, with the restart that it waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Since it was told to start.
    pub(super) total: u32,
    /// Since it last ran for long enough to count as well.
    pub(super) in_a_row: u32,
}

impl Count {
    /// What follows from `end` after `ran_for`. `roll` is a random number from 0 to 1.
    pub(super) fn after(&mut self, kind: Kind, restart: &Restart, end: &End, ran_for: Duration, roll: f64) -> Next {
        let well = matches!(end, End::Exited(Exit::Code(0)));
        let again = match (kind, restart.policy) {
            (Kind::Task, _) | (_, RestartPolicy::Never) => false,
            (_, RestartPolicy::OnFailure) => !well,
            (_, RestartPolicy::Always) => true,
        };
        if !again {
            return if well { Next::Complete } else { Next::Crashed };
        }
        if ran_for >= Duration::from_millis(restart.reset_after_ms) {
            self.in_a_row = 0;
        }
        if restart.max_retries.is_some_and(|most| self.in_a_row >= most) {
            return Next::Failed;
        }
        let delay = delay(restart, self.in_a_row, roll);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.total = self.total.saturating_add(1);
        Next::Again(delay)
    }
}

fn delay(restart: &Restart, before: u32, roll: f64) -> Duration {
    let factor = restart.backoff.powi(i32::try_from(before).unwrap_or(i32::MAX));
    let most = Duration::from_millis(restart.max_delay_ms.max(restart.delay_ms)).as_secs_f64();
    let grown = (Duration::from_millis(restart.delay_ms).as_secs_f64() * factor).min(most);
    let off = 1.0 + restart.jitter * (2.0 * roll - 1.0);
    Duration::try_from_secs_f64(grown * off).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: End = End::Exited(Exit::Code(0));
    const BADLY: End = End::Exited(Exit::Signal(9));

    fn after(count: &mut Count, restart: &Restart, end: &End, ran_ms: u64) -> Next {
        count.after(Kind::Service, restart, end, Duration::from_millis(ran_ms), 0.5)
    }

    fn again(ms: u64) -> Next {
        Next::Again(Duration::from_millis(ms))
    }

    #[test]
    fn policies_decide_by_how_it_ended() {
        let with = |policy| Restart { policy, ..Restart::default() };
        let mut count = Count::default();
        let mut next = |policy, end| after(&mut count, &with(policy), &end, 0);
        assert_eq!(next(RestartPolicy::Never, WELL), Next::Complete);
        assert_eq!(next(RestartPolicy::Never, BADLY), Next::Crashed);
        assert_eq!(next(RestartPolicy::OnFailure, WELL), Next::Complete);
        assert_eq!(next(RestartPolicy::OnFailure, BADLY), again(1000));
        assert_eq!(next(RestartPolicy::OnFailure, End::Exited(Exit::Unknown)), again(1000));
        assert_eq!(next(RestartPolicy::Always, WELL), again(1000));
        assert_eq!(next(RestartPolicy::Always, End::NotStarted("x".into())), again(1000));
        assert_eq!(count.total, 4);
    }

    #[test]
    fn a_task_runs_once_whatever_its_policy_says() {
        let always = Restart { policy: RestartPolicy::Always, ..Restart::default() };
        let next = |end| Count::default().after(Kind::Task, &always, &end, Duration::ZERO, 0.5);
        assert_eq!(next(WELL), Next::Complete);
        assert_eq!(next(BADLY), Next::Crashed);
    }

    #[test]
    fn retries_in_a_row_are_counted_and_forgotten_after_a_good_run() {
        let restart = Restart { max_retries: Some(2), delay_ms: 10, reset_after_ms: 500, ..Restart::default() };
        let mut count = Count::default();
        assert_eq!(after(&mut count, &restart, &BADLY, 0), again(10));
        assert_eq!(after(&mut count, &restart, &BADLY, 499), again(10));
        assert_eq!(after(&mut count, &restart, &BADLY, 499), Next::Failed);
        assert_eq!(after(&mut count, &restart, &BADLY, 500), again(10));
        assert_eq!(count, Count { total: 3, in_a_row: 1 });
        let none = Restart { max_retries: Some(0), ..restart };
        assert_eq!(after(&mut Count::default(), &none, &BADLY, 0), Next::Failed);
    }

    #[test]
    fn delays_grow_to_their_limit_and_spread() {
        let restart = Restart { delay_ms: 100, backoff: 2.0, max_delay_ms: 500, jitter: 0.2, ..Restart::default() };
        let mut count = Count::default();
        for ms in [100, 200, 400, 500, 500] {
            assert_eq!(after(&mut count, &restart, &BADLY, 0), again(ms));
        }
        assert_eq!(delay(&restart, 0, 0.0), Duration::from_millis(80));
        assert_eq!(delay(&restart, 0, 1.0), Duration::from_millis(120));
        assert_eq!(delay(&restart, u32::MAX, 0.5), Duration::from_millis(500));
        let wide = Restart { jitter: 1.0, ..restart };
        assert_eq!(delay(&wide, 0, 0.0), Duration::ZERO);
        let instant = Restart { delay_ms: 0, max_delay_ms: 0, ..restart };
        assert_eq!(delay(&instant, 3, 1.0), Duration::ZERO);
    }
}
