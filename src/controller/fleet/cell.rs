//! One cell, without the rest of the fleet.

use std::sync::Arc;

use super::judge::LivenessLimits;
use super::reader::read_heartbeat;
use super::view::{CellView, Desired, Wish};
use crate::controller::{Controller, ControllerError};
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::Heartbeat;
use crate::model::index::{About, Index};
use crate::model::{CellId, ObjectKey};
use crate::store::{StoreError, in_full};

impl Controller {
    /// One cell, by its history and its node's heartbeat: right even where the index lags. The flag tells whether its
    /// newest trigger was brought to its end.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when nothing in the bucket speaks of it.
    pub async fn cell_status(
        &self,
        cell: &CellId,
        limits: LivenessLimits,
    ) -> Result<(CellView, bool), ControllerError> {
        let beat_key = ObjectKey::Heartbeat(cell.node.clone());
        let (head, beat, about) = tokio::try_join!(
            self.look_at_head(cell),
            async {
                match self.store().find(&beat_key, Heartbeat::MAX_BYTES).await {
                    // No agent of ours wrote that; when it came still tells whether there is one.
                    Err(error @ StoreError::TooLarge { .. }) => {
                        let meta = self.store().head(&beat_key).await?;
                        Ok(meta.map(|meta| (meta.last_modified, Err(error.to_string()))))
                    }
                    found => Ok(found?.map(|object| (object.last_modified, read_heartbeat(&cell.node, &object.bytes)))),
                }
            },
            self.about(cell),
        )?;
        let last_seen = beat.as_ref().and_then(|(last_seen, _)| *last_seen);
        let (beat, problem) = match beat {
            Some((_, Ok(beat))) => (Some(Arc::new(beat)), None),
            Some((_, Err(why))) => (None, Some(format!("heartbeat: {why}"))),
            None => (None, None),
        };
        let (head, unbelieved) = match head {
            Ok(head) => (Some(head), None),
            Err(error) => (None, Some(in_full(&error))),
        };
        let liveness = limits.judge(last_seen, beat.as_ref().map(|beat| beat.interval_secs), self.store_now());
        let desired = head.as_ref().and_then(|head| head.newest.as_ref()).map(Desired::from);
        let wish = Wish { about: about.map(Arc::new), desired, problem: unbelieved.or(problem) };
        let view = CellView::of(cell.clone(), Some(Arc::new(wish)), beat, liveness);
        let is_spoken_of = view.about().is_some() || view.desired().is_some() || view.report().is_some();
        if !is_spoken_of && view.problem().is_none() {
            return Err(ControllerError::not_found(
                format!("cell {cell}"),
                "there is none; `fleetman get cells` lists them",
            ));
        }
        // What is not believed is not brought to an end either.
        let is_finished = match &head {
            Some(head) => self.is_finished(head).await?,
            None => true,
        };
        Ok((view, is_finished))
    }

    /// What the index says of a cell for views.
    pub(in crate::controller) async fn about(&self, cell: &CellId) -> Result<Option<About>, ControllerError> {
        let found = self.store().find(&ObjectKey::Index(cell.node.clone()), Index::MAX_BYTES).await?;
        let index = found.and_then(|object| document::parse::<Index>(&object.bytes).ok());
        Ok(index.and_then(|index| index.entry(&cell.cell)).and_then(|entry| entry.about))
    }
}
