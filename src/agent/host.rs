//! What the machine is and has, for the heartbeat. Whatever cannot be read is left empty.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::model::heartbeat::HostFacts;

/// Addresses beyond this many are not reported: a container host may have thousands.
const MOST_ADDRESSES: usize = 32;

/// The facts of this machine; the disk is the one that holds `releases`.
pub(super) fn facts(releases: &Path) -> HostFacts {
    let name = rustix::system::uname();
    let read = |path: &str| read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    // The folder may not be made yet; what it will be on is what matters.
    let disk = releases.ancestors().find_map(|path| rustix::fs::statvfs(path).ok());
    let bytes = |blocks: u64| disk.as_ref().map_or(0, |disk| blocks.saturating_mul(disk.f_frsize));
    HostFacts {
        hostname: name.nodename().to_string_lossy().into_owned(),
        os: os_name(&read("/etc/os-release")).unwrap_or_else(|| name.sysname().to_string_lossy().into_owned()),
        kernel: name.release().to_string_lossy().into_owned(),
        arch: name.machine().to_string_lossy().into_owned(),
        cpus: std::thread::available_parallelism().map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory_of(&memory, "MemTotal:"),
        memory_available_bytes: memory_of(&memory, "MemAvailable:"),
        disk_bytes: bytes(disk.as_ref().map_or(0, |disk| disk.f_blocks)),
        disk_free_bytes: bytes(disk.as_ref().map_or(0, |disk| disk.f_bavail)),
        load_1m: load_of(&read("/proc/loadavg")),
        addresses: addresses(&read("/proc/net/fib_trie"), &read("/proc/net/if_inet6")),
    }
}

/// The kernel's id of this boot.
pub(super) fn boot_id() -> Option<String> {
    let text = read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

fn os_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}

fn memory_of(meminfo: &str, field: &str) -> u64 {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

fn load_of(loadavg: &str) -> f64 {
    loadavg.split(' ').next().and_then(|text| text.parse().ok()).filter(|load: &f64| load.is_finite()).unwrap_or(0.0)
}

/// The machine's own addresses: leaves of the routing table that are local, and the interfaces' IPv6 addresses.
fn addresses(fib_trie: &str, if_inet6: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut leaf = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf.filter(|address| !address.is_loopback() && !address.is_link_local()).map(IpAddr::V4));
        }
    }
    let v6 = if_inet6.lines().filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok());
    let v6 = v6.map(Ipv6Addr::from).filter(|address| !address.is_loopback() && !address.is_unicast_link_local());
    found.extend(v6.map(IpAddr::V6));
    found.into_iter().take(MOST_ADDRESSES).map(|address| address.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.0.0/24 2 0 2
        |-- 10.0.0.0
           /24 link UNICAST
        |-- 10.0.0.7
           /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 169.254.1.1
        /32 host LOCAL
Local:
        |-- 10.0.0.7
           /32 host LOCAL
";
    const IF_INET6: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000021122fffe334455 02 40 20 80     eth0
20010db8000000000000000000000007 02 40 00 80     eth0
";

    #[test]
    fn addresses_are_the_machines_own_without_loopback_and_link_local_ones() {
        assert_eq!(addresses(FIB_TRIE, IF_INET6), ["10.0.0.7", "2001:db8::7"]);
        assert!(addresses("", "").is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_left_empty() {
        assert_eq!(memory_of("MemTotal:       16384 kB\nMemAvailable:     1 kB\n", "MemTotal:"), 16 << 20);
        assert_eq!(memory_of("garbage", "MemTotal:"), 0);
        assert_eq!(load_of("0.25 0.10 0.05 1/200 4711\n"), 0.25);
        assert_eq!(load_of("NaN"), 0.0);
        assert_eq!(os_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n").unwrap(), "Debian GNU/Linux 12");
    }

    #[test]
    fn this_machine_has_facts() {
        let facts = facts(Path::new("/no/such/folder/yet"));
        assert!(facts.cpus > 0 && facts.memory_bytes > 0 && facts.disk_bytes > 0, "{facts:?}");
        assert!(!facts.hostname.is_empty() && !facts.kernel.is_empty() && !facts.arch.is_empty(), "{facts:?}");
    }
}
