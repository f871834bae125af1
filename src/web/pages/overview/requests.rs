//! What this controller asks of the store: how often, how fast it is answered, and what that comes to in a day.

use std::time::Duration;

use crate::access::StoreUse;
use crate::store::{OperationCount, RequestClass};
use crate::web::list::grouped;

/// After so long what was counted says something about a day.
const TELLING: Duration = Duration::from_secs(60);

const DAY_SECS: u128 = 86_400;

/// What was asked, by S3's operations.
pub(super) struct Requests {
    pub(super) rows: Vec<Row>,
    /// What it comes to in a day, by what S3 and its like bill: writes and lists, and reads. None as long as too
    /// little was counted.
    pub(super) a_day: Option<(String, String)>,
    pub(super) counted_for: Duration,
}

pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) count: String,
    pub(super) p50: String,
    pub(super) p99: String,
}

impl From<&StoreUse> for Requests {
    fn from(asked: &StoreUse) -> Self {
        let (operations, counted_for) = (asked.requests.operations(), asked.counted_for);
        let of_class = |class| {
            let requests = operations.iter().filter(|it| it.class == class).map(|it| it.requests).sum();
            grouped(usize::try_from(a_day(requests, counted_for)).unwrap_or(usize::MAX))
        };
        let is_telling = counted_for >= TELLING;
        Self {
            a_day: is_telling.then(|| (of_class(RequestClass::A), of_class(RequestClass::B))),
            rows: operations.iter().map(Row::from).collect(),
            counted_for,
        }
    }
}

/// How many that many in so long are in a day.
fn a_day(requests: u64, counted_for: Duration) -> u128 {
    u128::from(requests) * DAY_SECS * 1_000 / counted_for.as_millis().max(1)
}

impl From<&OperationCount> for Row {
    fn from(it: &OperationCount) -> Self {
        Self {
            name: it.name,
            class: match it.class {
                RequestClass::A => "A",
                RequestClass::B => "B",
                RequestClass::Free => "free",
            },
            count: grouped(usize::try_from(it.requests).unwrap_or(usize::MAX)),
            p50: within(it.p50_secs),
            p99: within(it.p99_secs),
        }
    }
}

/// A bound of a histogram, as people read it.
fn within(secs: f64) -> String {
    match secs {
        f64::INFINITY => "more than 10 s".to_owned(),
        1.0.. => format!("≤ {secs} s"),
        _ => format!("≤ {:.0} ms", secs * 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_as_it_is_in_a_day_and_within_bounds() {
        assert_eq!(a_day(10, Duration::from_secs(3_600)), 240);
        assert_eq!(a_day(0, Duration::ZERO), 0);
        let words = [0.005, 0.25, 1.0, 2.5, 10.0, f64::INFINITY].map(within);
        assert_eq!(words, ["≤ 5 ms", "≤ 250 ms", "≤ 1 s", "≤ 2.5 s", "≤ 10 s", "more than 10 s"]);
    }
}
