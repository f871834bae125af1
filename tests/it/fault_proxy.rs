//! The faults that other tests rely on do what they say.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use http::Method;

use crate::support::proxy::{Fault, FaultProxy, On, Rule};
use crate::support::{BUCKET, Store, client};

async fn through_a_proxy() -> (Store, FaultProxy, Client) {
    let store = Store::start().await;
    let proxy = FaultProxy::start(&store.endpoint()).await;
    let once = client(&proxy.endpoint())
        .config()
        .to_builder()
        .retry_config(RetryConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    (store, proxy, Client::from_conf(once.build()))
}

async fn put(client: &Client, key: &str, body: &'static [u8]) -> Result<(), Option<String>> {
    let put = client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(body)).send().await;
    put.map(|_| ()).map_err(|error| error.code().map(str::to_owned))
}

async fn get(client: &Client, key: &str) -> Option<Vec<u8>> {
    let got = client.get_object().bucket(BUCKET).key(key).send().await.ok()?;
    Some(got.body.collect().await.ok()?.to_vec())
}

#[tokio::test]
async fn without_rules_everything_passes_and_is_remembered() {
    let (_store, proxy, client) = through_a_proxy().await;
    put(&client, "a b/\u{e9}", b"body").await.unwrap();
    assert_eq!(get(&client, "a b/\u{e9}").await.unwrap(), b"body");
    client.list_objects_v2().bucket(BUCKET).prefix("a b/").send().await.unwrap();

    let log = proxy.log();
    let seen: Vec<_> = log.iter().map(|seen| (seen.method.clone(), seen.key.as_str(), seen.status)).collect();
    let key = "a b/\u{e9}";
    assert_eq!(seen, [(Method::PUT, key, Some(200)), (Method::GET, key, Some(200)), (Method::GET, "a b/", Some(200))]);
    assert_eq!(proxy.count(On::get("*")), 1);
    assert_eq!(proxy.count(On::list("a*/")), 1);
    assert_eq!(proxy.count(On::put("b*")), 0);
    assert_eq!(proxy.writes(), 1);
}

#[tokio::test]
async fn a_rule_skips_strikes_and_ends() {
    let (_store, proxy, client) = through_a_proxy().await;
    proxy.inject(Rule::new(On::put("a*"), Fault::status(503)).skip(1).times(2));
    assert_eq!(put(&client, "a1", b"").await, Ok(()));
    assert_eq!(put(&client, "b", b"").await, Ok(()));
    assert_eq!(put(&client, "a2", b"").await, Err(Some("SlowDown".to_owned())));
    assert_eq!(put(&client, "a3", b"").await, Err(Some("SlowDown".to_owned())));
    assert_eq!(put(&client, "a4", b"").await, Ok(()));
    assert_eq!(proxy.writes(), 3);
}

#[tokio::test]
async fn a_lost_answer_was_carried_out_and_a_lost_request_was_not() {
    let (store, proxy, client) = through_a_proxy().await;
    proxy.inject(Rule::new(On::put("answer"), Fault::LoseResponse));
    proxy.inject(Rule::new(On::put("request"), Fault::LoseRequest));
    assert_eq!(put(&client, "answer", b"1").await, Err(None));
    assert_eq!(put(&client, "request", b"1").await, Err(None));
    assert_eq!(get(&store.client(), "answer").await.unwrap(), b"1");
    assert_eq!(get(&store.client(), "request").await, None);
}

#[tokio::test]
async fn a_cut_body_is_an_error_and_not_a_short_object() {
    let (_store, proxy, client) = through_a_proxy().await;
    put(&client, "k", b"0123456789").await.unwrap();
    proxy.inject(Rule::new(On::get("k"), Fault::CutBody(4)).times(1));
    let got = client.get_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(got.content_length(), Some(10));
    let mut body = got.body;
    assert_eq!(body.next().await.unwrap().unwrap(), "0123");
    assert!(body.next().await.unwrap().is_err());
    assert_eq!(get(&client, "k").await.unwrap(), b"0123456789");
}

#[tokio::test]
async fn a_stalled_body_stops_and_a_stalled_request_is_never_answered() {
    let (_store, proxy, client) = through_a_proxy().await;
    put(&client, "k", b"0123456789").await.unwrap();
    proxy.inject(Rule::new(On::get("k"), Fault::StallBody(4)));
    proxy.inject(Rule::new(On::head("k"), Fault::Stall));
    let mut body = client.get_object().bucket(BUCKET).key("k").send().await.unwrap().body;
    assert_eq!(body.next().await.unwrap().unwrap(), "0123");
    let brief = Duration::from_millis(200);
    assert!(tokio::time::timeout(brief, body.next()).await.is_err());
    assert!(tokio::time::timeout(brief, client.head_object().bucket(BUCKET).key("k").send()).await.is_err());
}

#[tokio::test]
async fn refused_connections_come_back_on_the_same_port() {
    let (_store, proxy, client) = through_a_proxy().await;
    put(&client, "k", b"1").await.unwrap();
    proxy.refuse_connections().await;
    let error = client.head_object().bucket(BUCKET).key("k").send().await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    proxy.accept_connections().await;
    assert_eq!(get(&client, "k").await.unwrap(), b"1");
}

#[tokio::test]
async fn nothing_reaches_the_store_after_the_last_write() {
    let (store, proxy, client) = through_a_proxy().await;
    proxy.stop_after_writes(2);
    let stopped = Err(Some("StoppedByTest".to_owned()));
    assert_eq!(put(&client, "1", b"").await, Ok(()));
    assert_eq!(put(&client, "2", b"").await, Ok(()));
    assert_eq!(put(&client, "3", b"").await, stopped);
    assert_eq!(get(&client, "1").await, None);
    assert_eq!(get(&store.client(), "3").await, None);
    proxy.heal();
    assert_eq!(put(&client, "3", b"").await, Ok(()));
}

#[tokio::test]
async fn ignored_conditions_overwrite_and_keep_everything_else() {
    let (store, proxy, client) = through_a_proxy().await;
    put(&client, "k /\u{e9}", b"first").await.unwrap();
    proxy.inject(Rule::new(On::put("*"), Fault::IgnoreConditions));
    let second = client.put_object().bucket(BUCKET).key("k /\u{e9}").if_none_match("*").metadata("who", "me");
    second.body(ByteStream::from_static(b"second")).send().await.unwrap();
    let third = client.put_object().bucket(BUCKET).key("new").if_match("\"stale\"").body(ByteStream::from_static(b"x"));
    third.send().await.unwrap();

    let got = store.client().get_object().bucket(BUCKET).key("k /\u{e9}").send().await.unwrap();
    assert_eq!(got.metadata().unwrap()["who"], "me");
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"second");
    assert_eq!(get(&store.client(), "new").await.unwrap(), b"x");
    assert_eq!(proxy.log()[1].condition.as_deref(), Some("*"));
}

#[tokio::test]
async fn a_delay_holds_back_and_other_faults_still_strike() {
    let (_store, proxy, client) = through_a_proxy().await;
    proxy.inject(Rule::new(On::any(), Fault::Delay(Duration::from_millis(300))));
    proxy.inject(Rule::new(On::put("*"), Fault::status(403)));
    let brief = Duration::from_millis(100);
    assert!(tokio::time::timeout(brief, put(&client, "k", b"")).await.is_err());
    assert_eq!(put(&client, "k", b"").await, Err(Some("AccessDenied".to_owned())));
}
