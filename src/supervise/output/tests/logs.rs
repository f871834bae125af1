use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Bench {
    fn limited(max_file_bytes: u64, max_files: usize) -> Self {
        let mut bench = Self::new();
        bench.settings.limits.max_file_bytes = NonZeroU64::new(max_file_bytes).unwrap();
        bench.settings.limits.max_files = NonZeroUsize::new(max_files).unwrap();
        bench
    }

    /// Logs what stands in the pipe and then `bytes`.
    async fn log_more(&self, bytes: &[u8]) {
        let output = self.open();
        self.write(bytes);
        output.close().await;
    }

    /// An output whose log did not fit on a [`SmallDisk`], and that log.
    async fn fill_disk(&self) -> (Output, PathBuf) {
        let output = self.open();
        self.write(&[b'x'; 64 * 1024 + 10]);
        output.drained().await;
        (output, self.settings.folder.join("web.2026-03-01.1.log"))
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.settings.folder.join(name), bytes).unwrap();
    }
}

#[tokio::test]
async fn a_full_file_ends_at_a_line_end() {
    let bench = Bench::limited(20, 10);
    // All of it stands in the pipe before anybody reads.
    bench.write(b"first line\nsecond\nthird line\n4\n5\n");
    bench.log_more(b"").await;
    assert_eq!(bench.names(), ["web.2026-03-01.1.log", "web.2026-03-01.2.log"]);
    assert_eq!(bench.log("web.2026-03-01.1.log"), b"first line\nsecond\n");
    assert_eq!(bench.log("web.2026-03-01.2.log"), b"third line\n4\n5\n");
}

#[tokio::test]
async fn a_line_that_does_not_fit_any_more_begins_the_next_file() {
    let bench = Bench::limited(20, 10);
    bench.log_more(b"0123456789\n").await;
    bench.log_more(b"a longer line\n").await;
    assert_eq!(bench.log("web.2026-03-01.1.log"), b"0123456789\n");
    assert_eq!(bench.log("web.2026-03-01.2.log"), b"a longer line\n");
}

#[tokio::test]
async fn a_line_that_was_begun_goes_on_in_its_file_as_far_as_it_fits() {
    let bench = Bench::limited(20, 10);
    bench.log_more(b"0123456789").await;
    bench.log_more(b"0123456789 and\n").await;
    assert_eq!(bench.log("web.2026-03-01.1.log"), b"01234567890123456789");
    assert_eq!(bench.log("web.2026-03-01.2.log"), b" and\n");
}

#[tokio::test]
async fn an_endless_line_is_cut_without_losing_a_byte() {
    let bench = Bench::limited(1000, 10_000);
    let line: Vec<u8> = noise(300_000).into_iter().filter(|byte| *byte != b'\n').collect();
    let output = bench.open();
    bench.flood(line.clone()).await;
    output.close().await;
    assert!(bench.logged() == line);
    assert_eq!(bench.names().len(), line.len().div_ceil(1000));
}

#[tokio::test]
async fn every_day_has_files_of_its_own() {
    let bench = Bench::limited(100, 10);
    let output = bench.open();
    bench.write(b"one\n");
    output.drained().await;
    bench.clock.pass(DAY / 2 - Duration::from_secs(1));
    bench.write(b"still the same day\n");
    output.drained().await;
    bench.clock.pass(Duration::from_secs(1));
    bench.write(b"two\n");
    output.drained().await;
    assert_eq!(bench.log("web.2026-03-01.1.log"), b"one\nstill the same day\n");
    assert_eq!(bench.log("web.2026-03-02.1.log"), b"two\n");
}

#[tokio::test]
async fn the_newest_file_of_the_day_is_gone_on_with() {
    let bench = Bench::limited(20, 20);
    bench.put("web.2026-02-28.11.log", b"old\n");
    bench.put("web.2026-03-01.9.log", b"older\n");
    bench.put("web.2026-03-01.10.log", b"newest\n");
    bench.log_more(b"more\n").await;
    assert_eq!(bench.log("web.2026-03-01.10.log"), b"newest\nmore\n");
    assert_eq!(bench.logged(), b"old\nolder\nnewest\nmore\n");
}

#[tokio::test]
async fn only_so_many_files_are_kept() {
    let bench = Bench::limited(10, 3);
    for number in 0..5 {
        bench.log_more(format!("line {number}...\n").as_bytes()).await;
    }
    assert_eq!(bench.names(), ["web.2026-03-01.3.log", "web.2026-03-01.4.log", "web.2026-03-01.5.log"].as_slice());
}

