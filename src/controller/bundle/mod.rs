//! Versions in a file, for sites that no network reaches: `save` writes a tar, `load` puts it into another bucket of the
//! same fleet.
//!
//! First comes `bundle.json`, which names everything by key, size and digest; then, numbered in that order, the signed
//! documents; then the files, each once. Nothing in a bundle is believed for standing in it: the signed history entry
//! names the manifest's digest, the manifest those of its files, and all of that is checked before a byte is written.

mod load;
mod plan;
mod save;
mod tar;

use std::path::Path;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use load::Loaded;
pub use plan::{BundlePlan, BundledVersion};
pub use save::{BundleToSave, Saved};

use super::ControllerError;
use crate::model::document::Document;
use crate::model::name::NameError;
use crate::model::{CellId, ObjectKey, Sha256Digest, VersionName};

/// A version to be saved: `<node>/<cell>`, which is the one that is desired, or `<node>/<cell>@<version>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleSelector {
    /// The cell.
    pub cell: CellId,
    /// The version; the desired one if absent.
    pub version: Option<VersionName>,
}

impl FromStr for BundleSelector {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (cell, version) = text.split_once('@').map_or((text, None), |(cell, version)| (cell, Some(version)));
        Ok(Self { cell: cell.parse()?, version: version.map(VersionName::new).transpose()? })
    }
}

/// What is in a bundle: `bundle.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Bundle {
    /// Whose it is.
    fleet: Uuid,
    created_at: DateTime<Utc>,
    /// Signed documents and manifests.
    documents: Vec<Packed>,
    /// Everything else.
    files: Vec<Packed>,
}

impl Document for Bundle {
    const SCHEMA: &'static str = "fleetman/bundle/1";
    const MAX_BYTES: u64 = 256 << 20;
}

/// Bytes in a bundle, and the objects that have them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Packed {
    keys: Vec<String>,
    size: u64,
    sha256: Sha256Digest,
}

/// The most bytes of documents, which are held in memory while they are checked.
const MOST_DOCUMENT_BYTES: u64 = 256 << 20;

/// The name of `bundle.json` in the archive.
const CONTENTS: &str = "bundle.json";

/// The name of the file with this number.
fn numbered(number: usize) -> String {
    format!("objects/{number:09}")
}

fn local(doing: &'static str, path: &Path) -> impl Fn(std::io::Error) -> ControllerError {
    move |source| ControllerError::Local { doing, path: path.to_owned(), source }
}

/// A bundle that lies on this machine.
#[derive(Debug, Clone, Copy)]
pub struct BundleFile<'b> {
    /// Where.
    pub path: &'b Path,
    /// What it is called where it is spoken of.
    pub called: &'b Path,
}

impl<'b, P: AsRef<Path> + ?Sized> From<&'b P> for BundleFile<'b> {
    fn from(path: &'b P) -> Self {
        Self { path: path.as_ref(), called: path.as_ref() }
    }
}

/// Refuses a bundle. Nothing of it was committed.
fn refuse(path: &Path, problem: impl std::fmt::Display) -> ControllerError {
    ControllerError::Untrusted { key: path.display().to_string(), problem: format!(": {problem}"), source: None }
}

/// Whether an object may stand among the documents of a bundle.
fn is_document(key: &ObjectKey) -> bool {
    matches!(key, ObjectKey::History(..) | ObjectKey::VersionManifest(..) | ObjectKey::Deployment(..))
}
