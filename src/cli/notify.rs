//! Telling the service manager how a service gets on, as sd_notify(3) describes it.
//!
//! The watchdog is fed by what the service really does. A timer that fed it would go on while the service hangs.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;
use crate::model::text;

/// The longest status that is told, in characters.
const LONGEST_STATUS: usize = 200;

/// The service manager that started this process, if it wants to be told.
#[derive(Debug)]
pub(super) struct Manager {
    clock: SharedClock,
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    said: Mutex<Said>,
}

/// What was told last.
#[derive(Debug, Default)]
struct Said {
    /// Whether it is ready, and that could not be told yet.
    owes_ready: bool,
    alive_at: Option<Duration>,
    status: String,
}

impl Manager {
    /// As the environment describes it.
    pub(super) fn of_this_process(clock: SharedClock) -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|address| {
            let bytes = address.as_encoded_bytes();
            let opened = match bytes.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(Path::new(&address)),
            }
            .and_then(|address| connected(&address));
            opened.inspect_err(|error| tracing::warn!(%error, "the service manager cannot be told anything")).ok()
        });
        let text = |name| std::env::var(name).ok();
        let watchdog = watchdog(text("WATCHDOG_USEC"), text("WATCHDOG_PID"), std::process::id());
        let watchdog = watchdog.filter(|_| socket.is_some());
        Self { clock, socket, watchdog, said: Mutex::default() }
    }

    /// The service does what it is there for.
    pub(super) fn ready(&self, status: &str) {
        self.said().owes_ready = true;
        self.tell(&self.new_status(status).unwrap_or_default());
        self.alive();
    }

    /// The service was asked to end, and does.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    /// What the service is at, for people.
    #[cfg(feature = "agent")]
    pub(super) fn status(&self, status: &str) {
        if let Some(line) = self.new_status(status) {
            self.tell(&line);
        }
    }

    /// The service does not hang. Told as often as the watchdog needs it, however often this is called.
    pub(super) fn alive(&self) {
        let Some(watchdog) = self.watchdog else { return };
        let now = self.clock.monotonic();
        let mut said = self.said();
        if said.alive_at.is_none_or(|at| now.saturating_sub(at) >= watchdog / 8) {
            said.alive_at = Some(now);
            drop(said);
            self.tell("WATCHDOG=1\n");
        }
    }

    /// At least so often [`alive`](Self::alive) must be called, if there is a watchdog.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 3)
    }

    fn new_status(&self, status: &str) -> Option<String> {
        let status = text::short(status, LONGEST_STATUS);
        let mut said = self.said();
        (said.status != status).then(|| {
            said.status.clone_from(&status);
            format!("STATUS={status}\n")
        })
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        let mut said = self.said();
        let ready = if said.owes_ready { "READY=1\n" } else { "" };
        match socket.send(format!("{ready}{message}").as_bytes()) {
            Ok(_) => said.owes_ready = false,
            // A manager that takes nothing now is told the next time.
            Err(_) => said.status.clear(),
        }
    }
}

fn connected(address: &SocketAddr) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(address)?;
    Ok(socket)
}

/// The time after which the manager takes the process `own` for hung.
fn watchdog(usec: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let usec = usec?.parse().ok().filter(|usec| *usec > 0 && is_ours)?;
    Some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn pair(watchdog: Option<Duration>) -> (Manager, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let manager = Manager { clock: SystemClock::shared(), socket: Some(ours), watchdog, said: Mutex::default() };
        (manager, theirs)
    }

    fn heard(theirs: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 1024];
        let length = theirs.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_by_calls_alone_and_not_by_all_of_them() {
        let (manager, theirs) = pair(Some(Duration::from_secs(80)));
        manager.ready("starting");
        assert_eq!(heard(&theirs).unwrap(), "READY=1\nSTATUS=starting\n");
        assert_eq!(heard(&theirs).unwrap(), "WATCHDOG=1\n");
        manager.alive();
        assert_eq!(heard(&theirs), None);
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert_eq!(heard(&theirs), None, "nothing but a call tells it");
        manager.alive();
        assert_eq!(heard(&theirs).unwrap(), "WATCHDOG=1\n");
        assert!(manager.patience().unwrap() < Duration::from_secs(40));
    }

    #[test]
    fn without_a_watchdog_nothing_is_fed() {
        let (manager, theirs) = pair(None);
        manager.alive();
        assert_eq!((heard(&theirs), manager.patience()), (None, None));
    }

    #[test]
    fn what_the_manager_did_not_take_is_told_again() {
        let (manager, theirs) = pair(None);
        let ours = manager.socket.as_ref().unwrap();
        ours.set_nonblocking(true).unwrap();
        while ours.send(b"full").is_ok() {}
        manager.ready("starting");
        while heard(&theirs).is_some_and(|said| said == "full") {}
        manager.status("starting");
        assert_eq!(heard(&theirs).unwrap(), "READY=1\nSTATUS=starting\n");
        manager.status("running");
        assert_eq!(heard(&theirs).unwrap(), "STATUS=running\n");
    }

    #[test]
    fn a_status_is_one_line_and_told_when_it_changes() {
        let (manager, theirs) = pair(None);
        manager.status("fine\nWATCHDOG=trigger");
        assert_eq!(heard(&theirs).unwrap(), "STATUS=fine\u{fffd}WATCHDOG=trigger\n");
        manager.status("fine\nWATCHDOG=trigger");
        assert_eq!(heard(&theirs), None);
        manager.status(&"x".repeat(4096));
        assert!(heard(&theirs).unwrap().len() < 300);
    }

    #[test]
    fn a_watchdog_of_another_process_is_none_of_ours() {
        let watchdog = |usec: &str, pid: Option<&str>| watchdog(Some(usec.to_owned()), pid.map(str::to_owned), 7);
        assert_eq!(watchdog("2000000", None), Some(Duration::from_secs(2)));
        assert_eq!(watchdog("2000000", Some("7")), Some(Duration::from_secs(2)));
        for (usec, pid) in [("2000000", Some("8")), ("2000000", Some("x")), ("0", None), ("soon", None)] {
            assert_eq!(watchdog(usec, pid), None, "{usec} {pid:?}");
        }
    }
}
