//! What a cell may use as a whole. systemd enforces it, and forgets it with each of the cell's units, so it is kept in
//! the cell's folder.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::run_spec;

const FILE: &str = "limits.json";

/// The limits of a whole cell; what is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CellLimits {
    memory_bytes: Option<u64>,
    tasks: Option<u64>,
}

impl From<&run_spec::Limits> for CellLimits {
    fn from(limits: &run_spec::Limits) -> Self {
        Self { memory_bytes: limits.memory_bytes, tasks: limits.tasks }
    }
}

impl CellLimits {
    /// Whether nothing is limited.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Of each limit the looser one.
    pub(super) fn or_looser(self, other: Self) -> Self {
        let looser = |one: Option<u64>, other: Option<u64>| one.zip(other).map(|(one, other)| one.max(other));
        Self { memory_bytes: looser(self.memory_bytes, other.memory_bytes), tasks: looser(self.tasks, other.tasks) }
    }

    /// As systemd calls them; see `systemd.resource-control(5)`.
    pub(super) fn properties(self) -> [String; 2] {
        let value = |limit: Option<u64>| limit.map_or_else(|| "infinity".to_owned(), |limit| limit.to_string());
        [format!("MemoryMax={}", value(self.memory_bytes)), format!("TasksMax={}", value(self.tasks))]
    }

    /// Reads what was saved in the folder of a cell; None if nothing ever was.
    pub(super) fn load(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes these the limits that a crash of the machine leaves.
    pub(super) fn save(self, folder: &Path) -> io::Result<()> {
        let new = folder.join(format!("{FILE}.new"));
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(&self)?)?;
        file.sync_all()?;
        fs::rename(&new, folder.join(FILE))?;
        File::open(folder)?.sync_all()
    }

    /// Forgets those of a cell that is gone.
    pub(super) fn remove(folder: &Path) -> io::Result<()> {
        match fs::remove_file(folder.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_limited_is_said_to_be_without_limit() {
        let limits = CellLimits { memory_bytes: Some(1 << 20), tasks: None };
        assert_eq!(limits.properties(), ["MemoryMax=1048576", "TasksMax=infinity"]);
        assert_eq!(CellLimits::default().properties(), ["MemoryMax=infinity", "TasksMax=infinity"]);
    }

    #[test]
    fn no_limit_is_looser_than_any() {
        let limits = |memory_bytes, tasks| CellLimits { memory_bytes, tasks };
        let (one, other) = (limits(Some(1), Some(9)), limits(Some(2), None));
        assert_eq!(one.or_looser(other), limits(Some(2), None));
        assert_eq!(other.or_looser(one), limits(Some(2), None));
        assert!(one.or_looser(CellLimits::default()).is_empty());
    }

    #[test]
    fn what_was_saved_is_there_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(CellLimits::load(folder.path()).unwrap(), None);
        let limits = CellLimits { memory_bytes: None, tasks: Some(7) };
        limits.save(folder.path()).unwrap();
        assert_eq!(CellLimits::load(folder.path()).unwrap(), Some(limits));
        CellLimits::remove(folder.path()).unwrap();
        CellLimits::remove(folder.path()).unwrap();
        assert_eq!(CellLimits::load(folder.path()).unwrap(), None);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(CellLimits::load(folder.path()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
