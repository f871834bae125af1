//! Agent, supervisor and process are killed in any order, and exactly one copy of the service runs afterwards: nothing
//! is doubled, lost or left behind.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use fleetman::supervise::ServiceDef;
use fleetman::supervise::detached::{Client, Orders, Wanted};
use tokio::process::Child;

use crate::support::cli::Workplace;
use crate::support::shim::{self, Counting, Shims, descriptors, kill, marked, processes, status, up};
use crate::support::wait_for;

/// Numbers that look random and are the same again for the same seed.
struct Dice(u64);

impl Dice {
    /// Dice with a seed of their own, which a failing test prints.
    fn roll_first() -> Self {
        let seed = fleetman::entropy::uuid().unwrap().as_u128() as u64;
        eprintln!("seed {seed}");
        Self(seed)
    }

    fn roll(&mut self, range: RangeInclusive<u64>) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start() + (mixed ^ (mixed >> 31)) % (range.end() - range.start() + 1)
    }

    /// Lets others do something for an unknown while.
    async fn gap(&mut self) {
        for _ in 0..self.roll(0..=3) * self.roll(0..=300) {
            tokio::task::yield_now().await;
        }
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.roll(0..=at as u64) as usize);
        }
    }
}

/// What must be so once everything has calmed down.
struct Calm {
    supervisor: i32,
    process: i32,
}

/// Waits until the service runs and has said so itself.
async fn calm(folder: &Path, service: &str, counting: &Counting) -> Calm {
    let mut found = None;
    let there = async || {
        let Ok(mut client) = Client::connect(folder, service).await else { return false };
        let Ok(report) = client.status().await else { return false };
        let pid = status(&report, "main")
            .filter(|status| status.state.name() == "running")
            .and_then(|status| status.state.pid());
        let last = counting.lives().pop().unwrap_or_default();
        let has_begun = |pid: &i32| last.starts_with(&format!("{pid}."));
        found = pid
            .filter(|pid| has_begun(pid) && shim::lives(*pid))
            .map(|process| Calm { supervisor: report.pid as i32, process });
        found.is_some()
    };
    wait_for(there, &format!("{service} to run")).await;
    found.unwrap()
}

/// What has just ended may still have to be collected; what nobody collects stays.
async fn none_stays_a_zombie(parents: &[i32]) {
    let is_zombie = |seen: &shim::Seen| seen.is_zombie && parents.contains(&seen.parent);
    wait_for(async || !processes().iter().any(is_zombie), "every zombie to be collected").await;
}

/// That a service holds no descriptors but its input, its output and what it opened itself.
fn nothing_was_passed_on(process: i32, notes: &Path) {
    let open = descriptors(process);
    let foreign: BTreeMap<_, _> = open.iter().filter(|(fd, path)| **fd > 2 && !path.starts_with(notes)).collect();
    assert!(foreign.is_empty(), "{open:?}");
}

/// Keeps the supervisor of a service running, as an agent does.
struct Holder {
    folder: PathBuf,
    service: String,
    supervisor: Child,
}

impl Holder {
    async fn kill_supervisor(&mut self) {
        shim::killed(&mut self.supervisor).await;
        self.supervisor = shim::start(&self.folder, &self.service, &[]);
    }

    /// Another supervisor may have been there still when the last one was started.
    async fn see_to_it(&mut self) {
        if self.supervisor.try_wait().unwrap().is_some() {
            self.supervisor = shim::start(&self.folder, &self.service, &[]);
        }
    }
}

