//! What the store layer says of objects that it reads and lists.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use axum::body::Body;
use bytes::Bytes;
use fleetman::model::keys::Folder;
use fleetman::model::{NodeName, ObjectKey, Prefix, Sha256Digest};
use fleetman::store::{Deadlines, Depth, ETag, Expect, Fetched, Outage, StoreError, StoreSettings};
use futures_util::stream;
use ulid::Ulid;

use crate::support::bucket::{connect, heartbeat, probe, settings};
use crate::support::proxy::{Fault, FaultProxy, On, Rule};
use crate::support::scripted::{Scripted, answer, s3_error};
use crate::support::{BUCKET, Store as Server};

#[tokio::test]
async fn an_object_comes_back_whole_with_its_tag_and_time() {
    let server = Server::start().await;
    let store = connect(settings(&server.endpoint())).await;
    let etag = store.put_own(&heartbeat("n1"), Bytes::from_static(b"beat")).await.unwrap();

    let object = store.get(&heartbeat("n1"), 4).await.unwrap();
    assert_eq!((&object.bytes[..], &object.etag), (&b"beat"[..], &etag));
    assert!(object.last_modified.is_some());
    let meta = store.head(&heartbeat("n1")).await.unwrap().unwrap();
    assert_eq!((meta.size, meta.etag, meta.last_modified.is_some()), (4, etag, true));

    let raw = server.client().get_object().bucket(BUCKET).key("prod/eu/agents/n1.json").send().await.unwrap();
    assert_eq!((raw.content_type(), raw.cache_control()), (Some("application/json"), Some("no-store")));
}

#[tokio::test]
async fn what_is_absent_is_named_and_no_error_where_it_is_asked_about() {
    let server = Server::start().await;
    let store = connect(settings(&server.endpoint())).await;
    let error = store.get(&heartbeat("n1"), 10).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
    assert_eq!(error.to_string(), "reading s3://fleet/prod/eu/agents/n1.json: there is no such object");
    assert_eq!(store.find(&heartbeat("n1"), 10).await.unwrap(), None);
    assert_eq!(store.head(&heartbeat("n1")).await.unwrap(), None);
    let known = ETag::from("\"known\"".to_owned());
    assert_eq!(store.get_if_changed(&heartbeat("n1"), Some(&known), 10).await.unwrap(), Fetched::Absent);
}

#[tokio::test]
async fn an_idle_poll_is_one_request_and_says_unchanged() {
    let server = Server::start().await;
    let store = connect(settings(&server.endpoint())).await;
    let index = ObjectKey::Index(NodeName::new("n1").unwrap());
    let known = store.create(&index, Bytes::from_static(b"{}")).await.unwrap().etag;
    let before = store.request_counts();
    assert_eq!(store.get_if_changed(&index, Some(&known), 10).await.unwrap(), Fetched::Unchanged);
    let after = store.request_counts();
    assert_eq!((after.total() - before.total(), after.of("GetObject") - before.of("GetObject")), (1, 1));

    let newer = store.replace_if(&index, Bytes::from_static(b"{1}"), Some(&known)).await.unwrap();
    let changed = store.get_if_changed(&index, Some(&known), 10).await.unwrap();
    assert!(matches!(changed, Fetched::Changed(object) if object.etag == newer && object.bytes == "{1}"));
}

#[tokio::test]
async fn an_object_beyond_the_limit_is_refused_unread() {
    let server = Server::start().await;
    let store = connect(settings(&server.endpoint())).await;
    store.put_own(&heartbeat("n1"), Bytes::from_static(b"12345")).await.unwrap();
    let error = store.get(&heartbeat("n1"), 4).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit_bytes: 4, .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_without_end_or_length_is_read_only_up_to_the_limit() {
    let liar = Scripted::start(|_| {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 4096])));
        let mut answer = answer(200, Body::from_stream(endless));
        answer.headers_mut().insert("etag", "\"e\"".parse().unwrap());
        answer
    })
    .await;
    let store = connect(settings(&liar.endpoint())).await;
    let error = store.get(&heartbeat("n1"), 100_000).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit_bytes: 100_000, .. }), "{error:?}");
}