#[tokio::test]
async fn files_that_are_too_old_are_removed_at_the_start_and_with_each_new_file() {
    let mut bench = Bench::limited(100, 10);
    bench.settings.limits.max_age_days = 2;
    bench.put("web.2026-02-26.1.log", b"too old");
    bench.put("web.2026-02-27.1.log", b"just not");
    let output = bench.open();
    output.drained().await;
    assert_eq!(bench.names(), ["web.2026-02-27.1.log"]);
    bench.clock.pass(DAY);
    bench.write(b"new\n");
    output.drained().await;
    assert_eq!(bench.names(), ["web.2026-03-02.1.log"]);
}

#[tokio::test]
async fn the_file_being_written_is_kept_when_the_clock_was_put_back() {
    let bench = Bench::limited(100, 1);
    bench.put("web.2031-01-01.1.log", b"from a clock that was wrong\n");
    bench.put("web.2031-01-02.1.log", b"from a clock that was wrong\n");
    bench.log_more(b"now\n").await;
    assert_eq!(bench.log("web.2026-03-01.1.log"), b"now\n");
}

#[tokio::test]
async fn what_is_not_a_log_of_this_process_is_neither_removed_nor_counted() {
    let bench = Bench::limited(100, 2);
    let mut names = vec![
        "web-2.2020-01-01.1.log",
        "web.2020-01-01.01.log",
        "web.2020-01-01.0.log",
        "web.2020-01-01.1.log.gz",
        "web.2020-01-01.2020-01-01.1.log",
        "web.2020-1-1.1.log",
        "web.2026-02-28.01.log",
        "web.log",
        "web.x.2020-01-01.1.log",
        "xweb.2020-01-01.1.log",
    ];
    names.iter().for_each(|name| bench.put(name, b""));
    bench.put("web.2020-01-01.1.log", b"this is one, and too old");
    bench.put("web.2026-02-28.1.log", b"this is one too");
    bench.log_more(b"new\n").await;
    names.extend(["web.2026-02-28.1.log", "web.2026-03-01.1.log"]);
    names.sort_unstable();
    assert_eq!(bench.names(), names);
}

#[tokio::test]
async fn a_link_or_a_pipe_in_the_place_of_a_log_is_neither_followed_nor_waited_for() {
    let bench = Bench::limited(100, 10);
    let (logs, elsewhere) = (bench.settings.folder.clone(), bench.home.path().join("elsewhere"));
    fs::write(&elsewhere, b"not ours").unwrap();
    symlink(&elsewhere, logs.join("web.2026-03-01.1.log")).unwrap();
    bench.log_more(b"one\n").await;
    rustix::fs::mkfifoat(CWD, logs.join("web.2026-03-01.3.log"), Mode::RUSR | Mode::WUSR).unwrap();
    bench.log_more(b"two\n").await;
    assert_eq!(fs::read(elsewhere).unwrap(), b"not ours");
    assert_eq!(bench.log("web.2026-03-01.2.log"), b"one\n");
    assert_eq!(bench.log("web.2026-03-01.4.log"), b"two\n");
    assert_eq!(bench.logged(), b"one\ntwo\n");
}