/// Kills a supervisor and its process for some rounds.
async fn rounds(folder: PathBuf, service: String, rounds: usize, mut dice: Dice) {
    let counting = Counting::new(folder.join(format!("{service}-notes")));
    let supervisor = shim::start(&folder, &service, &[]);
    let mut holder = Holder { folder: folder.clone(), service: service.clone(), supervisor };
    let orders = up("1", ServiceDef::of("main", counting.def()));
    shim::client(&folder, &service).await.apply(orders.clone()).await.unwrap();
    let mut killed = 0;
    for _ in 0..rounds {
        let before = calm(&folder, &service, &counting).await;
        let mut victims = [Some("supervisor"), Some("process"), Some("process"), None, Some("supervisor")];
        dice.shuffle(&mut victims);
        for victim in victims.into_iter().take(dice.roll(1..=3) as usize).flatten() {
            match victim {
                "supervisor" => holder.kill_supervisor().await,
                _ => {
                    killed += 1;
                    kill(before.process);
                }
            }
            dice.gap().await;
            holder.see_to_it().await;
            if dice.roll(0..=1) == 0 {
                // The same orders again, whether the supervisor is there or not.
                if let Ok(mut client) = Client::connect(&folder, &service).await {
                    let _ = client.apply(orders.clone()).await;
                }
            }
        }
        holder.see_to_it().await;
    }
    // Orders that were being carried out when a supervisor was killed are carried out anew by the next, which ends what
    // it finds. This waits for that.
    shim::client(&folder, &service).await.apply(orders).await.unwrap();
    let last = calm(&folder, &service, &counting).await;
    assert!(killed > 0 && counting.lives().len() > 1);
    none_stays_a_zombie(&[last.supervisor]).await;
    nothing_was_passed_on(last.process, &counting.notes);
    counting.check(&folder.join(&service).join("logs"), "main");
    let mut client = shim::client(&folder, &service).await;
    let report = client.status().await.unwrap();
    client.stop().await.unwrap();
    assert!(shim::ended(&mut holder.supervisor).await.success(), "{report:?}");
    let lines = counting.check(&folder.join(&service).join("logs"), "main");
    assert!(lines[counting.lives().last().unwrap()] > 0, "the last life is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_supervisor_and_process_in_any_order_leave_one_copy_running() {
    let shims = Shims::new();
    let mut dice = Dice::roll_first();
    let all = (0..4).map(|number| {
        let (folder, service) = (shims.folder.path().to_owned(), format!("s{number}"));
        rounds(folder, service, 40, Dice(dice.roll(0..=u64::MAX - 1)))
    });
    futures_util::future::join_all(all).await;
    assert_eq!(marked(shims.folder.path()), [0; 0]);
}

#[tokio::test]
async fn a_supervisor_has_no_more_open_after_many_ends_and_many_clients() {
    let shims = Shims::new();
    let counting = Counting::new(shims.folder.path().join("notes"));
    let _supervisor = shims.start("s", &[]);
    shims.client("s").await.apply(up("1", ServiceDef::of("main", counting.def()))).await.unwrap();
    let first = calm(shims.folder.path(), "s", &counting).await;
    // Then its log is open.
    wait_for(async || !shim::log(&shims.logs("s"), "main").is_empty(), "a line in the log").await;
    let open = descriptors(first.supervisor).len();
    for _ in 0..30 {
        kill(calm(shims.folder.path(), "s", &counting).await.process);
        let watch = shims.client("s").await.watch(shim::clock()).await.unwrap();
        let follow = shims.client("s").await.follow("main", shim::clock()).await.unwrap();
        drop((watch, follow));
    }
    calm(shims.folder.path(), "s", &counting).await;
    none_stays_a_zombie(&[first.supervisor]).await;
    wait_for(async || descriptors(first.supervisor).len() <= open, "no more to be open than at first").await;
    shims.client("s").await.stop().await.unwrap();
    assert_eq!(marked(shims.folder.path()), [0; 0]);
}

const MANIFEST: &str = "name: count\nhealth: {min_healthy_time: 100ms}\nprofile:\n  process:\n    command: ";

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_agent_supervisor_and_process_in_any_order_leave_one_copy_running() {
    let place = Workplace::with_bucket().await;
    let counting = Counting::new(place.path().join("notes"));
    let command = serde_json::to_string(&Counting::command()).unwrap();
    let restart = "    restart: {policy: always, delay: 0s, max_delay: 0s}\n    stop: {timeout: 2s}";
    let notes = counting.notes.display();
    place.write(
        "count.yaml",
        &format!("{MANIFEST}{command}\n    env: {{NOTES: {notes}}}\n{restart}\n---\ncell: n1/count\nmanifest: count\n"),
    );
    place.fleetman(&["apply", "-f", "count.yaml"]).await.exits(0);
    let config = place.agent_config("n1").await;
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}process:\n  folder: cells\n")).unwrap();
    place.write("release/readme", "one");
    place.fleetman(&["upload", "count", "release", "--as", "r1"]).await.exits(0);
    let folder = place.path().join("cells");
    let _left = Left(folder.clone());
    // Whoever starts an agent may pass it more than it wants.
    let passed_on = rustix::io::dup(std::fs::File::open(place.path()).unwrap()).unwrap();
    let mut agent = place.run_agent(&config);
    place.fleetman(&["publish", "n1/count", "-d", "r1", "--as", "1", "-y", "--wait"]).await.exits(0);

    let first = calm(&folder, "count", &counting).await;
    assert!(descriptors(agent.id().unwrap() as i32).values().any(|path| path == place.path()));
    assert!(!descriptors(first.supervisor).values().any(|path| path == place.path()));
    drop(passed_on);
    let mut dice = Dice::roll_first();
    for _ in 0..40 {
        let before = calm(&folder, "count", &counting).await;
        let mut victims = ["agent", "supervisor", "process"];
        dice.shuffle(&mut victims);
        let number = dice.roll(1..=3) as usize;
        let mut supervisor = before.supervisor;
        for victim in &victims[..number] {
            match *victim {
                "agent" => {
                    shim::killed(&mut agent).await;
                    agent = place.run_agent(&config);
                }
                "supervisor" => kill(std::mem::replace(&mut supervisor, i32::MAX)),
                _ => kill(before.process),
            }
            dice.gap().await;
        }
        if !victims[..number].contains(&"agent") {
            // An agent is in no hurry to start a supervisor that is killed all the time, but for its own start.
            shim::killed(&mut agent).await;
            agent = place.run_agent(&config);
        }
        let was_killed = victims[..number].contains(&"process");
        if was_killed {
            wait_for(async || !shim::lives(before.process), "the process to be gone").await;
        }
        let after = calm(&folder, "count", &counting).await;
        if !was_killed {
            assert_eq!(after.process, before.process, "it was not killed");
        }
    }
    let last = calm(&folder, "count", &counting).await;
    none_stays_a_zombie(&[last.supervisor, agent.id().unwrap() as i32]).await;
    nothing_was_passed_on(last.process, &counting.notes);
    counting.check(&folder.join("count/logs"), "main");
    assert_eq!(marked(&folder).len(), 2, "the process and its child");

    place.fleetman(&["stop", "n1/count", "-y", "--wait"]).await.exits(0);
    assert_eq!(marked(&folder), [0; 0]);
    wait_for(async || !shim::lives(last.supervisor), "the supervisor to end").await;
    let lines = counting.check(&folder.join("count/logs"), "main");
    assert!(lines[counting.lives().last().unwrap()] > 0, "the last life is in the log");
    let orders: Orders = serde_json::from_slice(&std::fs::read(folder.join("count/orders.json")).unwrap()).unwrap();
    assert_eq!(orders.wanted, Wanted::Down);
}

/// What a test that failed has left running.
struct Left(PathBuf);

impl Drop for Left {
    fn drop(&mut self) {
        for process in processes() {
            let line = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            if line.split(|byte| *byte == 0).any(|word| word == self.0.as_os_str().as_encoded_bytes()) {
                kill(process.pid);
            }
        }
        for pid in marked(&self.0) {
            kill(pid);
        }
    }
}
