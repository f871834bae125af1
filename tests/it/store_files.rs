//! Files into the bucket, inside it, out of it and away.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use fleetman::model::keys::Folder;
use fleetman::model::{ObjectKey, Sha256Digest};
use fleetman::store::{
    Conditions, Credentials, Deadlines, Depth, Expect, Fetched, Outage, Secret, Store, StoreError, StoreSettings,
};
use futures_util::stream;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWrite};

use crate::support::bucket::{connect, heartbeat, probe, settings};
use crate::support::garage::Garage;
use crate::support::proxy::{Fault, FaultProxy, On, Rule};
use crate::support::scripted::{Scripted, answer, s3_error};
use crate::support::{ACCESS_KEY, BUCKET, Store as Server, wait_for};

async fn behind_a_proxy() -> (Server, FaultProxy, Store) {
    let server = Server::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    let store = connect(settings(&proxy.endpoint())).await;
    (server, proxy, store)
}

fn expect(bytes: &[u8]) -> Expect {
    Expect { size: bytes.len() as u64, sha256: Sha256Digest::of(bytes) }
}

/// Bytes that differ from place to place.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| u8::try_from((i / 251 + i) % 256).unwrap()).collect()
}

fn file(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    path
}

async fn upload(store: &Store, key: &ObjectKey, path: &Path, expect: Expect) -> Result<Vec<u64>, StoreError> {
    let told = Mutex::new(Vec::new());
    store.upload(key, path, expect, &|bytes| told.lock().unwrap().push(bytes)).await?;
    Ok(told.into_inner().unwrap())
}

async fn download(store: &Store, offset: Option<u64>, expect: Expect) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    store.download(&probe("f"), offset, expect, &mut bytes).await?;
    Ok(bytes)
}

const ODD_PATHS: [&str; 6] = ["a b/c+d", "é/ü.txt", "100%/%41", "q?x=1&y=2#z", "~!*'()-_.", "日本/\u{1F980}"];

async fn files_with_odd_paths_go_everywhere(store: &Store) {
    let folder = tempfile::tempdir().unwrap();
    for path in ODD_PATHS {
        let bytes = path.as_bytes();
        upload(store, &probe(path), &file(&folder, bytes), expect(bytes)).await.unwrap();
        let copied = probe(&format!("copy/{path}"));
        store.copy(&probe(path), &copied).await.unwrap();
        let mut got = Vec::new();
        store.download(&copied, None, expect(bytes), &mut got).await.unwrap();
        assert_eq!(got, bytes, "{path}");
    }
    let all = store.list_all(&Folder::Probes(None), Depth::Deep, 100).await.unwrap();
    let keys: Vec<_> = all.entries.iter().map(|entry| entry.object_key().unwrap()).collect();
    assert_eq!(keys.len(), 2 * ODD_PATHS.len());
    assert!(ODD_PATHS.iter().all(|path| keys.contains(&probe(path))), "{keys:?}");
    let results = store.delete_many(&keys).await;
    assert!(results.iter().all(|(_, result)| result.is_ok()), "{results:?}");
    assert_eq!(store.list_all(&Folder::Root, Depth::Deep, 100).await.unwrap().entries, []);
}

#[tokio::test]
async fn files_with_odd_paths_go_in_and_out_and_are_copied_and_deleted() {
    let (_server, _proxy, store) = behind_a_proxy().await;
    files_with_odd_paths_go_everywhere(&store).await;
}

