//! Putting, getting, copying and deleting objects, under ordinary and unusual keys.

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{Delete, MetadataDirective, ObjectIdentifier};
use bytes::Bytes;
use fleetman::clock::SystemClock;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::{Flaw, Subject, checks, refusal};
use crate::support::BUCKET;

checks![
    an_object_comes_back_as_it_was_put,
    what_is_absent_is_not_found,
    ranges_are_cut_out_exactly,
    an_overwritten_object_is_read_whole,
    unusual_keys_are_kept_apart,
    a_copy_keeps_or_replaces_metadata,
    a_copy_of_an_unusual_key_finds_its_source,
    a_plus_in_the_source_of_a_copy_is_a_space,
    deleting_is_idempotent,
    many_are_deleted_at_once,
    presigned_urls_work_until_they_expire,
];

async fn an_object_comes_back_as_it_was_put(s: Subject) {
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
    let put = s.client.put_object().bucket(BUCKET).key(s.key("k")).content_type("text/plain; charset=utf-8");
    let put = put.cache_control("no-store").content_encoding("gzip").content_language("de");
    let put = put.content_disposition("attachment").expires(DateTime::from_secs(2_000_000_000)).metadata("who", "me");
    let put = put.body(ByteStream::from(body.clone())).send().await.unwrap();

    let head = s.client.head_object().bucket(BUCKET).key(s.key("k")).send().await.unwrap();
    assert_eq!(head.content_length(), Some(3_000_000));
    assert_eq!(head.e_tag(), put.e_tag());
    assert_eq!(head.metadata().unwrap()["who"], "me");
    let got = s.client.get_object().bucket(BUCKET).key(s.key("k")).send().await.unwrap();
    assert_eq!(got.e_tag(), put.e_tag());
    assert_eq!(got.content_type(), Some("text/plain; charset=utf-8"));
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.content_encoding(), Some("gzip"));
    assert_eq!(got.content_language(), Some("de"));
    assert_eq!(got.content_disposition(), Some("attachment"));
    assert_eq!(got.expires_string(), Some("Wed, 18 May 2033 03:33:20 GMT"));
    assert_eq!(got.last_modified(), head.last_modified());
    assert_eq!(got.metadata().unwrap().len(), 1);
    assert!(got.body.collect().await.unwrap().to_vec() == body);

    s.put("empty", "").await;
    assert_eq!(s.get("empty").await, b"");
    s.put("k", "other").await;
    assert_eq!(s.get("k").await, b"other");
}

async fn what_is_absent_is_not_found(s: Subject) {
    let get = s.client.get_object().bucket(BUCKET).key(s.key("absent")).send().await;
    assert_eq!(refusal(get), (404, "NoSuchKey".to_owned()));
    assert!(!s.exists("absent").await);
    s.put("a/b", "1").await;
    assert!(!s.exists("a").await);
    assert!(!s.exists("a/").await);
    let list = s.client.list_objects_v2().bucket(BUCKET).prefix(s.key("none")).send().await.unwrap();
    assert_eq!(list.key_count(), Some(0));
}

async fn ranges_are_cut_out_exactly(s: Subject) {
    s.put("k", "0123456789").await;
    let cases = [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-5", "2345", "bytes 2-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
        ("bytes=-99", "0123456789", "bytes 0-9/10"),
    ];
    for (range, body, content_range) in cases {
        let got = s.client.get_object().bucket(BUCKET).key(s.key("k")).range(range).send().await.unwrap();
        assert_eq!(got.content_range(), Some(content_range), "{range}");
        assert_eq!(got.body.collect().await.unwrap().to_vec(), body.as_bytes(), "{range}");
    }
    let beyond = s.client.get_object().bucket(BUCKET).key(s.key("k")).range("bytes=10-").send().await;
    assert_eq!(refusal(beyond), (416, "InvalidRange".to_owned()));
}

