//! Being PID 1, as in a container that runs nothing but an agent.
//!
//! The kernel gives every orphan to PID 1, which must collect it when it ends. An agent waits only for what it started
//! itself. So there it starts itself once more, and what is PID 1 does nothing but pass on signals and collect. When
//! PID 1 ends the kernel kills all others at once, so what still runs by then is asked to end first: of the supervisors
//! that is, and each of these stops its cell in order.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock::SharedClock;

/// How long what the agent leaves running may take to end: as long as systemd gives a cell.
const ENDS_WITHIN: Duration = Duration::from_secs(600);

/// Whether this process is PID 1.
pub(super) fn is_init() -> bool {
    std::process::id() == 1
}

/// Runs this program with these arguments as a child, the program's name first, and ends as it does.
pub(super) async fn run(args: &[OsString], clock: SharedClock) -> Result<ExitCode, Failure> {
    let refused = |error| Failure::local("watching for signals", &error);
    // Watched before the child is there, so that nothing is missed.
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut child_ended = signal(SignalKind::child()).map_err(refused)?;
    let starting = |error| Failure::local("starting the agent", &error);
    let program = std::env::current_exe().map_err(starting)?;
    let child = Command::new(program).args(args.iter().skip(1)).spawn().map_err(starting)?;
    let agent = Pid::from_child(&child);

    let mut ended = None;
    let code = loop {
        let left = collect(agent, &mut ended);
        if let Some(code) = ended {
            break if left { code } else { return Ok(code) };
        }
        let passed_on = tokio::select! {
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => Signal::INT,
            _ = child_ended.recv() => continue,
        };
        pass_on(agent, passed_on);
    };

    let give_up = clock.sleep(ENDS_WITHIN);
    tokio::pin!(give_up);
    let mut asked = Vec::new();
    while collect(agent, &mut ended) {
        // Those that lose their parent meanwhile come to this one, and are asked as well.
        let new: Vec<Pid> = children().into_iter().filter(|pid| !asked.contains(pid)).collect();
        for pid in &new {
            pass_on(*pid, Signal::TERM);
        }
        asked.extend(new);
        tokio::select! {
            _ = child_ended.recv() => {}
            () = &mut give_up => {
                tracing::warn!("what the agent started still runs, and is killed");
                break;
            }
        }
    }
    Ok(code)
}

/// Collects every child that has ended, and notes how the agent did. Whether there are others.
fn collect(agent: Pid, ended: &mut Option<ExitCode>) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == agent => *ended = Some(code(status)),
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// As shells have it.
fn code(status: WaitStatus) -> ExitCode {
    let signal = || status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or_else(signal).and_then(|code| u8::try_from(code).ok());
    code.map_or_else(|| Exit::Internal.into(), ExitCode::from)
}

/// The children of this process, which has one thread.
fn children() -> Vec<Pid> {
    let text = std::fs::read_to_string("/proc/self/task/1/children").unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// A child has its id until it is collected here, so nobody else is hit.
fn pass_on(child: Pid, signal: Signal) {
    if let Err(error) = kill_process(child, signal) {
        tracing::warn!(%error, pid = child.as_raw_nonzero().get(), "a signal cannot be passed on");
    }
}