#[tokio::test]
async fn a_store_that_is_not_ours_does_the_same() {
    let Some(garage) = Garage::start().await else { return };
    let store = connect(settings(&garage.endpoint())).await.with_capabilities(Conditions::Unknown);
    files_with_odd_paths_go_everywhere(&store).await;

    let folder = tempfile::tempdir().unwrap();
    let bytes = pattern(17 * 1024 * 1024);
    upload(&store, &probe("f"), &file(&folder, &bytes), expect(&bytes)).await.unwrap();
    assert!(download(&store, None, expect(&bytes)).await.unwrap() == bytes);
    assert!(download(&store, Some(1000), expect(&bytes[1000..2000])).await.unwrap() == bytes[1000..2000]);

    let first = store.create(&ObjectKey::Fleet, Bytes::from_static(b"one")).await.unwrap();
    assert_eq!(store.get_if_changed(&ObjectKey::Fleet, Some(&first.etag), 10).await.unwrap(), Fetched::Unchanged);
    let error = store.create(&ObjectKey::Fleet, Bytes::from_static(b"two")).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");

    let stranger = Credentials::Static {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: Secret::new("0".repeat(64)),
        session_token: None,
    };
    let store = connect(StoreSettings { credentials: stranger, ..settings(&garage.endpoint()) }).await;
    let error = store.get(&ObjectKey::Fleet, 10).await.unwrap_err();
    // Garage has no word of its own for a wrong signature, but a sentence.
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("nvalid signature"), "{error}");
}

#[tokio::test]
async fn a_file_of_no_bytes_is_a_file() {
    let (_server, _proxy, store) = behind_a_proxy().await;
    let folder = tempfile::tempdir().unwrap();
    upload(&store, &probe("f"), &file(&folder, b""), expect(b"")).await.unwrap();
    assert_eq!(download(&store, None, expect(b"")).await.unwrap(), b"");
    assert_eq!(download(&store, Some(0), expect(b"")).await.unwrap(), b"");
}

#[tokio::test]
async fn a_large_file_goes_in_parts_and_each_part_is_tried_again() {
    let (server, proxy, store) = behind_a_proxy().await;
    let folder = tempfile::tempdir().unwrap();
    let bytes = pattern(20 * 1024 * 1024 + 3);
    proxy.inject(Rule::new(On::put("*"), Fault::LoseRequest).skip(1).times(1));
    let told = upload(&store, &probe("f"), &file(&folder, &bytes), expect(&bytes)).await.unwrap();
    let part = 8 * 1024 * 1024;
    assert_eq!(told, [part, 2 * part, bytes.len() as u64]);
    assert_eq!(proxy.count(On::put("*")), 4, "three parts, one of them twice");
    assert!(download(&store, None, expect(&bytes)).await.unwrap() == bytes);
    let raw = server.client().head_object().bucket(BUCKET).key(probe("f").render(store.prefix())).send().await.unwrap();
    assert_eq!(raw.content_type(), Some("application/octet-stream"));
}

#[tokio::test]
async fn an_upload_whose_last_answer_is_lost_is_known_to_be_done() {
    let (_server, proxy, store) = behind_a_proxy().await;
    let folder = tempfile::tempdir().unwrap();
    let bytes = pattern(16 * 1024 * 1024 + 1);
    // The fifth write is the completion: begin, three parts, complete.
    proxy.inject(Rule::new(On::write("*"), Fault::LoseResponse).skip(4).times(1));
    // Most stores know nothing of an upload that is complete.
    proxy.inject(Rule::new(On::write("*"), Fault::Error { status: 404, code: "NoSuchUpload" }).skip(5).times(1));
    upload(&store, &probe("f"), &file(&folder, &bytes), expect(&bytes)).await.unwrap();
    assert!(download(&store, None, expect(&bytes)).await.unwrap() == bytes);
    let completions = proxy.log().into_iter().filter(|seen| seen.query.contains("uploadId") && seen.method == "POST");
    assert_eq!(completions.map(|seen| seen.status).collect::<Vec<_>>(), [None, Some(404)]);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_sent_does_not_appear() {
    let (server, proxy, store) = behind_a_proxy().await;
    let folder = tempfile::tempdir().unwrap();
    let bytes = pattern(17 * 1024 * 1024);
    for (now, size) in [(&bytes[1..], "one byte less"), (&bytes[..], "one byte changed"), (&bytes[..], "more")] {
        let mut now = now.to_vec();
        match size {
            "one byte changed" => now[16 * 1024 * 1024] ^= 1,
            "more" => now.push(0),
            _ => {}
        }
        let error = upload(&store, &probe("f"), &file(&folder, &now), expect(&bytes)).await.unwrap_err();
        assert!(matches!(error, StoreError::SourceChanged { .. }), "{size}: {error:?}");
    }
    let small = b"small";
    let error = upload(&store, &probe("f"), &file(&folder, b"smaLl"), expect(small)).await.unwrap_err();
    assert!(matches!(&error, StoreError::SourceChanged { .. }), "{error:?}");
    assert!(error.to_string().contains(&Sha256Digest::of(small).to_string()), "{error}");
    let error = upload(&store, &probe("f"), &folder.path().join("absent"), expect(small)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Local { .. }), "{error:?}");

    assert_eq!(store.find(&probe("f"), 10).await.unwrap(), None);
    let left = server.client().list_multipart_uploads().bucket(BUCKET).send().await.unwrap();
    assert_eq!(left.uploads().len(), 0, "no parts are left behind");
    assert_eq!(proxy.log().iter().filter(|seen| seen.method == "DELETE").count(), 3);
}

