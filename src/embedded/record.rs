//! The file of one object or part: its body, then a record that describes it.
//!
//! ```text
//! body | record (JSON) | length of the record (u32 LE) | CRC32C of the record (u32 LE) | magic (8 bytes)
//! ```
//! The record stands last because size and digests are known only once the body has gone by. Body and record are one
//! file, so that a single rename makes both visible.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use s3s::crypto::{Checksum as _, Crc32c};
use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: &[u8; 8] = b"fmobj/1\n";
const TAIL_BYTES: u64 = 16;

/// Keys and user metadata are short: a longer record is not one of ours.
const MAX_RECORD_BYTES: u32 = 1024 * 1024;

/// Appends `record` to a file that holds exactly the body, and waits until all of it is on disk.
pub(super) fn seal<T: Serialize>(file: &mut File, record: &T) -> io::Result<()> {
    let json = serde_json::to_vec(record)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_RECORD_BYTES);
    let Some(length) = length else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a record of {} bytes", json.len())));
    };
    let mut bytes = json;
    let sum: [u8; 4] = Crc32c::checksum(&bytes);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&sum);
    bytes.extend_from_slice(MAGIC);
    file.seek(SeekFrom::End(0))?;
    file.write_all(&bytes)?;
    file.sync_all()
}

/// The record of a sealed file and the length of its body, without reading the body.
pub(super) fn read<T: DeserializeOwned>(file: &mut File) -> io::Result<(T, u64)> {
    let corrupt = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let file_bytes = file.metadata()?.len();
    let tail_at = file_bytes.checked_sub(TAIL_BYTES).ok_or_else(|| corrupt("it is too short to hold a record"))?;
    file.seek(SeekFrom::Start(tail_at))?;
    let mut length = [0; 4];
    let mut sum = [0; 4];
    let mut magic = [0; 8];
    file.read_exact(&mut length)?;
    file.read_exact(&mut sum)?;
    file.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(corrupt("it does not end like an object of this version"));
    }
    let length = u32::from_le_bytes(length);
    let body_bytes = tail_at.checked_sub(u64::from(length)).filter(|_| length <= MAX_RECORD_BYTES);
    let body_bytes = body_bytes.ok_or_else(|| corrupt("its record has an impossible length"))?;
    let mut json = vec![0; length as usize];
    file.seek(SeekFrom::Start(body_bytes))?;
    file.read_exact(&mut json)?;
    if Crc32c::checksum(&json) != sum {
        return Err(corrupt("its record does not match its checksum"));
    }
    Ok((serde_json::from_slice(&json)?, body_bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn sealed(body: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(body).unwrap();
        seal(&mut file, &"the record").unwrap();
        file
    }

    #[test]
    fn a_sealed_file_gives_back_record_and_length_of_body() {
        for body in [&b""[..], b"body", &[0; 70_000]] {
            let (record, body_bytes) = read::<String>(&mut sealed(body)).unwrap();
            assert_eq!((record.as_str(), body_bytes), ("the record", body.len() as u64));
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_not_taken_for_an_object() {
        let whole = sealed(b"body").metadata().unwrap().len();
        for length in 0..whole {
            let mut file = sealed(b"body");
            file.set_len(length).unwrap();
            let error = read::<String>(&mut file).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "cut to {length} bytes: {error}");
        }
    }

    #[test]
    fn a_changed_record_is_not_taken_for_an_object() {
        let mut file = sealed(b"body");
        file.seek(SeekFrom::Start(6)).unwrap();
        file.write_all(b"X").unwrap();
        assert!(read::<String>(&mut file).unwrap_err().to_string().contains("checksum"));
    }
}
