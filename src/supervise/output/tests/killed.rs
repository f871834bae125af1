use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::clock::SystemClock;

/// Small files, so that output is rotated all the time.
fn settings(folder: PathBuf) -> LogSettings {
    let max_file_bytes = NonZeroU64::new(300_000).unwrap();
    let limits = LogLimits { max_file_bytes, max_files: NonZeroUsize::MAX, ..LogLimits::default() };
    LogSettings { folder, limits }
}

/// What is written in one go: many lines or few, and no two the same.
fn block(number: u64) -> Vec<u8> {
    let mut block = format!("{number}\n").into_bytes();
    if !number.is_multiple_of(3) {
        block.extend(b"a line of a flood of output\n".repeat(4000));
    }
    block
}

/// Writes until told to stop, and returns how many blocks.
fn flood(mut process: &File, stop: &AtomicBool) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        process.write_all(&block(number)).unwrap();
        number += 1;
    }
    number
}

#[test]
fn nothing_is_lost_or_doubled_when_a_reader_is_killed() {
    let bench = Bench::new();
    let (process, stop) = (bench.process.try_clone().unwrap(), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let flood = std::thread::spawn(move || flood(&process, &stopped));
    for _ in 0..30 {
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
    let blocks = flood.join().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(last.close());
    let logged = bench.logged();
    let mut rest = logged.as_slice();
    for number in 0..blocks {
        let block = block(number);
        let same = rest.iter().zip(&block).take_while(|(logged, written)| logged == written).count();
        assert_eq!(same, block.len(), "block {number} of {blocks}");
        rest = &rest[same..];
    }
    assert_eq!(rest, b"");
}

#[test]
#[ignore = "reads until it is killed; another test runs it alone"]
fn reads_until_it_is_killed() {
    let Some(folder) = std::env::var_os("TEST_FOLDER").map(PathBuf::from) else { return };
    let output = Output::open(pipe(folder.join("pipe")), settings(folder.join("logs")), "web", SystemClock::shared());
    let mut follow = output.as_ref().unwrap().follow();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        read(&mut follow, 500_000).await;
        io::stderr().write_all(b"reading\n").unwrap();
        std::future::pending().await
    })
}