#[tokio::test]
async fn an_upload_that_nobody_waits_for_any_more_is_given_back() {
    let (server, proxy, store) = behind_a_proxy().await;
    let folder = tempfile::tempdir().unwrap();
    let bytes = pattern(17 * 1024 * 1024);
    proxy.inject(Rule::new(On::put("*"), Fault::Stall).skip(1));
    let path = file(&folder, &bytes);
    let expected = expect(&bytes);
    let sending = tokio::spawn(async move { upload(&store, &probe("f"), &path, expected).await });
    // As another file's failure does: the second part has begun.
    wait_for(async || proxy.count(On::put("*")) >= 2, "the second part").await;
    sending.abort();
    let left = async || server.client().list_multipart_uploads().bucket(BUCKET).send().await.unwrap().uploads().len();
    wait_for(async || left().await == 0, "the parts to be given back").await;
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let (_server, proxy, store) = behind_a_proxy().await;
    let bytes = pattern(300_000);
    store.put_own(&probe("f"), bytes.clone().into()).await.unwrap();
    proxy.inject(Rule::new(On::get("*"), Fault::CutBody(100_000)).times(2));
    assert!(download(&store, None, expect(&bytes)).await.unwrap() == bytes);
    assert_eq!(proxy.count(On::get("*")), 3);

    proxy.inject(Rule::new(On::get("*"), Fault::CutBody(10)).times(2));
    assert!(download(&store, Some(1000), expect(&bytes[1000..2000])).await.unwrap() == bytes[1000..2000]);
}

#[tokio::test]
async fn an_object_that_changes_between_two_tries_is_corrupt() {
    let server = Server::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    let mut settings = settings(&proxy.endpoint());
    settings.deadlines = Deadlines { stall: Duration::from_millis(200), ..Deadlines::default() };
    let store = connect(settings).await;
    let bytes = pattern(100_000);
    store.put_own(&probe("f"), bytes.clone().into()).await.unwrap();
    proxy.inject(Rule::new(On::get("*"), Fault::StallBody(50_000)).times(1));
    let change = async {
        let asked = async || proxy.count(On::get("*")) > 0;
        crate::support::wait_for(asked, "the download to begin").await;
        store.put_own(&probe("f"), Bytes::from(vec![0; 100_000])).await.unwrap();
    };
    let (result, ()) = tokio::join!(download(&store, None, expect(&bytes)), change);
    assert!(matches!(result.unwrap_err(), StoreError::Corrupt { .. }));
}

#[tokio::test]
async fn other_bytes_than_expected_are_corrupt() {
    let (_server, _proxy, store) = behind_a_proxy().await;
    store.put_own(&probe("f"), Bytes::from_static(b"what is there")).await.unwrap();
    for wanted in ["what was this", "what is", "what is there not"] {
        let error = download(&store, None, expect(wanted.as_bytes())).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{wanted}: {error:?}");
        assert!(error.to_string().contains(&expect(wanted.as_bytes()).to_string()), "{error}");
        assert!(!error.is_transient());
    }
    let error = download(&store, Some(5), expect(b"is therE")).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let error = download(&store, Some(8), expect(b"there and more")).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let error = download(&store, Some(100), expect(b"x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(download(&store, Some(5), expect(b"is")).await.unwrap(), b"is");
}

#[tokio::test]
async fn what_is_written_never_exceeds_what_was_expected() {
    let endless = Scripted::start(|_| {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1000])));
        let mut answer = answer(200, Body::from_stream(endless));
        answer.headers_mut().insert("etag", "\"e\"".parse().unwrap());
        answer
    })
    .await;
    let store = connect(settings(&endless.endpoint())).await;
    let mut got = Vec::new();
    let error = store.download(&probe("f"), None, expect(&[b'x'; 2500]), &mut got).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(got.len() <= 2500, "{}", got.len());
}