#[tokio::test]
async fn an_error_without_end_is_not_read_into_memory() {
    let liar = Scripted::start(|_| {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1 << 20])));
        answer(400, Body::from_stream(endless))
    })
    .await;
    let mut settings = settings(&liar.endpoint());
    settings.retry.tries = 1;
    let error = connect(settings).await.get(&heartbeat("n1"), 10).await.unwrap_err();
    // Not a timeout: it was given up because of its length.
    assert!(matches!(error, StoreError::Refused { status: 400, .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_that_is_cut_is_fetched_again() {
    let server = Server::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    let store = connect(settings(&proxy.endpoint())).await;
    store.put_own(&heartbeat("n1"), Bytes::from_static(b"0123456789")).await.unwrap();
    proxy.inject(Rule::new(On::get("*"), Fault::CutBody(4)).times(2));
    assert_eq!(store.get(&heartbeat("n1"), 10).await.unwrap().bytes, "0123456789");
    assert_eq!(proxy.count(On::get("*")), 3);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let server = Server::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    let mut settings = settings(&proxy.endpoint());
    settings.deadlines = Deadlines { stall: Duration::from_millis(100), ..Deadlines::default() };
    settings.retry.tries = 2;
    let store = connect(settings).await;
    store.put_own(&heartbeat("n1"), Bytes::from_static(b"0123456789")).await.unwrap();
    proxy.inject(Rule::new(On::get("*"), Fault::StallBody(4)));
    let error = store.get(&heartbeat("n1"), 10).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { why: Outage::Stalled(_), tries: 2, .. }), "{error:?}");
    assert!(error.is_transient());
}

/// A store whose every read of an object is answered 403, and whose list of it is as given.
async fn forbidding(list: &'static str) -> Scripted {
    Scripted::start(move |asked| match asked.target.contains("list-type=2") {
        true if list.is_empty() => s3_error(403, "AccessDenied"),
        true => answer(200, format!("<ListBucketResult><IsTruncated>false</IsTruncated>{list}</ListBucketResult>")),
        false if asked.method == "HEAD" => answer(403, ""),
        false => s3_error(403, "AccessDenied"),
    })
    .await
}

#[tokio::test]
async fn a_403_on_an_object_that_is_listed_is_a_denial() {
    let store = forbidding("<Contents><Key>prod/eu/agents/n1.json</Key><ETag>e</ETag></Contents>").await;
    let store = connect(settings(&store.endpoint())).await;
    let error = store.find(&heartbeat("n1"), 10).await.unwrap_err();
    assert!(matches!(&error, StoreError::Denied { code, .. } if code == "AccessDenied"), "{error:?}");
    assert!(!error.is_transient());
    assert!(matches!(store.head(&heartbeat("n1")).await.unwrap_err(), StoreError::Denied { .. }));
}

#[tokio::test]
async fn a_403_on_an_object_that_may_not_be_listed_is_a_denial() {
    let store = forbidding("").await;
    let store = connect(settings(&store.endpoint())).await;
    assert!(matches!(store.find(&heartbeat("n1"), 10).await.unwrap_err(), StoreError::Denied { .. }));
}

#[tokio::test]
async fn a_403_on_an_object_that_is_not_listed_is_an_absence() {
    // A longer key that begins alike is not the object.
    let server = forbidding("<Contents><Key>prod/eu/agents/n1.json.bak</Key><ETag>e</ETag></Contents>").await;
    let store = connect(settings(&server.endpoint())).await;
    assert_eq!(store.find(&heartbeat("n1"), 10).await.unwrap(), None);
    assert_eq!(store.head(&heartbeat("n1")).await.unwrap(), None);
    assert!(server.asked().iter().any(|asked| asked.target.contains("prefix=prod%2Feu%2Fagents%2Fn1.json")));
}

#[tokio::test]
async fn a_list_of_many_pages_is_whole_and_in_order() {
    let server = Server::start().await;
    let store = connect(settings(&server.endpoint())).await;
    let client = server.client();
    let mut names: Vec<String> = (0..1_205).map(|i| format!("d{i}/f")).collect();
    for name in &names {
        let key = probe(name).render(store.prefix());
        client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"x")).send().await.unwrap();
    }
    names.sort();
    let folder = Folder::Probes(Some(Ulid::from_parts(1, 1)));
    let before = store.request_counts().of("ListObjectsV2");
    let all = store.list_all(&folder, Depth::Deep, 2_000).await.unwrap();
    assert_eq!(store.request_counts().of("ListObjectsV2") - before, 2);
    let expected: Vec<_> = names.iter().map(|name| Some(probe(name))).collect();
    assert_eq!(all.entries.iter().map(|entry| entry.object_key()).collect::<Vec<_>>(), expected);

    let shallow = store.list_all(&folder, Depth::Shallow, 2_000).await.unwrap();
    let folders: Vec<_> = names.iter().map(|name| name.trim_end_matches("/f")).collect();
    assert_eq!((shallow.entries.len(), shallow.folders), (0, folders.iter().map(|&name| name.to_owned()).collect()));

    let mut rest = store.list(&folder, Depth::Deep).after(&probe(&names[1_200]));
    let page = rest.next().await.unwrap().unwrap();
    assert_eq!(
        page.entries.iter().map(|entry| entry.object_key().unwrap()).collect::<Vec<_>>(),
        names[1_201..].iter().map(|name| probe(name)).collect::<Vec<_>>()
    );
    assert_eq!(rest.next().await.unwrap(), None);

    let error = store.list_all(&folder, Depth::Deep, 1_204).await.unwrap_err();
    assert!(matches!(error, StoreError::TooMany { limit: 1_204, .. }), "{error:?}");
}

