//! Taking cells off the host by hand, without the bucket and while no agent runs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use super::belief::Identity;
use super::decide::{Cell, Now};
use super::disk::{DiskError, apart};
use super::error::AgentError;
use super::home::Home;
use super::place::Owner;
use super::profile::Profiles;
use super::state::{CellState, StateError};
use super::steps::Steps;
use super::survey::{Holding, holding, holdings};
use super::trouble::{Cure, Trouble};
use crate::clock::SharedClock;
use crate::model::sign::Trust;
use crate::model::{CellName, Code, Floor, NodeName};

/// Whose cells are taken off the host.
#[derive(Debug, Clone)]
pub struct ResetSettings {
    /// The node.
    pub node: NodeName,
    /// The fleet that it belongs to.
    pub fleet: Uuid,
    /// Whose triggers it obeys.
    pub trust: Trust,
    /// Where its agent keeps its state.
    pub state_folder: PathBuf,
    /// What its agent runs cells with.
    pub profiles: Profiles,
}

/// What else becomes of a cell that is taken off the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResetOptions {
    /// Its data goes as well.
    pub purge_data: bool,
    /// The agent does not deploy it again until a newer trigger asks for it.
    pub hold: bool,
}

/// Takes cells off the host. No agent can start on the state folder until this is dropped.
#[derive(Debug)]
pub struct Reset {
    home: Arc<Home>,
    identity: Identity,
    profiles: Profiles,
    clock: SharedClock,
}

/// What was done about a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetReport {
    /// The profiles under which it stood.
    pub profiles: Vec<String>,
    /// Whether there was data, and it is gone.
    pub purged_data: bool,
    /// The trigger below which the agent still accepts none; None if it knows of none.
    pub floor: Option<Floor>,
    /// What that trigger asks for, if the agent knows: `deploy`, `stop`, `remove`.
    pub asked: Option<String>,
    /// Whether it is held.
    pub held: bool,
    /// Why the state could not be read, if it could not: it was set aside, and the agent takes its floor from the bucket.
    pub damaged: Option<String>,
}

/// Why a cell, or something of it, is still there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ResetError {
    /// What programs compare.
    pub code: Code,
    /// What people read.
    message: String,
}

impl From<Trouble> for ResetError {
    fn from(Trouble { code, message, .. }: Trouble) -> Self {
        Self { code, message }
    }
}

impl From<DiskError> for ResetError {
    fn from(error: DiskError) -> Self {
        Trouble::from(error).into()
    }
}

impl Reset {
    /// Takes the state folder, which is made if it is missing: what stands on the host may have outlived it.
    ///
    /// # Errors
    /// [`AgentError::AlreadyRunning`] while an agent runs, [`AgentError::StateInvalid`] for the state folder of another
    /// node, [`AgentError::Disk`].
    pub async fn open(settings: ResetSettings, clock: SharedClock) -> Result<Self, AgentError> {
        let ResetSettings { node, fleet, trust, state_folder, profiles } = settings;
        let identity = Identity { fleet, node: node.clone(), trust };
        let home = apart(move || {
            let home = Home::take(&state_folder, &Steps::default())?;
            home.check_resident(&node, fleet)?;
            Ok::<_, AgentError>(home)
        });
        Ok(Self { home: Arc::new(home.await?), identity, profiles, clock })
    }

    /// The cells that something is here of: on the host with our marker, or in the state folder.
    ///
    /// # Errors
    /// The host or the state folder could not be looked at.
    pub async fn cells(&self) -> Result<BTreeSet<CellName>, ResetError> {
        let (home, profiles, identity) = (Arc::clone(&self.home), self.profiles.clone(), self.identity.clone());
        let found = apart(move || {
            let mut found: BTreeSet<CellName> = home.cells()?.into_iter().collect();
            for profile in profiles.iter() {
                let unreadable = |source| DiskError::new("looking for cells of", profile.name().into(), source);
                for cell in profile.cells().map_err(unreadable)? {
                    if holding(profile, &owner(&identity, &cell), &Steps::default())?.is_some() {
                        found.insert(cell);
                    }
                }
            }
            Ok::<_, DiskError>(found)
        });
        Ok(found.await?)
    }

