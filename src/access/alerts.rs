//! Alerts, as far as somebody may see what they are about.

use super::{Authorized, Denied};
use crate::model::alert::{AlertSubject, Alerts};
use crate::model::users::Role;

impl Authorized {
    /// Whether the user may see what an alert is about. What is said of a node as a whole may name any of its cells.
    #[must_use]
    pub fn sees_alert(&self, subject: &AlertSubject) -> bool {
        match subject {
            AlertSubject::Bucket => self.identity.may_everywhere(Role::Viewer),
            AlertSubject::Node(node) => self.identity.may_on_node(Role::Viewer, node),
            AlertSubject::Cell(cell) => self.sees(cell),
        }
    }

    /// How many alerts are open that the user may see and that nobody silenced.
    #[must_use]
    pub fn open_alerts(&self, alerts: &Alerts) -> usize {
        alerts.open.iter().filter(|alert| !alert.silenced && self.sees_alert(&alert.subject)).count()
    }

    /// Refuses to tell whoever may not see everything of messages and silences: they are about anything.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_alert_messages(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Viewer, "messages about alerts")
    }
}
