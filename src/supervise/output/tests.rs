mod killed;
mod logs;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::future::Future;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustix::fs::{CWD, Mode, OFlags};
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;

/// A clock that stands still until it is told otherwise.
#[derive(Debug)]
struct TestClock(Mutex<(DateTime<Utc>, Duration)>);

impl TestClock {
    fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        now.0 += time;
        now.1 += time;
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.lock().unwrap().0
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().1
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

/// A folder with a pipe, which outlives those who read it, and with the logs.
struct Bench {
    home: TempDir,
    clock: Arc<TestClock>,
    settings: LogSettings,
    /// Blocks when the pipe is full, as a process does.
    process: File,
}

impl Bench {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        rustix::fs::mkfifoat(CWD, home.path().join("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        let logs = home.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let start = "2026-03-01T12:00:00Z".parse().unwrap();
        let process = File::options().read(true).write(true).open(home.path().join("pipe")).unwrap();
        let clock = Arc::new(TestClock(Mutex::new((start, Duration::ZERO))));
        Self { home, clock, settings: LogSettings::new(logs), process }
    }

    fn pipe(&self) -> OwnedFd {
        pipe(self.home.path().join("pipe"))
    }

    fn open(&self) -> Output {
        Output::open(self.pipe(), self.settings.clone(), "web", self.clock.clone()).unwrap()
    }

    fn write(&self, bytes: &[u8]) {
        (&self.process).write_all(bytes).unwrap();
    }

    /// Writes more than a pipe holds, while others go on.
    async fn flood(&self, bytes: Vec<u8>) {
        let mut process = self.process.try_clone().unwrap();
        tokio::task::spawn_blocking(move || process.write_all(&bytes).unwrap()).await.unwrap();
    }

    /// The names of all files in the folder of the logs.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.settings.folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn log(&self, name: &str) -> Vec<u8> {
        fs::read(self.settings.folder.join(name)).unwrap()
    }

    /// All that is logged, oldest first.
    fn logged(&self) -> Vec<u8> {
        let files = LogFiles::of(&self.settings.folder, "web").unwrap();
        files.files().iter().flat_map(|file| fs::read(&file.path).unwrap()).collect()
    }
}

fn pipe(path: PathBuf) -> OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// Bytes of every value, no run of which comes back soon.
fn noise(length: usize) -> Vec<u8> {
    (0_u32..).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).take(length).collect()
}

/// All that comes until `length` bytes have come or were lost: what came, and how much was lost.
async fn read(follow: &mut Follow, length: usize) -> (Vec<u8>, usize) {
    let (mut came, mut lost) = (Vec::new(), 0);
    while came.len() + lost < length {
        match follow.next().await.expect("the output is open") {
            Piece::Bytes(bytes) => came.extend(bytes),
            Piece::Lost(bytes) => lost += usize::try_from(bytes).unwrap(),
        }
    }
    (came, lost)
}

/// One test of this binary in a process of its own.
fn alone(test: &str, folder: &OsStr) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("supervise::output::tests::{test}"), "--include-ignored", "--nocapture"]);
    command.env("TEST_FOLDER", folder);
    command
}

#[tokio::test]
async fn what_a_process_writes_is_logged_held_and_followed() {
    let bench = Bench::new();
    let output = bench.open();
    let mut follow = output.follow();
    bench.write(b"one\n\x00\xff no line");
    assert_eq!(read(&mut follow, 14).await, (b"one\n\x00\xff no line".to_vec(), 0));
    output.drained().await;
    assert_eq!(output.snapshot(), Snapshot { bytes: b"one\n\x00\xff no line".to_vec(), begins_at: 0 });
    assert_eq!(bench.log("web.2026-03-01.1.log"), b"one\n\x00\xff no line");
    assert_eq!(output.lost(), Lost::default());
}

#[tokio::test]
async fn the_last_64_kib_are_held() {
    let bench = Bench::new();
    let output = bench.open();
    let written = noise(RING_BYTES * 3 + 17);
    bench.write(&written);
    output.drained().await;
    let begins_at = written.len() - RING_BYTES;
    assert_eq!(output.snapshot(), Snapshot { bytes: written[begins_at..].to_vec(), begins_at: begins_at as u64 });
}

#[tokio::test]
async fn a_follower_begins_with_what_is_held_and_goes_on_without_a_gap() {
    let bench = Bench::new();
    let output = bench.open();
    let mut first = output.follow();
    let written = noise(600_000);
    bench.write(&written[..300_000]);
    output.drained().await;
    let mut second = output.follow();
    bench.flood(written[300_000..].to_vec()).await;
    let first_came = read(&mut first, 600_000).await;
    let second_came = read(&mut second, 300_000 + RING_BYTES).await;
    assert!(first_came == (written.clone(), 0));
    assert!(second_came == (written[300_000 - RING_BYTES..].to_vec(), 0));
}

