//! The bytes of files, as they lie in the bucket, against the documents that name them.

use super::{Controller, Findings};
use crate::controller::ControllerError;
use crate::model::digest::{Content16, DigestBuilder};
use crate::model::manifest::Manifest;
use crate::model::{CellId, DeploymentName, FilePath, ManifestName, ObjectKey, Sha256Digest, VersionName};
use crate::store::Expect;

/// How many files of one object are told of one by one.
const MOST_TOLD: usize = 50;

/// A file that some document says lies in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) path: FilePath,
    /// Where in the object it begins.
    pub(super) offset: u64,
    pub(super) expect: Expect,
    /// Whether it is to be the whole object.
    pub(super) is_whole: bool,
}

impl Controller {
    /// What `deployment.json` says of a file of a release.
    pub(super) async fn expected_of_release(
        &self,
        manifest: &ManifestName,
        deployment: &DeploymentName,
        content: Content16,
        path: &FilePath,
        found: &mut Findings,
    ) -> Result<Vec<Part>, ControllerError> {
        let Some(release) = self.verify_deployment(manifest, deployment, found).await? else {
            found.warn("named", "there is no deployment.json: the upload is under way, or was never finished");
            return Ok(Vec::new());
        };
        let Some(release) = release else { return Ok(Vec::new()) };
        let is_it = |file: &&crate::model::deployment::DeploymentFile| {
            file.path == *path && release.content_sha256.content16() == content
        };
        let parts = release.files.iter().filter(is_it).map(|file| Part {
            path: file.path.clone(),
            offset: 0,
            expect: Expect { size: file.size, sha256: file.sha256 },
            is_whole: true,
        });
        Ok(found.named(parts.collect()))
    }

    /// What a version's manifest says of one of its objects.
    pub(super) async fn expected_of_version(
        &self,
        cell: &CellId,
        version: &VersionName,
        key: &ObjectKey,
        found: &mut Findings,
    ) -> Result<Vec<Part>, ControllerError> {
        let Some(manifest) = self.verify_manifest(cell, version, found).await? else {
            found.warn("named", "there is no manifest.json: the version is being made, or was never finished");
            return Ok(Vec::new());
        };
        Ok(manifest.map_or_else(Vec::new, |manifest| found.named(parts_of(&manifest, key))))
    }

    /// Reads the object once, and compares each part of it.
    pub(super) async fn verify_bytes(
        &self,
        key: &ObjectKey,
        mut parts: Vec<Part>,
        most_bytes: u64,
        found: &mut Findings,
    ) -> Result<(), ControllerError> {
        let meta = self.object(key).await?;
        if parts.is_empty() {
            return Ok(());
        }
        if meta.size > most_bytes {
            let problem = format!(
                "it has {} bytes, more than the {most_bytes} that are digested here; run `fleetman bucket verify {key}`",
                meta.size
            );
            return Err(ControllerError::invalid(key, problem));
        }
        let (meta, mut stream) = self.open(key).await?;
        parts.sort_by_key(|part| part.offset);
        let mut digests = Digests::new(&parts);
        while let Some(piece) = stream.next().await? {
            digests.update(&piece);
        }
        let results = digests.finish();
        let mut wrong = 0;
        for (part, got) in parts.iter().zip(results) {
            let fits = got == part.expect && (!part.is_whole || meta.size == part.expect.size);
            wrong += usize::from(!fits);
            if !fits && wrong <= MOST_TOLD {
                let got = if part.is_whole { Expect { size: meta.size, ..got } } else { got };
                found.fail("digest", format!("{}: expected {}, got {got}", part.path, part.expect));
            }
        }
        match parts.as_slice() {
            _ if wrong > MOST_TOLD => found.fail("digest", format!("and {} more files", wrong - MOST_TOLD)),
            [part] if wrong == 0 => found.ok("digest", part.expect.to_string()),
            many if wrong == 0 => found.ok("digest", format!("{} files, each with its digest", many.len())),
            _ => {}
        }
        Ok(())
    }
}

impl Findings {
    /// Notes whether anything names the object at all.
    fn named(&mut self, parts: Vec<Part>) -> Vec<Part> {
        if parts.is_empty() {
            self.warn("named", "no document names this object: `fleetman gc` sweeps it when it is a day old");
        }
        parts
    }
}

fn parts_of(manifest: &Manifest, key: &ObjectKey) -> Vec<Part> {
    let lies_in_it = manifest.files.iter().filter(|file| manifest.object_of(file).is_ok_and(|object| object == *key));
    let parts = lies_in_it.map(|file| Part {
        path: file.path.clone(),
        offset: file.offset.unwrap_or(0),
        expect: Expect { size: file.size, sha256: file.sha256 },
        is_whole: file.object.is_none() && file.offset.is_none(),
    });
    parts.collect()
}

/// Digests of several parts of one object, which may lie on each other, in one pass.
struct Digests {
    /// Begin, end, how many bytes came, and their digest so far; sorted by begin.
    parts: Vec<(u64, u64, u64, DigestBuilder)>,
    /// Where in the object the next piece begins.
    at: u64,
    /// All parts before this one are behind us.
    first: usize,
}

impl Digests {
    /// Of parts that are sorted by their offsets.
    fn new(parts: &[Part]) -> Self {
        let part =
            |part: &Part| (part.offset, part.offset.saturating_add(part.expect.size), 0, Sha256Digest::builder());
        Self { parts: parts.iter().map(part).collect(), at: 0, first: 0 }
    }

    fn update(&mut self, piece: &[u8]) {
        let end = self.at + piece.len() as u64;
        while self.parts.get(self.first).is_some_and(|(_, end, ..)| *end <= self.at) {
            self.first += 1;
        }
        for (from, to, came, digest) in self.parts[self.first..].iter_mut().take_while(|(from, ..)| *from < end) {
            // Both lie within the piece, whose length is a usize.
            let inside = |at: u64| usize::try_from(at.clamp(self.at, end) - self.at).unwrap_or(piece.len());
            let bytes = piece.get(inside(*from)..inside(*to)).unwrap_or_default();
            *came += bytes.len() as u64;
            digest.update(bytes);
        }
        self.at = end;
    }

    fn finish(self) -> impl Iterator<Item = Expect> {
        self.parts.into_iter().map(|(_, _, size, digest)| Expect { size, sha256: digest.finish() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(offset: u64, bytes: &[u8]) -> Part {
        let expect = Expect { size: bytes.len() as u64, sha256: Sha256Digest::of(bytes) };
        Part { path: FilePath::new(format!("f{offset}")).unwrap(), offset, expect, is_whole: false }
    }

    #[test]
    fn parts_are_digested_wherever_pieces_end() {
        let object = b"0123456789abcdef";
        // Empty, nested, equal and neighbouring ones; the long one outlasts those that begin after it.
        let parts =
            [part(0, object), part(0, b""), part(2, b"23"), part(2, b"2345"), part(4, b"456789"), part(10, b"abcdef")];
        for size in 1..=object.len() {
            let mut digests = Digests::new(&parts);
            object.chunks(size).for_each(|piece| digests.update(piece));
            let got: Vec<Expect> = digests.finish().collect();
            let expected: Vec<Expect> = parts.iter().map(|part| part.expect).collect();
            assert_eq!(got, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_part_beyond_the_end_is_short() {
        let parts = [part(2, b"2345")];
        let mut digests = Digests::new(&parts);
        digests.update(b"0123");
        assert_eq!(digests.finish().next().unwrap().size, 2);
    }
}
