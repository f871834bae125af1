//! Digests of a body as it goes by, and what the client said they would be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use serde::{Deserialize, Serialize};

/// The algorithms of `x-amz-checksum-*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Algorithm {
    #[serde(rename = "CRC32")]
    Crc32,
    #[serde(rename = "CRC32C")]
    Crc32c,
    #[serde(rename = "CRC64NVME")]
    Crc64Nvme,
    #[serde(rename = "SHA1")]
    Sha1,
    #[serde(rename = "SHA256")]
    Sha256,
}

/// All of them.
pub(super) const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme, Algorithm::Sha1, Algorithm::Sha256];

impl Algorithm {
    /// The name in requests and answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The algorithm of that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        ALGORITHMS.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The header, or trailer, that carries a checksum of this kind.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Whether the checksum of a whole can be computed from those of its parts.
    fn combines(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// What a checksum of an object is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Scope {
    /// The bytes of the object.
    #[serde(rename = "FULL_OBJECT")]
    FullObject,
    /// The checksums of its parts; written with `-<parts>`.
    #[serde(rename = "COMPOSITE")]
    Composite,
}

impl Scope {
    /// The name in requests and answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

/// A checksum as S3 writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksum {
    pub(super) algorithm: Algorithm,
    pub(super) scope: Scope,
    /// Base64, with `-<parts>` when composite.
    pub(super) value: String,
}

enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Sha256),
}

/// The running digests of one body: MD5 for its ETag, and one checksum.
pub(super) struct Digests {
    md5: Md5,
    algorithm: Algorithm,
    hasher: Hasher,
}

impl Digests {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let hasher = match algorithm {
            Algorithm::Crc32 => Hasher::Crc32(Crc32::new()),
            Algorithm::Crc32c => Hasher::Crc32c(Crc32c::new()),
            Algorithm::Crc64Nvme => Hasher::Crc64Nvme(Crc64Nvme::new()),
            Algorithm::Sha1 => Hasher::Sha1(Sha1::new()),
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
        };
        Self { md5: Md5::new(), algorithm, hasher }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        match &mut self.hasher {
            Hasher::Crc32(hasher) => hasher.update(bytes),
            Hasher::Crc32c(hasher) => hasher.update(bytes),
            Hasher::Crc64Nvme(hasher) => hasher.update(bytes),
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// MD5 and checksum of all that went by.
    pub(super) fn finish(self) -> ([u8; 16], Checksum) {
        let value = match self.hasher {
            Hasher::Crc32(hasher) => STANDARD.encode(hasher.finalize()),
            Hasher::Crc32c(hasher) => STANDARD.encode(hasher.finalize()),
            Hasher::Crc64Nvme(hasher) => STANDARD.encode(hasher.finalize()),
            Hasher::Sha1(hasher) => STANDARD.encode(hasher.finalize()),
            Hasher::Sha256(hasher) => STANDARD.encode(hasher.finalize()),
        };
        (self.md5.finalize(), Checksum { algorithm: self.algorithm, scope: Scope::FullObject, value })
    }
}

/// Digest in lower-case hexadecimal, as an ETag has it.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The checksum of an object from those of its parts: (size, checksum) in order.
///
/// `None` where a part's checksum is not of this algorithm, or the algorithm has no such scope.
pub(super) fn combine(algorithm: Algorithm, scope: Scope, parts: &[(u64, &Checksum)]) -> Option<Checksum> {
    let mut sums = Vec::with_capacity(parts.len());
    for (size, checksum) in parts {
        if checksum.algorithm != algorithm {
            return None;
        }
        sums.push((*size, STANDARD.decode(&checksum.value).ok()?));
    }
    let value = match scope {
        Scope::Composite => {
            let mut digests = Digests::new(algorithm);
            sums.iter().for_each(|(_, sum)| digests.update(sum));
            format!("{}-{}", digests.finish().1.value, parts.len())
        }
        Scope::FullObject => {
            let crc = algorithm.combines()?;
            let width = sums.first()?.1.len();
            let number = |sum: &[u8]| sum.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            let (_, first) = sums.first()?;
            let whole = sums[1..]
                .iter()
                .fold(number(first), |whole, (size, sum)| checksum_combine(crc, whole, number(sum), *size));
            STANDARD.encode(&whole.to_be_bytes()[8 - width..])
        }
    };
    Some(Checksum { algorithm, scope, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut digests = Digests::new(algorithm);
        digests.update(bytes);
        digests.finish().1
    }

    #[test]
    fn checksums_have_the_published_values() {
        // The check values of the CRC catalogue and of the SHA specifications, over "123456789".
        let cases = [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc64Nvme, "ae8b14860a799888"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ];
        for (algorithm, value) in cases {
            let sum = STANDARD.decode(of(algorithm, b"123456789").value).unwrap();
            assert_eq!(hex(&sum), value, "{algorithm:?}");
        }
    }

    #[test]
    fn a_full_object_checksum_of_parts_is_that_of_the_whole() {
        let body: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let pieces: Vec<&[u8]> = body.chunks(33_333).collect();
            let sums: Vec<Checksum> = pieces.iter().map(|piece| of(algorithm, piece)).collect();
            let parts: Vec<(u64, &Checksum)> =
                pieces.iter().zip(&sums).map(|(piece, sum)| (piece.len() as u64, sum)).collect();
            assert_eq!(combine(algorithm, Scope::FullObject, &parts), Some(of(algorithm, &body)));
        }
    }

    #[test]
    fn sha_has_no_full_object_checksum_of_parts() {
        let sum = of(Algorithm::Sha256, b"part");
        assert_eq!(combine(Algorithm::Sha256, Scope::FullObject, &[(4, &sum)]), None);
        let composite = combine(Algorithm::Sha256, Scope::Composite, &[(4, &sum)]).unwrap();
        assert!(composite.value.ends_with("-1"), "{composite:?}");
    }

    #[test]
    fn parts_of_another_algorithm_are_not_combined() {
        let sum = of(Algorithm::Crc32, b"part");
        assert_eq!(combine(Algorithm::Crc32c, Scope::Composite, &[(4, &sum)]), None);
    }
}
