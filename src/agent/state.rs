//! What the agent remembers of a cell, and the journal of what it is doing to it, in one file.
//!
//! One file because one rename changes it as a whole: no crash leaves a journal and a state that contradict each
//! other.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::belief::Identity;
use super::disk::{DiskError, Folder};
use super::profile::Activation;
use crate::model::document::{self, Document};
use crate::model::heartbeat::Fault;
use crate::model::hook::HookEvent;
use crate::model::outcome::Ending;
use crate::model::sign::Verified;
use crate::model::trigger::{Target, Trigger};
use crate::model::{CellName, Floor, Sha256Digest};
use crate::store::in_full;

/// A trigger that was verified, and is owed from then on.
pub(super) type Wish = Arc<Verified<Trigger>>;

/// The place of a trigger in the order of changes of mind.
pub(super) fn floor_of(wish: &Verified<Trigger>) -> Floor {
    Floor::new(wish.epoch(), wish.generation)
}

/// What the agent remembers of a cell. In the file a wish is the text of its document, and is believed again only
/// after it was verified again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CellState<W = Wish> {
    /// The highest trigger that was verified. Never goes down (I5).
    pub(super) floor: Option<Heard>,
    /// The floor's trigger: what is owed. None while it is only known to exist, or no longer believed.
    pub(super) wish: Option<W>,
    /// The trigger that was carried out last.
    pub(super) applied: Option<Floor>,
    /// What the triggers that were carried out have made of the cell.
    pub(super) standing: Standing,
    /// What the link points at.
    pub(super) placed: Option<Placed>,
    /// What to go back to.
    pub(super) known_good: Option<Placed>,
    /// From whose release what runs was started, if that is another one than what the link points at.
    #[serde(default)]
    pub(super) started_from: Option<Placed>,
    /// What still runs beside what the link points at, and is to be told by its hook `stop` before it ends.
    #[serde(default)]
    pub(super) leaving: Option<Placed>,
    /// Releases that were switched to, the newest last. Only the order counts: which there are the disk says.
    pub(super) placed_before: Vec<Placed>,
    /// Content that failed here.
    pub(super) failed: Vec<Failed>,
    /// How the floor's trigger came to nothing, if it did.
    pub(super) verdict: Option<Verdict>,
    /// How many attempts at the floor's trigger have begun.
    pub(super) attempts: u32,
    /// Attempts that have begun and whose outcome is not written yet, the oldest first.
    pub(super) journal: Vec<Attempt<W>>,
    /// What went wrong last.
    pub(super) last_error: Option<Fault>,
}

/// The highest trigger that the agent knows of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heard {
    pub(super) at: Floor,
    /// What it says; None if only an own heartbeat told of it.
    pub(super) signed_sha256: Option<Sha256Digest>,
    pub(super) since: DateTime<Utc>,
}

/// What was made of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    Absent,
    Deployed,
    Stopped,
    Removed,
}

/// A release on the node and the profile that it runs under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) target: Target,
    pub(super) profile: String,
}

impl Placed {
    pub(super) fn release(&self) -> String {
        release_name(&self.target)
    }
}

/// The name of a version's folder on a node: a version is its name and its manifest.
pub(super) fn release_name(target: &Target) -> String {
    format!("{}-{}", target.version, target.manifest_sha256.short(12))
}

/// Content that failed here, and why it did at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) content_sha256: Sha256Digest,
    pub(super) fault: Fault,
}

/// How a trigger came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) fault: Fault,
    pub(super) aftermath: Aftermath,
}

/// What runs after a trigger came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Aftermath {
    /// What ran before; nothing was touched.
    Untouched,
    /// The last known good version again.
    RolledBack,
    /// Nothing that is known to be good: a person must look.
    Stuck,
}

/// Names an attempt of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct AttemptKey {
    pub(super) at: Floor,
    /// Counts from 1.
    pub(super) number: u32,
}

impl AttemptKey {
    /// The bringing up of the attempt's version: the same however often the agent has to ask for it.
    pub(super) fn activation(self) -> Activation {
        Activation::new(self.at, self.number)
    }
}

