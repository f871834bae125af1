//! The Debian packages on a host with a real systemd, from the first `dpkg -i` to the purge.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::package_host::{CELLS, CONFIG, PROGRAM, PackageHost};
use crate::support::wait_for;

/// Tells that it was started, looks whether it is bound by what binds the agent, and goes on.
const SERVICE: &str = r#"
echo "$FLEETMAN_VERSION $$" >>"/srv/$FLEETMAN_CELL.starts"
echo "$FLEETMAN_VERSION" >"/tmp/$FLEETMAN_CELL"
perl -e 'MAP' >"/srv/$FLEETMAN_CELL.mapped"
exec sleep 1000
"#;

/// Maps memory that is writable and executable, in Perl, which every Debian has; says whether it may.
fn map() -> String {
    let mmap = if cfg!(target_arch = "x86_64") { 9 } else { 222 };
    format!("print syscall({mmap}, 0, 4096, 7, 34, -1, 0) == -1 ? $! : \"mapped\"")
}

fn service() -> String {
    SERVICE.replace("MAP", &map())
}

/// Looks at what the services of this version have told: every one may do what it could without an agent, was started
/// once, and is what the agent reports.
async fn assert_unbound(node: &PackageHost, version: &str) {
    let pids = node.pids().await;
    for (cell, _) in CELLS {
        let file = format!("/srv/{cell}.mapped");
        let mapped = async || node.host.read(&file).is_some_and(|text| !text.is_empty());
        wait_for(mapped, "the service to map memory").await;
        assert_eq!(node.host.read(&file).unwrap(), "mapped", "{cell}");
        let written = node.host.run(&["cat", &format!("/tmp/{cell}")]).await.exits(0).out;
        assert_eq!(written, format!("{version}\n"), "{cell}");
        let starts = starts(node, cell);
        let of_version: Vec<&str> = starts.lines().filter_map(|line| line.strip_prefix(version)).collect();
        assert_eq!(of_version, [format!(" {}", pids[&format!("{cell}/main")])], "{cell}: {starts}");
    }
    assert_eq!(pids.keys().collect::<Vec<_>>(), ["own/main", "program/main", "program/second", "unit/main"]);
}

/// What the service of a cell has told of its starts.
fn starts(node: &PackageHost, cell: &str) -> String {
    node.host.read(&format!("/srv/{cell}.starts")).unwrap()
}

/// Every process of the cells is what it was, by what the agent says and by what is on the host.
async fn assert_kept(node: &PackageHost, pids: &BTreeMap<String, String>, through: &str) {
    let told = async || node.pids().await == *pids;
    wait_for(told, &format!("an agent that knows {pids:?} after {through}")).await;
    assert_alive(node, pids, through).await;
}

async fn assert_alive(node: &PackageHost, pids: &BTreeMap<String, String>, through: &str) {
    for (process, pid) in pids {
        assert!(node.is_alive(pid).await, "{process} ends with {through}");
    }
    for (cell, _) in CELLS {
        let pid = &pids[&format!("{cell}/main")];
        assert!(starts(node, cell).ends_with(&format!(" {pid}\n")), "{cell} was started again by {through}");
    }
}

/// Everything on the host's disk below these folders, with the owner, the mode and the content of each file.
async fn files(node: &PackageHost) -> String {
    let find = "find /etc /usr /var/lib /opt /srv -path /var/lib/dpkg -prune -o -path /var/lib/systemd -prune \
                -o -name .pwd.lock -o -printf '%p %y %m %U %G\\n' -type f -exec sha256sum {} +";
    node.host.run(&["sh", "-c", &format!("{find} | sort")]).await.exits(0).out
}

