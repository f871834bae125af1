//! What was measured, for people.

use std::fmt;
use std::time::Duration;

/// How long something took, each time.
pub(crate) struct Times(pub(crate) Vec<Duration>);

impl Times {
    pub(crate) fn median(&self) -> Duration {
        self.share(0.5)
    }

    /// What this share of them did not exceed.
    pub(crate) fn share(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[((sorted.len() - 1) as f64 * share).round() as usize]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |share| self.share(share).as_secs_f64() * 1000.0;
        write!(f, "{:8.2} ms (median of {}; 90 % {:.2} ms)", ms(0.5), self.0.len(), ms(0.9))
    }
}

/// How many times as long as ours theirs took.
pub(crate) fn ratio(theirs: Duration, ours: Duration) -> String {
    format!("{:.2} times ours", theirs.as_secs_f64() / ours.as_secs_f64())
}

/// The memory of a process in KiB; see `proc_pid_smaps(5)`.
pub(crate) struct Memory {
    resident: u64,
    /// What it shares with others is divided among all of them.
    proportional: u64,
    /// What is its alone and in no file, so that it cannot be taken back from it.
    private_dirty: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Self {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        Self { resident: field("Rss:"), proportional: field("Pss:"), private_dirty: field("Private_Dirty:") }
    }

    /// How many times as much as ours theirs is.
    pub(crate) fn ratio(&self, ours: &Self) -> String {
        let times = |theirs, ours| theirs as f64 / ours as f64;
        let proportional = times(self.proportional, ours.proportional);
        let private_dirty = times(self.private_dirty, ours.private_dirty);
        format!("{proportional:.1} times that Pss, {private_dirty:.1} times that Private_Dirty")
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, proportional, private_dirty } = self;
        write!(f, "Pss {proportional:6}, Rss {resident:6}, Private_Dirty {private_dirty:6}")
    }
}
