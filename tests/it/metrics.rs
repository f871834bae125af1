//! Metrics of both programs, as Prometheus scrapes them; and the dashboard, the alerts and the page over them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::cli::{Workplace, page};
use crate::support::scrape::Scrape;
use crate::support::serving::Serving;
use crate::support::{require_tool, wait_for};

/// Adds metrics to an agent's config: on a free port, and in a file, which is returned.
fn turn_on(config: &Path) -> PathBuf {
    let file = config.with_extension("prom");
    let text = std::fs::read_to_string(config).unwrap();
    let metrics = format!("metrics:\n  listen: 127.0.0.1:0\n  text_file: {}\n", file.display());
    std::fs::write(config, text + &metrics).unwrap();
    file
}

/// Where the agent with this config says that its metrics are.
async fn address(config: &Path) -> String {
    let mut found = None;
    let said = async || {
        let log = std::fs::read_to_string(config.with_extension("log")).unwrap_or_default();
        let url = log.split("served on ").nth(1).and_then(|rest| rest.split('"').next());
        found = url.map(str::to_owned);
        found.is_some()
    };
    wait_for(said, "the agent to say where its metrics are").await;
    found.unwrap()
}

async fn scrape(url: &str) -> Scrape {
    let (head, body) = page(url).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    Scrape::parse(&body)
}

