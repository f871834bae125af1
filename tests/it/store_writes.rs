//! The three writes, and "was it me?" after every answer that leaves it open.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use fleetman::model::{NodeName, ObjectKey, Sha256Digest};
use fleetman::store::{Conditions, ETag, Outcome, Store, StoreError};

use crate::support::bucket::{connect, heartbeat, probe, settings};
use crate::support::proxy::{Fault, FaultProxy, On, Rule};
use crate::support::scripted::{Scripted, answer, s3_error};
use crate::support::{BUCKET, Store as Server};

const MINE: Bytes = Bytes::from_static(b"mine");
const OTHER: Bytes = Bytes::from_static(b"the other's");

async fn behind_a_proxy() -> (Server, FaultProxy, Store) {
    let server = Server::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    let store = connect(settings(&proxy.endpoint())).await;
    (server, proxy, store)
}

/// Another writer, who does not come through the proxy.
async fn other_writes(server: &Server, key: &ObjectKey, body: Bytes) {
    let key = format!("prod/eu/{key}");
    server.client().put_object().bucket(BUCKET).key(key).body(ByteStream::from(body)).send().await.unwrap();
}

async fn bytes_at(server: &Server, key: &ObjectKey) -> Bytes {
    let got = server.client().get_object().bucket(BUCKET).key(format!("prod/eu/{key}")).send().await.unwrap();
    got.body.collect().await.unwrap().into_bytes()
}

#[tokio::test]
async fn what_is_created_once_stays() {
    let (server, _proxy, store) = behind_a_proxy().await;
    let first = store.create(&ObjectKey::Fleet, MINE).await.unwrap();
    assert_eq!(first.outcome, Outcome::New);
    let again = store.create(&ObjectKey::Fleet, MINE).await.unwrap();
    assert_eq!((again.outcome, again.etag), (Outcome::AlreadySame, first.etag));
    let error = store.create(&ObjectKey::Fleet, OTHER).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    assert_eq!(bytes_at(&server, &ObjectKey::Fleet).await, MINE);
}

#[tokio::test]
async fn only_who_knows_what_is_there_replaces_it() {
    let (server, _proxy, store) = behind_a_proxy().await;
    let index = ObjectKey::Index(NodeName::new("n1").unwrap());
    let first = store.replace_if(&index, MINE, None).await.unwrap();
    assert!(matches!(store.replace_if(&index, OTHER, None).await.unwrap_err(), StoreError::Conflict { .. }));
    let second = store.replace_if(&index, OTHER, Some(&first)).await.unwrap();
    assert_ne!(first, second);
    let error = store.replace_if(&index, MINE, Some(&first)).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    assert_eq!(bytes_at(&server, &index).await, OTHER);
    store.delete(&index).await.unwrap();
    let error = store.replace_if(&index, MINE, Some(&second)).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "what was to be replaced is gone: {error:?}");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_known_to_be_mine() {
    let (_server, proxy, store) = behind_a_proxy().await;
    proxy.inject(Rule::new(On::put("*"), Fault::LoseResponse).times(1));
    let created = store.create(&probe("a"), MINE).await.unwrap();
    assert_eq!(created.outcome, Outcome::New);
    assert_eq!(proxy.log().iter().filter(|seen| seen.status == Some(412)).count(), 1, "the second try met the first");

    proxy.inject(Rule::new(On::put("*"), Fault::LoseResponse).times(1));
    let replaced = store.replace_if(&probe("a"), OTHER, Some(&created.etag)).await.unwrap();
    assert_eq!(store.get(&probe("a"), 100).await.unwrap().etag, replaced);
}

