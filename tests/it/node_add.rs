//! What `node add` prints, and whether it is what an agent needs: the policy is held against everything that real
//! agents ask of a bucket.

use std::os::unix::fs::PermissionsExt as _;

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;

use crate::support::cli::{Ran, Workplace};
use crate::support::garage::Garage;
use crate::support::policy::Policy;
use crate::support::proxy::{FaultProxy, On};
use crate::support::{ACCESS_KEY, BUCKET, SECRET_KEY, client};

const SITE: &str = "name: site\nprofile: {deploy: {}}\nfiles: [{path: page, template: true}, {glob: '**'}]\n";

/// The folder that the fleet has in the bucket, so that a forgotten prefix is found.
const PREFIX: &str = "fleets/a";

/// An operator's folder for a fleet below [`PREFIX`] with cells `n1/web` and `n2/web`.
async fn place() -> Workplace {
    let place = Workplace::with_bucket().await;
    move_below_prefix(&place);
    place.fleetman(&["init"]).await.exits(0);
    place.write("site.yaml", &format!("{SITE}---\ncell: n1/web\nmanifest: site\n---\ncell: n2/web\nmanifest: site\n"));
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place
}

fn move_below_prefix(place: &Workplace) {
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    let bucket = format!("    bucket: {BUCKET}\n");
    place.write("controller_config.yaml", &config.replace(&bucket, &format!("{bucket}    prefix: {PREFIX}\n")));
}

async fn upload(place: &Workplace, name: &str) {
    place.write(&format!("{name}/page"), &format!("{{{{ node }}}} {name}"));
    place.write(&format!("{name}/same"), "the same in each release");
    place.fleetman(&["upload", "site", name, "--as", name]).await.exits(0);
}

/// What `node add` says for programs.
async fn added(place: &Workplace, node: &str) -> Value {
    place.fleetman(&["-o", "json", "node", "add", node, "--store", "minio"]).await.exits(0).json()
}

/// Saves a printed config as a node would, with the way to the bucket that a test wants.
fn save(place: &Workplace, added: &Value, endpoint: &str) -> String {
    let node = added["node"].as_str().unwrap();
    let config: Vec<String> = added["config"]
        .as_str()
        .unwrap()
        .lines()
        .map(|line| match line.trim() {
            "# access_key: AKIAEXAMPLE" => format!("  access_key: {ACCESS_KEY}"),
            "# secret_key: change-me" => format!("  secret_key: {SECRET_KEY}"),
            other if other.starts_with("endpoint: ") => format!("  endpoint: {endpoint}"),
            _ => line.to_owned(),
        })
        .collect();
    let config = config.join("\n").replace("/var/lib/fleetagent", &format!("{node}-state"));
    let name = format!("{node}.yaml");
    place.write(&name, &config.replace("/srv/cells", &format!("{node}-cells")));
    name
}

async fn once(place: &Workplace, config: &str) -> Ran {
    place.fleetagent(&["-c", config, "-o", "json", "once"]).await
}