    /// Stops `cell` and takes off the host what is ours of it: everything that its profiles made, releases, link, and
    /// manifests. The floor stays (I5). Where this is interrupted, the same again finishes it.
    ///
    /// # Errors
    /// Something of it is still there.
    pub async fn take_off(&self, cell: &CellName, options: ResetOptions) -> Result<ResetReport, ResetError> {
        let (home, identity, name) = (Arc::clone(&self.home), self.identity.clone(), cell.clone());
        let loaded = apart(move || match home.known_cell(&name)? {
            None => Ok::<_, DiskError>(Ok(None)),
            Some(folder) => match CellState::load(&folder, &identity, &name) {
                Ok(state) => Ok(Ok(Some(state))),
                Err(StateError::Disk(error)) => Err(error),
                Err(StateError::Invalid(problem)) => Ok(Err(problem)),
            },
        });
        let (state, damaged) = match loaded.await? {
            Ok(state) => (state, None),
            Err(problem) => (None, Some(problem)),
        };
        if let (Some(problem), true) = (&damaged, options.hold) {
            let message = format!("it cannot be held, because its state cannot be read: {problem}");
            return Err(Trouble::new(Code::StateInvalid, message, Cure::Time).into());
        }
        if let Some(placed) = state.as_ref().and_then(|state| state.placed.as_ref())
            && self.profiles.get(&placed.profile).is_none()
        {
            let message =
                format!("it is deployed under the {} profile, which the config does not set up", placed.profile);
            return Err(Trouble::new(Code::ProfileUnavailable, message, Cure::Time).into());
        }
        let (profiles, owner) = (self.profiles.clone(), owner(&self.identity, cell));
        let held = apart(move || holdings(&profiles, &owner, &Steps::default())).await?;
        let stood_under = held.iter().map(|Holding { profile, .. }| profile.name().to_owned()).collect();
        for holding in held {
            holding.clear(cell).await?;
        }
        let (home, name) = (Arc::clone(&self.home), cell.clone());
        let purged = apart(move || {
            let has_data = options.purge_data && home.data().child(name.as_str())?.is_some();
            if has_data {
                home.data().remove_tree(name.as_str())?;
            }
            Ok::<_, DiskError>(has_data)
        });
        let report = ResetReport {
            profiles: stood_under,
            purged_data: purged.await?,
            floor: None,
            asked: None,
            held: false,
            damaged,
        };
        self.remember(cell, state, options.hold, report).await
    }

    /// Writes down what the agent is to remember of the cell.
    async fn remember(
        &self,
        cell: &CellName,
        state: Option<CellState>,
        hold: bool,
        report: ResetReport,
    ) -> Result<ResetReport, ResetError> {
        let now = Now { wall: self.clock.now(), monotonic: self.clock.monotonic() };
        let (home, name) = (Arc::clone(&self.home), cell.clone());
        let state = state.map(|state| {
            let mut cell = Cell { state, ..Cell::default() };
            cell.taken_off(hold, now);
            cell.state
        });
        let verdict = state.as_ref().and_then(|state| state.verdict.as_ref());
        let is_held = verdict.is_some_and(|verdict| verdict.fault.code == Code::Reset);
        let report = ResetReport {
            floor: state.as_ref().and_then(|state| Some(state.floor.as_ref()?.at)),
            asked: state.as_ref().and_then(|state| Some(state.wish.as_ref()?.action.name().to_owned())),
            held: is_held,
            ..report
        };
        let is_damaged = report.damaged.is_some();
        let written = apart(move || {
            let Some(folder) = home.known_cell(&name)? else { return Ok(()) };
            if let Some(manifests) = folder.child("manifests")? {
                manifests.names()?.iter().try_for_each(|name| manifests.remove_file(name))?;
            }
            match state {
                Some(state) => CellState::save(&folder, &state.render()),
                // What an agent would be stopped by it finds no more; the floor is the bucket's to tell.
                None if is_damaged => {
                    home.forget_floors()?;
                    CellState::set_aside(&folder)
                }
                None => Ok(()),
            }
        });
        written.await?;
        Ok(report)
    }
}

/// What marks the places of the node's agent.
fn owner(identity: &Identity, cell: &CellName) -> Owner {
    Owner { fleet: identity.fleet, node: identity.node.clone(), cell: cell.clone() }
}
