//! Puts files of a release back: each is written beside the release, from bytes that were verified, and then takes its
//! place in one step. So at any instant, and after any crash, each file is what it was found as or what the manifest
//! says (I3), and what runs keeps the files that it has open.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::agent::context::Context;
use crate::agent::disk::{DiskError, Folder, apart};
use crate::agent::fetch;
use crate::agent::place::{Plot, UNFINISHED};
use crate::agent::release::{self, Content, Unfinished, content};
use crate::agent::reuse::Sources;
use crate::agent::stage::write_empty;
use crate::agent::trouble::{Cure, Trouble};
use crate::model::manifest::{Manifest, ManifestFile};
use crate::model::{CellName, Code};

/// What is to be put back of one release.
#[derive(Debug)]
pub(super) struct Mend {
    pub(super) context: Arc<Context>,
    pub(super) cell: CellName,
    pub(super) plot: Arc<Plot>,
    /// The release's folder, and its name.
    pub(super) release: Folder,
    pub(super) name: String,
    pub(super) manifest: Arc<Manifest>,
    pub(super) stop: CancellationToken,
}

/// Files that wait beside the release to take their places.
#[derive(Debug)]
pub(super) struct Ready {
    unfinished: Unfinished,
    pub(super) files: Vec<ManifestFile>,
    /// What could not be got hold of.
    pub(super) trouble: Option<Trouble>,
}

impl Mend {
    /// Gets hold of the files at `places` in the manifest: from the node, or else from the bucket.
    pub(super) async fn prepare(&self, places: &[usize]) -> Result<Ready, Trouble> {
        let files: Vec<ManifestFile> = places.iter().filter_map(|at| self.manifest.files.get(*at)).cloned().collect();
        let (plot, name) = (Arc::clone(&self.plot), self.aside());
        let needed = files.iter().map(|file| file.size).fold(self.context.reserve_bytes, u64::saturating_add);
        let count = files.len() as u64;
        let unfinished = apart(move || {
            // What an earlier try left was perhaps for other bytes.
            plot.releases.remove_tree(&format!("{UNFINISHED}{name}"))?;
            let (free_bytes, free_files) = plot.releases.room()?;
            if needed > free_bytes || count > free_files {
                let message = format!("putting {count} files back needs {needed} bytes, and {free_bytes} are free");
                return Err(Trouble::new(Code::DiskFull, message, Cure::Time));
            }
            Ok(Unfinished::open(&plot.releases, &name)?)
        })
        .await?;
        let mut ready = Ready { unfinished, files: Vec::new(), trouble: None };
        let missing = self.copy(&mut ready, files).await?;
        self.fetch(&mut ready, missing).await;
        Ok(ready)
    }

    fn aside(&self) -> String {
        format!("mend-{}", self.name)
    }

    /// Copies what is on the node already; comes back with what is not.
    async fn copy(&self, ready: &mut Ready, files: Vec<ManifestFile>) -> Result<Vec<ManifestFile>, Trouble> {
        let (context, cell) = (Arc::clone(&self.context), self.cell.clone());
        let wanted: BTreeSet<Content> = files.iter().map(content).collect();
        let sources = Arc::new(apart(move || Sources::find(&context, &cell, &wanted)).await?);
        let mut missing = Vec::new();
        for file in files {
            self.go_on()?;
            let (unfinished, sources, release) = (ready.unfinished.clone(), Arc::clone(&sources), self.release.clone());
            let (file, is_held) = apart(move || {
                let is_held = is_copied(&unfinished, &sources, &release, &file)?;
                Ok::<_, Trouble>((file, is_held))
            })
            .await?;
            if is_held { &mut ready.files } else { &mut missing }.push(file);
        }
        Ok(missing)
    }

    /// Fetches the rest. What one file lacks keeps no other from being put back.
    async fn fetch(&self, ready: &mut Ready, missing: Vec<ManifestFile>) {
        let wanted: Vec<&ManifestFile> = missing.iter().collect();
        let pieces = match fetch::pieces(&self.manifest, &wanted) {
            Ok(pieces) => pieces,
            Err(trouble) => return ready.trouble = Some(trouble),
        };
        for piece in pieces {
            let files = piece.files().to_vec();
            let fetched = async {
                // The semaphore is never closed.
                let _permit = self.context.downloads.acquire().await;
                piece.fetch(&self.context.store, &ready.unfinished).await
            };
            let fetched = tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(given_up()),
                fetched = fetched => fetched,
            };
            match fetched {
                Ok(_) => ready.files.extend(files),
                Err(trouble) if self.stop.is_cancelled() => return ready.trouble = Some(trouble),
                Err(trouble) => {
                    ready.trouble.get_or_insert(trouble);
                }
            }
        }
    }

    /// Lets what is ready take its places; comes back with how many did.
    pub(super) async fn put(&self, ready: &mut Ready) -> Result<u64, Trouble> {
        let mut put = 0;
        for file in std::mem::take(&mut ready.files) {
            self.go_on()?;
            let (unfinished, release) = (ready.unfinished.clone(), self.release.clone());
            match apart(move || unfinished.put(&file, &release)).await {
                Ok(()) => put += 1,
                Err(error) if error.is_killed() => return Err(error.into()),
                Err(error) => {
                    ready.trouble.get_or_insert(error.into());
                }
            }
        }
        let (plot, name) = (Arc::clone(&self.plot), self.aside());
        apart(move || plot.releases.remove_tree(&format!("{UNFINISHED}{name}"))).await?;
        Ok(put)
    }

    fn go_on(&self) -> Result<(), Trouble> {
        if self.stop.is_cancelled() { Err(given_up()) } else { Ok(()) }
    }
}

fn given_up() -> Trouble {
    Trouble::new(Code::Interrupted, "it was given up for something else", Cure::Time)
}

/// Whether the file's bytes are on the node: in its own place, where only its mode or owner may be wrong, or elsewhere.
fn is_copied(
    unfinished: &Unfinished,
    sources: &Sources,
    release: &Folder,
    file: &ManifestFile,
) -> Result<bool, Trouble> {
    if file.size == 0 {
        write_empty(unfinished, file)?;
        return Ok(true);
    }
    let own = release::open(release, &file.path).ok().flatten();
    for source in own.into_iter().chain(sources.of(content(file))) {
        match unfinished.copy(&source, file) {
            Ok(false) => {}
            Ok(true) => return Ok(true),
            // One that cannot be read is none to copy from.
            Err(error) if is_ours(&error) => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(false)
}

/// Whether it is the copy that cannot be written.
fn is_ours(error: &DiskError) -> bool {
    error.is_killed() || error.is_full() || error.is_denied()
}
