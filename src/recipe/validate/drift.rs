//! Whether what is to be done about drift makes sense.

use super::Checker;
use crate::model::drift::{DriftError, DriftMode, DriftPattern, DriftSpec};
use crate::recipe::written::Drift;
use crate::yaml::Field;

impl Checker<'_> {
    pub(super) fn drift(&mut self, drift: &Drift) {
        let field = Field::root().key("drift");
        for (position, text) in drift.ignore.iter().enumerate() {
            if let Err(error) = text.parse::<DriftPattern>() {
                self.value(&field.key("ignore").index(position), error.to_string(), None);
            }
        }
        self.within(&field.key("interval"), drift.interval, DriftSpec::INTERVALS_MS);
        match (DriftSpec { interval_ms: None, ..drift.spec() }).check() {
            Ok(()) | Err(DriftError::Interval(_)) => {}
            Err(error @ DriftError::TooManyIgnored(_)) => {
                self.key(&field.key("ignore"), error.to_string(), Some("use patterns that match more"));
            }
            Err(error @ DriftError::Repairs(_)) => {
                let help = "with `mode: report` nothing is put back";
                self.value(&field.key("repairs_per_hour"), error.to_string(), Some(help));
            }
        }
        if drift.mode.is_some_and(|mode| mode != DriftMode::Repair) && drift.repairs_per_hour.is_some() {
            let message = "nothing is put back but with `mode: repair`";
            self.key(&field.key("repairs_per_hour"), message, Some("remove it, or set `mode: repair`"));
        }
    }
}
