//! The supervisor beside its peers, on one machine in one run: how soon a killed process is up again, how much memory a
//! supervisor takes, and how fast output reaches its log.
//!
//! ```sh
//! cargo bench --bench supervisor             # what is not there to compare with is named
//! cargo test --bench supervisor -- --quick   # no peers and no figures, only whether everything comes back and arrives
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod figures;
mod mortal;
mod peers;
#[allow(unused_imports, reason = "shared with the tests, which need all of it")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use fleetman::clock::SystemClock;
use fleetman::supervise::{Kind, LogFiles, LogLimits, ProcessDef, Restart, RestartPolicy, Run, ServiceDef};

use self::figures::{Memory, Times, ratio};
use self::mortal::Mortal;
use self::peers::{AGENT, Cell, Supervisord, systemd_runs};
use self::support::host::Host;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    restarts(quick).await;
    if !quick {
        memory().await;
    }
    output(if quick { 64 } else { 1024 }).await;
}

/// From the kill of a process to the first line of the next one.
async fn restarts(quick: bool) {
    let place = tempfile::tempdir().unwrap();
    let mut mortal = Mortal::new(place.path());
    let restart = Restart { policy: RestartPolicy::Always, delay_ms: 0, ..Restart::default() };
    let def = ProcessDef { restart, ..ProcessDef::new(Run::command(mortal.command(place.path()))) };
    let cell = Cell::start(AGENT.as_ref(), place.path(), "web").await;
    cell.run(ServiceDef::of("web", def)).await;
    let ours = Times(mortal.die_often(if quick { 20 } else { 200 }));
    cell.stop().await;
    if quick {
        println!("a killed process was up again {} times", ours.0.len());
        return;
    }
    println!("A killed process is up again after\n  ours         {ours}");

    if let Some(host) = Host::boot("bench").await {
        let inside = "/srv/mortal";
        host.write(&format!("{inside}/there"), "");
        let mut mortal = Mortal::new(&host.path(inside));
        systemd_runs(&host, &mortal.command(inside.as_ref())).await;
        let times = Times(mortal.die_often(200));
        println!("  systemd      {times}, {}", ratio(times.median(), ours.median()));
    } else {
        println!("  systemd      not measured: no host can be booted here");
    }
    let place = tempfile::tempdir().unwrap();
    let mut mortal = Mortal::new(place.path());
    if let Some(supervisord) = Supervisord::start(place.path(), &mortal.command(place.path())) {
        // It looks at what ended once a second.
        let times = Times(mortal.die_often(20));
        println!("  supervisord  {times}, {}", ratio(times.median(), ours.median()));
        supervisord.stop();
    } else {
        println!("  supervisord  not measured: it is not in PATH");
    }
}

/// What a supervisor takes that has restarted its only process: one alone, and each of ten.
async fn memory() {
    // Of a program that was just linked the pages in memory are not on the disk yet, and would count as its own.
    for program in [AGENT, env!("CARGO_BIN_EXE_fleetsupervisor")] {
        std::fs::File::open(program).unwrap().sync_all().unwrap();
    }
    // A node that has the agent's program alone.
    let alone = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let agent_alone = alone.path().join("fleetagent");
    std::fs::hard_link(AGENT, &agent_alone).unwrap();
    let place = tempfile::tempdir().unwrap();
    let mut mortal = Mortal::new(place.path());
    let theirs = Supervisord::start(place.path(), &mortal.command(place.path())).map(|supervisord| {
        mortal.die_often(1);
        let memory = Memory::of(supervisord.pid());
        supervisord.stop();
        memory
    });
    println!("Memory of a supervisor of one process, in KiB");
    for (name, program) in [("fleetsupervisor", Path::new(AGENT)), ("fleetagent alone", &agent_alone)] {
        for count in [1, 10] {
            let place = tempfile::tempdir().unwrap();
            let mut cells = Vec::new();
            for number in 0..count {
                let cell = Cell::start(program, place.path(), &format!("web{number}")).await;
                cell.run(ServiceDef::of("web", ProcessDef::new(Run::command(["sleep", "1000"])))).await;
                cell.restart("web").await;
                cells.push(cell);
            }
            let ours = Memory::of(cells[0].pid());
            let ratio = theirs.as_ref().map(|theirs| format!(", supervisord {}", theirs.ratio(&ours)));
            println!("  {name:15}, {count:2} of them  {ours}{}", ratio.unwrap_or_default());
            for cell in cells {
                cell.stop().await;
            }
        }
    }
    match theirs {
        Some(theirs) => println!("  {:15}              {theirs}", "supervisord"),
        None => println!("  {:15}              not measured: it is not in PATH", "supervisord"),
    }
}

/// How fast a process can write, with its supervisor between it and the log and without.
async fn output(mib: u64) {
    let clock = SystemClock::shared();
    let write = format!("dd if=/dev/zero bs=64k count={} status=none", mib * 16);
    let place = tempfile::tempdir().unwrap();
    let def = ProcessDef { kind: Kind::Task, ..ProcessDef::new(Run::Shell(write.clone())) };
    // One file of all of it, as the other one writes.
    let logs = LogLimits { max_file_bytes: NonZeroU64::MAX, ..LogLimits::default() };
    let cell = Cell::start(AGENT.as_ref(), place.path(), "web").await;
    let began = clock.monotonic();
    cell.run(ServiceDef { logs, ..ServiceDef::of("web", def) }).await;
    cell.completed("web").await;
    let ours = clock.monotonic() - began;
    let files = LogFiles::of(&place.path().join("web/logs"), "web").unwrap();
    let arrived: u64 = files.files().iter().map(|file| file.bytes).sum();
    assert_eq!(arrived, mib << 20, "all that was written is in the log");
    cell.stop().await;
    println!("{mib} MiB of output reach their file\n  ours         {}", speed(mib, ours));

    let file = tempfile::NamedTempFile::new_in(place.path()).unwrap();
    let began = clock.monotonic();
    let line = format!("{write} | cat > {}", file.path().display());
    let cat = std::process::Command::new("sh").args(["-c", &line]).status().unwrap();
    let theirs = clock.monotonic() - began;
    assert!(cat.success() && file.as_file().metadata().unwrap().len() == mib << 20);
    println!("  cat > file   {}, {}", speed(mib, theirs), ratio(theirs, ours));
}

fn speed(mib: u64, time: Duration) -> String {
    format!("{:6.0} MiB/s", mib as f64 / time.as_secs_f64())
}
