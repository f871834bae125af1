//! An agent as the sandboxed service of a real systemd, on a host that is restarted and crashes.

use crate::support::agent_host::{AgentHost, HOME};
use crate::support::host::Host;
use crate::support::wait_for;

fn deployed(host: &Host) -> Option<String> {
    host.read(&format!("{HOME}/n1-cells/web/page"))
}

async fn publish(node: &AgentHost, release: &str) {
    node.place.write(&format!("{release}/page"), release);
    node.publish(release).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_a_sandbox_of_systemd_deploys_through_restarts_and_a_crash_of_its_host() {
    let Some(mut node) = AgentHost::boot().await else { return };
    node.place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    node.start_agent("", "").await;

    publish(&node, "r1").await;
    assert_eq!(deployed(&node.host).as_deref(), Some("r1"), "{}", node.host.journal("fleetagent").await);
    let first = node.agent_pid().await;
    let mounts = node.host.run(&["cat", &format!("/proc/{}/mounts", first)]).await.exits(0).out;
    let writable = |folder: &str| {
        mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(folder)).map(|line| line.contains(" rw,"))
    };
    assert_eq!((writable("/"), writable(HOME)), (Some(false), Some(true)), "the sandbox is there:\n{mounts}");

    node.host.run(&["systemctl", "restart", "fleetagent"]).await.exits(0);
    assert_ne!(node.agent_pid().await, first);
    assert_eq!(deployed(&node.host).as_deref(), Some("r1"), "a restart takes nothing away");
    publish(&node, "r2").await;
    assert_eq!(deployed(&node.host).as_deref(), Some("r2"));

    node.host.kill_hard().await;
    assert_eq!(deployed(&node.host).as_deref(), Some("r2"), "the disk is there while the host is off");
    node.host.boot_again().await;
    let active = async || node.host.run(&["systemctl", "is-active", "fleetagent"]).await.code == 0;
    wait_for(active, "the agent to be started at boot").await;
    assert_eq!(deployed(&node.host).as_deref(), Some("r2"));
    publish(&node, "r3").await;
    assert_eq!(deployed(&node.host).as_deref(), Some("r3"));
    let journal = node.host.journal("fleetagent").await;
    assert_eq!(journal.matches("Started fleetagent.service").count(), 3, "the journal is of both boots:\n{journal}");
    node.host.stop().await;
    assert_eq!(deployed(&node.host).as_deref(), Some("r3"));
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
