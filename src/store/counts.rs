//! How often the store was asked for what, what it answered, and how long that took.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;
use crate::exposition::{Histogram, Samples};

/// Up to which times requests are counted, in seconds: from a store in the same rack to one that is about to be given
/// up.
const BOUNDS_SECS: &[f64] = &[0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// What is asked of a store, by S3's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CopyObject,
    CreateMultipartUpload,
    DeleteObject,
    DeleteObjects,
    GetObject,
    HeadObject,
    ListObjectsV2,
    PutObject,
    UploadPart,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::CopyObject => "CopyObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::DeleteObject => "DeleteObject",
            Self::DeleteObjects => "DeleteObjects",
            Self::GetObject => "GetObject",
            Self::HeadObject => "HeadObject",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::PutObject => "PutObject",
            Self::UploadPart => "UploadPart",
        }
    }

    /// What it is counted as on the bills of S3 and its like.
    fn class(self) -> RequestClass {
        match self {
            Self::CompleteMultipartUpload
            | Self::CopyObject
            | Self::CreateMultipartUpload
            | Self::ListObjectsV2
            | Self::PutObject
            | Self::UploadPart => RequestClass::A,
            Self::GetObject | Self::HeadObject => RequestClass::B,
            Self::AbortMultipartUpload | Self::DeleteObject | Self::DeleteObjects => RequestClass::Free,
        }
    }
}

/// What requests are counted as on the bills of S3 and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestClass {
    /// Writes, copies and lists.
    A,
    /// Reads.
    B,
    /// Deletions.
    Free,
}

/// The requests of one S3 operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperationCount {
    /// Its name, for example `GetObject`.
    pub name: &'static str,
    /// What it is billed as.
    pub class: RequestClass,
    /// How many there were, every try counted.
    pub requests: u64,
    /// Half of the answers began within so many seconds.
    pub p50_secs: f64,
    /// All but a hundredth of the answers began within so many seconds.
    pub p99_secs: f64,
}

/// How often the store was asked, every try counted. The number of entries is bounded by what there is to ask and to
/// answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestCounts {
    results: BTreeMap<(Operation, &'static str), u64>,
    took: BTreeMap<Operation, Taken>,
}

/// How long the requests of one operation took.
#[derive(Debug, Clone, PartialEq)]
struct Taken(Histogram);

impl Default for Taken {
    fn default() -> Self {
        Self(Histogram::new(BOUNDS_SECS))
    }
}

impl RequestCounts {
    /// The requests of one S3 operation, for example `GetObject`.
    #[must_use]
    pub fn of(&self, operation: &str) -> u64 {
        self.results.iter().filter(|((of, _), _)| of.name() == operation).map(|(_, count)| count).sum()
    }

    /// The operations that were asked for, by name.
    #[must_use]
    pub fn operations(&self) -> Vec<OperationCount> {
        let count = |(operation, Taken(took)): (&Operation, &Taken)| {
            let (p50_secs, p99_secs) = (took.bound_of(0.5)?, took.bound_of(0.99)?);
            let (name, class, requests) = (operation.name(), operation.class(), took.total());
            Some(OperationCount { name, class, requests, p50_secs, p99_secs })
        };
        self.took.iter().filter_map(count).collect()
    }

    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.results.values().sum()
    }

    /// Writes the counts, by `operation` and `result` beside `labels`.
    pub fn write(&self, samples: &mut Samples<'_>, labels: &[(&str, &str)]) {
        for ((operation, result), count) in &self.results {
            samples.count(&[labels, &[("operation", operation.name()), ("result", result)]].concat(), *count);
        }
    }

    /// Writes how long they took, in seconds until the answer began, by `operation` beside `labels`.
    pub fn write_durations(&self, samples: &mut Samples<'_>, labels: &[(&str, &str)]) {
        for (operation, Taken(took)) in &self.took {
            samples.histogram(&[labels, &[("operation", operation.name())]].concat(), took);
        }
    }
}

/// The counts of one store, as they grow.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter(Arc<Mutex<RequestCounts>>);

impl Counter {
    pub(super) fn counts(&self) -> RequestCounts {
        // A counter is right enough whatever another thread died of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A request begins.
    pub(super) fn begin(&self, operation: Operation, clock: &SharedClock) -> Begun {
        let (counter, clock, began) = (self.clone(), clock.clone(), clock.monotonic());
        Begun { counter, operation, clock, began, result: "cancelled" }
    }
}

/// A request that is under way. It is counted when this goes, also where nobody waited for its answer.
pub(super) struct Begun {
    counter: Counter,
    operation: Operation,
    clock: SharedClock,
    began: Duration,
    pub(super) result: &'static str,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let took = self.clock.monotonic().saturating_sub(self.began);
        let mut counts = self.counter.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.results.entry((self.operation, self.result)).or_default() += 1;
        counts.took.entry(self.operation).or_default().0.observe(took.as_secs_f64());
    }
}
