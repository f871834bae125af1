//! What can be seen of a cell, and what can be done to it.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::health::Probe;
use super::super::profile::Activation;
use super::super::state::{AttemptKey, Effort, Placed, Wish};
use super::super::trouble::Trouble;
use super::Ties;
use crate::model::Floor;
use crate::model::health::Health;
use crate::model::heartbeat::HoldReport;
use crate::model::hook::HookEvent;

/// Where in the bucket a trigger stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Place {
    Index,
    Trigger,
    History,
}

/// What was seen.
#[derive(Debug, Clone)]
pub(in super::super) enum Seen {
    /// The agent starts; the host's link points at this release, and this was brought up last.
    Started {
        current: Option<String>,
        up: Option<Activation>,
    },
    /// A verified trigger for this cell.
    Trigger {
        wish: Wish,
        place: Place,
    },
    /// What is at a place cannot be believed.
    Refused {
        place: Place,
        trouble: Trouble,
    },
    /// There is nothing at a place, so nothing is wrong with it. Nobody is told to do anything by that.
    NothingAt(Place),
    /// A full scan found the cell's trigger nowhere.
    Missing,
    /// There is a trigger so high, as the bucket tells an agent whose state was lost or is older than what it did.
    Heard(Floor),
    /// The node must not begin deployments, or may again.
    Held(Option<String>),
    /// Nothing that runs may be changed for a while, or it may again.
    Hold(Option<HoldReport>),
    /// What the other cells of the node mean for this one.
    Tied(Box<Ties>),
    /// What should run is being brought up, as far as it is not up.
    Resuming,
    /// Whether the state here is known to be the newest that there was.
    Sure(bool),
    /// What the host has in the cell's place.
    Host(OnHost),
    /// These profiles have something of the cell as well.
    Others(Vec<String>),
    /// Whether what they had is gone.
    OthersCleared(Result<(), Trouble>),
    /// The trigger itself was read, as was asked for.
    Looked,
    StagingBegan {
        key: AttemptKey,
    },
    StagingGivenUp {
        key: AttemptKey,
    },
    Staged {
        key: AttemptKey,
        profile: String,
        effort: Effort,
        /// What runs, if something does.
        from: Option<Box<Placed>>,
        /// The hooks that are to be run on the way from that.
        hooks: BTreeSet<HookEvent>,
        /// Whether the two can run at once.
        overlaps: bool,
    },
    /// A hook was run, and what came of it is no reason not to go on.
    HookRun {
        key: AttemptKey,
        event: HookEvent,
    },
    /// What still runs beside the attempt's version was told that it stops.
    Left {
        key: AttemptKey,
    },
    StagingFailed {
        key: AttemptKey,
        trouble: Trouble,
    },
    /// Nothing is in the way of what is staged.
    Due {
        key: AttemptKey,
    },
    Switched {
        key: AttemptKey,
    },
    Activated {
        key: AttemptKey,
        /// What ran goes on as it, and was not started anew.
        goes_on: bool,
    },
    /// What was brought up is good.
    Passed {
        key: AttemptKey,
    },
    /// It is not good yet, and must become so within `deadline`.
    Pending {
        key: AttemptKey,
        missing: String,
        deadline: Duration,
    },
    /// What runs is not what was brought up.
    NotStarted {
        key: AttemptKey,
    },
    /// What runs may have changed.
    Changed,
    /// What is up in this round is asked this from now on.
    Watching {
        round: u64,
        health: Box<Health>,
    },
    /// A check has answered.
    Probed(Probe),
    /// Whether what runs was restarted, as its checks made necessary.
    Restarted(Result<(), Trouble>),
    Restored {
        key: AttemptKey,
        placed: Placed,
        /// What ran goes on as it, and was not started anew.
        goes_on: bool,
    },
    Stopped {
        key: AttemptKey,
    },
    Removed {
        key: AttemptKey,
    },
    /// What was to be done did not succeed.
    StepFailed {
        key: AttemptKey,
        trouble: Trouble,
    },
    /// The attempt's outcome is written.
    Written {
        key: AttemptKey,
    },
}

/// What a host has in a cell's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum OnHost {
    /// The link points at this release of ours.
    Release(String),
    /// There is no link, or it points at nothing.
    Nothing,
    /// Something that is not ours has the cell's name.
    Foreign(String),
}

impl OnHost {
    pub(super) fn release(&self) -> Option<String> {
        match self {
            Self::Release(release) => Some(release.clone()),
            Self::Nothing | Self::Foreign(_) => None,
        }
    }
}

/// What of a cell is on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct View {
    pub(in super::super) linked: OnHost,
    /// Further profiles that have something of it.
    pub(in super::super) others: Vec<String>,
    /// What was brought up last, as the host's markers say.
    pub(in super::super) up: Option<Activation>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Action {
    /// Fetch and verify, beside whatever else goes on.
    Stage(AttemptKey),
    /// Give up fetching.
    Cancel(AttemptKey),
    /// Read the cell's trigger.
    Look,
    /// Bring up what should run, after the agent started.
    Resume,
    /// Stop and clear what other profiles have of the cell than the one that it is placed under.
    ClearOthers,
    /// Restart what runs: its checks go on failing.
    Restart,
    /// Do this, and nothing else meanwhile.
    Do(Deed, AttemptKey),
}

/// What is done to a cell in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Deed {
    /// Run a hook.
    Run(HookEvent),
    /// Tell what still runs beside what the link points at that it stops.
    Leave,
    /// Look whether it is the attempt's turn.
    Ask,
    /// Let the link point at the attempt's release.
    Switch,
    /// Bring up what the link points at.
    Activate,
    /// Look whether it is good.
    Check,
    /// Let the link point at the last known good release, and bring it up.
    Restore,
    Stop,
    Remove,
    /// Write the outcome.
    Write,
}

/// The time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Now {
    pub(in super::super) wall: DateTime<Utc>,
    pub(in super::super) monotonic: Duration,
}