/// One try to carry out a trigger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Attempt<W = Wish> {
    pub(super) key: AttemptKey,
    pub(super) wish: W,
    pub(super) started_at: DateTime<Utc>,
    pub(super) step: Step,
    /// Set once the manifest was read.
    pub(super) profile: Option<String>,
    /// Why the agent began it by itself, if it did.
    pub(super) repairs: Option<Fault>,
    /// How often the agent had to take it up again after a restart, past the switch.
    pub(super) resumed: u32,
    pub(super) effort: Effort,
    /// What ran when its release was whole.
    #[serde(default)]
    pub(super) from: Option<Placed>,
    /// What the link pointed at before it pointed at the attempt's release.
    #[serde(default)]
    pub(super) replaces: Option<Placed>,
    /// Whether it is to run beside what it takes the place of, until it is good.
    #[serde(default)]
    pub(super) overlaps: bool,
    /// Whether what ran went on as it, and was not started anew.
    #[serde(default)]
    pub(super) goes_on: bool,
    /// The hooks that are still to be run for it; not known before its release is whole.
    #[serde(default)]
    pub(super) hooks: Option<BTreeSet<HookEvent>>,
}

impl<W> Attempt<W> {
    /// Notes what it takes the place of, once: what the link pointed at before. What it runs beside is to be told once
    /// it is good, unless something else than that is told then.
    pub(super) fn replace(&mut self, placed: Option<Placed>, leaving: &mut Option<Placed>) {
        let Some(placed) = placed.filter(|_| self.replaces.is_none()) else { return };
        if self.overlaps && leaving.is_none() {
            *leaving = Some(placed.clone());
            self.hooks.iter_mut().for_each(|hooks| {
                hooks.remove(&HookEvent::Stop);
            });
        }
        self.replaces = Some(placed);
    }

    /// The first of `events` whose hook is still to be run.
    pub(super) fn owes(&self, events: &[HookEvent]) -> Option<HookEvent> {
        let owed = self.hooks.as_ref()?;
        events.iter().copied().find(|event| owed.contains(event))
    }
}

/// How far an attempt has come. What a step does can be done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(super) enum Step {
    /// The release is being fetched and verified; the link points where it pointed.
    Fetching,
    /// The release is whole and waits for its turn; the link points where it pointed.
    Staged,
    /// The link points at it or where it pointed.
    Switching,
    /// The link points at it; it is being brought up.
    Activating,
    /// It is up; whether it is good is being watched. Anything newer comes first.
    Checking,
    /// It failed; the last known good release is being put back.
    RollingBack {
        /// What failed.
        fault: Fault,
    },
    Stopping,
    Removing,
    /// It is over; its outcome is to be written.
    Ended {
        ended_at: DateTime<Utc>,
        ending: Ending,
        fault: Option<Fault>,
    },
}

/// What an attempt cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Effort {
    pub(super) files_fetched: u64,
    pub(super) files_reused: u64,
    pub(super) bytes_fetched: u64,
}

impl Document for CellState<String> {
    const SCHEMA: &'static str = "fleetman/agent-cell/1";
    const MAX_BYTES: u64 = 2 << 20;
}

impl<W> Default for CellState<W> {
    fn default() -> Self {
        Self {
            floor: None,
            wish: None,
            applied: None,
            standing: Standing::Absent,
            placed: None,
            known_good: None,
            started_from: None,
            leaving: None,
            placed_before: Vec::new(),
            failed: Vec::new(),
            verdict: None,
            attempts: 0,
            journal: Vec::new(),
            last_error: None,
        }
    }
}

impl<W> CellState<W> {
    /// The same with wishes in another form; those that have none are left out, with the attempts at them.
    fn with_wishes<V>(self, mut convert: impl FnMut(W) -> Option<V>) -> CellState<V> {
        let journal = self.journal.into_iter().filter_map(|attempt| {
            let wish = convert(attempt.wish)?;
            let Attempt { key, started_at, step, profile, repairs, resumed, effort, .. } = attempt;
            let Attempt { from, replaces, overlaps, goes_on, hooks, .. } = attempt;
            Some(Attempt {
                key,
                wish,
                started_at,
                step,
                profile,
                repairs,
                resumed,
                effort,
                from,
                replaces,
                overlaps,
                goes_on,
                hooks,
            })
        });
        CellState {
            journal: journal.collect(),
            wish: self.wish.and_then(convert),
            floor: self.floor,
            applied: self.applied,
            standing: self.standing,
            placed: self.placed,
            known_good: self.known_good,
            started_from: self.started_from,
            leaving: self.leaving,
            placed_before: self.placed_before,
            failed: self.failed,
            verdict: self.verdict,
            attempts: self.attempts,
            last_error: self.last_error,
        }
    }
}

