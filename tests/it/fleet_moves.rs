//! A cell that moves between the real profiles on a host with a real systemd and a real supervisord.

use serde_json::Value;

use crate::support::agent_host::{AgentHost, HOME};
use crate::support::wait_for;

/// Says so if there are two of it, tells of its life, and adds to its data. Where it finds that it shall, it kills the
/// agent: in the middle of what the agent does with it.
const SERVICE: &str = r#"
exec 9>/srv/lock
flock --nonblock 9 || echo twice >>/srv/life
tell() {
    echo "$1 $FLEETMAN_VERSION" >>/srv/life
    mv "/srv/kill-at-$1" /srv/killed 2>/dev/null && systemctl kill --signal=KILL fleetagent
}
echo "$FLEETMAN_VERSION" >>"$FLEETMAN_DATA_DIR/notes"
# What it starts while it ends is not to be ended with it.
trap 'trap "" TERM; tell end; exit 0' TERM
tell begin
sleep 1000 9>&- &
wait
"#;

/// The same, but it does not stay.
const BAD: &str = r#"
exec 9>/srv/lock
flock --nonblock 9 || echo twice >>/srv/life
echo "begin $FLEETMAN_VERSION" >>/srv/life
exit 3
"#;

/// Kills are no reason for systemd to start no more agents.
const UNIT: &str = "ReadWritePaths=/etc/systemd/system /etc/supervisor/conf.d\n[Unit]\nStartLimitIntervalSec=0\n";

/// What the host has of cells outside of their data: units, programs, control groups, folders and processes. A unit of
/// the `process` profile has another name each time.
const TRACES: &str = r#"
    (
        cd /etc && find systemd supervisor -name 'fleetman*' -printf 'file %P\n'
        find /run/fleetman -mindepth 1
        systemctl list-units --all --no-legend --plain 'fleetman*' | sed 's/ .*//; s/^/unit /'
        supervisorctl avail | sed 's/ .*//; s/^/program /'
        find /sys/fs/cgroup -path '*/fleetman*' -type d | sed 's,.*/system.slice/,group ,' | sort --unique
        cd /srv/fleetagent/n1-state && find systemd supervisor process -mindepth 1 -maxdepth 1 -printf 'state %H/%P\n'
        for process in /proc/[0-9]*; do
            command=$(tr '\0' ' ' <"$process/cmdline")
            case $command in
                sh\ -c*) ;;
                '/bin/sh serve ' | 'sleep 1000 ') echo "process ${command% }" ;;
                *' supervise '*) echo "process supervise" ;;
            esac
        done
    ) 2>/dev/null | sed -E 's/fleetman-web-[0-9a-f]+/fleetman-web-X/' | sort
"#;

/// All that there may be of a cell that runs under a profile.
fn expected(profile: &str) -> &'static [&'static str] {
    match profile {
        "systemd" => &[
            "file system/fleetman-web.service",
            "file system/multi-user.target.wants/fleetman-web.service",
            "group fleetman-web.service",
            "process /bin/sh serve",
            "process sleep 1000",
            "state systemd/web",
            "unit fleetman-web.service",
        ],
        "process" => &[
            "group fleetman-web-X.service",
            "group fleetman-web-X.service/main",
            "process /bin/sh serve",
            "process sleep 1000",
            "process supervise",
            "state process/web",
            "unit fleetman-web-X.service",
        ],
        "supervisor" => &[
            "file conf.d/fleetman-web.conf",
            "process /bin/sh serve",
            "process sleep 1000",
            "program fleetman-web",
            "state supervisor/web",
        ],
        _ => &[],
    }
}

/// Asks for a version under a profile, and waits for what becomes of it.
async fn publish(node: &AgentHost, profile: &str, version: &str, service: &str, code: i32) {
    let manifest = format!(
        "name: site\nprofile: {{{profile}: {{command: [/bin/sh, serve], stop: {{timeout: 5s}}}}}}\n\
         health: {{min_healthy_time: 200ms}}\n---\ncell: n1/web\nmanifest: site\n"
    );
    node.place.write("site.yaml", &manifest);
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    node.place.write(&format!("{version}/serve"), service);
    node.place.fleetman(&["upload", "site", version, "--as", version]).await.exits(0);
    node.place.fleetman(&["publish", "n1/web", "-d", version, "--as", version, "-y", "--wait"]).await.exits(code);
}

