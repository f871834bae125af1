//! Bringing up a version: its unit is checked, put in its place, read by systemd, and started.
//!
//! Every step may be the last before a crash, and the next call goes on from there. Until systemd has read the new
//! unit without complaint nothing that runs is touched, and where it complains the old file is put back.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bus::{BusError, JobEnd};
use super::escape::Unwritable;
use super::look::{Begun, Look, Unit};
use super::owned::{self, InPlace, Marker, check_own};
use super::render::{self, Units, files_of};
use super::watch::{Cell, Site};
use super::{SLACK, Scope, Systemd, disk, secrets, waiting};
use crate::agent::{ProfileError, Start};
use crate::model::Code;
use crate::model::run_spec::{EnvValue, Profile};
use crate::model::systemd::{SystemdSpec, UnitSpec};
use crate::store::in_full;
use crate::supervise::{Account, AccountError};

/// A longer unit is none that a person wrote.
const MOST_UNIT: u64 = 1 << 20;

/// Where systemd looks for credentials that are named without a path; see `systemd.exec(5)`.
const CREDENTIALS: [&str; 5] =
    ["/run/credentials/@system", "/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore"];

/// Where `StateDirectory=` makes folders.
const STATE_DIRECTORIES: &str = "/var/lib";

/// The ids of users that `DynamicUser=` makes up; see `systemd.exec(5)`.
const MADE_UP_USERS: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// The unit files as they were.
struct Before {
    service: Option<Vec<u8>>,
    timer: Option<Vec<u8>>,
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
        let wanted = self.wanted(&start, &cell.site)?;
        let is_scheduled = wanted.timer.is_some();
        let activation = start.activation.to_string();

        let turn = self.changing.lock().await;
        let look = cell.look().await?;
        let before = before(&cell.site, start.force)?;
        self.check_others(&cell.site).await?;
        let is_same = before.service.as_deref() == Some(&*wanted.service) && before.timer == wanted.timer;
        let has_begun = look.begun.as_ref().is_some_and(|begun| begun.activation == activation);
        if !(is_same && has_begun) || look.service.needs_reload {
            self.install(&cell, &wanted, &before).await?;
        }
        let look = cell.look().await?;
        if !has_begun {
            let lead = if is_scheduled { look.timer.as_ref() } else { Some(&look.service) };
            let instead_of = lead.and_then(|unit| unit.invocation.clone());
            let begun = Begun { activation: activation.clone(), is_scheduled, instead_of };
            cell.site.begin(&begun).map_err(|error| disk("writing to", &cell.site.folder, &error))?;
        }
        drop(turn);