async fn an_overwritten_object_is_read_whole(s: Subject) {
    let old = vec![b'o'; 8_000_000];
    s.put("k", old.clone()).await;
    let mut reading = s.client.get_object().bucket(BUCKET).key(s.key("k")).send().await.unwrap().body;
    let first = reading.next().await.unwrap().unwrap();
    s.put("k", "new").await;
    s.client.delete_object().bucket(BUCKET).key(s.key("k")).send().await.unwrap();
    let mut read = first.to_vec();
    while let Some(chunk) = reading.next().await {
        // A store may give up on a body that is gone. It must not end it as if it were whole.
        let Ok(chunk) = chunk else { return };
        read.extend_from_slice(&chunk);
    }
    assert!(read == old);
}

/// Keys that a file system, a shell, an URL or a normaliser would mangle.
pub(super) fn unusual_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "a",
        "A",
        "a/",
        "a/b",
        "a//b",
        "a/./b",
        "a/../b",
        "..",
        ".",
        "/",
        "//",
        "/leading",
        "trailing/",
        " ",
        " a ",
        "a b",
        "a+b",
        "a%20b",
        "%2F",
        "%",
        "100%",
        "a&b=c?d#e",
        "a;b",
        "quote\"'`",
        "back\\slash",
        "<xml>&amp;",
        "$HOME",
        "*",
        "~",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{65e5}\u{672c}",
        "\u{1f980}",
        "\u{ff5e}",
        "tab\there",
        ".lock",
        "nul",
    ]
    .map(str::to_owned)
    .into();
    keys.push("long/".repeat(180));
    keys
}

async fn unusual_keys_are_kept_apart(s: Subject) {
    let keys = unusual_keys();
    for key in &keys {
        s.put(key, key.as_bytes()).await;
    }
    for key in &keys {
        assert_eq!(s.get(key).await, key.as_bytes(), "{key:?}");
    }
    let mut expected: Vec<String> = keys.iter().map(|key| s.key(key)).collect();
    expected.sort();
    // What XML cannot carry is asked for in URL encoding, as every client does that meets such keys.
    let list = s.client.list_objects_v2().bucket(BUCKET).prefix(&s.prefix).send().await.unwrap();
    let found: Vec<&str> = list.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(found, expected);
    for key in &keys {
        s.client.delete_object().bucket(BUCKET).key(s.key(key)).send().await.unwrap();
        assert!(!s.exists(key).await, "{key:?}");
    }
}

async fn a_copy_keeps_or_replaces_metadata(s: Subject) {
    let put = s.client.put_object().bucket(BUCKET).key(s.key("source")).content_type("text/x").metadata("who", "me");
    let put = put.body(ByteStream::from_static(b"body")).send().await.unwrap();
    let source = format!("{BUCKET}/{}", s.key("source"));
    let copy = s.client.copy_object().bucket(BUCKET).key(s.key("kept")).copy_source(&source).send().await.unwrap();
    let result = copy.copy_object_result().unwrap();
    assert_eq!(result.e_tag(), put.e_tag());
    let head = s.client.head_object().bucket(BUCKET).key(s.key("kept")).send().await.unwrap();
    assert_eq!((head.content_type(), head.metadata().unwrap().len()), (Some("text/x"), 1));
    assert_eq!(s.get("kept").await, b"body");

    let replace = s.client.copy_object().bucket(BUCKET).key(s.key("replaced")).copy_source(&source);
    let replace = replace.metadata_directive(MetadataDirective::Replace).content_type("text/y").metadata("new", "1");
    replace.send().await.unwrap();
    let head = s.client.head_object().bucket(BUCKET).key(s.key("replaced")).send().await.unwrap();
    assert_eq!(head.content_type(), Some("text/y"));
    assert_eq!(head.metadata().unwrap().keys().collect::<Vec<_>>(), ["new"]);

    let absent = s.client.copy_object().bucket(BUCKET).key(s.key("x")).copy_source(format!("{source}-absent"));
    assert_eq!(refusal(absent.send().await), (404, "NoSuchKey".to_owned()));
    let changed = s.client.copy_object().bucket(BUCKET).key(s.key("x")).copy_source(&source);
    let changed = changed.copy_source_if_match("\"0123\"").send().await;
    assert_eq!(refusal(changed), (412, "PreconditionFailed".to_owned()));
    assert!(!s.exists("x").await);
}

