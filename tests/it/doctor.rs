//! What `doctor` finds out about stores that behave, and about stores that do not.

use fleetman::clock::SystemClock;
use fleetman::controller::doctor;
use fleetman::model::fleet::{Conditions, Fleet, StoreReport, Verdict};
use fleetman::model::{ObjectKey, document};
use fleetman::store::{Credentials, RetryPolicy, Secret, Store, StoreSettings};
use uuid::Uuid;

use crate::support::proxy::{Fault, FaultProxy, On, Rule};
use crate::support::{self, ACCESS_KEY, BUCKET, SECRET_KEY};

const FLEET: Uuid = Uuid::from_u128(7);

async fn connect(endpoint: &str, secret_key: &str) -> Store {
    let settings = StoreSettings {
        endpoint: Some(endpoint.to_owned()),
        credentials: Credentials::Static {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: Secret::new(secret_key),
            session_token: None,
        },
        retry: RetryPolicy { tries: 1, ..RetryPolicy::default() },
        ..StoreSettings::new(BUCKET)
    };
    Store::connect(settings, SystemClock::shared()).await.unwrap()
}

async fn examine(endpoint: &str) -> StoreReport {
    let store = connect(endpoint, SECRET_KEY).await;
    doctor::examine(&store, FLEET, &SystemClock::shared()).await.unwrap()
}

async fn found_fleet(store: &Store, fleet: Uuid) {
    let body = document::render(&Fleet { fleet, layout: Fleet::LAYOUT, created_at: chrono::DateTime::UNIX_EPOCH });
    store.create(&ObjectKey::Fleet, body.into()).await.unwrap();
}

fn verdict(report: &StoreReport, check: &str) -> Verdict {
    let finding = report.findings.iter().find(|finding| finding.check == check);
    finding.unwrap_or_else(|| panic!("{check} was not looked at: {report:#?}")).verdict
}

fn failed(report: &StoreReport) -> Vec<&str> {
    let bad = report.findings.iter().filter(|finding| finding.verdict == Verdict::Failed);
    bad.map(|finding| finding.check.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_behaves_has_nothing_to_be_told_and_is_left_as_it_was() {
    let server = support::Store::start().await;
    let store = connect(&server.endpoint(), SECRET_KEY).await;
    found_fleet(&store, FLEET).await;
    let report = examine(&server.endpoint()).await;
    assert!(report.findings.iter().all(|finding| finding.verdict == Verdict::Ok), "{report:#?}");
    assert_eq!(report.findings.len(), 10, "{report:#?}");
    assert_eq!(report.conditions, Conditions::Honoured);
    doctor::remember(&store, &report).await.unwrap();
    let listed = server.client().list_objects_v2().bucket(BUCKET).send().await.unwrap();
    let keys: Vec<_> = listed.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(keys, ["fleet.json", "store.json"]);
    let kept = store.get(&ObjectKey::StoreReport, 1 << 20).await.unwrap();
    assert_eq!(document::parse::<StoreReport>(&kept.bytes).unwrap(), report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_200_to_conditions_and_overwrites_is_found_out() {
    let server = support::Store::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    proxy.inject(Rule::new(On::put("*"), Fault::IgnoreConditions));
    let report = examine(&proxy.endpoint()).await;
    assert_eq!(report.conditions, Conditions::Ignored);
    assert_eq!(verdict(&report, "create_race"), Verdict::Warning);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lets_a_second_racer_win_now_and_then_is_found_out() {
    let server = support::Store::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    proxy.inject(Rule::new(On::put("*race-*"), Fault::IgnoreConditions).skip(70).times(1));
    let report = examine(&proxy.endpoint()).await;
    assert_eq!(report.conditions, Conditions::Ignored, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_loses_replacements_is_found_out() {
    let server = support::Store::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    proxy.inject(Rule::new(On::put("*counter"), Fault::IgnoreConditions));
    let report = examine(&proxy.endpoint()).await;
    assert_eq!(verdict(&report, "create_race"), Verdict::Ok);
    assert_eq!(verdict(&report, "replace_race"), Verdict::Warning, "{report:#?}");
    assert_eq!(report.conditions, Conditions::Ignored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_conditions_is_told_apart_from_one_that_ignores_them() {
    let server = support::Store::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    proxy.inject(Rule::new(On::put("*race-*"), Fault::status(501)));
    assert_eq!(examine(&proxy.endpoint()).await.conditions, Conditions::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_is_not_there_or_not_ours_is_named() {
    let server = support::Store::start().await;
    let message = |report: &StoreReport| {
        let finding = report.findings.iter().find(|finding| finding.check == "fleet").unwrap();
        (finding.message.clone(), finding.help.clone().unwrap_or_default())
    };
    let report = examine(&server.endpoint()).await;
    assert_eq!(failed(&report), ["fleet"]);
    assert_eq!(message(&report).1, "fleetman init");
    found_fleet(&connect(&server.endpoint(), SECRET_KEY).await, Uuid::from_u128(8)).await;
    let report = examine(&server.endpoint()).await;
    assert!(message(&report).0.contains(&Uuid::from_u128(8).to_string()), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_missing_rights_and_an_absent_server_are_told_apart() {
    let server = support::Store::start().await;
    let first = |report: &StoreReport| report.findings[0].message.clone();

    let store = connect(&server.endpoint(), "not the secret key").await;
    let report = doctor::examine(&store, FLEET, &SystemClock::shared()).await.unwrap();
    assert!(first(&report).contains("credentials are not valid"), "{report:#?}");

    let proxy = FaultProxy::start(&server.endpoint()).await;
    proxy.inject(Rule::new(On::put("*probes/*"), Fault::status(403)));
    let report = examine(&proxy.endpoint()).await;
    assert_eq!(failed(&report), ["fleet", "read_after_write"]);
    assert_eq!(report.conditions, Conditions::Unknown);

    proxy.refuse_connections().await;
    let report = examine(&proxy.endpoint()).await;
    assert_eq!(failed(&report), ["reach"]);
    assert!(first(&report).contains("no connection"), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_that_cannot_be_removed_are_named() {
    let server = support::Store::start().await;
    let proxy = FaultProxy::start(&server.endpoint()).await;
    proxy.inject(Rule::new(On::delete("*"), Fault::status(403)));
    proxy.inject(Rule::new(On::write(""), Fault::status(403)));
    let report = examine(&proxy.endpoint()).await;
    assert_eq!(failed(&report), ["fleet", "read_after_write", "clean_up"], "{report:#?}");
}
