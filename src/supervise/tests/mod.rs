//! Real processes, run as a stranger would run them.

mod ending;
mod lifecycle;
mod stubborn;

use std::future::Future;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::{SharedClock, SystemClock};

/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

/// A supervisor with a folder of its own.
struct Bench {
    supervisor: Supervisor,
    folder: TempDir,
    clock: SharedClock,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut SupervisorConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        let mut config = SupervisorConfig::new(folder.path());
        change(&mut config);
        let supervisor = Supervisor::open(config, clock.clone()).unwrap();
        Self { supervisor, folder, clock }
    }

    /// Starts the service `s` of one process `p`.
    async fn start(&self, def: ProcessDef) -> Result<(), SupervisorError> {
        self.supervisor.start_service("s", ServiceDef::of("p", def)).await
    }

    fn status(&self, process: &str) -> ProcessStatus {
        self.supervisor.service_status("s").unwrap().processes[process].clone()
    }

    fn pid(&self) -> i32 {
        self.status("p").state.pid().unwrap()
    }

    /// Waits until `process` is as wanted.
    async fn until(&self, process: &str, what: &str, is: impl Fn(&ProcessStatus) -> bool) -> ProcessStatus {
        let mut events = self.supervisor.events();
        let there = async {
            while !is(&self.status(process)) {
                // Whatever came, the status says the rest.
                let _ = events.recv().await;
            }
        };
        self.within(there, &format!("{process} to be {what}, it is {:?}", self.status(process))).await;
        self.status(process)
    }

    /// Waits until `process` is in the state of this name.
    async fn until_state(&self, process: &str, state: &str) -> ProcessStatus {
        self.until(process, state, |status| status.state.name() == state).await
    }

    /// Waits until the process has written `text`.
    async fn until_said(&self, process: &str, text: &str) {
        let mut follow = self.supervisor.get_output("s", process).unwrap().follow();
        let mut said = Vec::new();
        let there = async {
            while !String::from_utf8_lossy(&said).contains(text) {
                match follow.next().await {
                    Some(Piece::Bytes(bytes)) => said.extend(bytes),
                    Some(Piece::Lost(_)) => {}
                    None => panic!("the output ended"),
                }
            }
        };
        self.within(there, &format!("{process} to say {text:?}")).await;
    }

    async fn within<T>(&self, future: impl Future<Output = T>, what: &str) -> T {
        tokio::select! {
            done = future => done,
            () = self.clock.sleep(PATIENCE) => panic!("waited in vain for {what}"),
        }
    }

    fn said(&self, process: &str) -> String {
        String::from_utf8(self.supervisor.get_output("s", process).unwrap().snapshot().bytes).unwrap()
    }

    async fn shutdown(self) -> TempDir {
        self.supervisor.shutdown().await.unwrap();
        self.folder
    }
}

fn sh(line: &str) -> ProcessDef {
    ProcessDef::new(Run::Shell(line.to_owned()))
}

fn restart(policy: RestartPolicy, max_retries: Option<u32>) -> Restart {
    Restart { policy, max_retries, delay_ms: 1, ..Restart::default() }
}

fn lives(pid: i32) -> bool {
    proc::Stat::read(pid).unwrap().is_some_and(|stat| !stat.is_zombie)
}
