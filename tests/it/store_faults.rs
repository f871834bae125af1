//! Each way of not being served has its own name, its own text, and its own answer to "again?".

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use fleetman::clock::{Clock, SharedClock, SystemClock};
use fleetman::store::{Credentials, Deadlines, Outage, Secret, Store, StoreError, StoreSettings};

use crate::support::bucket::{connect, heartbeat, settings};
use crate::support::proxy::{Fault, FaultProxy, On, Rule};
use crate::support::scripted::{Scripted, answer, s3_error};
use crate::support::{ACCESS_KEY, SECRET_KEY, Store as Server};

async fn fails(settings: StoreSettings) -> StoreError {
    connect(settings).await.get(&heartbeat("n1"), 10).await.unwrap_err()
}

#[tokio::test]
async fn a_throttled_request_is_tried_again() {
    let server = Server::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    let store = connect(settings(&proxy.endpoint())).await;
    proxy.inject(Rule::new(On::any(), Fault::status(503)).times(4));
    store.put_own(&heartbeat("n1"), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!((proxy.log().len(), store.request_counts().of("PutObject")), (5, 5));

    proxy.inject(Rule::new(On::any(), Fault::status(503)));
    let error = store.get(&heartbeat("n1"), 10).await.unwrap_err();
    assert!(matches!(&error, StoreError::Throttled { code, tries: 5, .. } if code == "SlowDown"), "{error:?}");
    assert!(error.is_transient());
    assert_eq!(proxy.log().len(), 10);
}

/// A clock whose sleeps are remembered and take no time.
#[derive(Debug)]
struct Impatient {
    system: SharedClock,
    ahead: TimeDelta,
    slept: std::sync::Mutex<Vec<Duration>>,
}

impl Impatient {
    fn new(ahead: TimeDelta) -> Arc<Self> {
        Arc::new(Self { system: SystemClock::shared(), ahead, slept: std::sync::Mutex::default() })
    }

    /// The waits between tries; deadlines are slept for as well, but are longer.
    fn waits(&self) -> Vec<Duration> {
        let slept = self.slept.lock().unwrap();
        slept.iter().copied().filter(|sleep| *sleep < Duration::from_secs(5)).collect()
    }
}

impl Clock for Impatient {
    fn now(&self) -> DateTime<Utc> {
        self.system.now() + self.ahead
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn sleep(&self, duration: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        self.slept.lock().unwrap().push(duration);
        if duration < Duration::from_secs(5) { Box::pin(std::future::ready(())) } else { self.system.sleep(duration) }
    }
}

#[tokio::test]
async fn the_wait_that_a_store_asks_for_is_kept_within_bounds() {
    let busy = Scripted::start(|_| {
        let mut answer = s3_error(503, "SlowDown");
        answer.headers_mut().insert("retry-after", "3".parse().unwrap());
        answer
    })
    .await;
    for (most, waited) in [(Duration::from_secs(4), 3), (Duration::from_secs(2), 2)] {
        let clock = Impatient::new(TimeDelta::zero());
        let mut settings = settings(&busy.endpoint());
        settings.retry.most = most;
        let store = Store::connect(settings, clock.clone()).await.unwrap();
        assert!(matches!(store.get(&heartbeat("n1"), 10).await, Err(StoreError::Throttled { .. })));
        assert_eq!(clock.waits(), [Duration::from_secs(waited); 4]);
    }
}

#[tokio::test]
async fn waits_grow_and_differ() {
    let busy = Scripted::start(|_| s3_error(500, "InternalError")).await;
    let mut settings = settings(&busy.endpoint());
    (settings.retry.first, settings.retry.most) = (Duration::from_millis(200), Duration::from_secs(1));
    let clock = Impatient::new(TimeDelta::zero());
    let store = Store::connect(settings, clock.clone()).await.unwrap();
    store.get(&heartbeat("n1"), 10).await.unwrap_err();
    store.get(&heartbeat("n1"), 10).await.unwrap_err();
    let waits = clock.waits();
    for (wait, most) in waits.iter().zip([200, 400, 800, 1000].iter().cycle()) {
        assert!(*wait <= Duration::from_millis(*most), "{waits:?}");
    }
    assert_ne!(waits[..4], waits[4..], "two clients must not wait in step");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unreachable() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let error = fails(settings(&format!("http://{port}"))).await;
    assert!(matches!(error, StoreError::Unreachable { why: Outage::Connection, tries: 5, .. }), "{error:?}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    assert!(error.is_transient());
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_given_up() {
    let server = Server::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    proxy.inject(Rule::new(On::any(), Fault::Stall));
    let mut settings = settings(&proxy.endpoint());
    settings.retry.tries = 2;
    settings.deadlines = Deadlines { first_byte: Duration::from_millis(50), ..Deadlines::default() };
    let error = fails(settings).await;
    assert!(matches!(error, StoreError::Unreachable { why: Outage::TimedOut(_), tries: 2, .. }), "{error:?}");
}

#[tokio::test]
async fn a_failing_store_is_unreachable_and_not_empty() {
    let broken = Scripted::start(|_| answer(502, "<html>Bad Gateway</html>")).await;
    let error = fails(settings(&broken.endpoint())).await;
    assert!(matches!(error, StoreError::Unreachable { why: Outage::Failed { status: 502, .. }, .. }), "{error:?}");
}

#[tokio::test]
async fn bad_keys_are_neither_denied_nor_tried_again() {
    let server = Server::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    for (access_key, secret_key) in [("GKwrong", SECRET_KEY), (ACCESS_KEY, "wrong")] {
        proxy.clear_log();
        let credentials = Credentials::Static {
            access_key: access_key.to_owned(),
            secret_key: Secret::new(secret_key),
            session_token: None,
        };
        let error = fails(StoreSettings { credentials, ..settings(&proxy.endpoint()) }).await;
        assert!(matches!(error, StoreError::BadCredentials { .. }), "{error:?}");
        assert!(!error.is_transient());
        assert_eq!(proxy.log().len(), 1);
    }
}

#[tokio::test]
async fn a_head_that_is_refused_without_a_word_still_names_bad_keys() {
    let server = Server::start().await;
    let credentials = Credentials::Static {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: Secret::new("wrong"),
        session_token: None,
    };
    let store = connect(StoreSettings { credentials, ..settings(&server.endpoint()) }).await;
    let error = store.head(&heartbeat("n1")).await.unwrap_err();
    assert!(matches!(error, StoreError::BadCredentials { .. }), "{error:?}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let server = Server::start().await;
    let error = fails(StoreSettings { bucket: "typo".to_owned(), ..settings(&server.endpoint()) }).await;
    assert!(matches!(&error, StoreError::NoSuchBucket { bucket, .. } if bucket == "typo"), "{error:?}");
}

#[tokio::test]
async fn another_region_is_a_matter_of_the_config() {
    for (status, code) in [(301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed")] {
        let elsewhere = Scripted::start(move |_| s3_error(status, code)).await;
        let error = fails(settings(&elsewhere.endpoint())).await;
        assert!(matches!(&error, StoreError::Misconfigured { what, .. } if what.contains(code)), "{error:?}");
    }
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_from_the_stores_own_and_reported() {
    let server = Server::start().await;
    for ahead in [TimeDelta::hours(2), TimeDelta::hours(-2)] {
        let store = Store::connect(settings(&server.endpoint()), Impatient::new(ahead)).await.unwrap();
        store.put_own(&heartbeat("n1"), Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(store.request_counts().total(), 2, "refused once, then signed with the store's time");
        let skew = store.clock_skew().unwrap();
        assert!((skew + ahead).num_seconds().abs() <= 1, "{skew}");
        store.get(&heartbeat("n1"), 10).await.unwrap();
        assert_eq!(store.request_counts().total(), 3);
    }
}

#[tokio::test]
async fn a_clock_that_the_store_will_not_take_is_never_called_a_denial() {
    let strict = Scripted::start(|_| s3_error(403, "RequestTimeTooSkewed")).await;
    let store = Store::connect(settings(&strict.endpoint()), Impatient::new(TimeDelta::hours(2))).await.unwrap();
    let error = store.get(&heartbeat("n1"), 10).await.unwrap_err();
    assert!(matches!(error, StoreError::ClockSkew { skew: Some(_), .. }), "{error:?}");
    assert_eq!(strict.asked().len(), 2);
    let text = error.to_string();
    assert!(text.contains("s ahead of the store's") && text.contains("7200") || text.contains("7199"), "{text}");
}

#[tokio::test]
async fn a_denial_on_a_machine_with_a_wrong_clock_is_looked_at_twice() {
    let server = Scripted::start(|asked| match asked.target.contains("list-type") {
        true => s3_error(403, "AccessDenied"),
        false => s3_error(403, "SignatureDoesNotMatch"),
    })
    .await;
    let store = Store::connect(settings(&server.endpoint()), Impatient::new(TimeDelta::hours(2))).await.unwrap();
    let error = store.get(&heartbeat("n1"), 10).await.unwrap_err();
    assert!(matches!(error, StoreError::BadCredentials { .. }), "{error:?}");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn nothing_that_is_printed_holds_a_secret() {
    let settings = settings("http://127.0.0.1:9");
    let printed = format!("{settings:?} {:?}", connect(settings.clone()).await);
    assert!(!printed.contains(SECRET_KEY), "{printed}");
    assert!(printed.contains("s3://fleet/prod/eu at http://127.0.0.1:9"), "{printed}");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, text, empty) = (folder.path().join("no"), folder.path().join("text"), folder.path().join("empty"));
    std::fs::write(&text, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(&empty, "no certificate").unwrap();
    let good = settings("http://127.0.0.1:9");
    for (settings, said) in [
        (StoreSettings { endpoint: Some("ftp://host".to_owned()), ..good.clone() }, "neither http nor https"),
        (StoreSettings { endpoint: Some("host".to_owned()), ..good.clone() }, "neither http nor https"),
        (StoreSettings { endpoint: Some("http://".to_owned()), ..good.clone() }, "is no URL"),
        (StoreSettings { endpoint: Some("http://u:p@host".to_owned()), ..good.clone() }, "more than scheme"),
        (StoreSettings { bucket: String::new(), ..good.clone() }, "is empty"),
        (StoreSettings { ca_file: Some(missing), ..good.clone() }, "cannot be read"),
        (StoreSettings { ca_file: Some(text), ..good.clone() }, "unusable certificate"),
        (StoreSettings { ca_file: Some(empty), ..good.clone() }, "holds no certificate"),
    ] {
        let error = Store::connect(settings, SystemClock::shared()).await.unwrap_err();
        assert!(matches!(&error, StoreError::Misconfigured { what, .. } if what.contains(said)), "{said}: {error:?}");
    }
}

#[tokio::test]
async fn the_request_that_failed_is_told_of_and_what_the_store_says_is_bounded() {
    let talker = Scripted::start(|_| {
        let mut answer =
            answer(403, format!("<Error><Code>{0}</Code><Message>{0}</Message></Error>", "x\u{202e}".repeat(5_000)));
        answer.headers_mut().insert("x-amz-request-id", "4442587FB7D0A2F9".parse().unwrap());
        answer
    })
    .await;
    let error = connect(settings(&talker.endpoint())).await.get(&heartbeat("n1"), 10).await.unwrap_err();
    let call = error.call().unwrap();
    assert_eq!(
        (call.operation, call.status, call.request_id.as_deref()),
        ("GetObject", Some(403), Some("4442587FB7D0A2F9"))
    );
    assert_eq!(call.code.as_ref().unwrap().chars().count(), 128);
    assert!(error.to_string().chars().count() < 1_500 && !error.to_string().contains('\u{202e}'), "{error}");

    let mut server = Server::start().await;
    let store = connect(settings(&server.endpoint())).await;
    server.stop().await;
    let error = store.put_own(&heartbeat("n1"), Bytes::from_static(b"beat")).await.unwrap_err();
    let call = error.call().unwrap();
    assert_eq!((call.operation, call.status, &call.code, &call.request_id), ("PutObject", None, &None, &None));
}
