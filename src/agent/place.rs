//! Where a cell's releases and its link are on the host, and whether they are ours (I7).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::decide::OnHost;
use super::disk::{DiskError, Folder, There, new_link};
use super::profile::Placement;
use super::steps::Steps;
use super::trouble::{Cure, Trouble};
use crate::model::document::{self, Document};
use crate::model::{CellName, Code, NodeName};
use crate::store::in_full;

/// Marks a folder of releases as made by the agent of one node for one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) fleet: Uuid,
    pub(super) node: NodeName,
    pub(super) cell: CellName,
}

impl Document for Owner {
    const SCHEMA: &'static str = "fleetman/owner/1";
    const MAX_BYTES: u64 = 64 << 10;
}

const MARKER: &str = ".owner.json";

/// The mode of every folder of a release: everybody may read, only the agent may write.
pub(super) const FOLDER_MODE: u32 = 0o755;

/// What begins so is not finished, or no longer wanted.
pub(super) const UNFINISHED: &str = ".tmp-";

/// A place on the host that is ours.
#[derive(Debug)]
pub(super) struct Plot {
    /// The folder that holds the link.
    pub(super) folder: Folder,
    /// The folder of the releases.
    pub(super) releases: Folder,
    placement: Placement,
}

impl Plot {
    /// Takes the place for `owner`, making what is missing.
    pub(super) fn claim(placement: Placement, owner: &Owner, steps: &Steps) -> Result<Self, Trouble> {
        let folder = Folder::open(&placement.folder, FOLDER_MODE, steps)?;
        let mut releases = folder.clone();
        for segment in &placement.releases {
            releases = releases
                .child_made(segment, FOLDER_MODE)
                .map_err(|error| if error.is_in_the_way() { not_owned(in_full(&error)) } else { error.into() })?;
            if !releases.is_own()? {
                let path = releases.path().display();
                return Err(not_owned(format!("others than the agent own {path} or may write to it")));
            }
        }
        match marker(&releases)? {
            Some(Ok(found)) if found == *owner => {}
            Some(Ok(found)) => {
                let whose = format!("cell {} of node {} in fleet {}", found.cell, found.node, found.fleet);
                return Err(not_owned(format!("{} belongs to {whose}", releases.path().display())));
            }
            Some(Err(problem)) => return Err(not_owned(problem)),
            // A crash may have come between the folder and its marker.
            None if releases.names()?.iter().all(|name| name.starts_with(UNFINISHED)) => {
                releases.write(MARKER, &document::render(owner))?;
            }
            None => return Err(not_owned(format!("{} is not marked as ours", releases.path().display()))),
        }
        let plot = Self { folder, releases, placement };
        match plot.linked()? {
            OnHost::Foreign(what) => Err(not_owned(what)),
            OnHost::Release(_) | OnHost::Nothing => Ok(plot),
        }
    }

    /// The place, if it is there and is `owner`'s; what stands in the link's place does not matter.
    pub(super) fn find(placement: Placement, owner: &Owner, steps: &Steps) -> Result<Option<Self>, DiskError> {
        let Some((folder, releases)) = Self::folders(&placement, steps)? else { return Ok(None) };
        let ours = matches!(marker(&releases)?, Some(Ok(found)) if found == *owner);
        Ok(ours.then_some(Self { folder, releases, placement }))
    }

    /// Whether there are releases in the place that are not [found](Self::find) to be ours.
    pub(super) fn is_others(placement: &Placement, steps: &Steps) -> Result<bool, DiskError> {
        let Some((_, releases)) = Self::folders(placement, steps)? else { return Ok(false) };
        Ok(!releases.names()?.is_empty())
    }