/// Shows that the host has what is expected under the profile, and nothing else; a unit goes a little later.
async fn shows_only(node: &AgentHost, profile: &str) {
    let is_unit = |line: &&str| line.starts_with("unit ");
    let units = expected(profile).iter().copied().filter(|line| is_unit(line)).count();
    let mut found = String::new();
    let gone = async || {
        found = node.host.run(&["sh", "-c", TRACES]).await.out;
        found.lines().filter(is_unit).count() == units
    };
    wait_for(gone, "the units of other profiles to go").await;
    assert_eq!(found.lines().collect::<Vec<_>>(), expected(profile), "{profile}");
}

/// Shows that the cell stands under the profile alone, at the version, with the data of all that ran before.
async fn stands(node: &AgentHost, profile: &str, version: &str, notes: &str) {
    shows_only(node, profile).await;
    let mut said = Value::Null;
    let is_said = async || {
        let status = node.status().await.unwrap_or_default();
        said = status["heartbeat"]["cells"]["web"].clone();
        said["profile"] == profile && said["running"]["version"] == version && said["state"]["state"] == "running"
    };
    wait_for(is_said, &format!("the agent to say that {version} runs under the {profile} profile")).await;
    let pid = match profile {
        "systemd" => node.property("fleetman-web.service", "MainPID").await,
        "supervisor" => node.host.run(&["supervisorctl", "pid", "fleetman-web"]).await.exits(0).out.trim().to_owned(),
        _ => said["processes"]["main"]["pid"].to_string(),
    };
    let environment = node.host.run(&["cat", &format!("/proc/{pid}/environ")]).await.exits(0).out;
    let is_version = |variable| variable == format!("FLEETMAN_VERSION={version}");
    assert!(environment.split('\0').any(is_version), "{pid}: {environment}");
    assert_eq!(kept(node), notes);
}

fn kept(node: &AgentHost) -> String {
    node.host.read(&format!("{HOME}/n1-state/data/web/notes")).unwrap().replace('\n', " ").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_moves_through_all_profiles_and_is_never_there_twice() {
    let Some(node) = AgentHost::boot().await else { return };
    node.start_agent(UNIT, "systemd: {}\nsupervisor: {}\nprocess: {}\n").await;
    let mut notes = String::new();
    for (profile, version) in [("systemd", "v1"), ("process", "v2"), ("supervisor", "v3"), ("systemd", "v4")] {
        publish(&node, profile, version, SERVICE, 0).await;
        notes = format!("{notes} {version}").trim().to_owned();
        stands(&node, profile, version, &notes).await;
    }

    publish(&node, "process", "bad", BAD, 8).await;
    stands(&node, "systemd", "v4", "v1 v2 v3 v4 v4").await;

    for moment in ["end", "begin"] {
        node.host.write(&format!("/srv/kill-at-{moment}"), "");
    }
    publish(&node, "supervisor", "v5", SERVICE, 0).await;
    let killed = async || node.property("fleetagent", "NRestarts").await == "2";
    wait_for(killed, "the agent to be killed while it stops one and while it starts the other").await;
    stands(&node, "supervisor", "v5", "v1 v2 v3 v4 v4 v5").await;

    node.place.fleetman(&["remove", "n1/web", "-y", "--wait"]).await.exits(0);
    shows_only(&node, "none").await;
    assert_eq!(kept(&node), "v1 v2 v3 v4 v4 v5");
    let life = node.host.read("/srv/life").unwrap();
    let mut life: Vec<&str> = life.lines().collect();
    // What fails may be tried a few times before it is given up.
    life.dedup_by(|next, line| next == line && *line == "begin bad");
    let expected = "begin v1, end v1, begin v2, end v2, begin v3, end v3, begin v4, end v4, begin bad, \
                    begin v4, end v4, begin v5, end v5";
    assert_eq!(life.join(", "), expected);
}