        if !cell.look().await?.has_started(&activation) {
            self.start(&cell, &look, is_scheduled).await?;
        }
        cell.look().await?;
        Ok(())
    }

    /// The unit files that the version asks for.
    pub(super) fn wanted(&self, start: &Start<'_>, site: &Site) -> Result<Units, ProfileError> {
        let Profile::Systemd(spec) = &start.manifest.profile else {
            return Err(ProfileError::Version("its manifest is for another profile".to_owned()));
        };
        let units = match spec {
            SystemdSpec::Rendered(spec) => {
                let units = render::units(spec, start, self.settings.scope, &self.program.path)?;
                check_node(spec, self.settings.scope)?;
                units
            }
            SystemdSpec::Own(own) => {
                let path = start.release.join(own.unit_file.as_str());
                let service = own_unit(&path)?;
                check_own(&service).map_err(|problem| Unwritable::new(own.unit_file.as_str(), problem))?;
                Units { service, timer: None }
            }
        };
        let marker = Marker {
            cell: start.cell.to_string(),
            version: start.manifest.version.to_string(),
            generation: start.activation.at().generation.to_string(),
            fleet: start.manifest.fleet.to_string(),
            node: start.manifest.node.to_string(),
            activation: start.activation.to_string(),
            folder: site.folder.display().to_string(),
        };
        Ok(Units { service: marker.seal(&units.service), timer: units.timer.map(|timer| marker.seal(&timer)) })
    }

    /// Whether systemd has the unit from anywhere else, or would (I7).
    async fn check_others(&self, site: &Site) -> Result<(), ProfileError> {
        let folders = self.bus.unit_folders().await?;
        let own = &self.settings.service_folder;
        if !folders.contains(own) {
            let message =
                format!("systemd does not look for units in {}; see service_folder in the config", own.display());
            return Err(waiting(Code::ProfileUnavailable, message));
        }
        for folder in folders.iter().filter(|folder| *folder != own) {
            for name in [&site.names.service, &site.names.timer] {
                let path = folder.join(name);
                if fs::symlink_metadata(&path).is_ok() && !is_same_file(&path, &own.join(name)) {
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
    async fn install(&self, cell: &Cell, wanted: &Units, before: &Before) -> Result<(), ProfileError> {
        let done = self.replace(cell, wanted, before).await;
        if let Err(error) = &done {
            tracing::warn!(cell = %cell.site.cell, %error, "its unit is put back as it was");
            self.put_back(&cell.site, before).await;
        }
        done
    }

    async fn replace(&self, cell: &Cell, wanted: &Units, before: &Before) -> Result<(), ProfileError> {
        let is_scheduled = wanted.timer.is_some();
        let (site, names) = (&cell.site, &cell.site.names);
        let folder = &self.settings.service_folder;
        fs::create_dir_all(folder).map_err(|error| disk("making", folder, &error))?;
        // The timer first: it is the service that decides what the host starts.
        if let Some(timer) = &wanted.timer {
            owned::write(&site.timer, timer, 0o644).map_err(|error| disk("writing", &site.timer, &error))?;
        }
        owned::write(&site.service, &wanted.service, 0o644).map_err(|error| disk("writing", &site.service, &error))?;
        if is_scheduled {
            self.bus.disable(&names.service).await?;
            self.enable(&names.timer).await?;
        } else {
            if before.timer.is_some() {
                self.bus.disable(&names.timer).await?;
                self.stop_unit(&names.timer, Duration::ZERO).await?;
                self.bus.clean(&names.timer).await?;
                owned::remove(&site.timer).map_err(|error| disk("removing", &site.timer, &error))?;
            }
            self.enable(&names.service).await?;
        }
        self.bus.reload().await?;
        let Look { service, timer, .. } = cell.look().await?;
        check_loaded(&service, &site.service)?;
        match timer.filter(|_| is_scheduled) {
            Some(timer) => check_loaded(&timer, &site.timer),
            None => Ok(()),
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

    async fn put_back(&self, site: &Site, before: &Before) {
        for (path, name, bytes) in
            [(&site.service, &site.names.service, &before.service), (&site.timer, &site.names.timer, &before.timer)]
        {
            let done = match bytes {
                Some(bytes) => owned::write(path, bytes, 0o644),
                None => {
                    if let Err(error) = self.bus.disable(name).await {
                        tracing::warn!(%error, "{name} cannot be disabled");
                    }
                    owned::remove(path)
                }
            };
            if let Err(error) = done {
                tracing::warn!(%error, "{} cannot be put back", path.display());
            }
        }
        if let Err(error) = self.bus.reload().await {
            tracing::warn!(%error, "systemd has not read the old units");
        }
    }

    /// Starts what has begun, and stops what ran before.
    async fn start(&self, cell: &Cell, look: &Look, is_scheduled: bool) -> Result<(), ProfileError> {
        let names = &cell.site.names;
        let patience = look.service.stops_within;
        // What is started again and again goes on counting unless it is stopped first.
        if look.service.active == "activating" || is_scheduled && look.service.is_up() {
            self.stop_unit(&names.service, patience).await?;
        }
        for unit in [&names.service, &names.timer] {
            self.bus.reset_failed(unit).await?;
        }
        let unit = if is_scheduled { &names.timer } else { &names.service };
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
fn before(site: &Site, force: bool) -> Result<Before, ProfileError> {
    let look = |path: &PathBuf| match site.look(path).map_err(|error| disk("reading", path, &error))? {
        InPlace::Nothing => Ok(None),
        InPlace::Foreign(what) => Err(waiting(Code::UnitNotOwned, format!("{what}, so it is left alone"))),
        InPlace::Ours(ours) if ours.is_edited && !force => {
            let message = format!("{} was changed by hand; publish with --force to overwrite it", path.display());
            Err(waiting(Code::UnitDrift, message))
        }
        InPlace::Ours(ours) => Ok(Some(ours.bytes)),
    };
    Ok(Before { service: look(&site.service)?, timer: look(&site.timer)? })
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

/// What the version needs of the node, before anything is written.
fn check_node(spec: &UnitSpec, scope: Scope) -> Result<(), ProfileError> {
    let run = &spec.run;
    let is_made_up = spec.hardening.dynamic_user == Some(true);
    let account = if is_made_up { Ok(None) } else { Account::find(run.user.as_deref(), run.group.as_deref()) };
    let account = account.map_err(|error| match error {
        AccountError::Unreadable { .. } => waiting(Code::Io, in_full(&error)),
        error => waiting(Code::UserUnknown, error.to_string()),
    })?;
    if let Some(name) = spec.hardening.state_directory.as_ref().filter(|_| scope == Scope::System) {
        let path = Path::new(STATE_DIRECTORIES).join(name.as_str());
        let owner = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_dir).map(|meta| meta.uid());
        let is_the_services = |uid| match is_made_up {
            true => MADE_UP_USERS.contains(&uid),
            false => uid == account.as_ref().map_or(0, |account| account.uid),
        };
        if let Some(uid) = owner.filter(|uid| !is_the_services(*uid)) {
            let message = format!(
                "{} is there and belongs to user {uid}; as the state_directory systemd would give all of it to the \
                 service's user",
                path.display()
            );
            return Err(waiting(Code::UnitNotOwned, message));
        }
    }
    secrets::text(files_of(&run.env).iter().map(|(name, file)| (*name, file)))
        .map_err(|error| waiting(Code::SecretMissing, in_full(&error)))?;
    for value in run.env.values() {
        let EnvValue::Credential(from) = value else { continue };
        let name = from.credential.as_str();
        if !CREDENTIALS.iter().any(|folder| Path::new(folder).join(name).is_file()) {
            let message = format!("there is no credential {name}; put it into /etc/credstore/{name}, for root alone");
            return Err(waiting(Code::SecretMissing, message));
        }
    }
    Ok(())
}

fn own_unit(path: &Path) -> Result<Vec<u8>, ProfileError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ProfileError::Version(format!("the version has no {}", path.display())),
        _ => disk("reading", path, &error),
    };
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|file| file.take(MOST_UNIT + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MOST_UNIT {
        return Err(ProfileError::Version(format!("{} has more than {MOST_UNIT} bytes", path.display())));
    }
    Ok(bytes)
}