async fn a_copy_of_an_unusual_key_finds_its_source(s: Subject) {
    for key in ["a b+c", "caf\u{e9}%20/\u{1f980}", "q?versionId=x", "a#b&c"] {
        s.put(key, key.as_bytes()).await;
        let encoded =
            percent_encoding::utf8_percent_encode(&s.key(key), percent_encoding::NON_ALPHANUMERIC).to_string();
        let copy =
            s.client.copy_object().bucket(BUCKET).key(s.key("target")).copy_source(format!("{BUCKET}/{encoded}"));
        copy.send().await.unwrap();
        assert_eq!(s.get("target").await, key.as_bytes());
    }
}

/// Some clients encode the source of a copy as they would a form.
async fn a_plus_in_the_source_of_a_copy_is_a_space(s: Subject) {
    s.put("a b+c", "found").await;
    let source = format!("{BUCKET}/{}", s.key("a+b%2Bc"));
    let copy = s.client.copy_object().bucket(BUCKET).key(s.key("k")).copy_source(source).send().await;
    if s.has(Flaw::PlusIsNoSpace) {
        assert_eq!(refusal(copy).0, 404, "the store takes `+` for a space by now: take the flaw out of its table");
        return;
    }
    copy.unwrap();
    assert_eq!(s.get("k").await, b"found");
}

async fn deleting_is_idempotent(s: Subject) {
    s.put("k", "1").await;
    for _ in 0..2 {
        s.client.delete_object().bucket(BUCKET).key(s.key("k")).send().await.unwrap();
        assert!(!s.exists("k").await);
    }
}

async fn many_are_deleted_at_once(s: Subject) {
    let names = ["1", "caf\u{e9} <&>", "a/b", "kept"];
    for name in names {
        s.put(name, name).await;
    }
    let id = |name: &str| ObjectIdentifier::builder().key(s.key(name)).build().unwrap();
    let delete = Delete::builder().set_objects(Some(vec![id("1"), id("absent"), id("caf\u{e9} <&>"), id("a/b")]));
    let answer = s.client.delete_objects().bucket(BUCKET).delete(delete.build().unwrap()).send().await.unwrap();
    assert_eq!(answer.errors().len(), 0, "{answer:?}");
    for name in names {
        assert_eq!(s.exists(name).await, name == "kept", "{name}");
    }
}

async fn presigned_urls_work_until_they_expire(s: Subject) {
    let ask = async |method: Method, url: &str, body: &'static [u8]| {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::builder().method(method).uri(url).body(Full::new(Bytes::from_static(body))).unwrap();
        let answer = client.request(request).await.unwrap();
        (answer.status().as_u16(), answer.into_body().collect().await.unwrap().to_bytes())
    };
    let key = s.key("a b/\u{e9}");
    let minute = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let url = s.client.put_object().bucket(BUCKET).key(&key).presigned(minute.clone()).await.unwrap();
    assert_eq!(ask(Method::PUT, url.uri(), b"signed").await.0, 200);
    let url = s.client.get_object().bucket(BUCKET).key(&key).presigned(minute).await.unwrap();
    assert_eq!(ask(Method::GET, url.uri(), b"").await, (200, Bytes::from_static(b"signed")));
    assert_eq!(ask(Method::GET, &url.uri().replace("%C3%A9", "e"), b"").await.0, 403);

    let an_hour_ago = SystemClock::shared().now() - Duration::from_secs(3600);
    let past = PresigningConfig::builder().start_time(an_hour_ago.into()).expires_in(Duration::from_secs(60));
    let url = s.client.get_object().bucket(BUCKET).key(&key).presigned(past.build().unwrap()).await.unwrap();
    let (status, _) = ask(Method::GET, url.uri(), b"").await;
    assert!([400, 403].contains(&status), "{status}");
}
