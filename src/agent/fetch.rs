//! Files out of the bucket into a release that is being written.

use std::collections::BTreeMap;

use tokio::io::AsyncWriteExt as _;

use super::disk::{DiskError, apart};
use super::release::Unfinished;
use super::state::Effort;
use super::trouble::{Cure, Trouble};
use crate::model::manifest::{Manifest, ManifestFile};
use crate::model::{Code, ObjectKey, Sha256Digest};
use crate::store::{Expect, Store, StoreError};

/// Neighbours in a pack are fetched together up to so many bytes: enough to make small files cheap, and few enough
/// to be fetched again when it breaks off.
const JOINED_BYTES: u64 = 8 << 20;

/// What is fetched with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    key: ObjectKey,
    /// None = the whole object.
    offset: Option<u64>,
    /// One after the other in the object.
    files: Vec<ManifestFile>,
}

/// The requests that bring `files`. Neighbouring ranges of one object become one.
pub(super) fn pieces(manifest: &Manifest, files: &[&ManifestFile]) -> Result<Vec<Piece>, Trouble> {
    let mut pieces = Vec::new();
    let mut ranges: BTreeMap<String, (ObjectKey, Vec<&ManifestFile>)> = BTreeMap::new();
    for file in files {
        let key = manifest
            .object_of(file)
            .map_err(|error| Trouble::new(Code::ManifestInvalid, error.to_string(), Cure::OtherContent))?;
        if file.object.is_none() && file.offset.is_none() {
            pieces.push(Piece { key, offset: None, files: vec![(*file).clone()] });
        } else {
            ranges.entry(key.relative()).or_insert_with(|| (key, Vec::new())).1.push(file);
        }
    }
    for (key, mut files) in ranges.into_values() {
        files.sort_by_key(|file| file.offset.unwrap_or(0));
        let mut joined: Option<(u64, u64, Vec<ManifestFile>)> = None;
        for file in files {
            let begins = file.offset.unwrap_or(0);
            match &mut joined {
                Some((first, end, files)) if *end == begins && *end + file.size - *first <= JOINED_BYTES => {
                    *end += file.size;
                    files.push(file.clone());
                }
                _ => {
                    let next = (begins, begins + file.size, vec![file.clone()]);
                    pieces.extend(joined.replace(next).map(|done| ranged(&key, done)));
                }
            }
        }
        pieces.extend(joined.map(|done| ranged(&key, done)));
    }
    Ok(pieces)
}

fn ranged(key: &ObjectKey, (offset, _, files): (u64, u64, Vec<ManifestFile>)) -> Piece {
    Piece { key: key.clone(), offset: Some(offset), files }
}

impl Piece {
    /// The files that it brings.
    pub(super) fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// Fetches the piece into its files.
    pub(super) async fn fetch(self, store: &Store, into: &Unfinished) -> Result<Effort, Trouble> {
        match self.files.as_slice() {
            [file] => fetch_one(store, &self.key, self.offset, file, into).await?,
            files => fetch_joined(store, &self.key, self.offset.unwrap_or(0), files, into).await?,
        }
        let bytes_fetched = self.files.iter().map(|file| file.size).sum();
        Ok(Effort { files_fetched: self.files.len() as u64, bytes_fetched, ..Effort::default() })
    }
}

async fn fetch_one(
    store: &Store,
    key: &ObjectKey,
    offset: Option<u64>,
    file: &ManifestFile,
    into: &Unfinished,
) -> Result<(), Trouble> {
    let mut target = create(into, file).await?;
    let expect = Expect { size: file.size, sha256: file.sha256 };
    let done = store.download(key, offset, expect, &mut target).await;
    done.map_err(|error| explain(file, error))?;
    finish(into, file, target).await
}

/// Takes the range apart as it comes, file by file.
async fn fetch_joined(
    store: &Store,
    key: &ObjectKey,
    offset: u64,
    files: &[ManifestFile],
    into: &Unfinished,
) -> Result<(), Trouble> {
    let (Some(first), size) = (files.first(), files.iter().map(|file| file.size).sum()) else { return Ok(()) };
    let mut stream = store.open_range(key, offset, size).await.map_err(|error| explain(first, error))?;
    let mut rest = bytes::Bytes::new();
    for file in files {
        let mut target = create(into, file).await?;
        let mut digest = Sha256Digest::builder();
        let mut left = file.size;
        while left > 0 {
            if rest.is_empty() {
                let next = stream.next().await.map_err(|error| explain(file, error))?;
                rest = next.ok_or_else(|| tampered(file, "its bytes end early".to_owned()))?;
            }
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let piece = rest.split_to(length);
            digest.update(&piece);
            let refuse = |source| DiskError::new("writing", into.folder().path().join(file.path.as_str()), source);
            target.write_all(&piece).await.map_err(refuse)?;
            left -= length as u64;
        }
        let got = digest.finish();
        if got != file.sha256 {
            return Err(tampered(file, format!("expected sha256 {}, got {got}", file.sha256)));
        }
        finish(into, file, target).await?;
    }
    Ok(())
}

