//! Whether the store keeps its conditions: told by the caller, remembered in `store.json`, or found out by racing it
//! before the first write.

use tracing::warn;

use super::{Controller, ControllerError, doctor};
use crate::model::ObjectKey;
use crate::model::fleet::{Conditions, StoreReport};
use crate::store::Store;

impl Controller {
    /// What is known so far of the store's conditions, without asking it.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        self.writer.get().map_or(self.settings.store.conditions(), Store::conditions)
    }

    /// The store for writing, with what is known of its conditions. Another fleet's bucket is never written to, not
    /// even to race it.
    pub(super) async fn writer(&self) -> Result<&Store, ControllerError> {
        self.writer
            .get_or_try_init(async || {
                self.check_fleet().await?;
                let store = self.settings.store.clone();
                if store.conditions() != Conditions::Unknown {
                    return Ok(store);
                }
                let known = match self.find_document::<StoreReport>(&ObjectKey::StoreReport).await? {
                    Some(StoreReport { conditions, .. }) if conditions != Conditions::Unknown => conditions,
                    _ => self.find_out().await?,
                };
                Ok(store.with_capabilities(known))
            })
            .await
    }

    /// Races the store and remembers what came of it. What could not be found out stays unknown, which is treated as
    /// the worst.
    async fn find_out(&self) -> Result<Conditions, ControllerError> {
        let report = doctor::race(&self.settings.store, &self.clock).await.map_err(ControllerError::Entropy)?;
        if report.conditions == Conditions::Unknown {
            warn!(findings = ?report.findings, "whether the store keeps conditions on writes could not be found out");
        } else if let Err(error) = doctor::remember(&self.settings.store, &report).await {
            // It is only raced again next time.
            warn!(%error, "what the race showed could not be remembered");
        }
        Ok(report.conditions)
    }
}
