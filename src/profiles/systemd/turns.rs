//! Two versions at once, each as a service of its own. The two services take turns to be the newer one.
//!
//! Until the newer one is good it is the older one that is enabled: a host that boots meanwhile starts what is known to
//! be good, and the agent brings up the newer one beside it once more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::look::{Begun, Look, Older, Unit};
use super::owned::{self, InPlace};
use super::watch::Site;
use super::{Systemd, disk};
use crate::agent::{Activation, ProfileError, Start};
use crate::model::strategy::{Listen, Strategy};
use crate::render::instance::Instance;
use crate::render::unit::{self, Sockets};

/// As which service a version is brought up, and beside what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) instance: Instance,
    /// Whether it takes turns with what comes before and after it.
    pub(super) takes_turns: bool,
    /// What goes on running until it is good.
    pub(super) beside: Option<Older>,
    /// Whether it runs already, brought up by another activation.
    pub(super) is_there: bool,
}

impl Turn {
    /// Nothing else runs.
    fn alone(instance: Instance, takes_turns: bool) -> Self {
        Self { instance, takes_turns, beside: None, is_there: false }
    }

    /// That of what was brought up last and goes on as it is; None while it is not alone, or if it took turns otherwise.
    pub(super) fn of_what_runs(look: &Look, strategy: &Strategy) -> Option<Self> {
        let takes_turns = matches!(strategy, Strategy::StartStop(_));
        let begun = look.begun.as_ref().filter(|begun| begun.beside.is_none())?;
        (begun.instance.is_some() == takes_turns)
            .then(|| Self { is_there: true, ..Self::alone(begun.instance(), takes_turns) })
    }

    /// Whose turn it is. `runs` says whether what is to be brought up runs already as one of the two.
    ///
    /// # Errors
    /// What runs would have to be stopped first, and is spared.
    fn of(start: &Start<'_>, look: &Look, runs: impl Fn(Instance) -> bool) -> Result<Self, ProfileError> {
        let Strategy::StartStop(how) = &start.manifest.strategy else { return Ok(Self::alone(Instance::A, false)) };
        let alone = |instance, why: &str| match start.spares {
            true => Err(ProfileError::StopsFirst(why.to_owned())),
            false => Ok(Self::alone(instance, true)),
        };
        let Some((begun, instance)) = look.begun.as_ref().and_then(|begun| Some((begun, begun.instance?))) else {
            return alone(Instance::A, "what runs took no turns, and holds its ports by itself");
        };
        if begun.activation == start.activation.to_string() {
            return Ok(Self { beside: begun.beside.clone(), ..Self::alone(instance, true) });
        }
        let (older, good) = match &begun.beside {
            Some(beside) => (beside.clone(), instance.other()),
            None => (Older { activation: begun.activation.clone(), sockets: begun.sockets.clone() }, instance),
        };
        if start.activation.attempt().is_none() {
            // What is gone back to is not started beside anything: it runs still, or it is started anew.
            return Ok(match [good, good.other()].into_iter().find(|instance| runs(*instance)) {
                Some(instance) => Self { is_there: true, ..Self::alone(instance, true) },
                None => Self::alone(good, true),
            });
        }
        match can_share(look, &older.sockets, &unit::sockets(start.cell, how)) {
            Ok(()) => Ok(Self { beside: Some(older), ..Self::alone(good.other(), true) }),
            Err(why) => {
                tracing::warn!(cell = %start.cell, "it takes the place of the version before by stop_start: {why}");
                alone(good, &why)
            }
        }
    }
}

/// Whether a version that is given the sockets `newer` can run beside one that has `older`.
fn can_share(look: &Look, older: &Sockets, newer: &Sockets) -> Result<(), String> {
    if let Some((_, listen)) = older.iter().find(|(stem, _)| look.sockets.get(*stem).is_none_or(|unit| !unit.is_up())) {
        return Err(format!("systemd does not listen at {listen} any more, so that only the version before has it"));
    }
    let added = newer.iter().filter(|(stem, _)| !older.contains_key(*stem));
    for (_, listen) in added {
        if let Some(held) = older.values().find(|held| are_in_the_way(held, listen)) {
            return Err(format!(
                "its socket at {listen} has another name or mode, and {held} is listened at until then"
            ));
        }
    }
    Ok(())
}

/// Whether nobody can listen at both. Of ports it is only supposed: addresses may hold one another.
fn are_in_the_way(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Tcp(one), Listen::Tcp(other)) => one.port() == other.port(),
        (Listen::Unix(one), Listen::Unix(other)) => one == other,
        _ => false,
    }
}

