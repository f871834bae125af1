//! A supervisor that was started and may have failed: whoever waits for it to listen is told, and why.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::sync::oneshot;

use super::systemd;
use crate::clock::SharedClock;
use crate::supervise::detached::last_words;

/// How much of the end of a log is read for its last words.
const MOST_READ: u64 = 4096;

/// How often systemd is asked what became of a unit. One whose supervisor fails is started again, so that asking seldom
/// would miss it.
const ASK_AGAIN: Duration = Duration::from_millis(70);

/// How long a unit is given before systemd is asked at all: most supervisors listen sooner.
const ASK_FIRST: Duration = Duration::from_millis(200);

/// A supervisor that was started.
#[derive(Debug)]
pub(super) enum Started {
    /// As a child of the agent.
    Child {
        /// How it ended.
        ended: oneshot::Receiver<ExitStatus>,
        /// Where it logs.
        log: PathBuf,
        /// Where in that its own begins.
        from: u64,
    },
    /// As a unit of systemd.
    Unit {
        /// The unit.
        name: String,
    },
}

impl Started {
    /// Completes once it has failed, with the reason. One that ended in order has found another there, or was told to.
    pub(super) async fn failed(self, clock: &SharedClock) -> String {
        match self {
            Self::Child { ended, log, from } => match ended.await {
                Ok(status) if !status.success() => match said(&log, from) {
                    Ok(Some(words)) => format!("it ended with {status}: {words}"),
                    Ok(None) => format!("it ended with {status}, and said nothing"),
                    Err(error) => format!("it ended with {status}; reading {}: {error}", log.display()),
                },
                _ => std::future::pending().await,
            },
            Self::Unit { name } => {
                clock.sleep(ASK_FIRST).await;
                loop {
                    // What cannot be asked may be there nevertheless.
                    if let Ok(systemd::Main { pid: None, failure: Some(failure) }) =
                        systemd::main_process(&name, clock).await
                    {
                        return format!("its unit failed ({failure}); `journalctl --unit={name}` may say why");
                    }
                    clock.sleep(ASK_AGAIN).await;
                }
            }
        }
    }
}

/// The last that was written to a log, after `from`.
fn said(log: &PathBuf, from: u64) -> io::Result<Option<String>> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(MOST_READ))))?;
    let mut bytes = Vec::new();
    file.take(MOST_READ).read_to_end(&mut bytes)?;
    Ok(last_words(&String::from_utf8_lossy(&bytes)))
}
