//! The Debian packages on a host with a real systemd, from the first `dpkg -i` to the purge.

use crate::support::package_host::{CONFIG, PROGRAM, PackageHost};
use crate::support::wait_for;

/// Looks whether the service is bound by what binds the agent, tells, and goes on.
const SERVICE: &str = r#"
for folder in /srv /tmp; do echo "$FLEETMAN_VERSION" >"$folder/written"; done
perl -e 'MAP' >/srv/mapped
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

async fn assert_unbound(node: &PackageHost, version: &str) {
    for file in ["/srv/written", "/tmp/written"] {
        assert_eq!(node.host.run(&["cat", file]).await.exits(0).out, format!("{version}\n"), "{file}");
    }
    let mapped = async || node.host.read("/srv/mapped").is_some_and(|text| !text.is_empty());
    wait_for(mapped, "the service to map memory").await;
    assert_eq!(node.host.read("/srv/mapped").unwrap(), "mapped");
}

/// Everything on the host's disk below these folders.
async fn files(node: &PackageHost) -> String {
    let find =
        "find /etc /usr /var/lib /opt /srv -path /var/lib/dpkg -prune -o -path /var/lib/systemd -prune -o -print";
    let files = node.host.run(&["sh", "-c", &format!("{find} | sort")]).await.exits(0).out;
    files.lines().filter(|line| !line.starts_with("/etc/.pwd.lock")).collect::<Vec<_>>().join("\n")
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
    let is_users = |line: &&str| !["/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-"].contains(line);
    let after = files(&node).await;
    let new: Vec<&str> =
        after.lines().filter(|line| !before.lines().any(|known| known == *line)).filter(is_users).collect();
    assert_eq!(new, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_agent_comes_and_goes_and_its_cell_stays() {
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
    node.publish("r1", &service()).await;
    assert_unbound(&node, "r1").await;
    let cell = node.service_pid().await;
    node.heartbeat_after(&["systemctl", "restart", "fleetagent"]).await;
    assert_eq!(node.service_pid().await, cell, "a restart");
    node.heartbeat_after(&["systemctl", "kill", "--signal=KILL", "fleetagent"]).await;
    assert_eq!(node.service_pid().await, cell, "a crash");
    let agent = node.property("fleetagent", "MainPID").await;

    node.install("fleetagent", 2).await.exits(0);
    assert_eq!(node.property("fleetagent", "ActiveState").await, "active");
    assert_ne!(node.property("fleetagent", "MainPID").await, agent);
    assert_eq!(node.service_pid().await, cell, "an upgrade");
    let supervisors = node.host.run(&["sh", "-c", "readlink /proc/[0-9]*/exe | grep supervisor"]).await.exits(0).out;
    assert!(supervisors.starts_with("/usr/bin/fleetsupervisor"), "{supervisors}");

    node.publish("r2", &service()).await;
    assert_unbound(&node, "r2").await;
    let cell = node.service_pid().await;

    let said = node.dpkg("--remove", "fleetagent").await.exits(0).out;
    assert!(said.contains("Cells go on running without the agent"), "{said}");
    assert_eq!(node.property("fleetagent", "ActiveState").await, "inactive");
    assert!(!node.host.path(PROGRAM).exists());
    assert!(node.is_alive(&cell).await);

    node.install("fleetagent", 2).await.exits(0);
    assert_eq!(node.property("fleetagent", "ActiveState").await, "active");
    assert_eq!(node.service_pid().await, cell, "a removal");
    assert!(!node.host.path("/var/lib/fleetagent/purge").exists(), "nothing has to be purged any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_forgets_nothing_before_every_cell_is_gone() {
    let Some(node) = PackageHost::boot().await else { return };
    node.configure_agent().await;
    node.install("fleetagent", 1).await.exits(0);
    node.publish("r1", &service()).await;
    let cell = node.service_pid().await;
    node.dpkg("--remove", "fleetagent").await.exits(0);

    // Without a config that can be read nobody can tell what the cells are.
    let config = node.host.read(CONFIG).unwrap();
    node.host.write(CONFIG, "broken");
    let refused = node.dpkg("--purge", "fleetagent").await;
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("the agent's state stays as it is"), "{}", refused.err);
    assert!(node.is_alive(&cell).await);
    assert!(node.host.path("/var/lib/fleetagent/cells").is_dir());

    node.host.write(CONFIG, &config);
    node.dpkg("--purge", "fleetagent").await.exits(0);
    assert!(!node.is_alive(&cell).await);
    assert!(!node.host.path("/var/lib/fleetagent").exists());
    let units = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "fleetman-*"];
    assert_eq!(node.host.run(&units).await.exits(0).out, "");
    assert_eq!(node.host.read(CONFIG).as_deref(), Some(config.as_str()), "it is the operator's");
}
