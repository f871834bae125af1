//! Bringing up a version: its units are checked, put in their place, read by systemd, and started.
//!
//! Every step may be the last before a crash, and the next call goes on from there. Until systemd has read the new
//! units without complaint nothing that runs is touched, and where it complains the old files are put back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bus::{BusError, JobEnd};
use super::look::{Begun, Unit};
use super::needs::{check_node, own_unit};
use super::owned::{self, InPlace, Marker, check_own};
use super::turns::Turn;
use super::watch::Site;
use super::{SLACK, Systemd, disk, waiting};
use crate::agent::{ProfileError, Start};
use crate::model::Code;
use crate::model::run_spec::Profile;
use crate::model::strategy::Strategy;
use crate::model::systemd::SystemdSpec;
use crate::render::instance::Instance;
use crate::render::unit::{self, Sockets, Units, Unwritable};

/// The unit files as they were.
pub(super) struct Before {
    pub(super) service: Option<Vec<u8>>,
    timer: Option<Vec<u8>>,
    /// Those of the sockets' units that were there, whole.
    sockets: BTreeSet<PathBuf>,
}

impl Before {
    fn is(&self, wanted: &Units, site: &Site) -> bool {
        let has_sockets =
            wanted.sockets.keys().flat_map(|stem| site.socket(stem)).all(|path| self.sockets.contains(&path));
        self.service.as_deref() == Some(&*wanted.service) && self.timer == wanted.timer && has_sockets
    }
}

impl From<Unwritable> for ProfileError {
    fn from(error: Unwritable) -> Self {
        Self::Version(error.to_string())
    }
}

impl Systemd {
    pub(super) async fn bring_up(&self, start: Start<'_>) -> Result<(), ProfileError> {
        let cell = self.cell(start.cell);
        cell.begin();
        let site = &cell.site;
        let look = cell.look().await?;
        let turn = self.turn(&start, site, &look)?;
        let wanted = if turn.is_there {
            self.rendered(&start, site, turn.instance)?
        } else {
            self.wanted(&start, site, turn.instance)?
        };
        let is_scheduled = wanted.timer.is_some();
        let activation = start.activation.to_string();

        let lock = self.changing.lock().await;
        let before = before(site, &turn, &wanted, start.force)?;
        self.check_others(site, &turn, &wanted).await?;
        let has_begun = look.begun.as_ref().is_some_and(|begun| begun.activation == activation);
        let service = self.unit(site.names.service(turn.instance)).await?;
        if !(before.is(&wanted, site) && has_begun) || service.needs_reload {
            self.install(site, &start, &turn, &wanted, &before).await?;
        }
        let service = self.unit(site.names.service(turn.instance)).await?;
        let given = given(&start);
        if !has_begun {
            let lead = if is_scheduled { self.unit(&site.names.timer).await? } else { service.clone() };
            let begun = Begun {
                activation: activation.clone(),
                is_scheduled,
                instead_of: lead.invocation.filter(|_| !turn.is_there),
                instance: turn.takes_turns.then_some(turn.instance),
                sockets: given.clone(),
                beside: turn.beside.clone(),
            };
            site.begin(&begun).map_err(|error| disk("writing to", &site.folder, &error))?;
        }
        drop(lock);

        let has_started = cell.look().await?.has_started(&activation);
        // What is restarted again and again goes on counting, and what was given no sockets holds ports.
        let is_flapping = service.active == "activating" || service.restarts > 0;
        let is_in_the_way = is_flapping || is_scheduled || !self.are_open(&given).await?;
        if !has_started && is_in_the_way && service.is_up() {
            self.stop_unit(site.names.service(turn.instance), service.stops_within).await?;
        }
        let ends = turn.beside.is_none().then_some(turn.instance.other());
        let stays = turn.beside.iter().flat_map(|older| older.sockets.keys()).chain(given.keys()).cloned().collect();
        if self.end_others(site, ends, &stays).await? {
            let _lock = self.changing.lock().await;
            self.bus.reload().await?;
        }
        if !has_started {
            self.open_sockets(&given).await?;
            self.start(site, turn.instance, service.stops_within, is_scheduled).await?;
        }
        cell.look().await?;
        Ok(())
    }