#[tokio::test]
async fn others_may_not_read_the_logs() {
    let bench = Bench::new();
    bench.log_more(b"secret\n").await;
    let mode = fs::metadata(bench.settings.folder.join("web.2026-03-01.1.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[tokio::test]
async fn a_log_that_somebody_empties_or_removes_is_begun_again() {
    let bench = Bench::new();
    let path = bench.settings.folder.join("web.2026-03-01.1.log");
    let output = bench.open();
    bench.write(b"one\n");
    output.drained().await;
    File::options().write(true).truncate(true).open(&path).unwrap();
    bench.write(b"two\n");
    output.drained().await;
    assert_eq!(fs::read(&path).unwrap(), b"two\n");
    fs::remove_file(&path).unwrap();
    bench.write(b"three\n");
    output.drained().await;
    assert_eq!(fs::read(&path).unwrap(), b"three\n");
}

#[tokio::test]
async fn a_folder_that_is_missing_costs_the_log_and_nothing_else() {
    let bench = Bench::new();
    let aside = bench.home.path().join("aside");
    fs::rename(&bench.settings.folder, &aside).unwrap();
    let output = bench.open();
    bench.write(b"one\n");
    output.drained().await;
    assert_eq!(output.snapshot().bytes, b"one\n");
    let lost = output.lost();
    assert_eq!(lost.bytes, 4);
    let why = lost.last_error.unwrap();
    assert!(why.contains(bench.settings.folder.to_str().unwrap()) && why.contains("No such file"), "{why}");
    bench.clock.pass(Duration::from_secs(1));
    bench.write(b"still\n");
    output.drained().await;
    assert_eq!(output.lost().bytes, 10);

    fs::rename(&aside, &bench.settings.folder).unwrap();
    bench.clock.pass(Duration::from_secs(1));
    bench.write(b"two\n");
    output.drained().await;
    let marked = b"[10 bytes of output are missing here: No such file or directory (os error 2)]\ntwo\n";
    assert_eq!(bench.logged(), marked);
    assert_eq!(output.lost().bytes, 10);
}

#[tokio::test]
async fn closing_says_what_is_missing_at_the_end() {
    let bench = Bench::new();
    let aside = bench.home.path().join("aside");
    fs::rename(&bench.settings.folder, &aside).unwrap();
    let output = bench.open();
    bench.write(b"one\n");
    output.drained().await;
    fs::rename(&aside, &bench.settings.folder).unwrap();
    output.close().await;
    assert_eq!(bench.logged(), b"[4 bytes of output are missing here: No such file or directory (os error 2)]\n");
}

/// A file system of 64 KiB, gone when the test is.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` where this user may not mount one.
    fn mount(at: &'a Path) -> Option<Self> {
        let mut command = Command::new("mount");
        let done = command.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(at).output();
        if done.as_ref().is_ok_and(|done| done.status.success()) {
            return Some(Self(at));
        }
        assert!(
            std::env::var_os("FLEETMAN_E2E").is_none_or(|value| value != "1"),
            "a tmpfs cannot be mounted: {done:?}"
        );
        eprintln!("skipped: a tmpfs cannot be mounted: {done:?}");
        None
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0).status().unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_loses_log_bytes_and_says_how_many() {
    let bench = Bench::new();
    let Some(_disk) = SmallDisk::mount(&bench.settings.folder) else { return };
    bench.put("ballast", &[b'x'; 32 * 1024]);
    let output = bench.open();
    let flood = b"a line of output\n".repeat(60_000);
    bench.flood(flood.clone()).await;
    output.drained().await;
    let kept = bench.logged();
    assert!(!kept.is_empty() && flood.starts_with(&kept), "{} bytes", kept.len());
    let lost = output.lost();
    assert_eq!(lost.bytes, (flood.len() - kept.len()) as u64);
    assert!(lost.last_error.unwrap().contains("No space left"));

    fs::remove_file(bench.settings.folder.join("ballast")).unwrap();
    bench.write(b"not yet\n");
    output.drained().await;
    assert!(bench.logged() == kept, "it was tried again before a second had passed");
    bench.clock.pass(Duration::from_secs(1));
    bench.write(b"again\n");
    output.drained().await;
    bench.write(b"and again\n");
    output.drained().await;

    let logged = String::from_utf8(bench.logged()).unwrap();
    let missing = flood.len() - kept.len() + "not yet\n".len();
    let mark = format!("\n[{missing} bytes of output are missing here: No space left on device (os error 28)]\n");
    let (before, after) = logged.split_once(&mark).expect("the mark is in the log");
    assert!(kept.starts_with(before.as_bytes()) && kept.len() - before.len() <= 1);
    assert_eq!(after, "again\nand again\n");
    assert_eq!(output.lost().bytes, missing as u64);
    output.close().await;
}

#[tokio::test]
async fn a_mark_that_does_not_fit_is_not_left_half() {
    let bench = Bench::new();
    let Some(_disk) = SmallDisk::mount(&bench.settings.folder) else { return };
    let (output, path) = bench.fill_disk().await;
    let full = fs::metadata(&path).unwrap().len();
    // Room for a part of the mark only.
    File::options().write(true).open(&path).unwrap().set_len(full - 5).unwrap();
    bench.clock.pass(Duration::from_secs(1));
    bench.write(b"lost\n");
    output.drained().await;
    assert_eq!(fs::metadata(&path).unwrap().len(), full - 5);
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == b'x'));
    output.close().await;
}

#[tokio::test]
async fn a_log_that_failed_is_looked_for_again() {
    let bench = Bench::new();
    let Some(_disk) = SmallDisk::mount(&bench.settings.folder) else { return };
    let (output, path) = bench.fill_disk().await;
    let elsewhere = bench.settings.folder.join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    File::options().write(true).open(&elsewhere).unwrap().set_len(0).unwrap();
    bench.clock.pass(Duration::from_secs(1));
    bench.write(b"again\n");
    output.close().await;
    assert_eq!(fs::metadata(elsewhere).unwrap().len(), 0);
    assert!(fs::read(path).unwrap().ends_with(b"\nagain\n"));
}
