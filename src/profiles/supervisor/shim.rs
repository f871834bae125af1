//! What a cell's processes are, for the shim that supervisord starts in their place and that becomes them.
//!
//! ```text
//! <cell>/activations/<activation>/spec.json   the processes of an activation, or of what it goes on as
//! <cell>/activations/<activation>/as.json     which one it goes on as, if what it started only went on since
//! <cell>/run/<process>.json                   which start of the process was the last
//! <cell>/run/<process>.failed                 why that could not become the program; empty if it did
//! ```
//! The shim is executed by supervisord with the rights of that, and keeps its process id when it becomes the program.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::supervise::{Identity, ProcessDef, ServiceDef, become_process};

/// A specification is never larger: no manifest is.
const MOST_SPEC: u64 = 32 << 20;

/// What a shim says is never longer.
const MOST_SAID: u64 = 64 << 10;

const ACTIVATIONS: &str = "activations";
const RUN: &str = "run";
const SPEC: &str = "spec.json";
const AS: &str = "as.json";

/// The part of a cell's folder that shims use.
#[derive(Debug, Clone)]
pub(super) struct ShimHome {
    cell: PathBuf,
}

/// The last start of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    /// What it was started for.
    pub(super) activation: String,
    /// How often it was started for that.
    pub(super) starts: u32,
    /// Who it is, if that could be told.
    #[serde(default)]
    pub(super) identity: Option<Identity>,
}

/// What takes the place of an activation without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GoesOnAs {
    pub(super) activation: String,
    pub(super) version: String,
}

impl ShimHome {
    /// That of a cell with this folder.
    pub(super) fn new(cell: &Path) -> Self {
        Self { cell: cell.to_owned() }
    }

    /// That which the folder of an activation is in.
    fn of_activation(folder: &Path) -> Option<Self> {
        Some(Self::new(folder.parent()?.parent()?))
    }

    /// The folder of an activation.
    pub(super) fn activation(&self, activation: &str) -> PathBuf {
        self.cell.join(ACTIVATIONS).join(activation)
    }