#[tokio::test]
async fn keys_of_others_are_listed_as_they_are_and_neighbours_are_not() {
    let server = Server::start().await;
    let client = server.client();
    for key in ["prod/eu/agents/UPPER.json", "prod/eu/a b+c%41é.txt", "prod/eu2/agents/n1.json", "prod/fleet.json"] {
        client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"x")).send().await.unwrap();
    }
    let store = connect(settings(&server.endpoint())).await;
    let all = store.list_all(&Folder::Root, Depth::Deep, 10).await.unwrap();
    let keys: Vec<_> = all.entries.iter().map(|entry| (entry.key.as_str(), entry.object_key())).collect();
    assert_eq!(keys, [("a b+c%41é.txt", None), ("agents/UPPER.json", None)]);

    let bare = connect(StoreSettings { prefix: Prefix::default(), ..settings(&server.endpoint()) }).await;
    let top = bare.list_all(&Folder::Root, Depth::Shallow, 10).await.unwrap();
    assert_eq!((top.entries.len(), top.folders), (0, vec!["prod".to_owned()]));
}

#[tokio::test]
async fn a_list_that_goes_in_circles_or_elsewhere_is_refused() {
    for page in [
        "<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>",
        "<IsTruncated>true</IsTruncated>",
        "<Contents><Key>other/agents/n1.json</Key><ETag>e</ETag></Contents>",
    ] {
        let liar = Scripted::start(move |_| answer(200, format!("<ListBucketResult>{page}</ListBucketResult>"))).await;
        let store = connect(settings(&liar.endpoint())).await;
        let error = store.list_all(&Folder::Agents, Depth::Deep, 10).await.unwrap_err();
        assert!(matches!(&error, StoreError::Refused { code, .. } if code == "nonsense"), "{page}: {error:?}");
    }
}

#[tokio::test]
async fn a_list_that_leads_nowhere_ends() {
    let pages = AtomicUsize::new(0);
    let liar = Scripted::start(move |_| {
        let next = pages.fetch_add(1, Ordering::SeqCst);
        let token = format!("<NextContinuationToken>{next}</NextContinuationToken>");
        answer(200, format!("<ListBucketResult><IsTruncated>true</IsTruncated>{token}</ListBucketResult>"))
    })
    .await;
    let store = connect(settings(&liar.endpoint())).await;
    let error = store.list_all(&Folder::Agents, Depth::Deep, 10).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused { code, .. } if code == "nonsense"), "{error:?}");
}

#[tokio::test]
async fn a_store_can_be_used_from_tasks() {
    let server = Server::start().await;
    let store = connect(settings(&server.endpoint())).await;
    let tasks: Vec<_> = (0..4)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = heartbeat(&format!("n{i}"));
                store.put_own(&key, Bytes::from_static(b"x")).await.unwrap();
                store.create(&probe(&format!("f{i}")), Bytes::from_static(b"x")).await.unwrap();
                store.copy(&probe(&format!("f{i}")), &probe(&format!("g{i}"))).await.unwrap();
                store.list_all(&Folder::Agents, Depth::Deep, 10).await.unwrap();
                store.delete_many(&[key]).await.remove(0).1.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(store.clock_skew().unwrap().num_seconds().abs() <= 1);
}

#[tokio::test]
async fn calls_can_be_made_from_any_task_and_nest_without_filling_its_stack() {
    fn size<T: Send>(call: &T) -> usize {
        std::mem::size_of_val(call)
    }
    let store = connect(settings("http://127.0.0.1:9")).await;
    let (key, sha256) = (heartbeat("n1"), Sha256Digest::of(b""));
    let expect = Expect { size: 0, sha256 };
    let mut sink = Vec::new();
    let mut pages = store.list(&Folder::Root, Depth::Deep);
    for (call, size) in [
        ("get", size(&store.get(&key, 1))),
        ("create", size(&store.create(&key, Bytes::new()))),
        ("replace_if", size(&store.replace_if(&key, Bytes::new(), None))),
        ("upload", size(&store.upload(&key, Path::new("x"), expect, &|_| ()))),
        ("download", size(&store.download(&key, None, expect, &mut sink))),
        ("open_range", size(&store.open_range(&key, 0, 1))),
        ("copy", size(&store.copy(&key, &key))),
        ("delete_many", size(&store.delete_many(&[]))),
        ("list", size(&pages.next())),
    ] {
        assert!(size < 8 * 1024, "{call} has {size} bytes");
    }
}
