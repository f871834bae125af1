//! Which cells a verb is about.

use std::collections::BTreeSet;
use std::str::FromStr;

use clap::Args;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::{CellView, Controller, FleetReader, LivenessLimits};
use crate::model::trigger::Action;
use crate::model::{CellId, ManifestName};

/// Cells by name.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(super) struct Selection {
    /// The cells, as <node>/<cell>
    #[arg(
        value_name = "CELL",
        required_unless_present_any = ["manifest", "label", "all"],
        conflicts_with_all = ["manifest", "label", "all"]
    )]
    cells: Vec<CellId>,
    #[command(flatten)]
    filter: Filter,
    /// Every cell but those that were removed
    #[arg(long, conflicts_with_all = ["manifest", "label"])]
    all: bool,
}

/// Cells by what they are.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(super) struct Filter {
    /// Every cell of this manifest but those that were removed
    #[arg(short, long, value_name = "MANIFEST")]
    manifest: Option<ManifestName>,
    /// Every cell with this label but those that were removed; several must all fit
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_delimiter = ',')]
    label: Vec<Label>,
}

/// A label that a cell must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    key: String,
    value: String,
}

impl Label {
    /// Its key and its value.
    pub(super) fn pair(&self) -> (String, String) {
        (self.key.clone(), self.value.clone())
    }
}

impl FromStr for Label {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            _ => Err("a label is written key=value"),
        }
    }
}

impl Filter {
    /// Whether a cell fits. Manifest and labels are hints in the index, unsigned: good enough to choose by, because
    /// what is chosen is shown before anything is done.
    pub(super) fn fits(&self, cell: &CellView) -> bool {
        if *self == Self::default() {
            return true;
        }
        let Some(about) = cell.about() else { return false };
        self.manifest.as_ref().is_none_or(|manifest| *manifest == about.manifest)
            && self.label.iter().all(|label| about.labels.get(&label.key) == Some(&label.value))
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        (&self.manifest, &self.label) == (&other.manifest, &other.label)
    }
}

impl Selection {
    /// The cells, sorted, each once.
    ///
    /// # Errors
    /// When there are none, or the bucket does not say which there are.
    pub(super) async fn resolve(&self, controller: &Controller, context: &Context) -> Result<Vec<CellId>, Failure> {
        if !self.cells.is_empty() {
            return Ok(self.cells.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect());
        }
        let fleet = FleetReader::new(LivenessLimits::default()).refresh(controller).await?;
        for problem in fleet.nodes.iter().flat_map(|node| node.problems.iter().map(move |why| (&node.node, why))) {
            context.output.say(&format!("warning: node {}: {}; its cells may be missing here", problem.0, problem.1));
        }
        let chosen = fleet.cells().filter(|cell| self.filter.fits(cell) && !is_removed(cell));
        let cells: Vec<CellId> = chosen.map(|cell| cell.cell.clone()).collect();
        if cells.is_empty() {
            let failure = Failure::new(Exit::NotFound, "not_found", "no cell fits");
            return Err(failure.help("`fleetman get cells` shows which there are"));
        }
        Ok(cells)
    }
}

/// Removed cells come back only by name.
fn is_removed(cell: &CellView) -> bool {
    cell.desired().is_some_and(|desired| desired.claim.action == Action::Remove.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_key_and_value() {
        assert_eq!("a=b=c".parse(), Ok(Label { key: "a".to_owned(), value: "b=c".to_owned() }));
        assert!("a=".parse::<Label>().is_ok());
        assert!("a".parse::<Label>().is_err());
        assert!("=b".parse::<Label>().is_err());
    }
}
