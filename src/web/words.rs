//! The words of the portal for how something stands, each with the shape that goes with it.

use crate::controller::{Health, Liveness, Severity, Sync};
use crate::model::drift::DriftState;

/// A state as `macros.html` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// `good`, `busy`, `warn`, `bad`, `off` or `unknown`: shape and colour.
    pub(super) kind: &'static str,
    pub(super) word: &'static str,
}

impl State {
    pub(super) const fn new(kind: &'static str, word: &'static str) -> Self {
        Self { kind, word }
    }
}

impl From<Liveness> for State {
    fn from(liveness: Liveness) -> Self {
        match liveness {
            Liveness::Active => Self::new("good", "Active"),
            Liveness::Warning => Self::new("warn", "Warning"),
            Liveness::Dead => Self::new("bad", "Dead"),
            Liveness::Unknown => Self::new("unknown", "Unknown"),
        }
    }
}

impl From<Sync> for State {
    fn from(sync: Sync) -> Self {
        match sync {
            Sync::Synced => Self::new("good", "Synced"),
            Sync::OutOfSync => Self::new("warn", "OutOfSync"),
            Sync::Unknown => Self::new("unknown", "Unknown"),
        }
    }
}

impl From<Health> for State {
    fn from(health: Health) -> Self {
        match health {
            Health::NotApplicable => Self::new("off", "N/A"),
            Health::Healthy => Self::new("good", "Healthy"),
            Health::Starting => Self::new("busy", "Starting"),
            Health::Degraded => Self::new("warn", "Degraded"),
            Health::Stopped => Self::new("off", "Stopped"),
            Health::Failed => Self::new("bad", "Failed"),
            Health::Unknown => Self::new("unknown", "Unknown"),
        }
    }
}

impl From<DriftState> for State {
    fn from(drift: DriftState) -> Self {
        match drift {
            DriftState::InSync => Self::new("good", "As deployed"),
            DriftState::Drifted => Self::new("warn", "Drifted"),
            DriftState::Unknown => Self::new("unknown", "Not looked at yet"),
        }
    }
}

impl From<Severity> for State {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Critical => Self::new("bad", "Critical"),
            Severity::Warning => Self::new("warn", "Warning"),
            Severity::Notice => Self::new("off", "Notice"),
        }
    }
}