    /// Writes down what the processes of an activation are, so that a crash of the machine leaves it.
    pub(super) fn prepare(&self, activation: &str, service: &ServiceDef) -> io::Result<()> {
        let folder = self.activation(activation);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.cell.join(RUN))?;
        replace(&folder, SPEC, &serde_json::to_vec(service)?, 0o600)?;
        File::open(self.cell.join(ACTIVATIONS))?.sync_all()
    }

    /// Has `begun` go on as another activation: its processes are these from their next start on. After a crash of the
    /// machine it is still itself, or wholly the other.
    pub(super) fn go_on(&self, begun: &str, other: &GoesOnAs, service: &ServiceDef) -> io::Result<()> {
        let folder = self.activation(begun);
        replace(&folder, SPEC, &serde_json::to_vec(service)?, 0o600)?;
        replace(&folder, AS, &serde_json::to_vec(other)?, 0o600)
    }

    /// What an activation goes on as, if it does.
    pub(super) fn goes_on_as(&self, begun: &str) -> io::Result<Option<GoesOnAs>> {
        read_json(&self.activation(begun).join(AS), MOST_SAID)
    }

    /// The processes of an activation, also of one that another goes on as; None if it was never written down.
    pub(super) fn service(&self, activation: &str) -> io::Result<Option<ServiceDef>> {
        let own = read_json(&self.activation(activation).join(SPEC), MOST_SPEC)?;
        match (own, self.only()?) {
            (None, Some((begun, service))) => {
                let other = self.goes_on_as(&begun)?.filter(|other| other.activation == activation);
                Ok(other.map(|_| service))
            }
            (own, _) => Ok(own),
        }
    }

    /// The processes of all activations that are left.
    pub(super) fn services(&self) -> io::Result<Vec<ServiceDef>> {
        let entries = match fs::read_dir(self.cell.join(ACTIVATIONS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut services = Vec::new();
        for entry in entries {
            services.extend(read_json(&entry?.path().join(SPEC), MOST_SPEC)?);
        }
        Ok(services)
    }

    /// The activation that is left, and its processes; None unless it is the only one.
    pub(super) fn only(&self) -> io::Result<Option<(String, ServiceDef)>> {
        let mut entries = match fs::read_dir(self.cell.join(ACTIVATIONS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        let (Some(entry), None) = (entries.next().transpose()?, entries.next()) else { return Ok(None) };
        let Ok(activation) = entry.file_name().into_string() else { return Ok(None) };
        let service = read_json(&self.activation(&activation).join(SPEC), MOST_SPEC)?;
        Ok(service.map(|service| (activation, service)))
    }

    /// Whether anything was activated and is still to run.
    pub(super) fn has_activations(&self) -> bool {
        self.cell.join(ACTIVATIONS).exists()
    }

    /// Removes all activations but `kept`.
    pub(super) fn forget_activations(&self, kept: Option<&str>) -> io::Result<()> {
        let folder = self.cell.join(ACTIVATIONS);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if kept.is_none_or(|kept| entry.file_name() != kept) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        if kept.is_none() { fs::remove_dir(folder) } else { Ok(()) }
    }

    /// Removes what shims wrote.
    pub(super) fn forget_runs(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.cell.join(RUN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Ends what a supervisord that was killed left running, so that the process never runs twice.
    fn end_orphan(&self, process: &str, def: &ProcessDef) {
        let Some(former) = self.started(process).and_then(|started| started.identity) else { return };
        if !former.is_orphan().unwrap_or(false) {
            return;
        }
        eprintln!("fleetagent: ending pid {}, which a supervisord that is gone has left running", former.pid());
        if let Err(error) = former.end(def.stop) {
            eprintln!("fleetagent: it may still run: {error}");
        }
    }

    fn run(&self, process: &str, what: &str) -> PathBuf {
        self.cell.join(RUN).join(format!("{process}.{what}"))
    }

    /// The last start of a process, if it is known.
    pub(super) fn started(&self, process: &str) -> Option<Started> {
        read_json(&self.run(process, "json"), MOST_SAID).ok().flatten()
    }

    /// Why the last start of a process came to nothing, if it did.
    pub(super) fn failure(&self, process: &str) -> Option<String> {
        let bytes = read_capped(&self.run(process, "failed"), MOST_SAID).ok().flatten()?;
        let said = String::from_utf8_lossy(&bytes).trim().to_owned();
        (!said.is_empty()).then_some(said)
    }

    /// The last starts of all processes.
    pub(super) fn all_started(&self) -> io::Result<Vec<Started>> {
        let entries = match fs::read_dir(self.cell.join(RUN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            all.extend(name.to_str().and_then(|name| name.strip_suffix(".json")).and_then(|name| self.started(name)));
        }
        Ok(all)
    }

    /// Counts a start. A process is started all the same where that cannot be written down, on a full disk for example.
    fn count(&self, process: &str, activation: &str) -> io::Result<()> {
        let before = self.started(process).filter(|before| before.activation == activation);
        let starts = before.map_or(0, |before| before.starts).saturating_add(1);
        let started = Started { activation: activation.to_owned(), starts, identity: Identity::own().ok() };
        replace(&self.cell.join(RUN), &format!("{process}.json"), &serde_json::to_vec(&started)?, 0o600)
    }
}

/// Makes this process the process `process` of the activation in `folder`. It returns only if that failed, with the
/// reason, for people.
#[must_use]
pub fn become_process_of(folder: &Path, process: &str) -> String {
    let Some(home) = ShimHome::of_activation(folder) else {
        return format!("{} is not the folder of an activation", folder.display());
    };
    // It is opened before the process becomes somebody who may not open it.
    let failed = File::options().create(true).truncate(true).write(true).mode(0o600).open(home.run(process, "failed"));
    let why = match definition(folder) {
        Err(error) => format!("reading {}: {error}", folder.join(SPEC).display()),
        Ok(service) => match service.processes.get(process) {
            None => format!("{} tells of no process {process}", folder.join(SPEC).display()),
            Some(def) => {
                let begun = folder.file_name().unwrap_or_default().to_string_lossy();
                let other = home.goes_on_as(&begun).ok().flatten().map(|other| other.activation);
                home.end_orphan(process, def);
                if let Err(error) = home.count(process, &other.unwrap_or(begun.into_owned())) {
                    eprintln!("fleetagent: this start is not counted: {error}");
                }
                become_process(def)
            }
        },
    };
    // What cannot be written down is still said.
    let _ = failed.and_then(|mut file| file.write_all(why.as_bytes()));
    why
}

fn definition(folder: &Path) -> io::Result<ServiceDef> {
    let path = folder.join(SPEC);
    let meta = fs::metadata(&path)?;
    let mine = rustix::process::geteuid();
    // Whoever can write to it can run anything as this user.
    if (meta.uid() != mine.as_raw() && meta.uid() != 0) || meta.mode() & 0o022 != 0 {
        let message =
            format!("it must belong to the user with the id {} and be writable for nobody else", mine.as_raw());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    read_json(&path, MOST_SPEC)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn read_json<T: DeserializeOwned>(path: &Path, most_bytes: u64) -> io::Result<Option<T>> {
    match read_capped(path, most_bytes)? {
        Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        None => Ok(None),
    }
}

/// The bytes of a file; None if there is none.
fn read_capped(path: &Path, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large to be our own"));
    }
    Ok(Some(bytes))
}

/// Puts a file in place as a whole. What is being written is hidden, so that no pattern of supervisord finds it.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = folder.join(new_name(name));
    let written = File::options().create(true).truncate(true).write(true).mode(mode).open(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        // On a full disk what is there already takes room.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    fs::rename(&new, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// The name under which a file is written before it is put in place.
pub(super) fn new_name(name: &str) -> String {
    format!(".{name}.new")
}
