//! Digests that clients send along.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Flaw, Subject, checks, refusal};
use crate::support::BUCKET;

checks![
    a_checksum_is_verified_kept_and_given_back,
    a_body_that_is_not_as_announced_is_refused,
    a_streamed_body_carries_its_checksum_behind,
    checksums_of_parts_make_that_of_the_object,
];

async fn a_checksum_is_verified_kept_and_given_back(s: Subject) {
    let algorithms = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];
    for algorithm in algorithms {
        let key = s.key(algorithm.as_str());
        let put = s.client.put_object().bucket(BUCKET).key(&key).checksum_algorithm(algorithm.clone());
        let put = put.body(ByteStream::from_static(b"123456789")).send().await.unwrap();
        // The SDK verifies what it gets against the checksum, so the body coming back is a check in itself.
        let got =
            s.client.get_object().bucket(BUCKET).key(&key).checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
        let of_put = [
            put.checksum_crc32(),
            put.checksum_crc32_c(),
            put.checksum_crc64_nvme(),
            put.checksum_sha1(),
            put.checksum_sha256(),
        ];
        let of_get = [
            got.checksum_crc32(),
            got.checksum_crc32_c(),
            got.checksum_crc64_nvme(),
            got.checksum_sha1(),
            got.checksum_sha256(),
        ];
        assert_eq!(of_put, of_get, "{algorithm}");
        assert_eq!(of_put.iter().flatten().count(), 1, "{algorithm}");
        assert_eq!(got.body.collect().await.unwrap().to_vec(), b"123456789");
    }
}

async fn a_body_that_is_not_as_announced_is_refused(s: Subject) {
    let plain = s.client.config().to_builder().request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    let client = Client::from_conf(plain.build());
    let put = || client.put_object().bucket(BUCKET).key(s.key("k")).body(ByteStream::from_static(b"body"));
    let wrong = STANDARD.encode([0; 16]);
    assert_eq!(refusal(put().content_md5(wrong).send().await).0, 400);
    assert_eq!(refusal(put().checksum_crc32("AAAAAA==").send().await).0, 400);
    assert_eq!(refusal(put().checksum_sha256(STANDARD.encode([0; 32])).send().await).0, 400);
    assert!(!s.exists("k").await);
    put().content_md5("hBotaJrYa9FhFEdFPCLG/A==").send().await.unwrap();
    put().checksum_crc32("26gLsg==").send().await.unwrap();
}

async fn a_streamed_body_carries_its_checksum_behind(s: Subject) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 241) as u8).collect();
    std::fs::write(file.path(), &body).unwrap();
    let stream = ByteStream::from_path(file.path()).await.unwrap();
    let put = s.client.put_object().bucket(BUCKET).key(s.key("k")).body(stream).send().await;
    if s.has(Flaw::RefusesTrailers) {
        assert_eq!(refusal(put).0, 400, "the store takes trailers by now: take the flaw out of its table");
        return;
    }
    let put = put.unwrap();
    assert!(put.checksum_crc32().is_some() || put.checksum_crc64_nvme().is_some(), "{put:?}");
    assert!(s.get("k").await == body);
    let head = s.client.head_object().bucket(BUCKET).key(s.key("k")).send().await.unwrap();
    assert_eq!(head.content_encoding(), None);
}

async fn checksums_of_parts_make_that_of_the_object(s: Subject) {
    let (first, second) = (vec![b'1'; 5 * 1024 * 1024], b"the rest".to_vec());
    s.put("whole", [&first[..], &second].concat()).await;
    let head = s.client.head_object().bucket(BUCKET).key(s.key("whole")).checksum_mode(ChecksumMode::Enabled);
    let whole = head.send().await.unwrap().checksum_crc32;
    for checksum_type in [ChecksumType::FullObject, ChecksumType::Composite] {
        let key = s.key(checksum_type.as_str());
        let begin = s.client.create_multipart_upload().bucket(BUCKET).key(&key);
        let begin = begin.checksum_algorithm(ChecksumAlgorithm::Crc32).checksum_type(checksum_type.clone());
        let id = begin.send().await.unwrap().upload_id.unwrap();
        let mut parts = Vec::new();
        for (number, body) in [(1, &first), (2, &second)] {
            let part = s.client.upload_part().bucket(BUCKET).key(&key).upload_id(&id).part_number(number);
            let part = part.checksum_algorithm(ChecksumAlgorithm::Crc32).body(ByteStream::from(body.clone()));
            let part = part.send().await.unwrap();
            let completed = CompletedPart::builder().part_number(number).set_e_tag(part.e_tag);
            parts.push(completed.checksum_crc32(part.checksum_crc32.unwrap()).build());
        }
        let complete = s.client.complete_multipart_upload().bucket(BUCKET).key(&key).upload_id(&id);
        let complete = |parts: Vec<CompletedPart>| {
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
            complete.clone().multipart_upload(parts).send()
        };
        let mut wrong = parts.clone();
        wrong[1].checksum_crc32 = Some("AAAAAA==".to_owned());
        assert_eq!(refusal(complete(wrong).await).0, 400);
        let sum = complete(parts).await.unwrap().checksum_crc32.unwrap();
        let head = s.client.head_object().bucket(BUCKET).key(&key).checksum_mode(ChecksumMode::Enabled);
        let head = head.send().await.unwrap();
        assert_eq!((head.checksum_crc32(), head.checksum_type()), (Some(sum.as_str()), Some(&checksum_type)));
        match checksum_type {
            ChecksumType::FullObject => assert_eq!(Some(sum), whole),
            _ => assert!(sum.ends_with("-2"), "{sum}"),
        }
    }
}