/// The controller's, as somebody gets them who may look at everything.
async fn of(serving: &Serving) -> Scrape {
    let answer = serving.get("/metrics").await.is(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    Scrape::parse(&answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_counts_the_fleet_its_requests_and_its_outages() {
    let mut place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("r1/index.html", "one");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "-y"]).await.exits(0);
    let serving = Serving::start(&place).await;
    let bucket = ("bucket", "test");
    let unknown = [bucket, ("sync", "unknown"), ("health", "unknown")];
    let counted = async || of(&serving).await.value("fleetman_cells", &unknown) == Some(1.0);
    wait_for(counted, "the cell to be counted; nobody has heard of its node").await;

    serving.get("/api/v1/cells/n1/web").await.is(200);
    serving.get("/api/v1/cells/n1/absent").await.is(404);
    serving.get("/nowhere/at-all").await.is(404);
    serving.send("BREW", "/api/v1/cells", &[("authorization", "Bearer x")], "").await;
    let found = of(&serving).await;
    assert_eq!(found.value("fleetman_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    assert_eq!(found.value("fleetman_nodes", &[bucket, ("liveness", "unknown")]), Some(1.0));
    assert_eq!(found.value("fleetman_nodes", &[bucket, ("liveness", "active")]), Some(0.0), "0 is not absent");
    assert_eq!(
        found.value("fleetman_cells", &[bucket, ("sync", "synced"), ("health", "failed")]),
        Some(0.0),
        "0 is not absent"
    );
    assert!(found.value("fleetman_snapshot_age_seconds", &[bucket]).unwrap() < 60.0);
    let looks = found.value("fleetman_snapshot_refreshes_total", &[bucket, ("result", "ok")]);
    assert!(looks >= Some(1.0));
    assert!(found.value("fleetman_snapshot_refresh_duration_seconds", &[bucket]).unwrap() < 60.0);
    let read = [bucket, ("operation", "GetObject")];
    let reads = found.value("fleetman_bucket_requests_total", &[&read[..], &[("result", "ok")]].concat());
    assert!(reads.unwrap() >= 1.0);
    assert!(found.value("fleetman_bucket_request_duration_seconds_count", &read) >= reads);
    let get = |route, status| {
        found.value("fleetman_http_requests_total", &[("method", "GET"), ("route", route), ("status", status)])
    };
    assert_eq!(get("/api/v1/cells/{node}/{cell}", "200"), Some(1.0));
    assert_eq!(get("/api/v1/cells/{node}/{cell}", "404"), Some(1.0));
    assert_eq!(get("unmatched", "404"), Some(1.0), "paths that anybody makes up are one");
    assert_eq!(
        found.value(
            "fleetman_http_requests_total",
            &[("method", "other"), ("route", "/api/v1/cells"), ("status", "405")]
        ),
        Some(1.0),
        "methods that anybody makes up are one"
    );
    assert!(found.names().values().all(|kind| kind != "untyped"));

    place.store().stop().await;
    let failed = [bucket, ("result", "failed")];
    let noticed = async || of(&serving).await.value("fleetman_snapshot_refreshes_total", &failed) > Some(0.0);
    wait_for(noticed, "the outage to be counted").await;
    let found = of(&serving).await;
    let unreachable = [bucket, ("operation", "ListObjectsV2"), ("result", "unreachable")];
    assert!(found.value("fleetman_bucket_requests_total", &unreachable) > Some(0.0));
    assert_eq!(found.value("fleetman_cells", &unknown), Some(1.0), "what was read before still counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_tells_of_its_cells_over_http_and_in_a_file() {
    let mut place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("r1/index.html", "one");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "-y", "--as", "one"]).await.exits(0);
    let config = place.agent_config("n1").await;
    let file = turn_on(&config);
    // What somebody put there first is neither followed nor in the way.
    let elsewhere = place.write("elsewhere", "untouched");
    std::os::unix::fs::symlink(&elsewhere, format!("{}.new", file.display())).unwrap();
    let _agent = place.run_agent(&config);
    let url = address(&config).await;

    let cell = ("cell", "web");
    let done = [("action", "deploy"), ("outcome", "succeeded")];
    let deployed = async || scrape(&url).await.value("fleetagent_attempts_total", &done) == Some(1.0);
    wait_for(deployed, "the deployment to be counted").await;
    let told = async || {
        let found = scrape(&url).await;
        found.value("fleetagent_cell_info", &[cell, ("profile", "deploy"), ("version", "one")]) == Some(1.0)
            && found.value("fleetagent_cell_phase", &[cell, ("phase", "up_to_date")]) == Some(1.0)
            && found.value("fleetagent_heartbeats_total", &[("result", "ok")]) > Some(0.0)
    };
    wait_for(told, "the cell to be told of").await;
    let found = scrape(&url).await;
    assert_eq!(found.value("fleetagent_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    assert_eq!(found.value("fleetagent_cell_desired_generation", &[cell]), Some(1.0));
    assert_eq!(found.value("fleetagent_cell_applied_generation", &[cell]), Some(1.0));
    assert_eq!(found.value("fleetagent_cell_running", &[cell]), None, "nothing runs under this profile");
    let start = found.value("fleetagent_start_time_seconds", &[]).unwrap();
    for last in
        ["fleetagent_last_poll_success_timestamp_seconds", "fleetagent_last_heartbeat_success_timestamp_seconds"]
    {
        assert!(found.value(last, &[]).unwrap() >= start, "{last}");
    }
    assert!(found.value("fleetagent_clock_skew_seconds", &[]).unwrap().abs() < 60.0);
    let unchanged = [("operation", "GetObject"), ("result", "unchanged")];
    let idle = async || scrape(&url).await.value("fleetagent_bucket_requests_total", &unchanged) > Some(0.0);
    wait_for(idle, "an idle poll to be counted").await;

    let written = async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        !text.is_empty() && Scrape::parse(&text).value("fleetagent_attempts_total", &done) == Some(1.0)
    };
    wait_for(written, "the file to say the same").await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644, "another user reads it");
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "untouched");

    let origin = url.strip_suffix("/metrics").unwrap();
    assert!(page(&format!("{origin}/else")).await.unwrap().0.starts_with("HTTP/1.1 404 "));

    // What the bucket does not let the agent do is counted while it is away.
    place.store().stop().await;
    let lost = async || scrape(&url).await.value("fleetagent_polls_total", &[("result", "failed")]) > Some(0.0);
    wait_for(lost, "a poll that failed").await;
}

/// What both programs expose when nothing has happened yet: every metric is named at once.
async fn exposed() -> (Scrape, Scrape) {
    let place = Workplace::with_bucket().await;
    let serving = Serving::start(&place).await;
    let config = place.agent_config("n1").await;
    turn_on(&config);
    let _agent = place.run_agent(&config);
    let url = address(&config).await;
    let named = async || !page(&url).await.unwrap().1.is_empty();
    wait_for(named, "the agent's figures").await;
    (of(&serving).await, scrape(&url).await)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of metrics in `text`, histograms' without what their series end in.
fn named(text: &str, known: &BTreeMap<String, String>) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let of_ours = words.filter(|word| word.starts_with("fleetman_") || word.starts_with("fleetagent_"));
    of_ours
        .map(|word| {
            let ends = ["_bucket", "_sum", "_count"].iter().filter_map(|end| word.strip_suffix(end));
            let histogram = ends.into_iter().find(|name| known.get(*name).is_some_and(|kind| kind == "histogram"));
            histogram.unwrap_or(word).to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_alerts_and_page_speak_of_the_metrics_that_there_are() {
    let (controller, agent) = exposed().await;
    let known: BTreeMap<String, String> = controller.names().into_iter().chain(agent.names()).collect();
    let all: BTreeSet<String> = known.keys().cloned().collect();

    let alerts = std::fs::read_to_string(root().join("contrib/prometheus/alerts.yaml")).unwrap();
    let rules: Value = serde_yaml::from_str(&alerts).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let asked: String = rules.iter().map(|rule| format!("{}\n", rule["expr"].as_str().unwrap())).collect();
    let in_alerts = named(&asked, &known);
    assert!(in_alerts.len() > 5 && in_alerts.is_subset(&all), "{:?}", in_alerts.difference(&all));

    let dashboard = std::fs::read_to_string(root().join("contrib/grafana/fleetman.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    assert_eq!((&dashboard["id"], dashboard["uid"].as_str()), (&Value::Null, Some("fleetman")));
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let targets: Vec<&Value> = panels.flat_map(|panel| panel["targets"].as_array().unwrap()).collect();
    assert!(targets.iter().all(|target| target["datasource"]["uid"] == "${datasource}"));
    // Several controllers count the same fleet: its figures are added up only once the largest of each is taken.
    let sums_of_fleet = ["fleetman_nodes", "fleetman_cells", "fleetman_alerts_open"];
    let exprs = targets.iter().filter_map(|target| target["expr"].as_str());
    let exprs = exprs.chain(rules.iter().filter_map(|rule| rule["expr"].as_str()));
    for expr in exprs.filter(|expr| sums_of_fleet.iter().any(|name| expr.contains(name))) {
        assert!(expr.contains("max by (bucket"), "{expr}");
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let asked = targets.iter().map(|target| &target["expr"]).chain(variables.map(|variable| &variable["definition"]));
    let in_panels = named(&asked.filter_map(Value::as_str).collect::<Vec<_>>().join("\n"), &known);
    assert!(in_panels.is_subset(&all), "{:?}", in_panels.difference(&all));
    let unseen: Vec<&String> = all.difference(&in_panels).collect();
    assert!(unseen.is_empty() || unseen == ["fleetagent_start_time_seconds"], "on no panel: {unseen:?}");

    // The page has a row for each, with its type and its labels.
    let page = std::fs::read_to_string(root().join("docs/METRICS.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `fleet")).map(|rest| format!("fleet{rest}"));
    let mut in_page = BTreeMap::new();
    for row in rows {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = columns[0].trim_end_matches('`').to_owned();
        let labels: BTreeSet<String> = columns[2].split_whitespace().map(|label| label.replace('`', "")).collect();
        let found = if name.starts_with("fleetman_") { &controller } else { &agent };
        let mut exposed = found.labels(&name);
        exposed.remove("le");
        assert!(exposed.is_subset(&labels), "{name} has {exposed:?}, and the page says {labels:?}");
        in_page.insert(name, columns[1].to_owned());
    }
    assert_eq!(in_page, known);
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_no_fault_and_every_alert_fires_when_it_should() {
    let Some(promtool) = require_tool("promtool") else { return };
    let alerts = root().join("contrib/prometheus");
    let runs = |args: &[&str], fed: Option<&Path>| {
        let stdin = fed.map_or_else(Stdio::null, |path| std::fs::File::open(path).unwrap().into());
        let ran = Command::new(&promtool).args(args).current_dir(&alerts).stdin(stdin).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "promtool {args:?}: {said}");
    };
    runs(&["check", "rules", "alerts.yaml"], None);
    runs(&["test", "rules", "alerts_test.yaml"], None);

    let place = Workplace::with_bucket().await;
    let serving = Serving::start(&place).await;
    serving.has_read().await;
    let config = place.agent_config("n1").await;
    let file = turn_on(&config);
    let _agent = place.run_agent(&config);
    wait_for(async || file.exists(), "the agent's file").await;
    runs(&["check", "metrics"], Some(&file));
    runs(&["check", "metrics"], Some(&place.write("controller.prom", &serving.get("/metrics").await.is(200).text())));

    // Every rule is among those that the tests show firing.
    let rules = std::fs::read_to_string(alerts.join("alerts.yaml")).unwrap();
    let tested = std::fs::read_to_string(alerts.join("alerts_test.yaml")).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tested.contains(&format!("alertname=\"{alert}\"")), "{alert} is not tested");
    }
}