    /// The unit files that the version asks for, on a node that has what it needs.
    pub(super) fn wanted(&self, start: &Start<'_>, site: &Site, instance: Instance) -> Result<Units, ProfileError> {
        let units = self.rendered(start, site, instance)?;
        if let Profile::Systemd(SystemdSpec::Rendered(spec)) = &start.manifest.profile {
            check_node(spec, self.settings.scope)?;
        }
        Ok(units)
    }

    /// The unit files that the version asks for, with their marker.
    pub(super) fn rendered(&self, start: &Start<'_>, site: &Site, instance: Instance) -> Result<Units, ProfileError> {
        let mut units = self.unmarked(start, instance)?;
        let marker = Marker {
            cell: start.cell.to_string(),
            version: start.manifest.version.to_string(),
            generation: start.activation.at().generation.to_string(),
            fleet: start.manifest.fleet.to_string(),
            node: start.manifest.node.to_string(),
            activation: start.activation.to_string(),
            folder: site.folder.display().to_string(),
        };
        for socket in units.sockets.values_mut() {
            (socket.socket, socket.idle) = (marker.seal(&socket.socket), marker.seal(&socket.idle));
        }
        let (service, timer) = (marker.seal(&units.service), units.timer.map(|timer| marker.seal(&timer)));
        Ok(Units { service, timer, sockets: units.sockets })
    }

    /// The unit files that the version asks for.
    pub(super) fn unmarked(&self, start: &Start<'_>, instance: Instance) -> Result<Units, ProfileError> {
        let Profile::Systemd(spec) = &start.manifest.profile else {
            return Err(ProfileError::Version("its manifest is for another profile".to_owned()));
        };
        match spec {
            SystemdSpec::Rendered(spec) => {
                Ok(unit::units(spec, &start.on_node(), instance, self.settings.scope, &self.program.path)?)
            }
            SystemdSpec::Own(own) => {
                let path = start.release.join(own.unit_file.as_str());
                let service = own_unit(&path)?;
                check_own(&service).map_err(|problem| Unwritable::new(own.unit_file.as_str(), problem))?;
                Ok(Units { service, timer: None, sockets: BTreeMap::new() })
            }
        }
    }

