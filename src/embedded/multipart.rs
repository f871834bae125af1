//! Multipart uploads on disk: a folder for each, with its record and a sealed file for each part.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, Refusal};
use super::digests::{Algorithm, Checksum, Digests, Scope};
use super::folder::{Temporary, sync_folder};
use super::object::Headers;
use super::record;
use crate::entropy;

const COPY_BUFFER_BYTES: usize = 256 * 1024;

/// An upload that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) begun: DateTime<Utc>,
    pub(super) headers: Headers,
    /// What the client chose; parts of another kind are refused then.
    pub(super) algorithm: Option<Algorithm>,
    /// Of the checksum that the object will have.
    pub(super) scope: Scope,
}

/// A part that is wholly here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) number: i32,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
    pub(super) modified: DateTime<Utc>,
    pub(super) checksum: Checksum,
}

/// A new, unguessable upload id.
pub(super) fn new_id() -> io::Result<String> {
    Ok(super::digests::hex(&entropy::bytes::<16>()?))
}

impl Bucket {
    /// Begins an upload, by one rename; blocks on the disk.
    pub(super) fn begin_upload(&self, upload: &Upload) -> Result<(), Refusal> {
        let draft = self.hold().temporary_path();
        fs::create_dir(&draft)?;
        record::seal(&mut File::create_new(draft.join("upload"))?, upload)?;
        sync_folder(&draft)?;
        fs::rename(&draft, self.uploads_path().join(&upload.id))?;
        sync_folder(&self.uploads_path())?;
        Ok(())
    }

    /// The upload of that id, if it is one to this key; blocks on the disk.
    pub(super) fn upload(&self, id: &str, key: &str) -> Result<Upload, Refusal> {
        let path = self.upload_path(id)?.join("upload");
        let upload = read::<Upload>(&path).map_err(gone)?.0;
        if upload.key == key { Ok(upload) } else { Err(Refusal::NoSuchUpload) }
    }

    /// All uploads in the order of their keys, those of one key in the order of their ids; blocks on the disk.
    pub(super) fn uploads(&self) -> Result<Vec<Upload>, Refusal> {
        let mut uploads = Vec::new();
        for entry in fs::read_dir(self.uploads_path())? {
            match read::<Upload>(&entry?.path().join("upload")) {
                Ok((upload, _)) => uploads.push(upload),
                // Completed or aborted since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        uploads.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
        Ok(uploads)
    }

    /// Makes a received body the part of that number; blocks on the disk.
    pub(super) fn keep_part(&self, id: &str, mut temporary: Temporary, part: &Part) -> Result<(), Refusal> {
        let folder = self.upload_path(id)?;
        record::seal(&mut temporary.file, part)?;
        temporary.rename_to(&folder.join(part.number.to_string())).map_err(gone)?;
        sync_folder(&folder).map_err(gone)
    }

    /// A part, and the file whose first `size` bytes are its body; blocks on the disk.
    pub(super) fn part(&self, id: &str, number: i32) -> Result<Option<(Part, File)>, Refusal> {
        match read::<Part>(&self.upload_path(id)?.join(number.to_string())) {
            Ok(part) => Ok(Some(part)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The parts that are there, in the order of their numbers; blocks on the disk.
    pub(super) fn parts(&self, id: &str) -> Result<Vec<Part>, Refusal> {
        let mut parts = Vec::new();
        for entry in fs::read_dir(self.upload_path(id)?).map_err(gone)? {
            let name = entry?.file_name();
            if let Some(number) = name.to_str().and_then(|name| name.parse().ok()) {
                parts.extend(self.part(id, number)?.map(|(part, _)| part));
            }
        }
        parts.sort_by_key(|part| part.number);
        Ok(parts)
    }

    /// Forgets an upload and its parts; blocks on the disk.
    pub(super) fn end_upload(&self, id: &str) -> Result<(), Refusal> {
        self.hold().discard_folder(&self.upload_path(id)?).map_err(gone)
    }

    /// Ids come from clients, and become paths.
    fn upload_path(&self, id: &str) -> Result<PathBuf, Refusal> {
        let ours = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if ours { Ok(self.uploads_path().join(id)) } else { Err(Refusal::NoSuchUpload) }
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<(T, File)> {
    let mut file = File::open(path)?;
    let (record, _) = record::read(&mut file)?;
    Ok((record, file))
}

fn gone(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::NotFound => Refusal::NoSuchUpload,
        _ => error.into(),
    }
}

/// Appends bytes of one file to another inside the kernel; they are not looked at. Blocks.
pub(super) fn append(mut source: &File, range: std::ops::Range<u64>, target: &mut File) -> io::Result<()> {
    source.seek(SeekFrom::Start(range.start))?;
    let length = range.end - range.start;
    let copied = io::copy(&mut source.take(length), target)?;
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Appends bytes of one file to another, and digests them on the way. Blocks.
pub(super) fn append_digested(
    mut source: &File,
    range: std::ops::Range<u64>,
    target: &mut File,
    digests: &mut Digests,
) -> io::Result<()> {
    source.seek(SeekFrom::Start(range.start))?;
    let mut left = range.end - range.start;
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let bytes = &mut buffer[..most];
        source.read_exact(bytes)?;
        digests.update(bytes);
        target.write_all(bytes)?;
        left -= most as u64;
    }
    Ok(())
}
