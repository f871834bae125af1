//! What has a text in its name. Pure.

use super::FleetView;
use crate::model::{CellId, DeploymentName, ManifestName, NodeName};

/// Everything in whose name a text stands, each kind in the order in which it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'a> {
    /// Nodes.
    pub nodes: Vec<&'a NodeName>,
    /// Cells. `5/we` is the start of a cell's name behind the end of its node's.
    pub cells: Vec<&'a CellId>,
    /// Manifests.
    pub manifests: Vec<&'a ManifestName>,
    /// Releases, as `<manifest>/<deployment>`.
    pub releases: Vec<(&'a ManifestName, &'a DeploymentName)>,
}

impl<'a> Found<'a> {
    /// Looks for `text`, whatever its case.
    #[must_use]
    pub fn new(
        text: &str,
        fleet: &'a FleetView,
        manifests: impl IntoIterator<Item = &'a ManifestName>,
        releases: impl IntoIterator<Item = (&'a ManifestName, &'a DeploymentName)>,
    ) -> Self {
        let text = text.to_lowercase();
        let is_cell = |id: &CellId| match text.split_once('/') {
            Some((node, cell)) => id.node.as_str().ends_with(node) && id.cell.as_str().starts_with(cell),
            None => id.cell.as_str().contains(&text),
        };
        // There may be tens of thousands: nothing is written down to look at one.
        let is_release = |manifest: &ManifestName, name: &DeploymentName| match text.split_once('/') {
            Some((end, start)) => manifest.as_str().ends_with(end) && begins(name.as_str(), start),
            None => manifest.as_str().contains(&text) || has(name.as_str(), &text),
        };
        Self {
            nodes: fleet.nodes.iter().map(|node| &node.node).filter(|node| node.as_str().contains(&text)).collect(),
            cells: fleet.cells().map(|cell| &cell.cell).filter(|id| is_cell(id)).collect(),
            manifests: manifests.into_iter().filter(|name| name.as_str().contains(&text)).collect(),
            releases: releases.into_iter().filter(|(manifest, name)| is_release(manifest, name)).collect(),
        }
    }
}

/// Whether `name`, which is ASCII, begins with `start`, whatever its case.
fn begins(name: &str, start: &str) -> bool {
    name.as_bytes().get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start.as_bytes()))
}

/// Whether `name`, which is ASCII, has `part` in it, whatever its case.
fn has(name: &str, part: &str) -> bool {
    (0..=name.len()).any(|at| begins(&name[at..], part))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fleet_sample::{Wish, fleet, node};
    use super::*;

    #[test]
    fn names_are_found_by_any_part_and_cells_by_both_of_theirs() {
        let nodes = ["eu-1", "eu-21"].map(|name| node(name, Some((1, json!({}))), [("web", Wish::default())]));
        let fleet = fleet(nodes.into());
        let (manifest, release): (ManifestName, DeploymentName) = ("web".parse().unwrap(), "R1".parse().unwrap());
        let found = |text: &str| {
            let found = Found::new(text, &fleet, [&manifest], [(&manifest, &release)]);
            let cells: Vec<String> = found.cells.iter().map(ToString::to_string).collect();
            (found.nodes.len(), cells.join(" "), found.manifests.len(), found.releases.len())
        };
        assert_eq!(found("WEB"), (0, "eu-1/web eu-21/web".to_owned(), 1, 1));
        assert_eq!(found("1/w"), (0, "eu-1/web eu-21/web".to_owned(), 0, 0));
        assert_eq!(found("2/w"), (0, String::new(), 0, 0), "the end of a node's name");
        assert_eq!(found("1/eb"), (0, String::new(), 0, 0), "the start of a cell's name");
        assert_eq!(found("b/r"), (0, String::new(), 0, 1));
        assert_eq!(found("R1").3 + found("1").3 + found("web/").3, 3, "a release by any part of its name");
        assert_eq!(found("e/r").3 + found("b/1").3 + found("b/r12").3 + found("r11").3, 0);
        assert_eq!(found("eu-2"), (1, String::new(), 0, 0));
    }
}