    /// The folder of the link and that of the releases, where both are.
    fn folders(placement: &Placement, steps: &Steps) -> Result<Option<(Folder, Folder)>, DiskError> {
        let Some(folder) = Folder::open_existing(&placement.folder, steps)? else { return Ok(None) };
        match folder.below(placement.releases.iter().map(String::as_str)) {
            Ok(releases) => Ok(releases.map(|releases| (folder, releases))),
            Err(error) if error.is_in_the_way() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is in the link's place.
    pub(super) fn linked(&self) -> Result<OnHost, DiskError> {
        let (link, shown) = (&self.placement.link, self.placement.link_path());
        Ok(match self.folder.there(link)? {
            There::Nothing => OnHost::Nothing,
            There::Link(text) => match text.strip_prefix(&self.placement.link_text("")) {
                Some(release) if !release.contains('/') && !release.starts_with('.') => {
                    match self.releases.child(release) {
                        Ok(Some(_)) => OnHost::Release(release.to_owned()),
                        Ok(None) => OnHost::Nothing,
                        Err(error) if error.is_in_the_way() => OnHost::Nothing,
                        Err(error) => return Err(error),
                    }
                }
                _ => OnHost::Foreign(format!("{} is a link to {text:?}, which is not ours", shown.display())),
            },
            There::Other(what) => OnHost::Foreign(format!("{} is a {what} that is not ours", shown.display())),
        })
    }

    /// Lets the link point at `release`, in one step (I4).
    pub(super) fn switch(&self, release: &str) -> Result<(), Trouble> {
        if let OnHost::Foreign(what) = self.linked()? {
            return Err(not_owned(what));
        }
        Ok(self.folder.switch_link(&self.placement.link, &self.placement.link_text(release))?)
    }

    /// Removes releases beyond those in `keep`: of the others, the `extra` that stand last in `order` stay. What is
    /// unfinished goes, unless it is to become one of `under_way`.
    pub(super) fn tidy(
        &self,
        keep: &BTreeSet<String>,
        under_way: &BTreeSet<String>,
        order: &[String],
        extra: usize,
    ) -> Result<(), DiskError> {
        let mut others = Vec::new();
        for name in self.releases.names()? {
            match name.strip_prefix(UNFINISHED) {
                Some(becomes) if under_way.contains(becomes) => {}
                Some(_) => self.releases.remove_tree(&name)?,
                None if name == MARKER || keep.contains(&name) => {}
                None => others.push(name),
            }
        }
        // What is in no order is the oldest.
        others.sort_by_key(|name| std::cmp::Reverse(order.iter().rposition(|known| known == name)));
        others.iter().skip(extra).try_for_each(|name| self.discard(name))
    }

    /// Removes a release. Its name goes first, so that no crash leaves half of one under it.
    fn discard(&self, release: &str) -> Result<(), DiskError> {
        let aside = format!("{UNFINISHED}old-{release}");
        self.releases.remove_tree(&aside)?;
        self.releases.set_aside(release, &aside)?;
        self.releases.remove_tree(&aside)
    }

    /// Removes the link, if it is ours, and all releases, and then the marker; and last the folder, if it is the
    /// cell's own and nobody has put anything into it.
    pub(super) fn clear(self) -> Result<(), DiskError> {
        if !matches!(self.linked()?, OnHost::Foreign(_)) {
            self.folder.remove_file(&self.placement.link)?;
            self.folder.remove_file(&new_link(&self.placement.link))?;
        }
        for name in self.releases.names()? {
            if name != MARKER {
                self.releases.remove_tree(&name)?;
            }
        }
        self.releases.remove_file(MARKER)?;
        Self::remove_husk(&self.placement, self.folder)
    }

    /// Removes the empty folders that a crash has left of a place that was being cleared: without the marker they are
    /// [found](Self::find) no more.
    pub(super) fn sweep_husk(placement: &Placement, steps: &Steps) -> Result<(), DiskError> {
        Folder::open_existing(&placement.folder, steps)?.map_or(Ok(()), |folder| Self::remove_husk(placement, folder))
    }

    fn remove_husk(placement: &Placement, folder: Folder) -> Result<(), DiskError> {
        for most in (1..=placement.releases.len()).rev() {
            match folder.below(placement.releases.iter().take(most).map(String::as_str)) {
                // What others may write to is nobody's alone.
                Ok(Some(husk)) if husk.is_own()? => husk.remove_if_empty()?,
                Ok(_) => {}
                // What is in the way is not ours.
                Err(error) if error.is_in_the_way() => {}
                Err(error) => return Err(error),
            }
        }
        if placement.is_own && folder.is_own()? { folder.remove_if_empty() } else { Ok(()) }
    }
}

/// What the folder's marker says; None without one.
fn marker(releases: &Folder) -> Result<Option<Result<Owner, String>>, DiskError> {
    let Some(bytes) = releases.read(MARKER, Owner::MAX_BYTES)? else { return Ok(None) };
    let damaged =
        |error: &dyn std::error::Error| format!("{} {}", releases.path().join(MARKER).display(), in_full(error));
    Ok(Some(document::parse(&bytes).map_err(|error| damaged(&error))))
}

/// What the host has in the place, whoever owns it.
pub(super) fn look(placement: Placement, owner: &Owner, steps: &Steps) -> Result<OnHost, DiskError> {
    if let Some(plot) = Plot::find(placement.clone(), owner, steps)? {
        return plot.linked();
    }
    let Some(folder) = Folder::open_existing(&placement.folder, steps)? else { return Ok(OnHost::Nothing) };
    Ok(match folder.there(&placement.link)? {
        There::Nothing => OnHost::Nothing,
        // A link to a place that is gone may be what is left of ours; to replace it destroys nothing.
        There::Link(text) if text.starts_with(&placement.link_text("")) => OnHost::Nothing,
        There::Link(_) | There::Other(_) => OnHost::Foreign(format!("{} is not ours", placement.link_path().display())),
    })
}

fn not_owned(message: String) -> Trouble {
    Trouble::new(Code::UnitNotOwned, message, Cure::Time)
}
