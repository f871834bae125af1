//! Test messages: whether a receiver takes what it is sent, asked for by people. Not more often than they can read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ulid::Ulid;

use super::batch::Fate;
use super::receivers::Receiver;
use crate::controller::{Controller, ControllerError};

/// Between two test messages to one receiver, whoever asks for them.
const EVERY: Duration = Duration::from_secs(10);

/// The receivers of a running controller, for whoever tries them out.
#[derive(Debug)]
pub struct ReceiverTrials {
    receivers: Vec<Arc<Receiver>>,
    portal: Option<String>,
    /// When each was tried last, by the clock that never goes back.
    tried: Mutex<HashMap<String, Duration>>,
}

/// What came of asking for a test message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// The last one was not long ago.
    TooSoon {
        /// How long to wait.
        wait: Duration,
    },
    /// It was sent, or tried.
    Made {
        /// The message's id.
        id: Ulid,
        /// What the receiver said.
        fate: Fate,
    },
}

impl ReceiverTrials {
    /// For these receivers. `portal` is where people look at the fleet.
    #[must_use]
    pub fn new(receivers: Vec<Arc<Receiver>>, portal: Option<String>) -> Self {
        Self { receivers, portal, tried: Mutex::default() }
    }

    /// The receivers' names, and how each is reached.
    pub fn names(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.receivers.iter().map(|receiver| (receiver.rules().name.as_str(), receiver.channel()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receivers.is_empty()
    }

    /// How long `name` has to be left alone. Where it need not, that begins now.
    fn wait(&self, name: &str, now: Duration) -> Option<Duration> {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = tried.get(name).map(|at| (*at + EVERY).saturating_sub(now)).filter(|wait| !wait.is_zero());
        if wait.is_none() {
            tried.insert(name.to_owned(), now);
        }
        wait
    }
}

impl Controller {
    /// Sends a test message to the receiver `name` at once, and writes into the audit who asked and what it said. None
    /// if there is no such receiver.
    ///
    /// # Errors
    /// When the audit cannot be written: then nothing is sent.
    pub async fn try_receiver(&self, trials: &ReceiverTrials, name: &str) -> Result<Option<Trial>, ControllerError> {
        let Some(receiver) = trials.receivers.iter().find(|it| it.rules().name == name) else { return Ok(None) };
        if let Some(wait) = trials.wait(name, self.clock.monotonic()) {
            return Ok(Some(Trial::TooSoon { wait }));
        }
        let (id, fleet) = (self.ulid()?, self.fleet());
        let after = Some(format!("test message {id}"));
        let act = self.intend("test-receiver", format!("receiver {name}"), None, after, None).await?;
        let fate = receiver.test(id, fleet, trials.portal.as_deref(), self.clock.now()).await;
        let said = match &fate {
            Fate::Sent => "the receiver took it".to_owned(),
            Fate::Later(why) => format!("not reached: {why}"),
            Fate::Never(why) => format!("refused: {why}"),
        };
        self.note_outcome(act, fate == Fate::Sent, said).await;
        Ok(Some(Trial::Made { id, fate }))
    }
}