/// The lines that are in only one of the two.
fn changed(before: &str, after: &str) -> Vec<String> {
    let [before, after] = [before, after].map(|text| text.lines().collect::<BTreeSet<_>>());
    before.symmetric_difference(&after).map(|line| (*line).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_install_without_a_config_and_leave_nothing() {
    let Some(node) = PackageHost::boot().await else { return };
    let before = files(&node).await;
    for (package, config, most) in
        [("fleetagent", CONFIG, "50"), ("fleetman", "/etc/fleetman/controller_config.yaml", "30")]
    {
        let said = node.install(package, 1).await.exits(0).out;
        assert!(said.contains(&format!("Write {config}\n")), "{said}");
        assert_eq!(node.property(package, "ActiveState").await, "inactive");
        assert_eq!(node.property(package, "UnitFileState").await, "enabled");

        let scored = ["systemd-analyze", "security", "--no-pager", "--threshold", most, package];
        node.host.run(&scored).await.exits(0);
        let too_strict = ["systemd-analyze", "security", "--no-pager", "--threshold", "5", package];
        node.host.run(&too_strict).await.exits(1);
        node.host.run(&["systemd-analyze", "verify", "--man=no", &format!("{package}.service")]).await.exits(0);

        let example = config.replace(".yaml", ".example.yaml");
        assert_eq!(node.host.run(&["stat", "--format=%a %U %G", &example]).await.exits(0).out, "640 root root\n");
        let conffiles = ["dpkg-query", "--show", "--showformat=${Conffiles}", package];
        assert!(node.host.run(&conffiles).await.exits(0).out.contains(&example));
        for file in [
            &format!("/usr/share/bash-completion/completions/{package}"),
            &format!("/usr/share/zsh/vendor-completions/_{package}"),
            &format!("/usr/share/fish/vendor_completions.d/{package}.fish"),
            &format!("/usr/share/man/man1/{package}.1.gz"),
            &format!("/usr/share/doc/{package}/copyright"),
        ] {
            node.host.run(&["grep", "--quiet", file, &format!("/var/lib/dpkg/info/{package}.list")]).await.exits(0);
        }
        node.host.run(&[&format!("/usr/bin/{package}"), "--version"]).await.exits(0);
    }
    assert_eq!(node.host.run(&["systemctl", "is-system-running"]).await.out, "running\n");
    assert!(node.host.run(&["id", "--user", "fleetman"]).await.code == 0);

    for package in ["fleetagent", "fleetman"] {
        node.dpkg("--purge", package).await.exits(0);
    }
    // A user stays, as packages have it: files of it may be anywhere.
    let is_users = |line: &String| {
        ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"].iter().any(|file| line.contains(file))
    };
    let mut changed = changed(&before, &files(&node).await);
    changed.retain(|line| !is_users(line));
    assert_eq!(changed, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_agent_comes_and_goes_and_its_cells_stay() {
    let Some(node) = PackageHost::boot().await else { return };
    node.configure_agent().await;
    node.install("fleetagent", 1).await.exits(0);
    assert_eq!(node.property("fleetagent", "ActiveState").await, "active");
    wait_for(async || node.heartbeat().await.is_some(), "a heartbeat in the bucket").await;
    assert_eq!(node.host.run(&["stat", "--format=%a", CONFIG]).await.exits(0).out, "600\n", "it holds keys");
    assert_eq!(node.host.run(&["stat", "--format=%a", "/var/lib/fleetagent"]).await.exits(0).out, "711\n");

    let bound = ["systemd-run", "--quiet", "--wait", "--pipe", "--property=MemoryDenyWriteExecute=yes", "perl", "-e"];
    let map = map();
    assert_eq!(node.host.run(&[&bound[..], &[&map]].concat()).await.exits(0).out, "Operation not permitted");
    node.publish_to_all("r1", &service()).await;
    assert_unbound(&node, "r1").await;
    let pids = node.pids().await;
    node.heartbeat_after(&["systemctl", "restart", "fleetagent"]).await;
    assert_kept(&node, &pids, "a restart").await;
    node.heartbeat_after(&["systemctl", "kill", "--signal=KILL", "fleetagent"]).await;
    assert_kept(&node, &pids, "a crash").await;
    let agent = node.property("fleetagent", "MainPID").await;

    node.install("fleetagent", 2).await.exits(0);
    assert_eq!(node.property("fleetagent", "ActiveState").await, "active");
    assert_ne!(node.property("fleetagent", "MainPID").await, agent);
    assert_kept(&node, &pids, "an upgrade").await;
    let supervisors = node.host.run(&["sh", "-c", "readlink /proc/[0-9]*/exe | grep supervisor"]).await.exits(0).out;
    assert!(supervisors.starts_with("/usr/bin/fleetsupervisor"), "{supervisors}");

    node.publish_to_all("r2", &service()).await;
    assert_unbound(&node, "r2").await;
    let pids = node.pids().await;

    let said = node.dpkg("--remove", "fleetagent").await.exits(0).out;
    assert!(said.contains("Cells go on running without the agent"), "{said}");
    assert_eq!(node.property("fleetagent", "ActiveState").await, "inactive");
    assert!(!node.host.path(PROGRAM).exists());
    assert_alive(&node, &pids, "a removal").await;

    node.install("fleetagent", 2).await.exits(0);
    assert_eq!(node.property("fleetagent", "ActiveState").await, "active");
    assert_kept(&node, &pids, "a removal").await;
    assert!(!node.host.path("/var/lib/fleetagent/purge").exists(), "nothing has to be purged any more");
}

/// A unit and a program of the host's owner.
const FOREIGN_UNIT: &str = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n";
const FOREIGN_PROGRAM: &str = "[program:foreign]\ncommand=/bin/sleep 1000\n";

/// What systemd and supervisord have that is Fleetman's or the owner's.
async fn managed(node: &PackageHost) -> String {
    let list = "systemctl list-unit-files --no-legend --plain 'fleetman-*' 'foreign*'; \
                systemctl list-units --all --no-legend --plain 'fleetman-*' 'foreign*'; \
                systemctl show --property=MainPID foreign; supervisorctl avail; supervisorctl pid foreign";
    node.host.run(&["sh", "-c", list]).await.exits(0).out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_forgets_nothing_before_every_cell_is_gone() {
    let Some(node) = PackageHost::boot().await else { return };
    node.host.write("/etc/systemd/system/foreign.service", FOREIGN_UNIT);
    node.host.run(&["systemctl", "enable", "--now", "foreign"]).await.exits(0);
    node.host.write("/etc/supervisor/conf.d/foreign.conf", FOREIGN_PROGRAM);
    node.host.run(&["supervisorctl", "update"]).await.exits(0);
    node.configure_agent().await;
    // As the package would make it.
    node.host.run(&["chmod", "600", CONFIG]).await.exits(0);
    let before = (files(&node).await, managed(&node).await);

    node.install("fleetagent", 1).await.exits(0);
    node.publish_to_all("r1", "exec sleep 1000\n").await;
    let pids = node.pids().await;
    let all = managed(&node).await;
    for ours in ["fleetman-own-", "fleetman-unit.service", "fleetman-program:second"] {
        assert!(all.contains(ours), "{ours} in {all}");
    }
    node.dpkg("--remove", "fleetagent").await.exits(0);
    let running = async || {
        let running = pids.values().map(async |pid| node.is_alive(pid).await);
        futures_util::future::join_all(running).await
    };

    // Without a config that can be read nobody can tell what the cells are.
    let config = node.host.read(CONFIG).unwrap();
    for broken in [Some("broken"), None] {
        match broken {
            Some(text) => node.host.write(CONFIG, text),
            None => std::fs::rename(node.host.path(CONFIG), node.host.path("/root/config")).unwrap(),
        }
        let refused = node.dpkg("--purge", "fleetagent").await;
        assert_ne!(refused.code, 0);
        assert!(refused.err.contains("the agent's state stays as it is"), "{}", refused.err);
        assert_eq!(running().await, [true; 4]);
        assert!(node.host.path("/var/lib/fleetagent/cells").is_dir());
    }
    // Whoever wants it so keeps all of it.
    node.host.write("/var/lib/fleetagent/keep", "");
    node.dpkg("--purge", "fleetagent").await.exits(0);
    assert_eq!(running().await, [true; 4]);
    node.install("fleetagent", 1).await.exits(0);
    node.dpkg("--remove", "fleetagent").await.exits(0);
    std::fs::remove_file(node.host.path("/var/lib/fleetagent/keep")).unwrap();
    std::fs::rename(node.host.path("/root/config"), node.host.path(CONFIG)).unwrap();

    node.host.write(CONFIG, &config);
    node.dpkg("--purge", "fleetagent").await.exits(0);
    assert_eq!(running().await, [false; 4]);
    assert_eq!(managed(&node).await, before.1);
    // The config is the operator's, and stays.
    assert_eq!(changed(&before.0, &files(&node).await), [""; 0]);
}
