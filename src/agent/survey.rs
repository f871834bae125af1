//! What of a cell is on the host with our marker, under whichever profile.

use std::path::PathBuf;
use std::sync::Arc;

use super::context::Context;
use super::decide::{OnHost, View};
use super::disk::{DiskError, apart};
use super::place::{Owner, Plot, look};
use super::profile::{Mark, Profile, Profiles};
use super::state::CellState;
use super::steps::Steps;
use super::trouble::Trouble;
use crate::model::CellName;

/// What a profile has of a cell.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) profile: Arc<dyn Profile>,
    /// Releases and link; None if only a mark is left.
    pub(super) plot: Option<Plot>,
    /// What was brought up, if that is marked.
    pub(super) mark: Option<Mark>,
}

impl Holding {
    /// Stops it, and takes all of it away.
    pub(super) async fn clear(self, cell: &CellName) -> Result<(), Trouble> {
        self.profile.stop(cell).await?;
        self.profile.remove(cell).await?;
        match self.plot {
            Some(plot) => Ok(apart(move || plot.clear()).await?),
            None => Ok(()),
        }
    }
}

/// Everything of the owner's cell. Where one profile cannot be looked at nothing is known: what it may have must not be
/// taken for absent.
pub(super) fn holdings(profiles: &Profiles, owner: &Owner, steps: &Steps) -> Result<Vec<Holding>, DiskError> {
    let mut holdings = Vec::new();
    for profile in profiles.iter() {
        holdings.extend(holding(profile, owner, steps)?);
    }
    Ok(holdings)
}

/// What one profile has of the owner's cell.
pub(super) fn holding(profile: &Arc<dyn Profile>, owner: &Owner, steps: &Steps) -> Result<Option<Holding>, DiskError> {
    let placement = profile.placement(&owner.cell);
    let plot = Plot::find(placement.clone(), owner, steps)?;
    // What stands beside the releases of others is theirs.
    if plot.is_none() && Plot::is_others(&placement, steps)? {
        return Ok(None);
    }
    let mark = profile.mark(&owner.cell).map_err(|source| {
        let what = PathBuf::from(format!("what the {} profile has of cell {}", profile.name(), owner.cell));
        DiskError::new("looking at", what, source)
    })?;
    Ok((plot.is_some() || mark.is_some()).then(|| Holding { profile: Arc::clone(profile), plot, mark }))
}

/// What the host has of the cell, against what the state expects.
pub(super) fn view(context: &Context, cell: &CellName, state: &CellState) -> Result<View, DiskError> {
    let owner = context.owner(cell);
    let holdings = holdings(&context.profiles, &owner, &context.steps)?;
    let placed = state.placed.as_ref().map(|placed| placed.profile.as_str());
    let mut expected = placed.or_else(|| state.journal.iter().find_map(|attempt| attempt.profile.as_deref()));
    let mut linked = OnHost::Nothing;
    for profile in context.profiles.iter().filter(|profile| expected.is_none_or(|name| name == profile.name())) {
        match look(profile.placement(cell), &owner, &context.steps)? {
            OnHost::Nothing => {}
            other => {
                linked = other;
                expected = Some(profile.name());
                break;
            }
        }
    }
    let others = holdings.iter().map(|holding| holding.profile.name()).filter(|name| expected != Some(name));
    let others = others.map(str::to_owned).collect();
    let up = holdings.iter().filter_map(|holding| holding.mark.as_ref()?.activation).max();
    Ok(View { linked, others, up })
}
