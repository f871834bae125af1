//! A program that is run once and waited for. Whatever becomes of it, nothing that it started outlives it.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;

use rustix::fs::fstat;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::test_kill_process_group;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use super::definition::ProcessDef;
use super::proc::{self, Stat};
use super::reaper::{Ended, Reaper};
use super::spawn::{self, Launch, Record};
use super::state::Exit;
use super::tree::Tree;
use super::{MARK, in_full};
use crate::clock::SharedClock;

/// What a program may still say after its end, while something that it started holds on to its output.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(100);

/// How long it is tried to end what a program left behind.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How much of a line is kept.
const MOST_LINE: usize = 400;

/// How many of its last lines are kept.
const MOST_LINES: usize = 20;

/// How an errand ended, and what the program said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// How it ended.
    pub end: ErrandEnd,
    /// The last lines of its output that have anything in them, each cut where it is long.
    pub said: Vec<String>,
}

/// How an errand ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrandEnd {
    /// The program ended by itself.
    Exited(Exit),
    /// It was killed, because it took too long.
    TimedOut,
    /// It was killed, because nobody wants to know any more.
    GivenUp,
}

/// Runs the program of `def` to its end, which must come `within` so long, in a session of its own. Its restart policy
/// and what it waits for do not count. When it ends, when its time is up, and when `given_up` completes, everything
/// that it started is killed. `mark` tells its processes from all others, and should be the same for no two errands.
/// Each line that has anything in it is `heard` as it comes, cut where it is long.
///
/// # Errors
/// Why it could not be started, or something of it may still run; for people.
pub async fn run_errand(
    def: &ProcessDef,
    mark: &str,
    within: Duration,
    given_up: impl Future<Output = ()>,
    clock: &SharedClock,
    heard: &mut (dyn FnMut(&str) + Send),
) -> Result<Errand, String> {
    let plumbing = |error: io::Error| format!("making a pipe for its output: {error}");
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| plumbing(error.into()))?;
    let meta = fstat(&writer).map_err(|error| plumbing(error.into()))?;
    let tree = Tree { mark: format!("{MARK}={mark}").into_bytes(), output: (meta.st_dev, meta.st_ino), cgroup: None };
    let mut output = Output::new(reader, heard).map_err(plumbing)?;
    let (stat, mut ended) = start(def.clone(), mark.to_owned(), writer).await?;
    let (mut exit, mut given_up) = (None, pin!(given_up));
    let mut left = pin!(clock.sleep(within));
    let end = loop {
        if let Some(exit) = exit.filter(|_| output.is_over) {
            break ErrandEnd::Exited(exit);
        }
        tokio::select! {
            ended = &mut ended, if exit.is_none() => {
                exit = Some(ended);
                left.set(clock.sleep(LAST_WORDS_WITHIN));
            }
            () = output.take(), if !output.is_over => {}
            () = &mut left => break exit.map_or(ErrandEnd::TimedOut, ErrandEnd::Exited),
            () = &mut given_up => break ErrandEnd::GivenUp,
        }
    };
    let is_alone = exit.is_some() && output.is_over && !group_lives(&stat);
    if !is_alone {
        clear_away(&tree, stat, ended, exit.is_some(), clock).await?;
    }
    Ok(Errand { end, said: output.lines() })
}

async fn start(def: ProcessDef, mark: String, output: OwnedFd) -> Result<(Stat, Ended), String> {
    let started = tokio::task::spawn_blocking(move || {
        let record = proc::boot_id().and_then(|boot| Record::in_memory(&boot));
        let record = record.map_err(|error| format!("making its record: {error}"))?;
        let launch = Launch { def: &def, mark: &mark, output, handing: None, record: &record, door: None };
        let (pid, ended) = Reaper::Own.start(|| spawn::launch(launch))?;
        // It was not waited for, so nobody else can have its id.
        match Stat::read(pid.as_raw_nonzero().get()) {
            Ok(Some(stat)) => Ok((stat, ended)),
            Ok(None) => Err("it is gone before it was waited for".to_owned()),
            Err(error) => Err(format!("looking at the process: {error}")),
        }
    });
    started.await.map_err(|error| in_full(&error))?
}

/// Whether anything is left in the program's own process group.
fn group_lives(stat: &Stat) -> bool {
    rustix::process::Pid::from_raw(stat.pid).is_some_and(|group| test_kill_process_group(group).is_ok())
}

async fn clear_away(
    tree: &Tree,
    stat: Stat,
    mut ended: Ended,
    mut has_ended: bool,
    clock: &SharedClock,
) -> Result<(), String> {
    let give_up_at = clock.monotonic() + GONE_WITHIN;
    let mut known = Vec::new();
    loop {
        let members = tree.members(Some(stat), &known, &Reaper::Own);
        match members {
            Ok(members) if members.is_empty() && has_ended => return Ok(()),
            Ok(members) => {
                // Who may not be killed is seen again.
                let _ = tree.kill(&members);
                known = members;
            }
            Err(_) => {
                let _ = tree.kill(&[stat]);
            }
        }
        if clock.monotonic() >= give_up_at {
            let pids: Vec<String> = known.iter().map(|member| member.pid.to_string()).collect();
            return Err(format!("it was killed and still runs: {}", pids.join(", ")));
        }
        tokio::select! {
            _ = &mut ended, if !has_ended => has_ended = true,
            () = clock.sleep(LOOK_AGAIN) => {}
        }
    }
}

