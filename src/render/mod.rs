//! What a version becomes on its node: units of systemd, supervisord's file, processes of a supervisor. Pure:
//! a controller foretells by it what an agent writes.

pub mod instance;
pub(crate) mod service;
pub mod stanza;
pub mod unit;

use std::path::{Path, PathBuf};

use crate::model::CellName;
use crate::model::manifest::Manifest;

/// The name of the link to the release that counts, where a cell has a folder of its own.
pub(crate) const CURRENT: &str = "current";

/// A version on its node.
#[derive(Debug, Clone, Copy)]
pub struct OnNode<'a> {
    /// The cell.
    pub cell: &'a CellName,
    /// What it is, and how it is run.
    pub manifest: &'a Manifest,
    /// The release's own folder.
    pub release: &'a Path,
    /// The cell's data folder.
    pub data: &'a Path,
}

impl OnNode<'_> {
    /// The variables that every program of the cell is given, whatever its manifest says.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let Manifest { node, cell, version, .. } = self.manifest;
        let mut variables = vec![
            ("FLEETMAN_NODE", node.to_string()),
            ("FLEETMAN_CELL", cell.to_string()),
            ("FLEETMAN_VERSION", version.to_string()),
            ("FLEETMAN_RELEASE_DIR", self.release.display().to_string()),
            ("FLEETMAN_DATA_DIR", self.data.display().to_string()),
        ];
        // What may outlive its release finds the files of the next one there.
        if let Some(current) = self.current().filter(|_| self.manifest.may_go_on()) {
            variables.push(("FLEETMAN_CURRENT_DIR", current.display().to_string()));
        }
        variables
    }

    /// The link to the release that counts. All profiles that run something have it beside the folder of releases.
    fn current(&self) -> Option<PathBuf> {
        Some(self.release.parent()?.with_file_name(CURRENT))
    }
}