fn page(place: &Workplace, node: &str) -> Option<String> {
    std::fs::read_to_string(place.path().join(format!("{node}-cells/web/page"))).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_policy_allows_all_that_an_agent_does_in_a_whole_life_and_each_part_of_it_is_needed() {
    let mut place = place().await;
    let proxy = FaultProxy::start(&place.store().endpoint()).await;
    let added = added(&place, "n1").await;
    proxy.authorize(Policy::parse(&added["policy"].to_string()));
    let config = save(&place, &added, &proxy.endpoint());

    // There is no heartbeat yet, and no index of this node alone.
    place.fleetagent(&["-c", &config, "config", "check"]).await.exits(0);
    place.fleetagent(&["-c", &config, "doctor"]).await.exits(0);
    once(&place, &config).await.exits(0);
    for (args, shown) in [
        (&["publish", "n1/web", "-d", "r1", "--as", "r1", "-y"][..], Some("n1 r1")),
        (&["publish", "n1/web", "-d", "r2", "--as", "r2", "-y"], Some("n1 r2")),
        (&["redeploy", "n1/web", "-y"], Some("n1 r2")),
        (&["rollback", "n1/web", "-y"], Some("n1 r1")),
        (&["stop", "n1/web", "-y"], Some("n1 r1")),
        (&["redeploy", "n1/web", "-y"], Some("n1 r1")),
        (&["remove", "n1/web", "-y", "--purge-data"], None),
    ] {
        if let [_, _, "-d", release, ..] = args {
            upload(&place, release).await;
        }
        place.fleetman(args).await.exits(0);
        let told = once(&place, &config).await.exits(0).json();
        assert_eq!(page(&place, "n1").as_deref(), shown, "{args:?}");
        assert!(told["store_error"].is_null() && told["cells"]["web"]["last_error"].is_null(), "{told:#}");
    }
    // A node that lost its state asks for more, its own heartbeat among it.
    std::fs::remove_dir_all(place.path().join("n1-state")).unwrap();
    once(&place, &config).await.exits(0);
    place.fleetagent(&["-c", &config, "doctor"]).await.exits(0);

    assert_eq!(proxy.denied(), []);
    assert_eq!(proxy.unused_rights(), [] as [&str; 0]);
    let settled = proxy.log().iter().filter(|seen| seen.status == Some(403) && !seen.listing).count();
    assert!(settled > 0, "absent objects were told from denied ones by listing");
    assert!(proxy.count(On::put(&format!("{PREFIX}/logs/n1/web/*.json"))) >= 7, "outcomes were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_runs_on_finds_an_absent_index_and_a_trigger_put_by_hand_with_the_printed_rights() {
    let mut place = place().await;
    let store = place.store().client();
    let proxy = FaultProxy::start(&place.store().endpoint()).await;
    let added = added(&place, "n1").await;
    proxy.authorize(Policy::parse(&added["policy"].to_string()));
    let config = save(&place, &added, &proxy.endpoint());
    upload(&place, "r1").await;
    place.fleetman(&["publish", "n1/web", "-d", "r1", "-y"]).await.exits(0);
    store.delete_object().bucket(BUCKET).key(format!("{PREFIX}/index/n1.json")).send().await.unwrap();
    once(&place, &config).await.exits(0);
    assert_eq!(page(&place, "n1").as_deref(), Some("n1 r1"));
    let listed = proxy.count(On::list(&format!("{PREFIX}/index/n1.json")));
    assert!(listed > 0 && proxy.denied().is_empty(), "{:?}", proxy.denied());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_printed_rights_nothing_can_be_done_anywhere_else() {
    let mut place = place().await;
    upload(&place, "r1").await;
    place.fleetman(&["publish", "n1/web", "n2/web", "-d", "r1", "--as", "r1", "-y"]).await.exits(0);
    let proxy = FaultProxy::start(&place.store().endpoint()).await;
    let policy = added(&place, "n1").await["policy"].to_string();
    proxy.authorize(Policy::parse(&policy));
    let client = client(&proxy.endpoint());
    let full = |key: &str| format!("{PREFIX}/{key}");
    let denied = |code: Option<&str>, what: &str| assert_eq!(code, Some("AccessDenied"), "{what}");
    for key in
        ["cells/n2/web/trigger.json", "index/n2.json", "agents/n2.json", "fleet.json", "manifests/site/manifest.yaml"]
    {
        let got = client.get_object().bucket(BUCKET).key(full(key)).send().await.unwrap_err();
        denied(got.code(), &format!("reading {key}"));
    }
    for key in
        ["cells/n1/web/trigger.json", "index/n1.json", "agents/n10.json", "agents/n2.json", "logs/n2/x", "logs/n10/x"]
    {
        let put = client.put_object().bucket(BUCKET).key(full(key)).body(ByteStream::from_static(b"x"));
        denied(put.send().await.unwrap_err().code(), &format!("writing {key}"));
    }
    for key in ["agents/n1.json", "logs/n1/x", "cells/n1/web/trigger.json"] {
        let deleted = client.delete_object().bucket(BUCKET).key(full(key)).send().await.unwrap_err();
        denied(deleted.code(), &format!("deleting {key}"));
    }
    for prefix in [
        Some("cells/"),
        Some("cells/n2/"),
        Some("cells/n10/"),
        Some("cells/n1"),
        Some("agents/"),
        Some("logs/n1/"),
        None,
    ] {
        let listed = client.list_objects_v2().bucket(BUCKET).set_prefix(prefix.map(full)).send().await.unwrap_err();
        denied(listed.code(), &format!("listing {prefix:?}"));
    }
    let copy = client.copy_object().bucket(BUCKET).key(full("logs/n1/stolen"));
    let copied = copy.copy_source(format!("{BUCKET}/{}", full("cells/n2/web/trigger.json"))).send().await.unwrap_err();
    denied(copied.code(), "copying another node's trigger");

    // Another node's agent with these keys says what it lacks, and deploys nothing.
    let config = save(&place, &added(&place, "n2").await, &proxy.endpoint());
    let error = once(&place, &config).await.exits(5).error();
    assert_eq!(error["code"], "denied", "{error}");
    assert_eq!(page(&place, "n2"), None);
    let told = place.fleetagent(&["-c", &config, "-o", "json", "doctor"]).await.exits(1).json();
    let failed = told.as_array().unwrap().iter().filter(|finding| finding["verdict"] == "failed");
    let failed: Vec<&str> = failed.map(|finding| finding["check"].as_str().unwrap()).collect();
    assert_eq!(
        failed,
        [
            "bucket",
            "read_index",
            "read_heartbeat",
            "list_cells",
            "list_index",
            "list_heartbeat",
            "write_heartbeat",
            "write_logs"
        ],
        "{told:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_is_one_document_and_the_config_is_written_for_its_owner_alone() {
    let place = place().await;
    let ran = place.fleetman(&["node", "add", "n1", "--store", "aws"]).await.exits(0);
    place.write("printed.yaml", &ran.out);
    let checked = place.fleetagent(&["-c", "printed.yaml", "-o", "json", "config", "check"]).await.exits(0).json();
    assert_eq!((&checked["node"], &checked["prefix"]), (&Value::from("n1"), &Value::from(PREFIX)));
    assert_eq!(checked["profiles"], serde_json::json!(["deploy", "process"]));
    assert!(checked["trusted_keys"][0].as_str().unwrap().ends_with("(epoch 1)"), "{checked}");
    assert!(ran.err.contains("\"s3:PutObject\"") && ran.err.contains("aws iam create-user --user-name fleetman-n1"));
    assert!(!ran.out.contains(SECRET_KEY) && !ran.err.contains(SECRET_KEY), "the controller's own keys stay with it");
    assert!(!ran.err.contains("warning: n1") && !ran.err.contains("reported"), "{}", ran.err);

    place.write("secret", "s3cr3t \"quoted\"\n");
    let args = ["node", "add", "n1", "--store", "minio", "--profile", "process", "--write", "n1.yaml"];
    let keys = ["--access-key", "GK1", "--secret-key-file", "secret"];
    let ran = place.fleetman(&[&args[..], &keys].concat()).await.exits(0);
    Policy::parse(&ran.out);
    assert!(!ran.out.contains("s3cr3t") && !ran.err.contains("s3cr3t"));
    let file = place.path().join("n1.yaml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let checked = place.fleetagent(&["-c", "n1.yaml", "-o", "json", "config", "check"]).await.exits(0).json();
    assert_eq!(checked["profiles"], serde_json::json!(["process"]));
    let before = std::fs::read(&file).unwrap();
    assert!(String::from_utf8(before.clone()).unwrap().contains(r#"secret_key: "s3cr3t \"quoted\"""#));
    assert_eq!(place.fleetman(&[&["-o", "json"], &args[..]].concat()).await.exits(3).error()["code"], "exists");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // A secret never goes to standard output.
    place.fleetman(&[&["node", "add", "n1"], &keys[..]].concat()).await.exits(2);
    place.fleetman(&["node", "add", "N1"]).await.exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_warned_of_and_a_bucket_that_is_away_keeps_nobody_from_the_config() {
    let mut place = place().await;
    upload(&place, "r1").await;
    place.fleetman(&["publish", "n1/web", "-d", "r1", "-y"]).await.exits(0);
    let first = added(&place, "n1").await;
    let ran = place.fleetman(&["node", "add", "n1"]).await.exits(0);
    assert!(ran.err.contains("n1 deploys these as soon as it runs: web"), "{}", ran.err);
    assert!(!ran.err.contains("an agent reported"), "{}", ran.err);
    let endpoint = place.store().endpoint();
    once(&place, &save(&place, &first, &endpoint)).await.exits(0);
    let ran = place.fleetman(&["node", "add", "n1"]).await.exits(0);
    assert!(ran.err.contains("an agent reported as n1 before") && ran.err.contains("two agents"), "{}", ran.err);
    place.store().stop().await;
    let ran = place.fleetman(&["node", "add", "n3"]).await.exits(0);
    assert!(ran.out.contains("node: n3") && ran.err.contains("cannot be seen"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_for_garage_make_keys_that_an_agent_can_use_and_revoke_them() {
    let Some(garage) = Garage::start().await else { return };
    let place = Workplace::over(&garage.endpoint()).await;
    let added = place.fleetman(&["-o", "json", "node", "add", "n1", "--store", "garage"]).await.exits(0).json();
    assert!(added["policy"].is_null(), "{added}");
    let (mut access, mut secret) = (String::new(), String::new());
    for command in added["keys"]["commands"].as_array().unwrap() {
        let told = garage.run(command.as_str().unwrap()).await;
        for line in told.lines() {
            match line.split_once(':') {
                Some(("Key ID", value)) => access = value.trim().to_owned(),
                Some(("Secret key", value)) => secret = value.trim().to_owned(),
                _ => {}
            }
        }
    }
    place.write("secret", &secret);
    let keys = ["--access-key", &access, "--secret-key-file", "secret", "--write", "n1.yaml"];
    place.fleetman(&[&["node", "add", "n1", "--store", "garage"], &keys[..]].concat()).await.exits(0);
    let config = std::fs::read_to_string(place.path().join("n1.yaml")).unwrap();
    place.write("n1.yaml", &config.replace("/var/lib/fleetagent", "n1-state").replace("/srv/cells", "n1-cells"));
    once(&place, "n1.yaml").await.exits(0);
    place.fleetagent(&["-c", "n1.yaml", "doctor"]).await.exits(0);
    let before = garage.client().get_object().bucket(BUCKET).key("agents/n1.json").send().await.unwrap().e_tag;
    place.fleetagent(&["-c", "n1.yaml", "doctor"]).await.exits(0);
    let after = garage.client().get_object().bucket(BUCKET).key("agents/n1.json").send().await.unwrap().e_tag;
    assert_eq!(before, after, "the doctor writes nothing");
    let ran = place.fleetman(&["node", "rm", "n1", "-y", "--store", "garage"]).await.exits(0);
    let revoke = ran.err.lines().map(str::trim).find(|line| line.starts_with("garage ")).unwrap();
    garage.run(revoke).await;
    once(&place, "n1.yaml").await.exits(5);
}