impl Systemd {
    /// Whose turn it is when `start` is brought up.
    ///
    /// # Errors
    /// What runs would have to be stopped first, and is spared.
    pub(super) fn turn(&self, start: &Start<'_>, site: &Site, look: &Look) -> Result<Turn, ProfileError> {
        Turn::of(start, look, |instance| {
            let begun = look.begun.as_ref().map_or(Instance::A, Begun::instance);
            let unit = if instance == begun { Some(&look.service) } else { look.other.as_ref() };
            unit.is_some_and(Unit::is_up) && self.is_as_written(start, site, instance)
        })
    }

    /// Whether the unit is what `start` would write, but for which bringing up wrote it.
    fn is_as_written(&self, start: &Start<'_>, site: &Site, instance: Instance) -> bool {
        let Ok(InPlace::Ours(ours)) = site.look(&site.service(instance)) else { return false };
        let written = ours.marker.activation.parse::<Activation>();
        let wanted = written.ok().and_then(|activation| {
            self.rendered(&Start { activation, ..*start }, site, instance).ok().map(|units| units.service)
        });
        wanted.is_some_and(|wanted| wanted == ours.bytes)
    }

    /// Ends what ran beside `start`, which is good, and takes away what was only the other's.
    pub(super) async fn leave_alone(&self, start: Start<'_>) -> Result<(), ProfileError> {
        let cell = self.cell(start.cell);
        let site = &cell.site;
        let Some(begun) = site.begun().filter(|begun| begun.beside.is_some()) else { return Ok(()) };
        if begun.activation != start.activation.to_string() {
            return Ok(());
        }
        let instance = begun.instance();
        // First: a host that boots before all is done starts both, and never none.
        self.bus.enable(site.names.service(instance)).await?;
        let stays = begun.sockets.keys().cloned().collect();
        self.end_others(site, Some(instance.other()), &stays).await?;
        let lock = self.changing.lock().await;
        self.bus.reload().await?;
        drop(lock);
        let settled = Begun { beside: None, ..begun };
        site.begin(&settled).map_err(|error| disk("writing to", &site.folder, &error))?;
        cell.look().await?;
        Ok(())
    }

    /// Ends the service `instance` and the sockets that are not in `stays`, and removes their units; true if there were
    /// any, of which systemd is still to be told.
    pub(super) async fn end_others(
        &self,
        site: &Site,
        instance: Option<Instance>,
        stays: &BTreeSet<String>,
    ) -> Result<bool, ProfileError> {
        let mut gone = Vec::new();
        if let Some(instance) = instance {
            let (name, path) = (site.names.service(instance), site.service(instance));
            let found = site.look(&path).map_err(|error| disk("reading", &path, &error))?;
            if self.is_ours(site, &found, name).await? {
                self.bus.disable(name).await?;
                self.stop_service(name).await?;
                self.bus.reset_failed(name).await?;
                gone.push(path);
            }
        }
        let stems = site.sockets().map_err(|error| disk("reading", &self.settings.service_folder, &error))?;
        for stem in stems.difference(stays) {
            self.close_socket(stem).await?;
            gone.extend(site.socket(stem));
        }
        let _lock = self.changing.lock().await;
        for path in &gone {
            owned::remove(path).map_err(|error| disk("removing", path, &error))?;
        }
        Ok(!gone.is_empty())
    }

    /// Whether what there is of a service is ours to stop (I7). What was brought up is still ours when its file is gone.
    pub(super) async fn is_ours(&self, site: &Site, found: &InPlace, name: &str) -> Result<bool, ProfileError> {
        match found {
            InPlace::Ours(_) => Ok(true),
            InPlace::Foreign(_) => Ok(false),
            InPlace::Nothing => {
                let of = |begun: Begun| begun.beside.is_some() || name == site.names.service(begun.instance());
                let is_from_here = |path: &PathBuf| path.starts_with(&self.settings.service_folder);
                Ok(site.begun().is_some_and(of) && self.unit(name).await?.file.as_ref().is_none_or(is_from_here))
            }
        }
    }

    /// Has a service stopped, if it is up, in as much time as it has for that.
    pub(super) async fn stop_service(&self, name: &str) -> Result<(), ProfileError> {
        let unit = self.unit(name).await?;
        if unit.is_up() { self.stop_unit(name, unit.stops_within).await } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