    /// Whether systemd has the unit from anywhere else, or would (I7).
    pub(super) async fn check_others(&self, site: &Site, turn: &Turn, wanted: &Units) -> Result<(), ProfileError> {
        let folders = self.bus.unit_folders().await?;
        let own = &self.settings.service_folder;
        if !folders.contains(own) {
            let message =
                format!("systemd does not look for units in {}; see service_folder in the config", own.display());
            return Err(waiting(Code::ProfileUnavailable, message));
        }
        let mut units = vec![site.service(turn.instance), site.timer()];
        units.extend(wanted.sockets.keys().flat_map(|stem| site.socket(stem)));
        for folder in folders.iter().filter(|folder| *folder != own) {
            for unit in &units {
                let path = folder.join(unit.file_name().unwrap_or_default());
                if fs::symlink_metadata(&path).is_ok() && !is_same_file(&path, unit) {
                    return Err(waiting(
                        Code::UnitNotOwned,
                        format!("{} is not ours, so it is left alone", path.display()),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Puts the unit files in their place and lets systemd read them; where it does not take them, puts the old ones
    /// back.
    pub(super) async fn install(
        &self,
        site: &Site,
        start: &Start<'_>,
        turn: &Turn,
        wanted: &Units,
        before: &Before,
    ) -> Result<(), ProfileError> {
        let replaced = self.replace(site, turn, wanted, before).await;
        let may_reload = start.manifest.may_reload();
        let done = replaced.and_then(|service| check_reloadable(&service, may_reload));
        if let Err(error) = &done {
            tracing::warn!(cell = %site.cell, %error, "its unit is put back as it was");
            self.put_back(site, turn, wanted, before).await;
        }
        done
    }

    /// What systemd says of the service then.
    async fn replace(&self, site: &Site, turn: &Turn, wanted: &Units, before: &Before) -> Result<Unit, ProfileError> {
        let (names, service, timer) = (&site.names, site.service(turn.instance), site.timer());
        let name = names.service(turn.instance);
        let write =
            |path: &Path, bytes: &[u8]| owned::write(path, bytes, 0o644).map_err(|error| disk("writing", path, &error));
        let folder = &self.settings.service_folder;
        fs::create_dir_all(folder).map_err(|error| disk("making", folder, &error))?;
        // The service last: it is what decides what the host starts.
        for (stem, units) in &wanted.sockets {
            for (path, bytes) in site.socket(stem).iter().zip([&units.socket, &units.idle]) {
                // What another version wrote is the same.
                if !before.sockets.contains(path) {
                    write(path, bytes)?;
                }
            }
        }
        if let Some(bytes) = &wanted.timer {
            write(&timer, bytes)?;
        }
        if turn.beside.is_none() {
            // Before: a host that boots in between starts none, and not two that may not run at once.
            self.disable_other(site, turn).await?;
        }
        write(&service, &wanted.service)?;
        if wanted.timer.is_some() {
            self.bus.disable(name).await?;
            self.enable(&names.timer).await?;
        } else {
            if before.timer.is_some() {
                self.bus.disable(&names.timer).await?;
                self.stop_unit(&names.timer, Duration::ZERO).await?;
                self.bus.clean(&names.timer).await?;
                owned::remove(&timer).map_err(|error| disk("removing", &timer, &error))?;
            }
            match turn.beside {
                None => self.enable(name).await?,
                Some(_) => self.bus.disable(name).await?,
            }
        }
        self.bus.reload().await?;
        let loaded = self.unit(name).await?;
        check_loaded(&loaded, &service)?;
        if wanted.timer.is_some() {
            check_loaded(&self.unit(&names.timer).await?, &timer)?;
        }
        for path in wanted.sockets.keys().flat_map(|stem| site.socket(stem)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            check_loaded(&self.unit(&name).await?, &path)?;
        }
        Ok(loaded)
    }

    async fn disable_other(&self, site: &Site, turn: &Turn) -> Result<(), ProfileError> {
        let other = turn.instance.other();
        let path = site.service(other);
        match site.look(&path).map_err(|error| disk("reading", &path, &error))? {
            InPlace::Ours(_) => Ok(self.bus.disable(site.names.service(other)).await?),
            InPlace::Nothing | InPlace::Foreign(_) => Ok(()),
        }
    }

    /// Has a unit start with the host. A release's own unit need not say with what.
    async fn enable(&self, unit: &str) -> Result<(), BusError> {
        if self.bus.enable(unit).await? {
            Ok(())
        } else {
            self.bus.enable_with(unit, self.settings.scope.target()).await
        }
    }

    async fn put_back(&self, site: &Site, turn: &Turn, wanted: &Units, before: &Before) {
        let services = [
            (site.service(turn.instance), site.names.service(turn.instance), &before.service),
            (site.timer(), &*site.names.timer, &before.timer),
        ];
        for (path, name, bytes) in services {
            let done = match bytes {
                Some(bytes) => owned::write(&path, bytes, 0o644),
                None => {
                    if let Err(error) = self.bus.disable(name).await {
                        tracing::warn!(%error, "{name} cannot be disabled");
                    }
                    owned::remove(&path)
                }
            };
            if let Err(error) = done {
                tracing::warn!(%error, "{} cannot be put back", path.display());
            }
        }
        let new = wanted.sockets.keys().flat_map(|stem| site.socket(stem));
        for path in new.filter(|path| !before.sockets.contains(path)) {
            if let Err(error) = owned::remove(&path) {
                tracing::warn!(%error, "{} cannot be removed", path.display());
            }
        }
        if let Err(error) = self.bus.reload().await {
            tracing::warn!(%error, "systemd has not read the old units");
        }
    }

    /// Starts what has begun, in place of what runs by its name.
    async fn start(
        &self,
        site: &Site,
        instance: Instance,
        patience: Duration,
        is_scheduled: bool,
    ) -> Result<(), ProfileError> {
        let names = &site.names;
        let name = names.service(instance);
        for unit in [name, &names.timer] {
            self.bus.reset_failed(unit).await?;
        }
        let unit = if is_scheduled { &*names.timer } else { name };
        match self.bus.restart(unit, patience + SLACK).await? {
            // What failed may be started again by itself: that is for the gate to see, as is what is not up yet.
            JobEnd::Going => Ok(()),
            JobEnd::Result(result) => match result.as_str() {
                "done" | "failed" | "timeout" => Ok(()),
                "canceled" | "collected" => {
                    Err(waiting(Code::Io, format!("somebody else had {unit} changed while it was started")))
                }
                "dependency" => Err(ProfileError::Version("a unit that it requires could not be started".to_owned())),
                result => Err(ProfileError::Version(format!("systemd did not start {unit}: {result}"))),
            },
        }
    }
}

/// What the host has in place of the unit files, if it may be overwritten.
pub(super) fn before(site: &Site, turn: &Turn, wanted: &Units, force: bool) -> Result<Before, ProfileError> {
    let look = |path: &Path| match site.look(path).map_err(|error| disk("reading", path, &error))? {
        InPlace::Nothing => Ok(None),
        InPlace::Foreign(what) => Err(waiting(Code::UnitNotOwned, format!("{what}, so it is left alone"))),
        InPlace::Ours(ours) if ours.is_edited && !force => {
            let message = format!("{} was changed by hand; publish with --force to overwrite it", path.display());
            Err(waiting(Code::UnitDrift, message))
        }
        InPlace::Ours(ours) => Ok(Some(ours)),
    };
    if turn.takes_turns {
        // It is to be removed.
        look(&site.service(turn.instance.other()))?;
    }
    let mut sockets = BTreeSet::new();
    for path in wanted.sockets.keys().flat_map(|stem| site.socket(stem)) {
        if look(&path)?.is_some_and(|ours| !ours.is_edited) {
            sockets.insert(path);
        }
    }
    let bytes = |path: &Path| Ok::<_, ProfileError>(look(path)?.map(|ours| ours.bytes));
    Ok(Before { service: bytes(&site.service(turn.instance))?, timer: bytes(&site.timer())?, sockets })
}

/// The sockets that a version is given.
pub(super) fn given(start: &Start<'_>) -> Sockets {
    match &start.manifest.strategy {
        Strategy::StopStart | Strategy::Reload => Sockets::new(),
        Strategy::StartStop(how) => unit::sockets(start.cell, how),
    }
}

pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn check_loaded(unit: &Unit, path: &Path) -> Result<(), ProfileError> {
    match (unit.load.as_str(), &unit.file) {
        ("loaded", Some(file)) if is_same_file(file, path) => Ok(()),
        ("loaded", file) => {
            let file = file.as_deref().unwrap_or(Path::new("nowhere")).display();
            Err(waiting(Code::UnitNotOwned, format!("systemd has the unit from {file}, which is not ours")))
        }
        ("masked", _) => Err(waiting(Code::UnitNotOwned, format!("{} is masked", path.display()))),
        (state, _) => {
            let why = if unit.load_error.is_empty() { String::new() } else { format!(": {}", unit.load_error) };
            Err(ProfileError::Version(format!("systemd does not take the unit: {state}{why}")))
        }
    }
}

/// What may have to be reloaded must say how, where only the unit itself can tell.
fn check_reloadable(service: &Unit, may_reload: bool) -> Result<(), ProfileError> {
    if may_reload && !service.can_reload {
        let message = "its unit does not say how it is reloaded: add ExecReload=, or remove reload_if and the strategy";
        return Err(ProfileError::Version(message.to_owned()));
    }
    Ok(())
}
