//! What a look found, bounded: the first of it by name, of the rest how much it is.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::agent::profile::Strayed;
use crate::model::drift::{Deviation, DriftFinding, DriftPattern, DriftReport};
use crate::model::text::short;

/// What a look found.
#[derive(Debug)]
pub(super) struct Found {
    ignored: Vec<DriftPattern>,
    first: Vec<(Deviation, String)>,
    more: u64,
    /// Files that can be put back, by their places in the manifest.
    pub(super) files: Vec<usize>,
    /// Units that can be put back.
    pub(super) units: Vec<String>,
    /// Why not all was looked at.
    pub(super) gap: Option<String>,
}

impl Found {
    pub(super) fn new(ignored: Vec<DriftPattern>) -> Self {
        Self { ignored, first: Vec::new(), more: 0, files: Vec::new(), units: Vec::new(), gap: None }
    }

    /// Whether `path` may be as it likes.
    pub(super) fn ignores(&self, path: &str) -> bool {
        self.ignored.iter().any(|glob| glob.matches(path))
    }

    /// A file of the version at `place` in its manifest; nobody asked for it to be ignored.
    pub(super) fn file(&mut self, code: Deviation, path: &str, place: usize) {
        self.note(code, path);
        if code.is_mendable() {
            self.files.push(place);
        }
    }

    /// Something that is not of the version.
    pub(super) fn other(&mut self, code: Deviation, path: &str) {
        if !self.ignores(path) {
            self.note(code, path);
        }
    }

    /// What a profile put on the host.
    pub(super) fn strayed(&mut self, strayed: &Strayed) {
        let path = strayed.path.to_string_lossy();
        if self.ignores(&path) {
            return;
        }
        self.note(strayed.code, &path);
        if strayed.code.is_mendable() {
            self.units.push(shown(&path));
        }
    }

    pub(super) fn incomplete(&mut self, why: String) {
        self.gap.get_or_insert(why);
    }

    fn note(&mut self, code: Deviation, path: &str) {
        if self.first.len() < DriftReport::MOST_FINDINGS {
            self.first.push((code, shown(path)));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.first.is_empty()
    }

    /// Whether there is anything that can be put back.
    pub(super) fn is_mendable(&self) -> bool {
        !self.files.is_empty() || !self.units.is_empty()
    }

    /// As heartbeats tell of it; what was `known` before keeps the time when it was seen first.
    pub(super) fn told(self, known: &[DriftFinding], now: DateTime<Utc>) -> (Vec<DriftFinding>, u64) {
        let known: BTreeMap<_, _> = known.iter().map(|one| ((one.code, one.path.as_str()), one.since)).collect();
        let told = self.first.into_iter().map(|(code, path)| {
            let since = known.get(&(code, path.as_str())).copied().unwrap_or(now);
            DriftFinding { code, path, since }
        });
        (told.collect(), self.more)
    }
}

/// A path as heartbeats have it: whoever named the file may be anybody.
pub(super) fn shown(path: &str) -> String {
    short(path, DriftReport::MOST_PATH)
}