/// What a program says, as far as it is kept.
struct Output<'h> {
    pipe: Receiver,
    is_over: bool,
    block: Vec<u8>,
    line: Vec<u8>,
    lines: VecDeque<String>,
    heard: &'h mut (dyn FnMut(&str) + Send),
}

impl<'h> Output<'h> {
    fn new(pipe: OwnedFd, heard: &'h mut (dyn FnMut(&str) + Send)) -> io::Result<Self> {
        let pipe = Receiver::from_owned_fd(pipe)?;
        Ok(Self { pipe, is_over: false, block: vec![0; 8 << 10], line: Vec::new(), lines: VecDeque::new(), heard })
    }

    /// Takes in what comes next.
    async fn take(&mut self) {
        let read = self.pipe.read(&mut self.block).await.unwrap_or(0);
        if read == 0 {
            self.is_over = true;
            return;
        }
        for at in 0..read {
            match self.block[at] {
                b'\n' => self.end_line(),
                byte if self.line.len() < MOST_LINE => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim().to_owned();
        self.line.clear();
        if !line.is_empty() {
            (self.heard)(&line);
            if self.lines.len() == MOST_LINES {
                self.lines.pop_front();
            }
            self.lines.push_back(line);
        }
    }

    fn lines(mut self) -> Vec<String> {
        self.end_line();
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::clock::SystemClock;
    use crate::supervise::{EnvValue, Run};

    async fn run(line: &str, within: Duration, given_up: impl Future<Output = ()>) -> Errand {
        let mut def = ProcessDef::new(Run::command(["/bin/sh", "-c", line]));
        def.env.insert("PATH".to_owned(), EnvValue::Text("/usr/bin:/bin".to_owned()));
        run_errand(&def, &format!("errand of {line}"), within, given_up, &SystemClock::shared(), &mut |_| ())
            .await
            .unwrap()
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_ends_by_itself_says_how_and_what_it_said_last() {
        let done = run("echo one; echo; echo two >&2; printf three; exit 7", LONG, pending()).await;
        assert_eq!(done.end, ErrandEnd::Exited(Exit::Code(7)));
        assert_eq!(done.said, ["one", "two", "three"]);
        let done = run("kill -9 $$", LONG, pending()).await;
        assert_eq!((done.end, done.said.len()), (ErrandEnd::Exited(Exit::Signal(9)), 0));
    }

    #[tokio::test]
    async fn however_much_it_says_only_its_last_lines_are_kept() {
        let done = run("yes | head -c 3000000; seq 100; head -c 1000000 /dev/zero | tr '\\0' x", LONG, pending()).await;
        assert_eq!(done.said.len(), MOST_LINES);
        assert_eq!((done.said[0].as_str(), done.said.last().unwrap().len()), ("82", MOST_LINE));
    }

    fn lives(marker: &str) -> bool {
        let all = proc::all().unwrap();
        all.iter().any(|stat| {
            let line = std::fs::read(format!("/proc/{}/cmdline", stat.pid)).unwrap_or_default();
            !stat.is_zombie && line.split(|byte| *byte == 0).any(|word| word == marker.as_bytes())
        })
    }

    #[tokio::test]
    async fn nothing_that_it_started_outlives_it() {
        // In the background, in a session of its own, and with its output done away with.
        for (at, line) in [
            "sleep 9911{} & sleep 9911{}",
            "setsid sleep 9911{} & sleep 9911{}",
            "sleep 9911{} >/dev/null 2>&1 & exit 0",
        ]
        .into_iter()
        .enumerate()
        {
            let marker = format!("9911{at}");
            let done = run(&line.replace("9911{}", &marker), Duration::from_millis(300), pending()).await;
            let expected = if at == 2 { ErrandEnd::Exited(Exit::Code(0)) } else { ErrandEnd::TimedOut };
            assert_eq!(done.end, expected, "{line}");
            assert!(!lives(&marker), "{line}");
        }
        let done = run("trap '' TERM INT HUP; sleep 99117", LONG, std::future::ready(())).await;
        assert_eq!(done.end, ErrandEnd::GivenUp);
        assert!(!lives("99117"));
    }

    #[tokio::test]
    async fn what_cannot_be_started_says_why() {
        let def = ProcessDef::new(Run::command(["/no/such/program"]));
        let error = run_errand(&def, "x", LONG, pending(), &SystemClock::shared(), &mut |_| ()).await.unwrap_err();
        assert!(error.contains("No such file"), "{error}");
    }
}
