//! How an attempt ends: what is taken away, what is told, and what is tidied up behind it.

use std::sync::Arc;

use super::super::attempt_log::AttemptLog;
use super::super::disk::{DiskError, apart};
use super::super::health;
use super::super::outbox::outcome_name;
use super::super::state::{Attempt, CellState, Placed, Standing, Step};
use super::super::trouble::Trouble;
use super::{Performer, kept, under_way};
use crate::model::document;
use crate::model::heartbeat::VersionReport;
use crate::model::outcome::Outcome;

impl Performer {
    /// Tells the attempt's log what the programs of the version that failed said last. What cannot be read is told, and
    /// keeps nothing from going on.
    pub(super) async fn quote(&self, state: &CellState, attempt: &Attempt, log: &AttemptLog) {
        let target = attempt.wish.action.target();
        let Some(placed) = state.placed.as_ref().filter(|placed| Some(&placed.target) == target) else { return };
        let Ok(profile) = self.profile(&placed.profile) else { return };
        let (from, activation) = (profile.log(&self.cell), attempt.key.activation().to_string());
        match health::last_lines(&self.home.folder, &from, &activation, &self.context.clock).await {
            Ok(lines) if lines.is_empty() => {}
            Ok(lines) => {
                log.line(format!("the last that version {} said:", placed.target.version));
                for line in lines {
                    log.line(format!("  {line}"));
                }
            }
            Err(why) => log.line(format!("what version {} said cannot be read: {why}", placed.target.version)),
        }
    }

    pub(super) async fn remove(&self, state: &CellState, purge_data: bool) -> Result<(), Trouble> {
        self.check_placed(state)?;
        for holding in self.ours().await? {
            holding.clear(&self.cell).await?;
        }
        let (context, cell, home) = (Arc::clone(&self.context), self.cell.clone(), self.home.clone());
        Ok(apart(move || {
            for name in home.manifests.names()? {
                home.manifests.remove_file(&name)?;
            }
            if purge_data {
                context.home.data().remove_tree(cell.as_str())?;
            }
            Ok::<_, DiskError>(())
        })
        .await?)
    }

    /// Writes down what came of the attempt, to be sent, and tidies up behind it.
    pub(super) async fn write(
        &mut self,
        state: &CellState,
        attempt: &Attempt,
        log: &AttemptLog,
    ) -> Result<(), Trouble> {
        let Some(outcome) = self.outcome(state, attempt) else { return Ok(()) };
        let ending = outcome.outcome.words();
        match (&outcome.code, &outcome.message) {
            (Some(code), Some(message)) => log.line(format!("{ending}: {code}: {message}")),
            _ => log.line(ending),
        }
        let (outbox, name) = (self.home.outbox.clone(), outcome_name(attempt.key));
        apart(move || outbox.write(&name, &document::render(&outcome))).await?;
        self.logs.remove(&attempt.key);
        self.manifests.remove(&attempt.key);
        self.noted.remove(&attempt.key);
        self.prepared.remove(&attempt.key);
        self.context.changed.notify_one();
        if state.standing == Standing::Deployed {
            self.tidy(state).await?;
        }
        Ok(())
    }

    pub(super) fn outcome(&self, state: &CellState, attempt: &Attempt) -> Option<Outcome> {
        let Step::Ended { ended_at, ending, fault } = &attempt.step else { return None };
        let version = |placed: &Option<Placed>| placed.as_ref().map(|placed| VersionReport::from(&placed.target));
        let identity = &self.context.identity;
        Some(Outcome {
            fleet: identity.fleet,
            node: identity.node.clone(),
            cell: self.cell.clone(),
            at: attempt.key.at,
            attempt: attempt.key.number,
            action: attempt.wish.action.name().to_owned(),
            version: attempt.wish.action.target().map(VersionReport::from),
            started_at: attempt.started_at,
            ended_at: *ended_at,
            outcome: *ending,
            known_good_after: version(&state.known_good),
            running_after: version(&state.placed),
            code: fault.as_ref().map(|fault| fault.code),
            message: fault.as_ref().map(|fault| fault.message.clone()),
            files_fetched: attempt.effort.files_fetched,
            files_reused: attempt.effort.files_reused,
            bytes_fetched: attempt.effort.bytes_fetched,
        })
    }

    /// Removes releases, and manifests of releases, that are not kept (I9).
    pub(super) async fn tidy(&self, state: &CellState) -> Result<(), DiskError> {
        let (keep, under_way) = (kept(state), under_way(state));
        let order: Vec<String> = state.placed_before.iter().map(Placed::release).collect();
        let (home, extra) = (self.home.clone(), self.context.keep_versions);
        let ours = self.ours().await?;
        apart(move || {
            let mut there = keep.clone();
            for plot in ours.into_iter().filter_map(|holding| holding.plot) {
                plot.tidy(&keep, &under_way, &order, extra)?;
                there.extend(plot.releases.names()?);
            }
            for name in home.manifests.names()? {
                if !name.strip_suffix(".json").is_some_and(|release| there.contains(release)) {
                    home.manifests.remove_file(&name)?;
                }
            }
            Ok(())
        })
        .await
    }
}
