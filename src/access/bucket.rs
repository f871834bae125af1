//! The bucket as a whole. None of it belongs to a cell.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::{AccessError, Authorized, Denied};
use crate::controller::{ControllerError, Finding, FsckOptions, GcReport};
use crate::model::users::Role;
use crate::store::RequestCounts;

impl Authorized {
    /// Whether the user may look at the bucket itself, which shows every cell.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_bucket(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Viewer, "the bucket")
    }

    /// Whether the user may read the audit, which tells of every cell.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_audit(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Viewer, "the audit")
    }

    /// Whether the user may read the metrics, which count every cell.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_metrics(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Viewer, "the metrics")
    }

    /// Whether the user may see the settings.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_settings(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Admin, "the settings")
    }

    /// Whether the user may have the bucket looked through, put right and swept.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_upkeep(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Admin, "the upkeep of the bucket")
    }

    /// Looks through the whole bucket; nothing is written.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn fsck(&self, deep: bool) -> Result<Vec<Finding>, AccessError> {
        self.check_upkeep()?;
        Ok(self.reading().fsck(FsckOptions { deep, repair: false }).await?)
    }

    /// Puts right what takes no decision, if `seen` names what is there to be put right. It goes on when nobody waits
    /// for it any more: each repair is made whole.
    ///
    /// # Errors
    /// [`ControllerError::Changed`] when it is something else by now.
    pub async fn fsck_repair(&self, deep: bool, seen: String) -> Result<Vec<Finding>, AccessError> {
        self.check_upkeep()?;
        let acting = self.acting();
        ended(tokio::spawn(async move { acting.repair_seen(deep, &seen).await })).await
    }

    /// What a sweep would do; nothing is written.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn gc_plan(&self) -> Result<GcReport, AccessError> {
        self.check_upkeep()?;
        Ok(self.reading().gc(true).await?)
    }

    /// Finishes and sweeps, if `seen` names what that would do. It goes on when nobody waits for it any more.
    ///
    /// # Errors
    /// [`ControllerError::Changed`] when it is something else by now.
    pub async fn gc(&self, seen: String) -> Result<GcReport, AccessError> {
        self.check_upkeep()?;
        let acting = self.acting();
        ended(tokio::spawn(async move { acting.gc_seen(&seen).await })).await
    }

    /// Where the bucket is, and what was asked of it so far.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn store(&self) -> Result<StoreUse, Denied> {
        self.check_bucket()?;
        let store = self.reading().store();
        let (requests, counted_for) = (store.request_counts(), store.counted_for());
        Ok(StoreUse { place: store.describe(), requests, counted_for })
    }
}

/// A store, and what this controller asked of it.
#[derive(Debug)]
pub struct StoreUse {
    /// Where it is.
    pub place: String,
    /// What was asked since this controller was started.
    pub requests: RequestCounts,
    /// How long that is.
    pub counted_for: Duration,
}

/// What came of work that nobody may cut off.
async fn ended<T>(work: JoinHandle<Result<T, ControllerError>>) -> Result<T, AccessError> {
    // It panics nowhere; whoever ends the process ends this, too.
    let ended = work.await.unwrap_or_else(|_| Err(ControllerError::Changed { what: "this process".to_owned() }));
    Ok(ended?)
}
