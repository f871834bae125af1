//! Multipart uploads.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::{Flaw, Subject, checks, refusal};
use crate::support::BUCKET;

checks![
    parts_become_one_object,
    an_upload_is_invisible_until_it_is_completed,
    wrong_parts_are_refused,
    parts_are_copied_from_objects,
    an_aborted_upload_is_gone,
];

const MIB: usize = 1024 * 1024;

/// An upload under way.
struct Upload<'a> {
    s: &'a Subject,
    name: &'a str,
    id: String,
}

impl<'a> Upload<'a> {
    async fn begin(s: &'a Subject, name: &'a str) -> Self {
        let begun = s.client.create_multipart_upload().bucket(BUCKET).key(s.key(name)).content_type("text/x");
        let id = begun.metadata("who", "me").send().await.unwrap().upload_id.unwrap();
        Self { s, name, id }
    }

    async fn part(&self, number: i32, body: Vec<u8>) -> CompletedPart {
        let part = self.s.client.upload_part().bucket(BUCKET).key(self.s.key(self.name)).upload_id(&self.id);
        let part = part.part_number(number).body(ByteStream::from(body)).send().await.unwrap();
        CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build()
    }

    async fn complete(&self, parts: Vec<CompletedPart>) -> Result<String, (u16, String)> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self.s.client.complete_multipart_upload().bucket(BUCKET).key(self.s.key(self.name));
        match complete.upload_id(&self.id).multipart_upload(parts).send().await {
            Ok(done) => Ok(done.e_tag.unwrap()),
            refused => Err(refusal(refused)),
        }
    }
}

async fn parts_become_one_object(s: Subject) {
    let upload = Upload::begin(&s, "k").await;
    let (first, second, third) = (vec![b'1'; 5 * MIB], vec![b'2'; 6 * MIB + 1], b"the rest".to_vec());
    // Out of order, with a gap, and one sent twice.
    let c = upload.part(9, third.clone()).await;
    upload.part(1, b"a mistake".to_vec()).await;
    let b = upload.part(2, second.clone()).await;
    let a = upload.part(1, first.clone()).await;

    let list = s.client.list_parts().bucket(BUCKET).key(s.key("k")).upload_id(&upload.id).send().await.unwrap();
    let listed: Vec<_> = list.parts().iter().map(|part| (part.part_number().unwrap(), part.size().unwrap())).collect();
    assert_eq!(listed, [(1, 5 * MIB as i64), (2, 6 * MIB as i64 + 1), (9, 8)]);

    let etag = upload.complete(vec![a, b, c]).await.unwrap();
    assert!(etag.ends_with("-3\""), "{etag}");
    let got = s.client.get_object().bucket(BUCKET).key(s.key("k")).send().await.unwrap();
    assert_eq!((got.e_tag(), got.content_type()), (Some(etag.as_str()), Some("text/x")));
    assert_eq!(got.metadata().unwrap()["who"], "me");
    assert!(got.body.collect().await.unwrap().to_vec() == [first, second, third].concat());

    let range =
        s.client.get_object().bucket(BUCKET).key(s.key("k")).range(format!("bytes={}-{}", 5 * MIB - 1, 5 * MIB));
    assert_eq!(range.send().await.unwrap().body.collect().await.unwrap().to_vec(), b"12");
    let part = s.client.get_object().bucket(BUCKET).key(s.key("k")).part_number(3).send().await.unwrap();
    assert_eq!(part.parts_count(), Some(3));
    assert_eq!(part.body.collect().await.unwrap().to_vec(), b"the rest");
}

async fn an_upload_is_invisible_until_it_is_completed(s: Subject) {
    s.put("k", "old").await;
    let upload = Upload::begin(&s, "k").await;
    let part = upload.part(1, b"new".to_vec()).await;
    assert_eq!(s.get("k").await, b"old");
    let uploads = s.client.list_multipart_uploads().bucket(BUCKET).prefix(&s.prefix).send().await.unwrap();
    let listed: Vec<_> = uploads.uploads().iter().map(|upload| (upload.key(), upload.upload_id())).collect();
    assert_eq!(listed, [(Some(s.key("k").as_str()), Some(upload.id.as_str()))]);
    upload.complete(vec![part]).await.unwrap();
    assert_eq!(s.get("k").await, b"new");
    let uploads = s.client.list_multipart_uploads().bucket(BUCKET).prefix(&s.prefix).send().await.unwrap();
    assert_eq!(uploads.uploads().len(), 0);
}

async fn wrong_parts_are_refused(s: Subject) {
    let upload = Upload::begin(&s, "k").await;
    let small = upload.part(1, vec![b'1'; 100]).await;
    let large = upload.part(2, vec![b'2'; 5 * MIB]).await;
    let code = |result: Result<String, (u16, String)>| {
        let (status, code) = result.unwrap_err();
        assert_eq!(status, 400, "{code}");
        code
    };
    if !s.has(Flaw::JoinsSmallParts) {
        assert_eq!(code(upload.complete(vec![small.clone(), large.clone()]).await), "EntityTooSmall");
    }
    assert_eq!(code(upload.complete(vec![large.clone(), small.clone()]).await), "InvalidPartOrder");
    let absent = CompletedPart::builder().part_number(3).e_tag("\"0123\"").build();
    assert_eq!(code(upload.complete(vec![large.clone(), absent]).await), "InvalidPart");
    let changed = CompletedPart::builder().part_number(1).e_tag("\"00000000000000000000000000000000\"").build();
    assert_eq!(code(upload.complete(vec![changed]).await), "InvalidPart");
    assert!(!s.exists("k").await);
    if s.has(Flaw::JoinsSmallParts) {
        let joined = upload.complete(vec![small, large]).await;
        joined.expect("the store no longer joins small parts: take the flaw out of its table");
    } else {
        upload.complete(vec![large]).await.unwrap();
    }
}

async fn parts_are_copied_from_objects(s: Subject) {
    let body: Vec<u8> = (0..6 * MIB).map(|n| (n % 251) as u8).collect();
    s.put("source \u{e9}", body.clone()).await;
    let source = format!("{BUCKET}/{}", s.key("source%20%C3%A9"));
    let upload = Upload::begin(&s, "k").await;
    let mut parts = Vec::new();
    for (number, range) in [(1, None), (2, Some("bytes=10-19"))] {
        let copy = s.client.upload_part_copy().bucket(BUCKET).key(s.key("k")).upload_id(&upload.id).part_number(number);
        let copy = copy.copy_source(&source).set_copy_source_range(range.map(str::to_owned)).send().await.unwrap();
        let etag = copy.copy_part_result().and_then(|result| result.e_tag()).unwrap();
        parts.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
    }
    upload.complete(parts).await.unwrap();
    assert!(s.get("k").await == [&body[..], &body[10..20]].concat());
}

async fn an_aborted_upload_is_gone(s: Subject) {
    let upload = Upload::begin(&s, "k").await;
    let part = upload.part(1, b"part".to_vec()).await;
    let abort = s.client.abort_multipart_upload().bucket(BUCKET).key(s.key("k")).upload_id(&upload.id);
    abort.send().await.unwrap();
    assert_eq!(upload.complete(vec![part]).await, Err((404, "NoSuchUpload".to_owned())));
    assert!(!s.exists("k").await);
}
