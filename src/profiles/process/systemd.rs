//! Asking systemd, through its own programs: they speak to every version of it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::clock::SharedClock;

/// What a program of systemd may take, which waits until systemd has done what it was asked.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Whether systemd is the machine's PID 1 and does what this process asks: who is not root may not start units of the
/// system.
pub(super) fn is_at_hand() -> bool {
    // As sd_booted(3) finds it out.
    rustix::process::geteuid().is_root() && Path::new("/run/systemd/system").is_dir()
}

/// Runs `systemd-run` to its end.
///
/// # Errors
/// What it said.
pub(super) async fn run(arguments: Vec<OsString>, clock: &SharedClock) -> io::Result<()> {
    ask("systemd-run", arguments, clock).await.map(drop)
}

/// Runs `systemctl` to its end.
///
/// # Errors
/// What it said.
pub(super) async fn control<const N: usize>(arguments: [&str; N], clock: &SharedClock) -> io::Result<()> {
    ask("systemctl", arguments.map(OsString::from).into(), clock).await.map(drop)
}

/// The main process of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Main {
    /// None while it does not run.
    pub(super) pid: Option<u32>,
    /// How it ended last, unless that was in order: see `Result=` in `org.freedesktop.systemd1(5)`.
    pub(super) failure: Option<String>,
}

/// The main process of a unit as it is now; also of a unit that is not there.
///
/// # Errors
/// What `systemctl` said.
pub(super) async fn main_process(unit: &str, clock: &SharedClock) -> io::Result<Main> {
    let properties = "--property=MainPID,Result,ExecMainStatus";
    let said = ask("systemctl", ["show", properties, unit].map(OsString::from).into(), clock).await?;
    Ok(read_main(&said))
}

fn read_main(said: &str) -> Main {
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let pid = value("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0);
    let failure = value("Result").filter(|result| *result != "success");
    let status = value("ExecMainStatus").unwrap_or("unknown");
    Main { pid, failure: failure.map(|result| format!("{result}, status {status}")) }
}

async fn ask(program: &str, arguments: Vec<OsString>, clock: &SharedClock) -> io::Result<String> {
    let mut command = Command::new(program);
    command.arg("--quiet").arg("--no-ask-password").args(arguments);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::select! {
        output = command.output() => output,
        () = clock.sleep(ENDS_WITHIN) => {
            let message = format!("it has not ended within {} s", ENDS_WITHIN.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        }
    };
    let output = output.map_err(|error| io::Error::new(error.kind(), format!("running {program}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} ended with {}: {}", output.status, said.trim())))
}

/// A word of a unit's command line that systemd still knows after it has written the unit down and read it again, as
/// it does whenever it looks at its units anew.
///
/// # Errors
/// It would take the word for another one, as version 252 was seen to.
pub(super) fn word(word: &OsStr, is_program: bool) -> io::Result<&str> {
    let (mistaken, what) = if is_program { ("$\"'\\", "program") } else { ("$", "argument") };
    let kept = word.to_str().filter(|text| !text.contains(|c: char| c.is_control() || mistaken.contains(c)));
    kept.ok_or_else(|| {
        let message = format!(
            "systemd cannot be given the {what} {word:?}; use a path in UTF-8 without control characters and {mistaken}"
        );
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_main_process_that_failed_is_told_by_result_and_status() {
        let read =
            |pid, result, status| read_main(&format!("Result={result}\nMainPID={pid}\nExecMainStatus={status}\n"));
        assert_eq!(read(7, "success", 0), Main { pid: Some(7), failure: None });
        let failure = Some("exit-code, status 203".to_owned());
        assert_eq!(read(0, "exit-code", 203), Main { pid: None, failure });
        assert_eq!(read_main(""), Main { pid: None, failure: None });
    }

    #[test]
    fn what_systemd_would_mistake_is_refused() {
        let is_taken = |text: &[u8], is_program| word(OsStr::from_bytes(text), is_program).is_ok();
        for text in [&b"/opt/100% %n/\xc3\xa9"[..], b"/opt/it's", b"/opt/a\"b", b"/opt/a\\b"] {
            assert!(is_taken(text, false), "{text:?}");
        }
        assert!(is_taken(b"/opt/100% %n/\xc3\xa9", true));
        for text in [&b"/opt/it's"[..], b"/opt/a\"b", b"/opt/a\\b"] {
            assert!(!is_taken(text, true), "{text:?}");
        }
        for text in [&b"/opt/$USER"[..], b"/opt/a\nb", b"/opt/\xff"] {
            assert!(!is_taken(text, true) && !is_taken(text, false), "{text:?}");
        }
        let message = word(OsStr::new("/a$b"), false).unwrap_err().to_string();
        assert!(message.starts_with("systemd cannot be given the argument \"/a$b\"; "), "{message}");
    }
}
