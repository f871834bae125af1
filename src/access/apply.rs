//! Many manifests and cells as one change: it takes the role on each of them.

use super::{AccessError, Authorized};
use crate::controller::{ApplyLine, ApplyPlan, ApplyRequest, ControllerError, FleetView};
use crate::model::users::Role;
use crate::recipe::Set;

impl Authorized {
    /// Works out what writing all of `set` comes to. `fleet` tells which cells use its manifests; it is the whole
    /// fleet, not what the user may see of it.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn plan_apply(&self, fleet: &FleetView, set: Set) -> Result<ApplyPlan, AccessError> {
        self.need_anywhere(Role::Editor, "manifests and cells")?;
        for manifest in set.manifests.keys() {
            self.need_on_manifest(Role::Editor, fleet, manifest)?;
        }
        for cell in set.cells.keys() {
            self.need_on_cell(Role::Editor, cell)?;
        }
        let plan = self.reading().plan_apply(ApplyRequest { set, ..ApplyRequest::default() }).await;
        Ok(plan.map_err(|error| error.told_to(|cell| self.sees(cell)))?)
    }

    /// Does what [`Self::plan_apply`] gave for the same user, as far as it goes.
    ///
    /// # Errors
    /// [`ControllerError::Changed`] when `seen` names something else than the plan. What came of each object is told
    /// besides why it went no further.
    pub async fn apply(
        &self,
        fleet: &FleetView,
        set: Set,
        seen: &str,
    ) -> Result<(Vec<ApplyLine>, Option<ControllerError>), AccessError> {
        let plan = self.plan_apply(fleet, set).await?;
        if plan.name() != seen {
            return Err(ControllerError::Changed { what: "what it would do".to_owned() }.into());
        }
        Ok(self.acting().carry_out(&plan, || false).await)
    }

    /// The texts of all manifests, and of all cells that the user sees, one after the other as `apply` takes them.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn export(&self) -> Result<String, AccessError> {
        self.need_anywhere(Role::Viewer, "manifests and cells")?;
        let is_seen = |cell: &crate::model::CellId| self.sees(cell);
        Ok(self.reading().export_texts(is_seen).await?)
    }
}
