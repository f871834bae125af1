//! A service that kills itself whenever it is told to, and writes down when it does and when it begins.
//!
//! It takes both times itself, so that neither the one who measures nor the way to tell it adds to them, and so that
//! it is the same for every supervisor, in whatever container.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, mkfifoat};

/// How long a supervisor may take.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

const SCRIPT: &str = r#"
exec 3<>"$1/orders" 4>"$1/times"
echo "up $EPOCHREALTIME" >&4
read -r _ <&3
echo "down $EPOCHREALTIME" >&4
kill -KILL $$
"#;

pub(crate) struct Mortal {
    orders: File,
    times: BufReader<File>,
}

impl Mortal {
    /// Lays out its pipes in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let pipe = |name: &str| {
            let path = folder.join(name);
            mkfifoat(CWD, &path, Mode::RWXU).unwrap();
            // For both, so that it is open whether or not the other end is.
            File::options().read(true).write(true).open(path).unwrap()
        };
        std::fs::write(folder.join("script"), SCRIPT).unwrap();
        Self { orders: pipe("orders"), times: BufReader::new(pipe("times")) }
    }

    /// What a supervisor is to run, to which the folder may have another name.
    pub(crate) fn command(&self, folder: &Path) -> [String; 3] {
        let folder = folder.to_str().unwrap();
        ["/bin/bash".to_owned(), format!("{folder}/script"), folder.to_owned()]
    }

    /// Lets it die so many times, and says how long it was away each time.
    pub(crate) fn die_often(&mut self, times: usize) -> Vec<Duration> {
        self.time_of("up");
        let die = |_| {
            self.orders.write_all(b"die\n").unwrap();
            let down = self.time_of("down");
            self.time_of("up").checked_sub(down).expect("the wall clock was set back")
        };
        (0..times).map(die).collect()
    }

    /// The next line, which must be of this kind.
    fn time_of(&mut self, what: &str) -> Duration {
        if self.times.buffer().is_empty() {
            let mut fds = [PollFd::new(self.times.get_ref(), PollFlags::IN)];
            assert_eq!(poll(&mut fds, Some(&PATIENCE)), Ok(1), "the process is not {what} within {PATIENCE:?}");
        }
        let mut line = String::new();
        self.times.read_line(&mut line).unwrap();
        let time = line.trim().strip_prefix(what).unwrap_or_else(|| panic!("{line:?} instead of {what}"));
        let (seconds, micros) = time.trim().split_once('.').unwrap();
        Duration::from_secs(seconds.parse().unwrap()) + Duration::from_micros(micros.parse().unwrap())
    }
}