#[tokio::test]
async fn a_write_whose_every_answer_is_lost_is_known_to_be_mine() {
    let (_server, proxy, store) = behind_a_proxy().await;
    proxy.inject(Rule::new(On::put("*"), Fault::LoseResponse));
    assert_eq!(store.create(&probe("a"), MINE).await.unwrap().outcome, Outcome::New);
    let known = store.get(&probe("a"), 100).await.unwrap().etag;
    store.replace_if(&probe("a"), OTHER, Some(&known)).await.unwrap();
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_mine_whatever_the_later_tries_meet() {
    let (_server, proxy, store) = behind_a_proxy().await;
    for (key, status) in [("a", 503), ("b", 403)] {
        proxy.heal();
        proxy.inject(Rule::new(On::put("*"), Fault::LoseResponse).times(1));
        proxy.inject(Rule::new(On::put("*"), Fault::status(status)).skip(1));
        assert_eq!(store.create(&probe(key), MINE).await.unwrap().outcome, Outcome::New, "{status}");
    }
}

#[tokio::test]
async fn a_write_that_never_arrives_is_an_outage_and_no_conflict() {
    let (server, proxy, store) = behind_a_proxy().await;
    other_writes(&server, &probe("b"), OTHER).await;
    let known = store.get(&probe("b"), 100).await.unwrap().etag;
    proxy.inject(Rule::new(On::put("*"), Fault::LoseRequest));
    let error = store.create(&probe("a"), MINE).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { tries: 5, .. }), "{error:?}");
    let error = store.replace_if(&probe("b"), MINE, Some(&known)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { tries: 5, .. }), "{error:?}");
}

#[tokio::test]
async fn a_writer_who_was_there_first_wins_although_an_answer_was_lost() {
    let (server, proxy, store) = behind_a_proxy().await;
    proxy.inject(Rule::new(On::put("*"), Fault::LoseRequest).times(1));
    other_writes(&server, &probe("a"), OTHER).await;
    let error = store.create(&probe("a"), MINE).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    assert_eq!(bytes_at(&server, &probe("a")).await, OTHER);
}

#[tokio::test]
async fn a_409_is_tried_again_and_then_settled() {
    let (server, proxy, store) = behind_a_proxy().await;
    proxy.inject(Rule::new(On::put("*"), Fault::status(409)).times(2));
    assert_eq!(store.create(&probe("a"), MINE).await.unwrap().outcome, Outcome::New);
    proxy.inject(Rule::new(On::put("*"), Fault::status(409)));
    other_writes(&server, &probe("b"), MINE).await;
    store.create(&probe("b"), MINE).await.unwrap();
    let error = store.create(&probe("c"), MINE).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
}

#[tokio::test]
async fn racing_creators_leave_one_winner() {
    let server = Server::start().await;
    let store = connect(settings(&server.endpoint())).await;
    let racers: Vec<_> = (0..16)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move { store.create(&probe("race"), Bytes::from(format!("racer {i}"))).await })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(created) => winners += usize::from(created.outcome == Outcome::New),
            Err(error) => assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}"),
        }
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn on_a_store_that_ignores_conditions_others_bytes_are_not_overwritten() {
    let (server, proxy, store) = behind_a_proxy().await;
    proxy.inject(Rule::new(On::put("*"), Fault::IgnoreConditions));
    other_writes(&server, &probe("a"), OTHER).await;
    let stale = ETag::from("\"0123456789abcdef0123456789abcdef\"".to_owned());
    for conditions in [Conditions::Unknown, Conditions::Ignored, Conditions::Refused] {
        let store = store.clone().with_capabilities(conditions);
        let error = store.create(&probe("a"), MINE).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
        let error = store.replace_if(&probe("a"), MINE, Some(&stale)).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
        assert_eq!(bytes_at(&server, &probe("a")).await, OTHER);
        assert_eq!(store.create(&probe("a"), OTHER).await.unwrap().outcome, Outcome::AlreadySame);
        let fresh = probe(&format!("{conditions:?}"));
        assert_eq!(store.create(&fresh, MINE).await.unwrap().outcome, Outcome::New);
        let known = store.get(&fresh, 100).await.unwrap().etag;
        store.replace_if(&fresh, OTHER, Some(&known)).await.unwrap();
        assert_eq!(bytes_at(&server, &fresh).await, OTHER);
    }
}

