//! A look into the bucket below the fleet's prefix, as it is. Nothing here writes.

mod about;
mod preview;
mod references;
mod verify;

use chrono::{DateTime, Utc};

pub use about::{About, about_folder, about_key, rule_in_words};
pub use preview::{Content, Preview, TextKind};
pub use references::{Reference, References};

use super::{Controller, ControllerError};
use crate::model::ObjectKey;
use crate::model::keys::Folder;
use crate::store::{Depth, ETag, Meta, ObjectStream, StoreError};

/// The longest path that is listed and the longest place in a list, in bytes: S3's own limit of keys, and room for
/// what stores put around one.
const MOST_PATH_BYTES: usize = 1024;
const MOST_TOKEN_BYTES: usize = 4096;

/// One page of what lies in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowsePage {
    /// The folder, below the fleet's prefix; ends in a slash unless it is empty.
    pub path: String,
    /// What it is for; None if the protocol has no such folder.
    pub about: Option<About>,
    /// The folders directly in it.
    pub folders: Vec<FolderRow>,
    /// The objects directly in it.
    pub objects: Vec<ObjectRow>,
    /// Where the next page begins, if there is one: `after` of [`Controller::browse`].
    pub next: Option<String>,
}

/// A folder in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderRow {
    /// Its name in the folder that was listed. Hostile text; may be empty, because "a//b" is a key.
    pub name: String,
    /// Its whole path below the fleet's prefix, with the slash behind it.
    pub path: String,
    /// What it is for; None if the protocol has no such folder.
    pub about: Option<About>,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// Its name in the folder that was listed. Hostile text.
    pub name: String,
    /// Its key; None if it is none of the protocol. Such an object is named, never opened.
    pub key: Option<ObjectKey>,
    /// In bytes.
    pub size: u64,
    /// The store's name for its bytes.
    pub etag: ETag,
    /// When the store took it, by the store's clock.
    pub modified: Option<DateTime<Utc>>,
}

impl Controller {
    /// One page, of up to `limit` objects and folders, of what lies in the folder at `path`.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`] when `path` is no folder's or `after` no place in its list, else why the store did
    /// not answer. A folder with nothing in it is no error: a bucket has no folders.
    pub async fn browse(&self, path: &str, after: Option<&str>, limit: u16) -> Result<BrowsePage, ControllerError> {
        if !path.is_empty() && !path.ends_with('/') {
            return Err(ControllerError::invalid("the folder", "its path must end in a slash"));
        }
        if path.len() > MOST_PATH_BYTES {
            return Err(ControllerError::invalid("the folder", "its path is longer than a key can be"));
        }
        let no_place = || ControllerError::invalid("the place in the list", "the store knows none such; begin anew");
        let mut pages = self.store().list_path(path, Depth::Shallow).by(limit.max(1));
        if let Some(after) = after {
            if after.is_empty() || after.len() > MOST_TOKEN_BYTES || !after.bytes().all(|byte| byte.is_ascii_graphic())
            {
                return Err(no_place());
            }
            pages = pages.from_token(after.to_owned());
        }
        let listing = match pages.next().await {
            Ok(listing) => listing.unwrap_or_default(),
            Err(StoreError::Refused { status: 400..500, .. }) if after.is_some() => return Err(no_place()),
            Err(error) => return Err(error.into()),
        };
        let folders = listing.folders.into_iter().map(|name| {
            let path = format!("{path}{name}/");
            FolderRow { about: about(&path), name, path }
        });
        let objects = listing.entries.into_iter().map(|entry| ObjectRow {
            name: entry.key.strip_prefix(path).unwrap_or(&entry.key).to_owned(),
            key: entry.object_key(),
            size: entry.size,
            etag: entry.etag,
            modified: entry.last_modified,
        });
        Ok(BrowsePage {
            about: about(path),
            folders: folders.collect(),
            objects: objects.collect(),
            next: pages.token().map(str::to_owned),
            path: path.to_owned(),
        })
    }

    /// What is known of the object at `key` without reading it.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none.
    pub async fn object(&self, key: &ObjectKey) -> Result<Meta, ControllerError> {
        self.store().head(key).await?.ok_or_else(|| no_object(key))
    }

    /// The whole object at `key` as it comes, and what is known of it.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none.
    pub async fn open(&self, key: &ObjectKey) -> Result<(Meta, ObjectStream), ControllerError> {
        self.store().open(key).await?.ok_or_else(|| no_object(key))
    }
}

fn no_object(key: &ObjectKey) -> ControllerError {
    ControllerError::not_found(key, "there is no such object in the bucket")
}

fn about(path: &str) -> Option<About> {
    Folder::parse(path).map(|folder| about_folder(&folder))
}
