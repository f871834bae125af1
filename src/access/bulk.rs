//! The same change to many cells: it takes the role on each of them, and is done to those that the user has it on.

use std::collections::{BTreeMap, BTreeSet};

use super::{AccessError, Authorized, Denied};
use crate::controller::{
    Applied, BulkAction, BulkCell, BulkStep, ControllerError, PublishRequest, Published, StopRequest,
};
use crate::model::CellId;
use crate::model::trigger::TriggerOptions;
use crate::model::users::Role;

/// How many cells may be changed at once: each is read before it is shown, and again before it is changed.
pub const MOST_CELLS: usize = 500;

/// A change that is made to many cells.
#[derive(Debug, Clone)]
pub struct BulkOrder {
    /// What is done.
    pub action: BulkAction,
    /// How nodes are to carry out what is deployed.
    pub options: TriggerOptions,
    /// Why, for the triggers and the audit. A pause needs one.
    pub reason: Option<String>,
}

/// What came of a cell.
#[derive(Debug)]
pub enum BulkDone {
    /// A trigger, which its node carries out.
    Published(Published),
    /// Its document was written, or was so already.
    Written(Applied),
}

/// What is told of a cell while many are changed.
#[derive(Debug)]
pub enum BulkNews {
    /// It is its turn.
    Begins,
    /// It came to this. The others go on either way.
    Ends(Box<Result<BulkDone, AccessError>>),
}

impl Authorized {
    /// What `action` would come to for each of these cells. Those that the user may not change are left out, in the same
    /// words whether there are any such cells or not.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn plan_bulk(&self, action: BulkAction, cells: Vec<CellId>) -> Result<Vec<BulkStep>, AccessError> {
        let mut own = BTreeSet::new();
        let mut denied: BTreeMap<CellId, Denied> = BTreeMap::new();
        for cell in cells {
            match self.need_on_cell(action.needs(), &cell) {
                Ok(()) => drop(own.insert(cell)),
                Err(why) => drop(denied.insert(cell, why)),
            }
        }
        let mut steps = self.reading().bulk_steps(action, own, |cell| self.sees(cell)).await?;
        steps.extend(denied.into_iter().map(|(cell, why)| BulkStep::left_out(cell, "denied", why.to_string())));
        Ok(steps)
    }

    /// Refuses a change of cells of which the user may change none.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_bulk<'c>(
        &self,
        action: BulkAction,
        mut cells: impl Iterator<Item = &'c CellId>,
    ) -> Result<(), Denied> {
        let needs: Role = action.needs();
        self.need_anywhere(needs, "cells")?;
        let Some(first) = cells.next() else { return Ok(()) };
        let first = self.need_on_cell(needs, first);
        if first.is_err() && cells.any(|cell| self.need_on_cell(needs, cell).is_ok()) { Ok(()) } else { first }
    }

    /// Changes these cells one after the other, each only if it is still as it was seen; `tell` hears of each. What
    /// keeps one from being changed keeps no other. It ends early once `may_go_on` no longer says yes: it may take long,
    /// and who began it may lose the right to meanwhile.
    ///
    /// # Errors
    /// Why it did not begin at all.
    pub async fn bulk(
        &self,
        order: &BulkOrder,
        cells: Vec<BulkCell>,
        may_go_on: impl Fn() -> bool,
        mut tell: impl FnMut(&CellId, BulkNews),
    ) -> Result<(), AccessError> {
        self.check_bulk(order.action, cells.iter().map(|seen| &seen.cell))?;
        let names = cells.iter().map(|seen| seen.cell.clone()).collect();
        let mut seen: BTreeMap<CellId, BulkCell> = cells.into_iter().map(|seen| (seen.cell.clone(), seen)).collect();
        // Who sent them may have turned them round.
        for cell in self.reading().bulk_order(order.action, names).await? {
            let Some(seen) = seen.remove(&cell) else { continue };
            if !may_go_on() {
                break;
            }
            tell(&cell, BulkNews::Begins);
            let done = self.change_one(order, &seen).await;
            tell(&cell, BulkNews::Ends(Box::new(done)));
        }
        Ok(())
    }

    async fn change_one(&self, order: &BulkOrder, seen: &BulkCell) -> Result<BulkDone, AccessError> {
        let (cell, guard) = (&seen.cell, seen.guard());
        let reason = order.reason.clone();
        let published = match order.action {
            BulkAction::Publish => {
                let request = PublishRequest { reason, options: order.options, ..PublishRequest::new(cell.clone()) };
                self.publish(&request, &guard).await?
            }
            BulkAction::Redeploy => self.redeploy(cell, order.options, reason, &guard).await?,
            BulkAction::Stop => self.stop(&StopRequest { cell: cell.clone(), reason }, &guard).await?,
            BulkAction::Pause | BulkAction::Resume => {
                self.need_on_cell(order.action.needs(), cell)?;
                self.reading().check_seen(seen).await?;
                return self.change_pause(order, seen).await.map(BulkDone::Written);
            }
        };
        Ok(BulkDone::Published(published))
    }

    async fn change_pause(&self, order: &BulkOrder, seen: &BulkCell) -> Result<Applied, AccessError> {
        let (cell, known) = (&seen.cell, seen.known());
        match (&order.reason, order.action) {
            (_, BulkAction::Resume) => self.resume(cell, &known).await,
            (Some(reason), _) => self.pause(cell, reason, &known).await,
            (None, _) => {
                let problem = "a pause needs a reason".to_owned();
                Err(ControllerError::Invalid { what: cell.to_string(), problem }.into())
            }
        }
    }
}
