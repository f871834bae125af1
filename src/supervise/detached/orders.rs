//! `orders.json`: what a detached supervisor is to do, also after the machine was restarted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::supervise::ServiceDef;

const FILE: &str = "orders.json";

/// Names the orders that are being carried out.
const BEGUN: &str = "orders.begun";

/// The largest file that is believed to be our own.
pub(super) const MOST_BYTES: u64 = 16 << 20;

/// What is to run, and whether it is to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    /// Names this order: the same order again changes nothing, another one starts everything anew even if nothing else
    /// is different.
    pub id: String,
    /// Whether it is to run.
    pub wanted: Wanted,
    /// What is to run.
    pub service: ServiceDef,
    /// Whether what runs already just so goes on, and is joined by the rest; otherwise everything starts anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joins: bool,
    /// Whether what runs may not be ended for them. Where it would have to be, because a socket was lost, they are
    /// refused instead. A supervisor that does not know this ends it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spares: bool,
    /// Whether what runs goes on although it would be started otherwise now, as it then is from its next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stays: Option<Stays>,
    /// Those of the processes that ran before, and run beside the others only until these are good. For whoever gives
    /// the orders; nothing is done about it here.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leaving: BTreeSet<String>,
}

/// How what runs goes on under another definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stays {
    /// As if nothing had happened.
    Untouched,
    /// It is sent its reload signal.
    Reloaded,
}

/// Whether a service is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// It runs, also after the machine was restarted.
    Up,
    /// It does not.
    Down,
}

impl Orders {
    /// That `service` is to run, anew.
    pub fn up(id: impl Into<String>, service: ServiceDef) -> Self {
        let leaving = BTreeSet::new();
        Self { id: id.into(), wanted: Wanted::Up, service, joins: false, spares: false, stays: None, leaving }
    }

    /// The version of the protocol that brought what they ask for.
    pub(super) fn since(&self) -> u32 {
        let has_sockets = self.service.processes.values().any(|process| !process.sockets.is_empty());
        match self.stays {
            Some(_) => 4,
            None if self.joins || has_sockets => 3,
            None => 1,
        }
    }

    /// Reads the orders in the folder of a service; None if it was never given any.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was written there.
    pub fn load(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(FILE);
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if meta.len() > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large to be our own"));
        }
        Ok(Some(serde_json::from_slice(&fs::read(&path)?)?))
    }

    /// Makes these the orders that a crash of the machine leaves.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join(format!("{FILE}.new"));
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, folder.join(FILE))?;
        File::open(folder)?.sync_all()
    }

    /// Writes down that these orders are about to be carried out. It need not survive the machine: then nothing runs.
    pub(super) fn begin(&self, run: &Path) -> io::Result<()> {
        fs::write(run.join(BEGUN), &self.id)
    }

    /// Whether a supervisor ended while it carried out these orders.
    pub(super) fn are_begun(&self, run: &Path) -> bool {
        fs::read(run.join(BEGUN)).is_ok_and(|id| id == self.id.as_bytes())
    }

    /// Writes down that no orders are being carried out.
    pub(super) fn finish(run: &Path) -> io::Result<()> {
        absent_is_fine(fs::remove_file(run.join(BEGUN)))
    }

    /// Writes down that a service whose supervisor is not there is not to run: the next supervisor starts nothing of it,
    /// and ends what an earlier one left running.
    ///
    /// # Errors
    /// The orders cannot be read or written.
    pub fn stand_down(folder: &Path) -> io::Result<()> {
        match Self::load(folder)? {
            Some(orders) => Self { wanted: Wanted::Down, ..orders }.save(folder),
            None => Ok(()),
        }
    }

    /// Removes the orders of a service that is gone.
    ///
    /// # Errors
    /// They are still there.
    pub fn remove(folder: &Path) -> io::Result<()> {
        absent_is_fine(fs::remove_file(folder.join(FILE)))
    }
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
