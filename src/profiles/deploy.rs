//! The `deploy` profile: files in a folder that somebody else reads or serves.
//!
//! ```text
//! <target_folder>/<cell>                          a link to the current release, switched in one step
//! <target_folder>/.fleetman/<cell>/<release>/     the releases, readable by everybody, writable by the agent
//! ```
//! The releases lie in the target folder, not in the agent's state folder, so that the link stays within one file
//! system and a web server can follow it without passing through what is the agent's alone.

use std::path::PathBuf;

use crate::agent::{Observed, Placement, Profile, ProfileError, Start, Work};
use crate::model::CellName;
use crate::model::heartbeat::RunningState;

/// The folder of all releases in a target folder.
const RELEASES: &str = ".fleetman";

/// Cells that are links in one folder.
#[derive(Debug, Clone)]
pub struct Deploy {
    target_folder: PathBuf,
}

impl Deploy {
    /// Cells that are links in `target_folder`, which is made if it is missing.
    #[must_use]
    pub fn new(target_folder: PathBuf) -> Self {
        Self { target_folder }
    }
}

impl Profile for Deploy {
    fn name(&self) -> &'static str {
        "deploy"
    }

    fn placement(&self, cell: &CellName) -> Placement {
        Placement {
            folder: self.target_folder.clone(),
            link: cell.to_string(),
            releases: vec![RELEASES.to_owned(), cell.to_string()],
            is_own: false,
        }
    }

    /// The switched link is all there is to it.
    fn activate<'a>(&'a self, _start: Start<'a>) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Nothing runs, and the files stay.
    fn stop<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn state<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Observed> {
        Box::pin(std::future::ready(RunningState::NotApplicable.into()))
    }

    fn cells(&self) -> std::io::Result<Vec<CellName>> {
        let entries = match std::fs::read_dir(self.target_folder.join(RELEASES)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<std::io::Result<Vec<_>>>()?;
        Ok(names.into_iter().filter_map(|name| CellName::new(name.into_string().ok()?).ok()).collect())
    }
}
