use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::clock::SystemClock;

/// Many, so that output is rotated all the time.
fn settings(folder: PathBuf) -> LogSettings {
    let max_file_bytes = NonZeroU64::new(300_000).unwrap();
    let limits = LogLimits { max_file_bytes, max_files: NonZeroUsize::MAX, ..LogLimits::default() };
    LogSettings { folder, limits }
}

/// Writes numbered lines, some alone and some thousands at a time, until told to stop. It returns all of them.
fn flood(mut process: &File, stop: &AtomicBool) -> Vec<u8> {
    let mut all = Vec::new();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let begin = all.len();
        for line in 0..if number.is_multiple_of(10) { 2000 } else { 1 } {
            writeln!(all, "{number} {line}").unwrap();
        }
        process.write_all(&all[begin..]).unwrap();
    }
    all
}

#[test]
fn nothing_is_lost_or_doubled_when_a_reader_is_killed() {
    let bench = Bench::new();
    let (process, stop) = (bench.process.try_clone().unwrap(), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let flood = std::thread::spawn(move || flood(&process, &stopped));
    for _ in 0..20 {
        let mut command = alone("killed::reads_until_it_is_killed", bench.home.path().as_os_str());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(told, "reading\n");
    }
    stop.store(true, Ordering::Relaxed);

    let last = Output::open(bench.pipe(), settings(bench.settings.folder.clone()), "web", SystemClock::shared());
    let last = last.unwrap();
    let written = flood.join().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(last.close());
    let logged = bench.logged();
    let differ = logged.iter().zip(&written).position(|(logged, written)| logged != written);
    assert_eq!((differ, logged.len()), (None, written.len()));
}

#[test]
#[ignore = "reads until it is killed; another test runs it alone"]
fn reads_until_it_is_killed() {
    let Some(folder) = std::env::var_os("TEST_FOLDER").map(PathBuf::from) else { return };
    let output = Output::open(pipe(folder.join("pipe")), settings(folder.join("logs")), "web", SystemClock::shared());
    let mut follow = output.as_ref().unwrap().follow();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        read(&mut follow, 1_000_000).await;
        io::stderr().write_all(b"reading\n").unwrap();
        while follow.next().await.is_some() {}
    });
}
