//! How long something must be wrong, or well, before anybody is told.

use chrono::TimeDelta;

use crate::model::alert::{AlertKind, Severity};

/// How alerts of one type are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertRule {
    /// Whether there are alerts of this type at all.
    pub enabled: bool,
    /// It must be seen in so many looks in a row.
    pub looks: u32,
    /// It must be seen for so long without a break.
    pub after: TimeDelta,
    /// It must not be seen in so many looks in a row before it is resolved.
    pub clear_looks: u32,
    /// It must not be seen for so long before it is resolved.
    pub clear_after: TimeDelta,
    /// How bad it is; what it is by itself if not said.
    pub severity: Option<Severity>,
}

/// How alerts are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertRules {
    /// One for each type, in the order of [`AlertKind::ALL`].
    rules: [AlertRule; AlertKind::ALL.len()],
    /// What comes back within so long after it was resolved flaps: each time it must be well for twice as long.
    pub flap_window: TimeDelta,
}

impl AlertRules {
    /// The most doublings of the time that something which flaps must be well: more would keep it open for days.
    const MOST_DOUBLINGS: u64 = 5;

    /// The rule for one type.
    #[must_use]
    pub fn of(&self, kind: AlertKind) -> &AlertRule {
        &self.rules[kind as usize]
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, kind: AlertKind) -> &mut AlertRule {
        &mut self.rules[kind as usize]
    }

    /// How long an alert that came back `returns` times must be well before it is resolved.
    pub(super) fn clear_after(&self, kind: AlertKind, returns: u64) -> TimeDelta {
        let doublings = returns.min(Self::MOST_DOUBLINGS);
        // Something that is resolved at once would not be damped by any doubling.
        let base = self.of(kind).clear_after.max(if returns > 0 { TimeDelta::minutes(1) } else { TimeDelta::zero() });
        base * (1 << doublings)
    }
}

impl Default for AlertRules {
    fn default() -> Self {
        let rule = |looks, after_secs| AlertRule {
            enabled: true,
            looks,
            after: TimeDelta::seconds(after_secs),
            clear_looks: 2,
            clear_after: TimeDelta::seconds(60),
            severity: None,
        };
        let rules = AlertKind::ALL.map(|kind| match kind {
            // What an agent says of an attempt that ended does not change by itself.
            AlertKind::DeploymentFailed | AlertKind::RolledBack | AlertKind::NeedsOperator => rule(1, 0),
            // Dead means that many heartbeats did not come.
            AlertKind::AgentDead => rule(2, 0),
            AlertKind::HealthFailing => rule(2, 60),
            AlertKind::Drift | AlertKind::StoreDegraded => rule(2, 120),
        });
        Self { rules, flap_window: TimeDelta::hours(1) }
    }
}
