//! What `doctor` found out about the store, for whoever asks later.

use chrono::TimeDelta;

use super::{Controller, ControllerError, doctor};
use crate::model::ObjectKey;
use crate::model::fleet::{Conditions, StoreReport, Verdict};

/// The last examination of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkup {
    /// What was found.
    pub report: StoreReport,
    /// How long ago, by the clock of this machine.
    pub age: TimeDelta,
}

impl Checkup {
    /// The worst of what was found; a report without findings says nothing bad.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.report.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
    }
}

impl Controller {
    /// The last examination of the store, if there was one.
    ///
    /// # Errors
    /// [`ControllerError::Unreadable`] when what is remembered of it makes no sense.
    pub async fn checkup(&self) -> Result<Option<Checkup>, ControllerError> {
        let report = self.find_document::<StoreReport>(&ObjectKey::StoreReport).await?;
        Ok(report.map(|report| self.aged(report)))
    }

    /// Examines the store now, which writes below `probes/` and removes that again, and remembers what was found.
    ///
    /// # Errors
    /// [`ControllerError::ForeignFleet`] when the bucket is another fleet's. What the store does is no error.
    pub async fn examine(&self) -> Result<Checkup, ControllerError> {
        self.check_fleet().await?;
        let act = self.intend("doctor", ObjectKey::StoreReport.to_string(), None, None, None).await?;
        let examined = self.examine_unaudited().await;
        self.conclude(act, examined).await
    }

    async fn examine_unaudited(&self) -> Result<Checkup, ControllerError> {
        let report =
            doctor::examine(self.store(), self.fleet(), &self.clock).await.map_err(ControllerError::Entropy)?;
        // A store that could not be asked about conditions must not make an earlier answer forgotten.
        if report.conditions != Conditions::Unknown {
            doctor::remember(self.store(), &report).await?;
        }
        Ok(self.aged(report))
    }

    fn aged(&self, report: StoreReport) -> Checkup {
        Checkup { age: self.now() - report.checked_at, report }
    }
}
