//! An agent as the sandboxed service of a real systemd, on a host that is restarted and crashes.

use crate::support::cli::Workplace;
use crate::support::host::{FLEETAGENT, Host};
use crate::support::wait_for;

/// Where the agent's config is on a host, and its state and its target folder, which the config names beside it.
const HOME: &str = "/srv/fleetagent";

/// The agent as a unit that may write nothing but its own folder.
fn unit() -> String {
    format!(
        "[Unit]\nAfter=network.target\n\
         [Service]\nType=exec\nExecStart={FLEETAGENT} run --config {HOME}/n1.yaml\nRestart=on-failure\n\
         ProtectSystem=strict\nPrivateTmp=yes\nReadWritePaths={HOME}\nLimitNOFILE=2048\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

async fn publish(place: &Workplace, release: &str) {
    place.write(&format!("{release}/page"), release);
    place.fleetman(&["upload", "site", release, "--as", release]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "-d", release, "--as", release, "-y", "--wait"]).await.exits(0);
}

fn deployed(host: &Host) -> Option<String> {
    host.read(&format!("{HOME}/n1-cells/web/page"))
}

/// The process of the agent's unit, by its number on the host.
async fn agent_pid(host: &Host) -> String {
    host.run(&["systemctl", "show", "--value", "--property=MainPID", "fleetagent"]).await.exits(0).out
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_a_sandbox_of_systemd_deploys_through_restarts_and_a_crash_of_its_host() {
    let Some(mut host) = Host::boot("n1").await else { return };
    let place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let config = place.agent_config("n1").await;
    host.copy_in(&config, &format!("{HOME}/n1.yaml"));
    host.write("/etc/systemd/system/fleetagent.service", &unit());
    host.run(&["systemctl", "enable", "--now", "fleetagent"]).await.exits(0);

    publish(&place, "r1").await;
    assert_eq!(deployed(&host).as_deref(), Some("r1"), "{}", host.journal("fleetagent").await);
    let first = agent_pid(&host).await;
    let mounts = host.run(&["cat", &format!("/proc/{}/mounts", first.trim())]).await.exits(0).out;
    let writable = |folder: &str| {
        mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(folder)).map(|line| line.contains(" rw,"))
    };
    assert_eq!((writable("/"), writable(HOME)), (Some(false), Some(true)), "the sandbox is there:\n{mounts}");

    host.run(&["systemctl", "restart", "fleetagent"]).await.exits(0);
    assert_ne!(agent_pid(&host).await, first);
    assert_eq!(deployed(&host).as_deref(), Some("r1"), "a restart takes nothing away");
    publish(&place, "r2").await;
    assert_eq!(deployed(&host).as_deref(), Some("r2"));

    host.kill_hard().await;
    assert_eq!(deployed(&host).as_deref(), Some("r2"), "the disk is there while the host is off");
    host.boot_again().await;
    let active = async || host.run(&["systemctl", "is-active", "fleetagent"]).await.code == 0;
    wait_for(active, "the agent to be started at boot").await;
    assert_eq!(deployed(&host).as_deref(), Some("r2"));
    publish(&place, "r3").await;
    assert_eq!(deployed(&host).as_deref(), Some("r3"));
    let journal = host.journal("fleetagent").await;
    assert_eq!(journal.matches("Started fleetagent.service").count(), 3, "the journal is of both boots:\n{journal}");
    host.stop().await;
    assert_eq!(deployed(&host).as_deref(), Some("r3"));
}

/// What tells one host, and one boot of it, from another.
async fn identity(host: &Host) -> [String; 3] {
    let [name, id, boot] = ["/proc/sys/kernel/hostname", "/etc/machine-id", "/proc/sys/kernel/random/boot_id"];
    [host.run(&["cat", name]).await.out, host.run(&["cat", id]).await.out, host.run(&["cat", boot]).await.out]
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_share_nothing_and_leave_nothing_behind() {
    let (Some(mut one), Some(other)) = tokio::join!(Host::boot("one"), Host::boot("other")) else { return };
    let before = identity(&one).await;
    let others = identity(&other).await;
    assert!(before.iter().zip(&others).all(|(one, other)| one != other), "{before:?} {others:?}");
    for host in [&one, &other] {
        let main = host.run(&["systemctl", "show", "--value", "--property=MainPID", "dbus"]).await.exits(0).out;
        // A process of another host would be there with the number 0.
        let find = ["find", "/sys/fs/cgroup", "-path", "*/dbus.service/cgroup.procs", "-exec", "cat", "{}", "+"];
        let processes = host.run(&find).await.exits(0).out;
        assert!(!processes.is_empty() && processes.lines().all(|pid| pid == main.trim()), "{main}{processes}");
        assert_eq!(host.run(&["supervisorctl", "version"]).await.exits(0).out, "4.2.5\n");
    }

    one.write("/root/kept", "kept");
    one.run(&["touch", "/run/lost", "/tmp/lost"]).await.exits(0);
    one.kill_hard().await;
    one.boot_again().await;
    let after = identity(&one).await;
    assert_eq!(after[..2], before[..2]);
    assert_ne!(after[2], before[2], "a boot has its own id");
    one.run(&["cat", "/root/kept"]).await.exits(0);
    one.run(&["ls", "/run/lost", "/tmp/lost"]).await.exits(2);
    assert_eq!(other.read("/root/kept"), None);
    assert_eq!(identity(&other).await, others, "the other host goes on");

    let traces = [one.traces(), other.traces()].concat();
    assert!(traces.iter().all(|trace| trace.exists()), "{traces:?}");
    drop((one, other));
    assert!(!traces.iter().any(|trace| trace.exists()), "{traces:?}");
}
