//! What happened, for whoever sees what it happened to.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{AccessError, Authorized};
use crate::controller::{AuditCache, Event, Scope};
use crate::model::users::Role;

impl Authorized {
    /// What happened in `scope` since then, newest first: those of `seen` that the user may know of, and what people did,
    /// for who may see the audit, if that is given.
    ///
    /// # Errors
    /// [`AccessError::Denied`] where the user may not see what `scope` names, else why the store did not answer.
    pub async fn events(
        &self,
        seen: Vec<Arc<Event>>,
        audit: Option<&AuditCache>,
        scope: &Scope,
        since: DateTime<Utc>,
    ) -> Result<Vec<Arc<Event>>, AccessError> {
        match scope {
            Scope::Fleet => {}
            Scope::Node(node) => self.check_node(node)?,
            Scope::Cell(cell) => self.check_cell(cell)?,
        }
        let mut events = seen;
        if let Some(audit) = audit.filter(|_| self.tells_acts()) {
            let acts = self.reading().acts_since(audit, since).await?;
            events.extend(acts.into_iter().map(|(_, act)| Arc::new(act)));
        }
        events.retain(|event| event.is_in(scope) && self.knows_of(event));
        // Of one moment, what was seen later comes first.
        events.reverse();
        events.sort_by_key(|event| std::cmp::Reverse(event.at));
        Ok(events)
    }

    /// Whether what people did is among the events.
    #[must_use]
    pub fn tells_acts(&self) -> bool {
        self.identity.may_everywhere(Role::Viewer)
    }

    fn knows_of(&self, event: &Event) -> bool {
        match (&event.cell, &event.node) {
            (Some(cell), _) => self.sees(cell),
            (None, Some(node)) => self.identity.sees_node(node),
            (None, None) => self.tells_acts(),
        }
    }
}
