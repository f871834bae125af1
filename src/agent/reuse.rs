//! Files that are on the node already, in any release of any cell.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::disk::{DiskError, Folder};
use super::place::Plot;
use super::release::{self, Content, content};
use crate::model::document::Document as _;
use crate::model::manifest::Manifest;
use crate::model::{CellName, FilePath};

/// Releases that are kept open to copy from.
const MOST_RELEASES: usize = 64;

/// A second place to copy from, where the first was changed by hand.
const PLACES_EACH: usize = 2;

/// Where wanted files may be copied from. What is copied is digested again: nothing here is believed.
#[derive(Debug, Default)]
pub(super) struct Sources {
    releases: Vec<Folder>,
    places: BTreeMap<Content, Vec<(usize, FilePath)>>,
}

impl Sources {
    /// Looks for `wanted` in every release that the agent keeps, those of `cell` first.
    pub(super) fn find(context: &Context, cell: &CellName, wanted: &BTreeSet<Content>) -> Result<Self, DiskError> {
        let mut sources = Self::default();
        let others = context.home.cells()?.into_iter().filter(|other| other != cell);
        for cell in std::iter::once(cell.clone()).chain(others) {
            // One that cannot be looked into is none to copy from.
            let Ok(home) = context.home.cell(&cell) else { continue };
            for name in home.manifests.names().unwrap_or_default() {
                let Some(release) = name.strip_suffix(".json") else { continue };
                let Ok(Some(bytes)) = home.manifests.read(&name, Manifest::MAX_BYTES) else { continue };
                if let Ok(manifest) = Manifest::parse(&bytes) {
                    sources.add(context, &cell, release, &manifest, wanted);
                }
            }
        }
        Ok(sources)
    }

    fn add(
        &mut self,
        context: &Context,
        cell: &CellName,
        release: &str,
        manifest: &Manifest,
        wanted: &BTreeSet<Content>,
    ) {
        let Some(profile) = context.profiles.get(manifest.profile.name()) else { return };
        let found = manifest.files.iter().filter(|file| wanted.contains(&content(file)));
        let found: Vec<_> = found.map(|file| (content(file), file.path.clone())).collect();
        if found.is_empty() || self.releases.len() == MOST_RELEASES {
            return;
        }
        let Ok(Some(plot)) = Plot::find(profile.placement(cell), &context.owner(cell), &context.steps) else { return };
        let Ok(Some(folder)) = plot.releases.child(release) else { return };
        for (content, path) in found {
            let places = self.places.entry(content).or_default();
            if places.len() < PLACES_EACH {
                places.push((self.releases.len(), path));
            }
        }
        self.releases.push(folder);
    }

    /// Files that should hold `wanted`.
    pub(super) fn of(&self, wanted: Content) -> impl Iterator<Item = std::fs::File> {
        let places = self.places.get(&wanted).into_iter().flatten();
        // One that cannot be opened is none to copy from.
        places.filter_map(|(at, path)| release::open(self.releases.get(*at)?, path).ok().flatten())
    }
}