#[tokio::test]
async fn a_store_that_does_not_know_ranges_is_not_believed() {
    let naive = Scripted::start(|_| answer(200, "0123456789")).await;
    let store = connect(settings(&naive.endpoint())).await;
    let error = download(&store, Some(5), expect(b"56789")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unsupported { .. }), "{error:?}");
    assert!(matches!(store.open_range(&probe("f"), 5, 5).await, Err(StoreError::Unsupported { .. })));
}

#[tokio::test]
async fn a_body_that_ends_early_without_a_length_is_not_whole() {
    let short = Scripted::start(|_| {
        // As a stream it has no length.
        let body = Body::from_stream(stream::iter([Ok::<_, std::io::Error>("012")]));
        let mut answer = answer(206, body);
        answer.headers_mut().insert("content-range", "bytes 5-9/100".parse().unwrap());
        answer
    })
    .await;
    let store = connect(settings(&short.endpoint())).await;
    let mut reader = store.open_range(&probe("f"), 5, 5).await.unwrap().into_reader();
    assert!(reader.read_to_end(&mut Vec::new()).await.is_err());
    // The next try asks for what is missing, and gets an answer of other bytes.
    assert!(matches!(download(&store, Some(5), expect(b"01234")).await, Err(StoreError::Unsupported { .. })));
}

#[tokio::test]
async fn neighbouring_files_of_a_pack_come_with_one_request() {
    let (_server, proxy, store) = behind_a_proxy().await;
    store.put_own(&probe("pack"), Bytes::from_static(b"..one two...")).await.unwrap();
    let mut reader = store.open_range(&probe("pack"), 2, 7).await.unwrap().into_reader();
    let (mut one, mut two) = ([0; 4], Vec::new());
    reader.read_exact(&mut one).await.unwrap();
    reader.read_to_end(&mut two).await.unwrap();
    assert_eq!((&one, &two[..]), (b"one ", &b"two"[..]));
    assert_eq!(proxy.count(On::get("*")), 1);

    proxy.inject(Rule::new(On::get("*"), Fault::CutBody(3)));
    let mut reader = store.open_range(&probe("pack"), 2, 7).await.unwrap().into_reader();
    let error = reader.read_to_end(&mut Vec::new()).await.unwrap_err();
    let inner = error.into_inner().unwrap().downcast::<StoreError>().unwrap();
    assert!(matches!(*inner, StoreError::Unreachable { why: Outage::Cut, .. }), "{inner:?}");
    assert!(matches!(store.open_range(&probe("no"), 0, 1).await, Err(StoreError::NotFound { .. })));
}

/// A disk that is full.
struct Full;