async fn create(into: &Unfinished, file: &ManifestFile) -> Result<tokio::fs::File, DiskError> {
    let (into, file) = (into.clone(), file.clone());
    apart(move || into.create(&file)).await.map(tokio::fs::File::from_std)
}

async fn finish(into: &Unfinished, file: &ManifestFile, mut written: tokio::fs::File) -> Result<(), Trouble> {
    let path = into.folder().path().join(file.path.as_str());
    written.flush().await.map_err(|source| DiskError::new("writing", path, source))?;
    let (into, file, written) = (into.clone(), file.clone(), written.into_std().await);
    Ok(apart(move || into.finish(&written, &file)).await?)
}

fn explain(file: &ManifestFile, error: StoreError) -> Trouble {
    match error {
        StoreError::NotFound { .. } => Trouble::passing(Code::FileMissing, &error),
        StoreError::Corrupt { .. } | StoreError::TooLarge { .. } => tampered(file, error.to_string()),
        StoreError::Local { doing, source } => {
            let local = DiskError::new("writing", file.path.as_str().into(), source);
            let message = doing.to_string();
            let trouble = Trouble::from(local);
            Trouble::new(trouble.code, format!("{message}: {}", trouble.message), trouble.cure)
        }
        other => other.into(),
    }
}

fn tampered(file: &ManifestFile, what: String) -> Trouble {
    Trouble::new(Code::FileTampered, format!("file {} is not the one of the manifest: {what}", file.path), Cure::Time)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::model::health::Health;
    use crate::model::manifest::{Mode, Origin};
    use crate::model::run_spec::{DeploySpec, Limits, Profile};
    use crate::model::strategy::Strategy;
    use crate::model::{CellName, FilePath, ManifestName, NodeName, ObjectPath, UserName, VersionName};

    /// Path, size, and the object and offset where the bytes lie, unless it is the usual place.
    type File<'a> = (&'a str, u64, Option<(&'a str, u64)>);

    fn manifest(files: &[File<'_>]) -> Manifest {
        let files = files.iter().map(|(path, size, place)| ManifestFile {
            path: FilePath::new(*path).unwrap(),
            size: *size,
            sha256: Sha256Digest::of(path.as_bytes()),
            mode: Mode::READ,
            from: Origin::Deployment,
            object: place.map(|(object, _)| ObjectPath::new(object).unwrap()),
            offset: place.map(|(_, offset)| offset),
        });
        Manifest {
            requires: Vec::new(),
            fleet: Uuid::nil(),
            node: NodeName::new("n").unwrap(),
            cell: CellName::new("c").unwrap(),
            version: VersionName::new("1").unwrap(),
            manifest: ManifestName::new("m").unwrap(),
            deployment: None,
            content_sha256: Sha256Digest::of(b""),
            created_at: DateTime::UNIX_EPOCH,
            created_by: UserName::new("a").unwrap(),
            note: None,
            profile: Profile::Deploy(DeploySpec::default()),
            health: Health::default(),
            hooks: Default::default(),
            strategy: Strategy::default(),
            reload_if: Vec::new(),
            restart_if: Vec::new(),
            limits: Limits::default(),
            drift: crate::model::drift::DriftSpec::default(),
            windows: Default::default(),
            lock: None,
            dependencies: Default::default(),
            files: files.collect(),
        }
    }

    fn planned(manifest: &Manifest) -> Vec<(Option<u64>, String)> {
        let files: Vec<&ManifestFile> = manifest.files.iter().collect();
        let mut planned: Vec<_> = pieces(manifest, &files)
            .unwrap()
            .into_iter()
            .map(|piece| {
                (piece.offset, piece.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join("+"))
            })
            .collect();
        planned.sort();
        planned
    }

    #[test]
    fn only_neighbours_in_one_object_are_joined_up_to_a_limit() {
        let manifest = manifest(&[
            ("own", 5, None),
            ("b", 10, Some(("p", 10))),
            ("a", 10, Some(("p", 0))),
            ("gap", 10, Some(("p", 21))),
            ("other", 10, Some(("q", 31))),
            ("big", JOINED_BYTES, Some(("p", 31))),
            ("twin", 10, Some(("p", 0))),
        ]);
        let expected = [
            (None, "own"),
            (Some(0), "a"),
            (Some(0), "twin+b"),
            (Some(21), "gap"),
            (Some(31), "big"),
            (Some(31), "other"),
        ];
        assert_eq!(planned(&manifest), expected.map(|(offset, files)| (offset, files.to_owned())));
    }
}