#[tokio::test]
async fn a_follower_that_does_not_read_stalls_nothing_and_learns_what_it_lost() {
    const BLOCK: usize = 1_000_003;
    let mut bench = Bench::new();
    bench.settings.limits.max_files = NonZeroUsize::new(100).unwrap();
    let output = bench.open();
    let mut follow = output.follow();
    let written = noise(BLOCK).repeat(100);
    bench.flood(written.clone()).await;
    output.drained().await;

    let (came, lost) = read(&mut follow, 100 * BLOCK).await;
    assert_eq!((came.len(), lost), (FOLLOWED_BYTES, 100 * BLOCK - FOLLOWED_BYTES));
    assert!(came == written[lost..]);
    assert!(bench.logged() == written);
    assert_eq!(output.lost(), Lost::default());
}

#[tokio::test]
async fn a_follower_costs_memory_only_while_it_follows() {
    let bench = Bench::new();
    let output = bench.open();
    let (mut reading, idle) = (output.follow(), output.follow());
    bench.write(&noise(500_000));
    assert_eq!(read(&mut reading, 500_000).await.1, 0);
    drop(idle);
    assert_eq!(output.0.stream.held_bytes(), 500_000);
    drop(reading);
    assert_eq!(output.0.stream.held_bytes(), RING_BYTES as u64);
    bench.write(&noise(500_000));
    output.drained().await;
    assert_eq!(output.0.stream.held_bytes(), RING_BYTES as u64);
}

#[tokio::test]
async fn a_drain_ends_although_more_and_more_comes() {
    let bench = Bench::new();
    let output = bench.open();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let flood = tokio::task::spawn_blocking(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            bench.write(&[b'x'; 4096]);
        }
        bench
    });
    let drains = [output.drained(), output.drained()];
    for drain in drains {
        drain.await;
    }
    drop(stop);
    let _bench = flood.await.unwrap();
}

#[tokio::test]
async fn closing_reads_what_is_left_and_tells_the_followers() {
    let bench = Bench::new();
    let output = bench.open();
    let (mut follow, clone) = (output.follow(), output.clone());
    bench.write(b"last words");
    output.close().await;
    assert_eq!(bench.logged(), b"last words");
    assert_eq!(follow.next().await, Some(Piece::Bytes(b"last words".to_vec())));
    assert_eq!(follow.next().await, None);
    clone.drained().await;
    clone.close().await;
}

#[tokio::test]
async fn an_output_that_everybody_forgot_reads_what_is_left() {
    let bench = Bench::new();
    let output = bench.open();
    let mut follow = output.follow();
    bench.write(b"last words");
    drop(output);
    assert_eq!(read(&mut follow, 10).await.0, b"last words");
    assert_eq!(follow.next().await, None);
}

#[tokio::test]
async fn the_next_reader_of_a_pipe_goes_on_where_the_last_one_stopped() {
    let bench = Bench::new();
    let output = bench.open();
    bench.write(b"one\n");
    output.close().await;
    bench.write(b"two\n");
    let output = bench.open();
    output.drained().await;
    assert_eq!(bench.log("web.2026-03-01.1.log"), b"one\ntwo\n");
    assert_eq!(output.snapshot(), Snapshot { bytes: b"two\n".to_vec(), begins_at: 0 });
}

#[test]
fn a_name_that_leads_out_of_the_folder_is_refused() {
    let bench = Bench::new();
    for name in ["", "../web", "a\0b"] {
        let refused = Output::open(bench.pipe(), bench.settings.clone(), name, bench.clock.clone());
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
    }
}

#[test]
fn a_pipe_that_has_an_end_is_not_read_for_ever() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (end, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
    let output = Output::open(end, bench.settings.clone(), "web", bench.clock.clone()).unwrap();
    drop(writer);
    runtime.block_on(output.follow().next());
    runtime.block_on(output.drained());
}

#[test]
fn a_closed_output_leaves_no_descriptor_and_no_thread() {
    let bench = Bench::new();
    let child = alone("opens_and_closes", bench.home.path().as_os_str()).output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

#[test]
#[ignore = "counts what the whole process has; another test runs it alone"]
fn opens_and_closes() {
    if std::env::var_os("TEST_FOLDER").is_none() {
        return;
    }
    let count = |of: &str| fs::read_dir(format!("/proc/self/{of}")).unwrap().count();
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let before = (count("fd"), count("task"));
    for _ in 0..20 {
        let output = bench.open();
        bench.write(b"something\n");
        runtime.block_on(output.drained());
        assert!(count("fd") > before.0 && count("task") > before.1);
        runtime.block_on(output.close());
    }
    assert_eq!((count("fd"), count("task")), before);
}