#[tokio::test]
async fn conditions_are_not_sent_to_a_store_that_does_not_keep_them() {
    let (_server, proxy, store) = behind_a_proxy().await;
    store.clone().with_capabilities(Conditions::Ignored).create(&probe("a"), MINE).await.unwrap();
    store.clone().with_capabilities(Conditions::Refused).create(&probe("c"), MINE).await.unwrap();
    assert!(proxy.log().iter().filter(|seen| seen.method == "PUT").all(|seen| seen.condition.is_none()));
    store.create(&probe("b"), MINE).await.unwrap();
    assert_eq!(proxy.log().last().unwrap().condition.as_deref(), Some("*"));
}

#[tokio::test]
async fn a_race_that_an_untrusted_store_let_us_lose_is_seen_by_reading_back() {
    // It takes every write and keeps the other's bytes.
    let reads = AtomicUsize::new(0);
    let liar = Scripted::start(move |asked| {
        let mut answer = match asked.method.as_str() {
            "PUT" => answer(200, ""),
            _ if reads.fetch_add(1, Ordering::SeqCst) == 0 => s3_error(404, "NoSuchKey"),
            _ => answer(200, OTHER),
        };
        answer.headers_mut().insert("etag", "\"e\"".parse().unwrap());
        answer
    })
    .await;
    let trusting = connect(settings(&liar.endpoint())).await;
    let careful = trusting.clone().with_capabilities(Conditions::Unknown);
    let error = careful.create(&probe("a"), MINE).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    assert_eq!(trusting.create(&probe("a"), MINE).await.unwrap().outcome, Outcome::New, "who trusts does not look");
}

#[tokio::test]
async fn a_store_without_conditions_says_so() {
    let (_server, proxy, store) = behind_a_proxy().await;
    proxy.inject(Rule::new(On::put("*"), Fault::status(501)));
    let error = store.create(&probe("a"), MINE).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("fleetman doctor"), "{error}");
}

#[tokio::test]
async fn a_key_is_only_written_the_way_it_may_be() {
    let (_server, proxy, store) = behind_a_proxy().await;
    let refused = [
        store.put_own(&ObjectKey::Fleet, MINE).await.unwrap_err(),
        store.put_own(&ObjectKey::Index(NodeName::new("n1").unwrap()), MINE).await.unwrap_err(),
        store.create(&heartbeat("n1"), MINE).await.unwrap_err(),
        store.replace_if(&ObjectKey::Fleet, MINE, Some(&ETag::from("\"e\"".to_owned()))).await.unwrap_err(),
        store.copy(&probe("a"), &ObjectKey::Fleet).await.unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, StoreError::WriteRule { .. }), "{error:?}");
    }
    assert_eq!(proxy.log().len(), 0, "nothing was asked of the store");
}

#[tokio::test]
async fn what_is_sent_is_signed_with_its_digest_and_carries_nothing_that_old_stores_refuse() {
    let store = Scripted::start(|_| {
        let mut answer = answer(200, "");
        answer.headers_mut().insert("etag", "\"e\"".parse().unwrap());
        answer
    })
    .await;
    let bucket = connect(settings(&store.endpoint())).await;
    bucket.put_own(&heartbeat("n1"), MINE).await.unwrap();
    bucket.get(&heartbeat("n1"), 10).await.unwrap();
    let asked = store.asked();
    assert_eq!(asked[0].headers["x-amz-content-sha256"], Sha256Digest::of(&MINE).to_string());
    for header in asked.iter().flat_map(|asked| asked.headers.keys()) {
        let name = header.as_str();
        assert!(!name.contains("checksum") && name != "content-encoding" && name != "x-amz-trailer", "{name}");
    }
}
