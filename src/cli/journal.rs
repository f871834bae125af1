//! Logging into systemd's journal in its own protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>), so that each field
//! of an event stays one: `journalctl FLEET_CELL=web`.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::model::text;

const SOCKET: &str = "/run/systemd/journal/socket";

/// A journal that takes nothing for so long loses the line instead of holding up the program.
const PATIENCE: Duration = Duration::from_millis(250);

/// Of a longer value the rest is left out, so that a whole event fits into one datagram.
const LONGEST_VALUE: usize = 16 * 1024;

/// The same where even that was too much.
const SHORT_VALUE: usize = 1024;

/// The longest that a field's value is in the text that people read.
const LONGEST_SHOWN: usize = 1000;

/// What the event is, for programs: it becomes `FLEET_EVENT` and decides on `MESSAGE_ID`.
const EVENT: &str = "event";

/// The `MESSAGE_ID` of each event that programs may wait for. They never change.
const MESSAGE_IDS: &[(&str, &str)] = &[
    ("agent_started", "2ea661829f594c98ac1519d89e6003eb"),
    ("agent_ended", "175c2dd5ab7c426c85349ecec9aad83b"),
    ("version_staged", "13ebea4b11ef4fb88ee0a9f21db82def"),
    ("version_good", "ca50f91354424eb3b0c85c011f439ca2"),
    ("version_failed", "e57c420991e4451798087d96e59b3c60"),
    ("rolled_back", "f9869b6c155c4cdf8606d3bdb88fbc35"),
    ("cell_stopped", "4390e658f2934ade8c1252f15d865740"),
    ("cell_removed", "1172d4f761764552ab90a7e908c3e03a"),
    ("trigger_refused", "4a7365256a1b4ab7a97fa986b71636b8"),
    ("deployments_held", "6f69f6eea72344379a5df073429f0457"),
    ("bucket_unreadable", "51d24539969045a880aa57e8df5dd5e1"),
];

/// Whether what this process writes to standard error goes to the journal, as `JOURNAL_STREAM` says.
pub(super) fn is_standard_error() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

/// Sends every event to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    program: &'static str,
}

impl Journal {
    /// The journal of this machine, in which lines are `program`'s.
    pub(super) fn connect(program: &'static str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let journal = Self { socket, program };
        // Nothing is taken down of an empty datagram; it tells whether somebody is there.
        journal.socket.send_to(&[], SOCKET)?;
        Ok(journal)
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::new(self.program, event);
        event.record(&mut entry);
        // Nobody is left to be told that nothing can be told.
        let sent = self.socket.send_to(&entry.render(LONGEST_VALUE), SOCKET);
        if sent.is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())) {
            let _ = self.socket.send_to(&entry.render(SHORT_VALUE), SOCKET);
        }
    }
}

/// What becomes one entry of the journal.
struct Entry {
    message: String,
    /// What is added to the message, because people are shown nothing else.
    shown: String,
    fields: Vec<(String, String)>,
}

impl Entry {
    fn new(program: &str, event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        // As syslog(3) counts.
        let priority = match *metadata.level() {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let mut fields = vec![
            ("PRIORITY".to_owned(), priority.to_owned()),
            ("SYSLOG_IDENTIFIER".to_owned(), program.to_owned()),
            ("FLEET_TARGET".to_owned(), metadata.target().to_owned()),
        ];
        let line = metadata.line().map(|line| line.to_string());
        fields.extend(metadata.file().map(|file| ("CODE_FILE".to_owned(), file.to_owned())));
        fields.extend(line.map(|line| ("CODE_LINE".to_owned(), line)));
        Self { message: String::new(), shown: String::new(), fields }
    }

    fn take(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            EVENT => {
                let id = MESSAGE_IDS.iter().find(|(event, _)| *event == value);
                self.fields.extend(id.map(|(_, id)| ("MESSAGE_ID".to_owned(), (*id).to_owned())));
                self.fields.push((name(EVENT), value));
            }
            other => {
                // Writing into a String cannot fail.
                let _ = write!(self.shown, " {other}={}", text::short(&value, LONGEST_SHOWN));
                self.fields.push((name(other), value));
            }
        }
    }

    /// The datagram, with no value longer than `longest` bytes.
    fn render(&self, longest: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let message = format!("{}{}", text::lines(&self.message), self.shown);
        for (name, value) in [("MESSAGE", &message)].into_iter().chain(self.fields.iter().map(|(n, v)| (&**n, v))) {
            let value = &value[..value.floor_char_boundary(longest)];
            bytes.extend(name.as_bytes());
            if value.contains('\n') {
                // Only with its length in front can a value hold a line end without beginning another field.
                bytes.push(b'\n');
                bytes.extend((value.len() as u64).to_le_bytes());
            } else {
                bytes.push(b'=');
            }
            bytes.extend(value.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.take(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

/// The name of a field in the journal, which takes capitals, digits and `_`.
fn name(field: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    ["FLEET_"].into_iter().flat_map(str::chars).chain(field.chars().map(plain)).take(64).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps what would be sent.
    #[derive(Default, Clone)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut entry = Entry::new("fleetagent", event);
            event.record(&mut entry);
            *self.0.lock().unwrap() = entry.render(64);
        }
    }

    fn kept(log: impl FnOnce()) -> String {
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), log);
        let bytes = kept.0.lock().unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    }

    #[test]
    fn fields_are_fields_of_the_journal_and_shown_behind_the_message() {
        let cell = "web";
        let text = kept(
            || tracing::warn!(event = "version_failed", %cell, generation = 3_u64, "dotted.name" = true, "it fell"),
        );
        assert!(text.starts_with("MESSAGE=it fell cell=web generation=3 dotted.name=true\n"), "{text}");
        for line in ["PRIORITY=4", "SYSLOG_IDENTIFIER=fleetagent", "FLEET_CELL=web", "FLEET_GENERATION=3"] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(text.contains("\nFLEET_DOTTED_NAME=true\n"), "{text}");
        assert!(text.contains("\nMESSAGE_ID=e57c420991e4451798087d96e59b3c60\nFLEET_EVENT=version_failed\n"), "{text}");
    }

    #[test]
    fn no_value_begins_another_field() {
        let text = kept(|| tracing::info!(cell = "web\nPRIORITY=0", "up\nPRIORITY=1"));
        let field = |name: &str, value: &str| {
            format!("{name}\n{}{value}\n", String::from_utf8((value.len() as u64).to_le_bytes().into()).unwrap())
        };
        assert!(text.contains(&field("FLEET_CELL", "web\nPRIORITY=0")), "{text}");
        assert!(text.starts_with(&field("MESSAGE", "up\nPRIORITY=1 cell=web\u{fffd}PRIORITY=0")), "{text}");
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let text = kept(|| tracing::info!(cell = "ä".repeat(100), "x"));
        assert!(text.contains(&format!("\nFLEET_CELL={}\n", "ä".repeat(32))), "{text}");
        let text = kept(|| tracing::info!(cell = format!("a{}", "ä".repeat(100)), "x"));
        assert!(text.contains(&format!("\nFLEET_CELL=a{}\n", "ä".repeat(31))), "{text}");
    }

    #[test]
    fn every_message_id_is_one_of_its_own() {
        let mut ids: Vec<&str> = MESSAGE_IDS.iter().map(|(_, id)| *id).collect();
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), MESSAGE_IDS.len());
    }
}
