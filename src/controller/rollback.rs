//! Going back to a version that was published before.

use std::collections::HashSet;

use super::claim::Order;
use super::head::{Head, floor};
use super::history::MOST_ENTRIES;
use super::publish::{Guard, never_published};
use super::{Controller, ControllerError, Published};
use crate::model::outcome::{Ending, Outcome};
use crate::model::trigger::{Action, Target, TriggerOptions};
use crate::model::{CellId, Floor, VersionName};

/// How many outcomes are looked at for one to go back to.
const MOST_OUTCOMES: usize = 1_000;

/// How many versions that a node calls known good are looked for in the history: one that invents them must not make
/// the whole history be read for each.
const MOST_CLAIMS: usize = 16;

/// Where to go back to.
#[derive(Debug, Clone)]
pub struct RollbackRequest {
    /// Which cell.
    pub cell: CellId,
    /// The version; if absent, the newest one with other content that became known good on the node.
    pub to: Option<VersionName>,
    /// Why.
    pub reason: Option<String>,
    /// How it is to be carried out.
    pub options: TriggerOptions,
}

impl Controller {
    /// Desires an earlier version again, under a new generation. Its bytes are those that verified history names.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is nothing to go back to.
    pub async fn rollback(&self, request: &RollbackRequest, guard: &Guard) -> Result<Published, ControllerError> {
        let RollbackRequest { cell, to, reason, options } = request;
        let head = self.head(cell).await?;
        let binding = self.unpaused_binding(cell).await?;
        let Some(newest) = &head.newest else { return Err(never_published(cell)) };
        if let Action::Deploy(current) = &newest.action
            && newest.options == *options
            && self.is_way_back(&head, current, to.as_ref(), cell).await?
        {
            return self.settle(&head, newest).await;
        }
        guard.check_generation(cell, &head)?;
        let target = self.way_back(cell, to.as_ref(), None).await?;
        let (options, reason) = (*options, reason.clone());
        let order = Order { verb: "rollback", action: Action::Deploy(target.clone()), options, reason };
        self.claim_pinned(cell, &head, &order, &target, &binding).await
    }

    /// Where a rollback of `request` would lead, without writing anything.
    ///
    /// # Errors
    /// See [`Self::rollback`].
    pub async fn rollback_target(&self, request: &RollbackRequest) -> Result<Target, ControllerError> {
        self.way_back(&request.cell, request.to.as_ref(), None).await
    }

    /// Whether the newest trigger is itself what this command asks for. With a version named that is plain to see.
    /// Without one only a trigger that was not brought to its end can be this command's, interrupted: it is if going
    /// back from what was desired before it leads there.
    async fn is_way_back(
        &self,
        head: &Head,
        current: &Target,
        to: Option<&VersionName>,
        cell: &CellId,
    ) -> Result<bool, ControllerError> {
        if let Some(to) = to {
            return Ok(current.version == *to);
        }
        if self.is_finished(head).await? {
            return Ok(false);
        }
        let below = head.newest.as_ref().map(floor);
        match self.way_back(cell, None, below).await {
            Ok(target) => Ok(target == *current),
            Err(ControllerError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The version to go back to from what was desired last below `below`.
    async fn way_back(
        &self,
        cell: &CellId,
        to: Option<&VersionName>,
        below: Option<Floor>,
    ) -> Result<Target, ControllerError> {
        if let Some(to) = to {
            let named = self.newest_target(cell, |target| target.version == *to).await?;
            let help = "no believed history entry names it, so it cannot be trusted; publish it instead";
            return named.ok_or_else(|| ControllerError::not_found(format!("{cell}: version {to}"), help));
        }
        let desired = self.target_below(cell, below, MOST_ENTRIES, |_| true).await?;
        let Some(desired) = desired else { return Err(never_published(cell)) };
        let mut asked = HashSet::new();
        for id in self.attempts(cell).await?.into_iter().take(MOST_OUTCOMES) {
            let Some(Ok(outcome)) = self.read_outcome(&id).await? else { continue };
            let Some(good) = became_good(&outcome).filter(|good| good.content_sha256 != desired.content_sha256) else {
                continue;
            };
            if asked.len() == MOST_CLAIMS || !asked.insert((good.version.clone(), good.manifest_sha256)) {
                continue;
            }
            // Outcomes are claims of the node: what is signed comes from our own history alone.
            let is_it =
                |target: &Target| target.version == good.version && target.manifest_sha256 == good.manifest_sha256;
            if let Some(target) = self.newest_target(cell, is_it).await? {
                return Ok(target);
            }
        }
        let help = "no other version became known good on the node; name one with --to";
        Err(ControllerError::not_found(format!("{cell}: a version to go back to"), help))
    }
}

/// The version that an attempt made known good.
fn became_good(outcome: &Outcome) -> Option<&crate::model::heartbeat::VersionReport> {
    let good = outcome.known_good_after.as_ref()?;
    (outcome.outcome == Ending::Succeeded && outcome.version.as_ref() == Some(good)).then_some(good)
}
