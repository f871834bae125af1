//! A version that takes the place of another one without a restart: its unit is what systemd has from now on, and what
//! runs is told to read its files again.

use super::install::{before, given};
use super::look::{Begun, Look};
use super::owned::{InPlace, Marker};
use super::turns::Turn;
use super::watch::Site;
use super::{SLACK, Systemd, disk, waiting};
use crate::agent::{Over, ProfileError, Start};
use crate::model::Code;
use crate::profiles::systemd::bus::JobEnd;
use crate::render::instance::Instance;

impl Systemd {
    /// Lets what runs of `over` go on as the version of `start`, if it runs just so.
    pub(super) async fn go_over(&self, start: Start<'_>, over: Over<'_>) -> Result<bool, ProfileError> {
        let cell = self.cell(start.cell);
        cell.begin();
        let site = &cell.site;
        let activation = start.activation.to_string();
        let look = cell.look().await?;
        let Some(turn) = Turn::of_what_runs(&look, &start.manifest.strategy) else { return Ok(false) };
        let (unit, sockets) = (site.names.service(turn.instance), given(&start));
        let wanted = self.wanted(&start, site, turn.instance)?;
        {
            let _lock = self.changing.lock().await;
            let is_it = || self.is_of(site, turn.instance, &start, over);
            if !goes_on(&look, start.restores()) || wanted.timer.is_some() || !is_it()? {
                return Ok(false);
            }
            let before = before(site, &turn, &wanted, start.force)?;
            self.check_others(site, &turn, &wanted).await?;
            if before.service.as_deref() != Some(&*wanted.service) || look.service.needs_reload {
                self.install(site, &start, &turn, &wanted, &before).await?;
            }
            // It is no other start that it has to show.
            let instance = turn.takes_turns.then_some(turn.instance);
            let begun =
                Begun { activation, is_scheduled: false, instead_of: None, instance, sockets, beside: turn.beside };
            site.begin(&begun).map_err(|error| disk("writing to", &site.folder, &error))?;
            // From now on its restarts are counted anew.
            self.bus.reset_failed(unit).await?;
        }
        if over.reloads {
            self.tell(unit, &cell.look().await?).await?;
        }
        cell.look().await?;
        Ok(true)
    }

    /// Whether the unit in place is that of `over`, or already that of `start`, whichever bringing up wrote it.
    fn is_of(&self, site: &Site, instance: Instance, start: &Start<'_>, over: Over<'_>) -> Result<bool, ProfileError> {
        let path = site.service(instance);
        let found = site.look(&path).map_err(|error| disk("reading", &path, &error))?;
        let InPlace::Ours(ours) = found else { return Ok(false) };
        for version in [over.start(*start), *start] {
            let marker = Marker { version: version.manifest.version.to_string(), ..ours.marker.clone() };
            if marker.seal(&self.unmarked(&version, instance)?.service) == ours.bytes {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn tell(&self, unit: &str, look: &Look) -> Result<(), ProfileError> {
        match self.bus.reload_unit(unit, look.service.stops_within + SLACK).await? {
            JobEnd::Result(result) => match result.as_str() {
                "done" => Ok(()),
                "canceled" | "collected" => {
                    Err(waiting(Code::Io, format!("somebody else had {unit} changed while it was reloaded")))
                }
                result => Err(ProfileError::Version(format!("it could not be reloaded: {result}"))),
            },
            JobEnd::Going => Err(ProfileError::Version("its reload does not come to an end".to_owned())),
        }
    }
}

/// Whether there is a process that can go on; where it is gone back from, without having ended meanwhile.
fn goes_on(look: &Look, restores: bool) -> bool {
    (look.service.restarts == 0 || !restores)
        && look.begun.as_ref().is_some_and(|begun| !begun.is_scheduled)
        && ["active", "reloading"].contains(&look.service.active.as_str())
        && look.service.pid.is_some()
}
