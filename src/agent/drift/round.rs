//! One look at a cell, and what is done about what it finds.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::found::{Found, shown};
use super::ledger::Ledger;
use super::mend::Mend;
use super::walk::{Prints, Walk};
use crate::agent::context::Context;
use crate::agent::disk::{Folder, apart};
use crate::agent::home::CellHome;
use crate::agent::place::Plot;
use crate::agent::profile::Profile;
use crate::agent::stage::kept_manifest;
use crate::agent::state::Placed;
use crate::agent::trouble::{Cure, Trouble};
use crate::clock::to_seconds;
use crate::model::drift::{DriftMode, DriftRepair, DriftReport, DriftState};
use crate::model::heartbeat::Fault;
use crate::model::manifest::Manifest;
use crate::model::{CellName, Code};
use crate::render::OnNode;

/// After each slice of work comes a pause so many times as long: what a look takes of disk and processor is the
/// smaller share.
const PAUSES: u32 = 4;

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// One look at what is placed of a cell.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) context: Arc<Context>,
    pub(super) cell: CellName,
    pub(super) home: CellHome,
    pub(super) placed: Placed,
    /// What the last look knew of the files.
    pub(super) before: Arc<Prints>,
    pub(super) known: Option<Box<DriftReport>>,
    pub(super) may_mend: bool,
    pub(super) stop: CancellationToken,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct End {
    /// None where nobody is to look.
    pub(super) report: Option<DriftReport>,
    pub(super) prints: Prints,
    /// How long until the next one.
    pub(super) interval: Duration,
}

/// What is looked at.
struct Place {
    profile: Arc<dyn Profile>,
    plot: Arc<Plot>,
    release: Folder,
    manifest: Arc<Manifest>,
}

impl Round {
    /// Looks; None if it was given up.
    pub(super) async fn run(self) -> Option<End> {
        let turn = tokio::select! {
            turn = self.context.looks.acquire() => turn,
            () = self.stop.cancelled() => return None,
        };
        let ended = self.look().await;
        drop(turn);
        match ended {
            Ok(end) => Some(end),
            Err(_) if self.stop.is_cancelled() => None,
            Err(Trouble { cure: Cure::Killed, .. }) => None,
            Err(trouble) => {
                let problem = self.fault(Code::DriftUnchecked, trouble.message);
                let report = DriftReport { problem: Some(problem), ..DriftReport::unknown() };
                Some(End { report: Some(report), prints: Prints::new(), interval: self.context.drift.interval })
            }
        }
    }

    async fn look(&self) -> Result<End, Trouble> {
        let usual = self.context.drift;
        let place = self.place().await?;
        let spec = &place.manifest.drift;
        let interval = spec.interval_ms.map_or(usual.interval, Duration::from_millis);
        let mode = spec.mode.unwrap_or(usual.mode);
        if mode == DriftMode::Off {
            return Ok(End { report: None, prints: Prints::new(), interval });
        }
        let (mut found, mut prints) = self.find(&place, Arc::clone(&self.before)).await?;
        let folder = self.home.folder.clone();
        let mut ledger = apart(move || Ledger::load(&folder)).await?;
        let mut problem = None;
        if mode == DriftMode::Repair && self.may_mend && found.is_mendable() {
            let most = spec.repairs_per_hour.unwrap_or(usual.repairs_per_hour);
            match ledger.full_until(most, self.context.clock.now()) {
                Some(until) => {
                    let message = format!(
                        "something was put back {most} times within an hour; the next time may be at {}",
                        until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
                    );
                    problem = Some(self.fault(Code::RepairsExhausted, message));
                }
                None => {
                    let mended = self.mend(&place, &found, &mut ledger).await;
                    problem = self.unless_ended(mended)?.map(|trouble| self.fault(Code::RepairFailed, trouble.message));
                    (found, prints) = self.find(&place, Arc::new(prints)).await?;
                }
            }
        }
        Ok(End { report: Some(self.report(found, problem, &ledger)), prints, interval })
    }

    /// What went wrong with a repair, if that is not that it was given up.
    fn unless_ended(&self, mended: Result<Option<Trouble>, Trouble>) -> Result<Option<Trouble>, Trouble> {
        match mended {
            Ok(trouble) => Ok(trouble),
            Err(trouble) if trouble.cure == Cure::Killed || self.stop.is_cancelled() => Err(trouble),
            Err(trouble) => Ok(Some(trouble)),
        }
    }

    async fn place(&self) -> Result<Place, Trouble> {
        let (context, cell, home) = (Arc::clone(&self.context), self.cell.clone(), self.home.clone());
        let placed = self.placed.clone();
        apart(move || {
            let unchecked = |message: String| Trouble::new(Code::DriftUnchecked, message, Cure::Time);
            let version = &placed.target.version;
            let profile = context.profiles.get(&placed.profile).cloned();
            let profile = profile
                .ok_or_else(|| unchecked(format!("this agent is not set up for the {} profile", placed.profile)))?;
            let manifest = kept_manifest(&home, &placed.target)?;
            let manifest = manifest
                .ok_or_else(|| unchecked(format!("the manifest of version {version} is not kept on the node")))?;
            let plot = Plot::find(profile.placement(&cell), &context.owner(&cell), &context.steps)?;
            let plot = plot.ok_or_else(|| unchecked("its folder of releases is not there, or not ours".to_owned()))?;
            let release = plot.releases.child(placed.release())?;
            let release = release.ok_or_else(|| unchecked(format!("the release of version {version} is not there")))?;
            Ok(Place { profile, plot: Arc::new(plot), release, manifest: Arc::new(manifest) })
        })
        .await
    }

