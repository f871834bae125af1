//! Finding and reading a config file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::user;
use crate::yaml;

/// The name of the controller's config file, in the current folder and in `/etc/fleetman`.
pub const CONTROLLER_FILE: &str = "controller_config.yaml";

/// The name of the agent's config file, likewise.
pub const AGENT_FILE: &str = "agent_config.yaml";

/// Where configs of a machine are.
const SYSTEM_FOLDER: &str = "/etc/fleetman";

/// The folder of an ordinary user's configs, below the folder of all its configs.
const USER_FOLDER: &str = "fleetman";

/// The path of the config file: `named` if there is one, else the first that exists of `./<name>`, for an ordinary user
/// `$XDG_CONFIG_HOME/fleetman/<name>`, and `/etc/fleetman/<name>`.
///
/// # Errors
/// [`ConfigError::Absent`] naming every place that was looked at. A file that exists and cannot be read is found.
pub fn find(named: Option<&Path>, name: &str) -> Result<PathBuf, ConfigError> {
    let candidates = match named {
        Some(path) => vec![path.to_owned()],
        None => {
            let own = user::config_home().map(|home| home.join(USER_FOLDER));
            let folders = [Some(".".into()), own, Some(SYSTEM_FOLDER.into())];
            folders.into_iter().flatten().map(|folder: PathBuf| folder.join(name)).collect()
        }
    };
    let is_there = |path: &&PathBuf| !matches!(path.symlink_metadata(), Err(e) if e.kind() == io::ErrorKind::NotFound);
    match candidates.iter().find(is_there) {
        Some(path) => Ok(path.clone()),
        None => {
            let looked: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
            Err(ConfigError::Absent { looked: looked.join(" and ") })
        }
    }
}

/// The text of a config file.
#[derive(Clone)]
pub struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    open_to_others: bool,
}

impl ConfigFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], also where it is longer than any config.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let (text, open_to_others) = read_text(path)?;
        Ok(Self { path: path.to_owned(), text, open_to_others })
    }

    /// The file as it would be if `text` were written to `path` for its owner alone.
    #[must_use]
    pub fn written(path: &Path, text: String) -> Self {
        Self { path: path.to_owned(), text, open_to_others: false }
    }

    /// What to warn of if the file `holds_secrets`.
    pub(super) fn warning(&self, holds_secrets: bool) -> Option<String> {
        (holds_secrets && self.open_to_others).then(|| open_warning(&self.path))
    }

    /// `path` as the file means it: from the file's own folder. Absolute, because other programs are told it that work
    /// in other folders.
    pub(super) fn resolve(&self, path: PathBuf) -> PathBuf {
        let path = match self.path.parent() {
            Some(folder) if path.is_relative() => folder.join(path),
            _ => path,
        };
        // Only an empty path, or no current folder: whoever uses it says what is wrong.
        std::path::absolute(&path).unwrap_or(path)
    }
}

/// A small file's text, and whether every user of the machine may read it.
pub(super) fn read_text(path: &Path) -> Result<(String, bool), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode();
    let mut text = String::new();
    // One byte more than YAML takes, so that a longer file is refused for its length and not read as cut.
    file.take(yaml::MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    Ok((text, mode & 0o004 != 0))
}

/// Says that a secret is open to every user, and how to mend it.
pub(crate) fn open_warning(path: &Path) -> String {
    let path = path.display();
    format!("{path} holds a secret and every user of this machine can read it; run: chmod o= {path}")
}