impl AsyncWrite for Full {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Err(std::io::ErrorKind::StorageFull.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_full_disk_is_not_the_stores_fault() {
    let (_server, proxy, store) = behind_a_proxy().await;
    store.put_own(&probe("f"), Bytes::from_static(b"bytes")).await.unwrap();
    let error = store.download(&probe("f"), None, expect(b"bytes"), &mut Full).await.unwrap_err();
    assert!(matches!(&error, StoreError::Local { source, .. } if source.kind() == std::io::ErrorKind::StorageFull));
    assert!(!error.is_transient());
    assert_eq!(proxy.count(On::get("*")), 1);
}

#[tokio::test]
async fn copying_what_is_not_there_says_so() {
    let (_server, proxy, store) = behind_a_proxy().await;
    let error = store.copy(&probe("no"), &probe("to")).await.unwrap_err();
    assert!(matches!(&error, StoreError::NotFound { .. }), "{error:?}");
    assert!(error.to_string().contains("/no"), "{error}");
    store.put_own(&probe("f"), Bytes::from_static(b"bytes")).await.unwrap();
    proxy.inject(Rule::new(On::put("*/to"), Fault::LoseResponse).times(1));
    store.copy(&probe("f"), &probe("to")).await.unwrap();
}

#[tokio::test]
async fn a_copy_that_fails_after_its_200_is_a_failure() {
    let late = Scripted::start(|_| {
        answer(200, "<?xml version=\"1.0\"?>\n\n<Error><Code>InternalError</Code><Message>late</Message></Error>")
    })
    .await;
    let error = connect(settings(&late.endpoint())).await.copy(&probe("a"), &probe("b")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { tries: 5, .. }), "{error:?}");
}

#[tokio::test]
async fn deleting_what_is_not_there_is_done() {
    let (_server, _proxy, store) = behind_a_proxy().await;
    store.delete(&heartbeat("n1")).await.unwrap();
    assert!(store.delete_many(&[heartbeat("n1"), heartbeat("n2")]).await.iter().all(|(_, result)| result.is_ok()));
    assert!(store.delete_many(&[]).await.is_empty());
}

#[tokio::test]
async fn many_objects_are_deleted_in_batches_of_a_thousand() {
    let (_server, proxy, store) = behind_a_proxy().await;
    let keys: Vec<_> = (0..1001).map(|i| probe(&format!("f{i}"))).collect();
    store.put_own(&keys[1000], Bytes::from_static(b"x")).await.unwrap();
    let results = store.delete_many(&keys).await;
    assert_eq!(results.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), keys);
    assert!(results.iter().all(|(_, result)| result.is_ok()));
    assert_eq!(proxy.log().iter().filter(|seen| seen.method == "POST").count(), 2);
    assert_eq!(store.find(&keys[1000], 1).await.unwrap(), None);
}

#[tokio::test]
async fn a_store_without_batches_deletes_one_by_one() {
    let picky =
        Scripted::start(|asked| match (asked.method.as_str(), asked.target.ends_with("/kept?x-id=DeleteObject")) {
            ("POST", _) => s3_error(400, "MissingContentMD5"),
            ("DELETE", true) => s3_error(403, "AccessDenied"),
            _ => answer(204, ""),
        })
        .await;
    let store = connect(settings(&picky.endpoint())).await;
    let results = store.delete_many(&[probe("a"), probe("kept"), probe("b")]).await;
    let failed: Vec<_> = results.iter().filter(|(_, result)| result.is_err()).map(|(key, _)| key.clone()).collect();
    assert_eq!(failed, [probe("kept")]);
    assert!(matches!(&results[1].1, Err(StoreError::Denied { .. })));
}

#[tokio::test]
async fn a_batch_names_the_keys_that_were_not_deleted() {
    let partly = Scripted::start(|asked| {
        let key = probe("kept").render(&"prod/eu".to_owned().try_into().unwrap());
        let busy = probe("busy").render(&"prod/eu".to_owned().try_into().unwrap());
        let error = |key, code| format!("<Error><Key>{key}</Key><Code>{code}</Code><Message>no</Message></Error>");
        match asked.method.as_str() {
            "POST" => {
                let errors = error(key, "AccessDenied") + &error(busy, "SlowDown");
                answer(200, format!("<DeleteResult>{errors}</DeleteResult>"))
            }
            _ => answer(204, ""),
        }
    })
    .await;
    let store = connect(settings(&partly.endpoint())).await;
    let results = store.delete_many(&[probe("a"), probe("kept"), probe("busy")]).await;
    assert!(results[0].1.is_ok());
    assert!(matches!(&results[1].1, Err(StoreError::Denied { .. })), "{results:?}");
    assert!(results[2].1.is_ok(), "what was only busy is tried again by itself");
    assert_eq!(partly.asked().len(), 2);
}

#[tokio::test]
async fn a_batch_that_meets_an_outage_fails_for_every_key() {
    let (_server, proxy, store) = behind_a_proxy().await;
    proxy.inject(Rule::new(On::any(), Fault::status(500)));
    let results = store.delete_many(&[probe("a"), probe("b")]).await;
    assert!(results.iter().all(|(_, result)| matches!(result, Err(StoreError::Unreachable { tries: 5, .. }))));
}