    /// Looks at everything, in slices with pauses in between.
    async fn find(&self, place: &Place, before: Arc<Prints>) -> Result<(Found, Prints), Trouble> {
        let clock = &self.context.clock;
        let (release, manifest) = (place.release.clone(), Arc::clone(&place.manifest));
        let mut walk = apart(move || Walk::new(release, manifest, before)).await?;
        loop {
            let (began, now) = (clock.monotonic(), clock.now());
            let is_done;
            (walk, is_done) = apart(move || {
                let is_done = walk.advance(now);
                Ok::<_, Trouble>((walk, is_done))
            })
            .await?;
            if is_done {
                break;
            }
            let pause = clock.monotonic().saturating_sub(began).saturating_mul(PAUSES);
            tokio::select! {
                () = clock.sleep(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)) => {}
                () = self.stop.cancelled() => {
                    return Err(Trouble::new(Code::Interrupted, "it was given up", Cure::Time));
                }
            }
        }
        let (mut found, prints) = walk.end();
        match place.profile.drift(&self.cell).await {
            Ok(strayed) => strayed.iter().for_each(|strayed| found.strayed(strayed)),
            Err(error) => found.incomplete(error.to_string()),
        }
        Ok((found, prints))
    }

    /// Puts back what can be; comes back with what could not, if there is such a thing.
    async fn mend(&self, place: &Place, found: &Found, ledger: &mut Ledger) -> Result<Option<Trouble>, Trouble> {
        let mend = Mend {
            context: Arc::clone(&self.context),
            cell: self.cell.clone(),
            plot: Arc::clone(&place.plot),
            release: place.release.clone(),
            name: self.placed.release(),
            manifest: Arc::clone(&place.manifest),
            stop: self.stop.clone(),
        };
        let mut ready = match found.files.as_slice() {
            [] => None,
            files => Some(mend.prepare(files).await?),
        };
        let files = ready.iter().flat_map(|ready| &ready.files).map(|file| shown(file.path.as_str()));
        let mut paths = files.chain(found.units.iter().cloned());
        if let Some(path) = paths.next() {
            let more = paths.count() as u64;
            tracing::warn!(event = "drift_repaired", cell = %self.cell, path, more, "what drifted is put back");
            let repair = DriftRepair { at: to_seconds(self.context.clock.now()), path, more };
            let (folder, mut noted) = (self.home.folder.clone(), ledger.clone());
            *ledger = apart(move || noted.note(repair, &folder).map(|()| noted)).await?;
        }
        if let Some(ready) = &mut ready {
            mend.put(ready).await?;
        }
        let mut trouble = ready.and_then(|ready| ready.trouble);
        if !found.units.is_empty() {
            let (release, data) =
                (place.release.path().to_owned(), self.context.home.data().path().join(self.cell.as_str()));
            let deployed = OnNode { cell: &self.cell, manifest: &place.manifest, release: &release, data: &data };
            trouble = trouble.or(place.profile.mend(deployed).await.err().map(Trouble::from));
        }
        Ok(trouble)
    }

    fn report(&self, found: Found, problem: Option<Fault>, ledger: &Ledger) -> DriftReport {
        let gap = found.gap.clone().map(|why| self.fault(Code::DriftUnchecked, why));
        let state = match (found.is_nothing(), &gap) {
            (false, _) => DriftState::Drifted,
            (true, Some(_)) => DriftState::Unknown,
            (true, None) => DriftState::InSync,
        };
        let now = to_seconds(self.context.clock.now());
        let known = self.known.as_ref().map(|known| known.findings.as_slice()).unwrap_or_default();
        let (findings, more) = found.told(known, now);
        if self.known.as_ref().is_none_or(|before| before.findings != findings) {
            for finding in &findings {
                let (code, path) = (finding.code.as_str(), &finding.path);
                tracing::warn!(event = "drift_found", cell = %self.cell, code, path, "it is not as it was deployed");
            }
        }
        DriftReport { state, checked_at: Some(now), findings, more, problem: problem.or(gap), repairs: ledger.last() }
    }

    /// A fault, since when it is one.
    fn fault(&self, code: Code, message: String) -> Fault {
        let before = self.known.as_ref().and_then(|known| known.problem.as_ref());
        let since = before.filter(|before| before.code == code).map(|before| before.at);
        let at = since.unwrap_or_else(|| to_seconds(self.context.clock.now()));
        Trouble::new(code, message, Cure::Time).fault(at)
    }
}
