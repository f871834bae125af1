//! What is said through the socket.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::orders::{MOST_BYTES, Orders, Wanted};
use crate::supervise::ServiceStatus;

/// The oldest version of the protocol that is still spoken.
pub const OLDEST: u32 = 1;

/// The newest version of the protocol.
pub const NEWEST: u32 = 4;

/// The code with which orders are refused that [spare](Orders::spares) what runs, where a socket that it was given
/// cannot be passed on.
pub const SOCKET_LOST: &str = "socket_lost";

/// The longest line, newline and all.
const MOST_LINE: u64 = MOST_BYTES + (64 << 10);

/// What a server says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) oldest: u32,
    pub(super) newest: u32,
    pub(super) pid: u32,
    pub(super) program: String,
}

/// What a server is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) v: u32,
    #[serde(flatten)]
    pub(super) ask: Ask,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Ask {
    Status,
    Apply { orders: Box<Orders> },
    Stop,
    Start { process: String },
    Halt { process: String },
    Restart { process: String },
    Kill { process: String },
    Output { process: String },
    Reload { process: String },
    RestartAll,
    Watch,
    Follow { process: String },
}

impl Ask {
    /// The version of the protocol that brought it.
    pub(super) fn since(&self) -> u32 {
        match self {
            Self::Apply { orders } => orders.since(),
            Self::Reload { .. } | Self::RestartAll | Self::Watch | Self::Follow { .. } => 2,
            _ => 1,
        }
    }
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Ok(Option<Box<Report>>),
    /// So many bytes follow.
    Bytes(u64),
    /// So many bytes are missing here.
    Lost(u64),
    Error(Refusal),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
}

/// What a detached supervisor does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The process id of the supervisor itself.
    pub pid: u32,
    /// Since when it has been there.
    pub since: DateTime<Utc>,
    /// The orders that it carries out; None before it was given any.
    pub orders: Option<String>,
    /// Whether its service is to run.
    pub wanted: Option<Wanted>,
    /// Why the orders could not be carried out the last time; it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What its service does; None before it was given any orders.
    pub service: Option<ServiceStatus>,
}

/// Reads a line; None at the end.
pub(super) async fn read_line<T: serde::de::DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let length = from.take(MOST_LINE).read_until(b'\n', &mut line).await?;
    if length == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        let what = if length as u64 == MOST_LINE { "a line is too long" } else { "the last line is cut off" };
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Writes a line.
pub(super) async fn write_line(to: &mut (impl AsyncWrite + Unpin), value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line).await
}

/// A path to the socket in `run` that is short enough, however long the folder's own path is: the address of a socket
/// has room for 107 bytes only; see `unix(7)`. The descriptor must stay open while the path is used.
pub(super) fn socket(run: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let folder = rustix::fs::open(run, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()).into();
    Ok((folder, path))
}

/// The name of the socket.
pub(super) const SOCKET: &str = "supervisor.socket";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    /// These very bytes are spoken by supervisors that run on machines today.
    #[test]
    fn the_words_of_each_version_stay_what_they_are() {
        let process = || "web".to_owned();
        for (ask, v, expected) in [
            (Ask::Status, 1, r#"{"v":1,"do":"status"}"#),
            (Ask::Stop, 1, r#"{"v":1,"do":"stop"}"#),
            (Ask::Start { process: process() }, 1, r#"{"v":1,"do":"start","process":"web"}"#),
            (Ask::Halt { process: process() }, 1, r#"{"v":1,"do":"halt","process":"web"}"#),
            (Ask::Restart { process: process() }, 1, r#"{"v":1,"do":"restart","process":"web"}"#),
            (Ask::Kill { process: process() }, 1, r#"{"v":1,"do":"kill","process":"web"}"#),
            (Ask::Output { process: process() }, 1, r#"{"v":1,"do":"output","process":"web"}"#),
            (Ask::Reload { process: process() }, 2, r#"{"v":2,"do":"reload","process":"web"}"#),
            (Ask::RestartAll, 2, r#"{"v":2,"do":"restart_all"}"#),
            (Ask::Watch, 2, r#"{"v":2,"do":"watch"}"#),
            (Ask::Follow { process: process() }, 2, r#"{"v":2,"do":"follow","process":"web"}"#),
        ] {
            assert_eq!(ask.since(), v);
            assert_eq!(text(&Request { v, ask: ask.clone() }), expected);
            assert_eq!(serde_json::from_str::<Request>(expected).unwrap(), Request { v, ask });
        }
        assert_eq!(text(&Answer::Ok(None)), r#"{"ok":null}"#);
        assert_eq!(text(&Answer::Bytes(7)), r#"{"bytes":7}"#);
        assert_eq!(text(&Answer::Lost(7)), r#"{"lost":7}"#);
        let refusal = Refusal { code: "no_process".into(), message: "no".into() };
        assert_eq!(text(&Answer::Error(refusal)), r#"{"error":{"code":"no_process","message":"no"}}"#);
    }
}
