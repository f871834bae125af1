//! What all cells of an agent share.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, Semaphore};

use super::belief::Identity;
use super::board::Board;
use super::decide::{Now, Patience};
use super::drift::DriftSettings;
use super::figures::Attempts;
use super::health::Means;
use super::home::Home;
use super::onlooker::Onlooker;
use super::place::Owner;
use super::profile::Profiles;
use super::steps::Steps;
use crate::clock::SharedClock;
use crate::model::CellName;
use crate::model::outcome::Ending;
use crate::model::trigger::Action;
use crate::model::window::Windows;
use crate::store::Store;

/// What all cells of an agent share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) identity: Identity,
    pub(super) store: Store,
    pub(super) clock: SharedClock,
    pub(super) onlooker: Arc<dyn Onlooker>,
    pub(super) steps: Steps,
    pub(super) profiles: Profiles,
    pub(super) home: Home,
    pub(super) patience: Patience,
    pub(super) windows: Windows,
    /// Whether what cells write may be asked for.
    pub(super) serves_logs: bool,
    pub(super) keep_versions: usize,
    pub(super) reserve_bytes: u64,
    pub(super) parallel_downloads: usize,
    /// One permit an object that is being fetched.
    pub(super) downloads: Semaphore,
    /// What the checks of all cells share.
    pub(super) probing: Arc<Means>,
    /// How cells are looked at whose versions do not say.
    pub(super) drift: DriftSettings,
    /// One permit: no two cells are looked at for drift at a time.
    pub(super) looks: Semaphore,
    /// Where cells look how the others stand.
    pub(super) board: Board,
    /// Told whenever a cell's report changes, or something is to be sent.
    pub(super) changed: Notify,
    /// The attempts of all cells that have ended.
    pub(super) attempts: Mutex<Attempts>,
}

impl Context {
    pub(super) fn now(&self) -> Now {
        Now { wall: self.clock.now(), monotonic: self.clock.monotonic() }
    }

    /// Now by the store's clock, as well as it is known.
    pub(super) fn store_now(&self) -> DateTime<Utc> {
        self.clock.now() + self.store.clock_skew().unwrap_or_default()
    }

    /// An attempt has ended.
    pub(super) fn count_attempt(&self, action: &Action, ending: Ending) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).note(action, ending);
    }

    /// The attempts of all cells that have ended.
    pub(super) fn attempts(&self) -> Attempts {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What marks the agent's places for `cell` on the host.
    pub(super) fn owner(&self, cell: &CellName) -> Owner {
        Owner { fleet: self.identity.fleet, node: self.identity.node.clone(), cell: cell.clone() }
    }
}