impl<W> Attempt<W> {
    /// Whether a hold keeps it where it is. Fetching touches nothing that runs; and what is due, or was begun to be
    /// brought up by the attempt itself, is not left half done.
    pub(super) fn is_held_up(&self) -> bool {
        match self.step {
            Step::Staged => self.resumed == 0,
            Step::Stopping | Step::Removing => true,
            Step::RollingBack { .. } => self.repairs.is_some(),
            Step::Fetching | Step::Switching | Step::Activating | Step::Checking | Step::Ended { .. } => false,
        }
    }
}

/// The name of the file in the cell's own folder.
const FILE: &str = "state.json";

/// The name of one that could not be read.
const DAMAGED: &str = "state.json.damaged";

/// Why a cell's state cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{FILE} is not what was written there: {0}")]
    Invalid(String),
}

impl CellState {
    /// Reads the state in the cell's folder; the empty state if there is none. A wish that is no longer believed
    /// (its key was taken out of the config) is not owed any more; its floor stays.
    pub(super) fn load(folder: &Folder, identity: &Identity, cell: &CellName) -> Result<Self, StateError> {
        let Some(bytes) = folder.read(FILE, CellState::<String>::MAX_BYTES)? else { return Ok(Self::default()) };
        let state: CellState<String> = document::parse(&bytes).map_err(|error| StateError::Invalid(in_full(&error)))?;
        let mut disbelieved = None;
        let mut state = state.with_wishes(|text| match identity.believe(text.as_bytes(), cell) {
            Ok(wish) => Some(wish),
            Err(trouble) => {
                disbelieved = Some(trouble);
                None
            }
        });
        if let Some(trouble) = disbelieved {
            tracing::warn!(%cell, code = %trouble.code, "the trigger in the state is no longer believed: {}", trouble.message);
        }
        // An epoch that was given to a key later must not raise what was accepted before.
        if state.wish.as_deref().map(floor_of) != state.floor.as_ref().map(|floor| floor.at) {
            state.wish = None;
        }
        Ok(state)
    }

    /// The state's text, as [`CellState::save`] takes it.
    pub(super) fn render(&self) -> Vec<u8> {
        // What was verified was parsed as JSON, so it is UTF-8.
        let text = |wish: Wish| String::from_utf8(wish.document().to_vec()).ok();
        document::render(&self.clone().with_wishes(text))
    }

    /// Makes `rendered` the state that a crash leaves.
    pub(super) fn save(folder: &Folder, rendered: &[u8]) -> Result<(), DiskError> {
        folder.write(FILE, rendered)
    }

    /// Takes away a state that cannot be read, and keeps it for whoever wants to look.
    pub(super) fn set_aside(folder: &Folder) -> Result<(), DiskError> {
        folder.set_aside(FILE, DAMAGED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As agents wrote it before versions were watched.
    const BEFORE: &str = r#"{"schema":"fleetman/agent-cell/1","floor":{"at":{"epoch":1,"generation":2},"signed_sha256":null,
        "since":"2026-01-02T03:04:05Z"},"wish":null,"applied":null,"standing":"deployed","placed":null,"known_good":null,
        "placed_before":[],"failed":[],"verdict":null,"attempts":1,"journal":[{"key":{"at":{"epoch":1,"generation":2},
        "number":1},"wish":"{}","started_at":"2026-01-02T03:04:05Z","step":{"step":"STEP"},"profile":"deploy",
        "repairs":null,"resumed":0,"effort":{"files_fetched":0,"files_reused":0,"bytes_fetched":0}}],"last_error":null}"#;

    #[test]
    fn a_state_of_an_older_agent_is_read_and_a_newer_step_comes_back() {
        for (name, step) in [
            ("fetching", Step::Fetching),
            ("staged", Step::Staged),
            ("switching", Step::Switching),
            ("activating", Step::Activating),
            ("checking", Step::Checking),
            ("stopping", Step::Stopping),
            ("removing", Step::Removing),
        ] {
            let state: CellState<String> = document::parse(BEFORE.replace("STEP", name).as_bytes()).unwrap();
            assert_eq!(state.journal[0].step, step);
            let again: CellState<String> = document::parse(&document::render(&state)).unwrap();
            assert_eq!(again.journal[0].step, step);
        }
    }
}
