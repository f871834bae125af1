//! Who looks on while the agent works: the host's service manager, if there is one.

use std::fmt;
use std::time::Duration;

/// Is told how the agent's loop gets on, by the loop itself: when the loop hangs nothing more is told. Every call must
/// come back at once.
pub trait Onlooker: fmt::Debug + Send + Sync {
    /// The loop has come a step further.
    fn step(&self);

    /// A round is over.
    fn rest(&self, rest: &Rest);

    /// The loop never sleeps longer than this at a stretch.
    fn patience(&self) -> Duration {
        Duration::MAX
    }
}

/// How things stand at the end of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// The cells that the agent is to run, or to keep stopped.
    pub cells: usize,
    /// Those of them that are as they should be.
    pub up_to_date: usize,
    /// Whether the bucket could be read.
    pub has_bucket: bool,
    /// Until the bucket is read again.
    pub next_look: Duration,
}

/// Nobody.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nobody;

impl Onlooker for Nobody {
    fn step(&self) {}

    fn rest(&self, _: &Rest) {}
}
