//! Alerts: what is wrong in the fleet, told to people once when it begins and once when it ends.
//!
//! The core has no I/O and no clock. A look at the fleet (`observe.rs`) and the alerts as they were make the alerts as
//! they are and what is to be told (`decide.rs`); what is to be told becomes messages, a few and not a thousand
//! (`batch.rs`). All times are the store's: no node's clock opens or resolves anything.
//!
//! What was decided stands in one object that controllers share (`state.rs`), written only over what its writer read.
//! So of several controllers one opens an alert, one makes the message and one sends it; the others see that in the
//! object. A controller that dies between sending and noting that it did leaves a message that is sent again: receivers
//! get each at least once, under an id that stays the same.

mod batch;
mod decide;
mod keeper;
mod observe;
mod receivers;
mod rules;
mod seen;
mod state;
#[cfg(test)]
mod tests;
mod try_out;

pub use batch::{AlertFilter, Fate, ReceiverRules, in_short};

pub use keeper::{AlertBoard, AlertKeeper, AlertSettings, KnownAlerts};
pub use observe::Observation;
pub use receivers::{Channel, Letter, MailSettings, MailTls, Receiver, ReceiverError};
pub use rules::{AlertRule, AlertRules};
pub use state::{HeldAlerts, LONGEST_SILENCE};
pub use try_out::{ReceiverTrials, Trial};
