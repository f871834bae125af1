//! Starting a program as its definition says. The one place of the crate with `unsafe` code: what a process changes
//! about itself between `fork` and `exec`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Pid;

use super::MARK;
use super::conditions::{Conditions, Step, give_output};
use super::definition::{EnvFile, EnvValue, ProcessDef};
use super::proc::Stat;
use super::users::Account;

/// The largest file that a variable is read from.
const MOST_SECRET: u64 = 64 << 10;

/// Where in the record file the child writes which step it is about to take. Before it stands its line of `/proc`.
const STEP_AT: u64 = 1024;

/// Where in the record file stands of which boot it tells, filled up with blanks.
const BOOT_AT: usize = 1025;

/// The record file never grows, so that a full disk cannot keep a child from writing to it.
const RECORD_BYTES: usize = BOOT_AT + 64;

/// What is needed to start a process besides its definition.
pub(super) struct Launch<'a> {
    pub(super) def: &'a ProcessDef,
    /// The value of [`MARK`].
    pub(super) mark: &'a str,
    /// Standard output and error.
    pub(super) output: OwnedFd,
    /// How it gets its sockets, if it is given any.
    pub(super) handing: Option<Handing<'a>>,
    /// Where the child writes down who it is before it becomes the program: so there is no moment at which a program
    /// runs that no record tells of, even if the supervisor is killed meanwhile.
    pub(super) record: &'a Record,
    /// The `cgroup.procs` to enter.
    pub(super) door: Option<File>,
}

/// What comes before a program that is given sockets.
pub(super) struct Handing<'a> {
    /// How the program is started that takes them.
    pub(super) taker: &'a [OsString],
    /// Where it takes them from.
    pub(super) from: OwnedFd,
}

/// The file in which a child writes down who it is.
#[derive(Debug)]
pub(super) struct Record {
    file: File,
    boot: Vec<u8>,
}

impl Record {
    /// The record at `path`, in the boot of this name.
    pub(super) fn open(path: &Path, boot: &str) -> io::Result<Self> {
        Self::of(File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?, boot)
    }

    fn of(file: File, boot: &str) -> io::Result<Self> {
        let mut boot = boot.as_bytes().to_vec();
        boot.resize(RECORD_BYTES - BOOT_AT, b' ');
        let record = Self { file, boot };
        // Otherwise the disk was full when it was made, and no process has been written down in it.
        if record.file.metadata()?.len() != RECORD_BYTES as u64 {
            record.clear()?;
            record.file.set_len(RECORD_BYTES as u64)?;
        }
        Ok(record)
    }

    /// One that nobody else is to read, and that is gone with whoever made it.
    pub(super) fn in_memory(boot: &str) -> io::Result<Self> {
        let file = rustix::fs::memfd_create(c"record", rustix::fs::MemfdFlags::CLOEXEC)?;
        Self::of(File::from(file), boot)
    }

    /// The process of this boot that was started last; None if there was none. It may have ended, even before it
    /// became the program.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(&self) -> io::Result<Option<Stat>> {
        let mut record = [0; RECORD_BYTES];
        self.file.read_exact_at(&mut record, 0)?;
        Ok(Stat::parse(&record[..STEP_AT as usize]).filter(|_| record[BOOT_AT..] == self.boot))
    }

    fn clear(&self) -> io::Result<()> {
        let mut record = [b' '; RECORD_BYTES];
        record[BOOT_AT..].copy_from_slice(&self.boot);
        self.file.write_all_at(&record, 0)
    }

    fn step(&self) -> Option<Step> {
        let mut step = [0];
        self.file.read_exact_at(&mut step, STEP_AT).ok()?;
        Step::ALL.into_iter().find(|known| *known as u8 == step[0])
    }
}

/// Starts the program and returns its id. It is the leader of a session of its own; its standard input is `/dev/null`.
/// One that is given sockets is another program first, which has not become it yet when this returns.
///
/// # Errors
/// Why it could not be started, for people.
pub(super) fn launch(launch: Launch<'_>) -> Result<Pid, String> {
    let Launch { def, mark, output, handing, record, door } = launch;
    let account = Account::find(def.user.as_deref(), def.group.as_deref()).map_err(|error| in_full(&error))?;
    // Whoever is not root may run something as itself, and may not even choose the groups that it has already.
    let is_itself = |account: &Account| {
        let own = (rustix::process::geteuid(), rustix::process::getegid());
        !own.0.is_root() && (account.uid, account.gid) == (own.0.as_raw(), own.1.as_raw())
    };
    let account = account.filter(|account| !is_itself(account));
    let env = environment(&def.env)?;
    let words = def.run.words();
    let Some((program, arguments)) = words.split_first() else { return Err("it has no command".to_owned()) };
    give_output(&output, account.as_ref());
    let share = |error: io::Error| format!("passing it its output: {error}");
    let errors = output.try_clone().map_err(share)?;
    record.clear().map_err(|error| format!("clearing its record: {error}"))?;

    let (mut command, input) = match handing {
        None => (Command::new(program), Stdio::null()),
        Some(Handing { taker, from }) => {
            let [this, words @ ..] = taker else { return Err("nothing takes its sockets".to_owned()) };
            let names: Vec<&str> = def.sockets.iter().map(|socket| socket.name.as_str()).collect();
            let mut command = Command::new(this);
            command.args(words).arg(names.join(":")).arg(program);
            (command, from.into())
        }
    };
    command.args(arguments).env_clear().envs(env).env(MARK, mark);
    command.stdin(input).stdout(output).stderr(errors);
    let conditions = Conditions::of(def, account)?;
    let (record_fd, door_fd) = (record.file.as_raw_fd(), door.as_ref().map(|door| door.as_raw_fd()));
    let become_ = Becoming { record: record_fd, door: door_fd, conditions };
    keep_descriptors(&mut command)
        .map_err(|error| format!("listing the descriptors that it must not have: {error}"))?;
    #[expect(unsafe_code, reason = "the standard library has no safe way to prepare a child")]
    // SAFETY: between fork and exec only what is async-signal-safe may be called. `run` makes system calls through
    // wrappers that are nothing but system calls, on memory that was allocated before the fork; it neither allocates
    // nor takes locks. The descriptors stay open in the parent until `spawn` has returned.
    unsafe {
        command.pre_exec(move || become_.run());
    }
    let spawned = command.spawn();
    drop(door);
    match spawned {
        // Whoever waits for it does so by its id.
        Ok(child) => i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| "it has no id".to_owned()),
        Err(error) => {
            let doing = record.step().unwrap_or(Step::Session).doing(def);
            Err(format!("{doing}: {}", explain(&error)))
        }
    }
}

/// Sees to it that the program which `command` starts gets standard input, output and error, and nothing else that this
/// process has open. What is opened here is never passed on; but whoever started this process may have passed something
/// on to it: the other end of somebody's pipe, for example, which has no end as long as it is open anywhere.
///
/// # Errors
/// It cannot be seen what is open.
pub fn keep_descriptors(command: &mut Command) -> io::Result<()> {
    let mut open: Vec<RawFd> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let fd = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        open.extend(fd.filter(|fd: &RawFd| *fd > 2));
    }
    let keep = move || {
        for fd in &open {
            #[expect(unsafe_code, reason = "what was inherited is known by its number only")]
            // SAFETY: nothing is done with the descriptor but to mark it, in a process of its own; if it was closed
            // since, that fails.
            let _ = rustix::io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(*fd) }, rustix::io::FdFlags::CLOEXEC);
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "the standard library has no safe way to prepare a child")]
    // SAFETY: `keep` makes nothing but system calls, on a list that was made before the fork.
    unsafe {
        command.pre_exec(keep);
    }
    Ok(())
}

pub(super) fn explain(error: &io::Error) -> String {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::TOOBIG) => {
            "the arguments and the environment are too large; a single one may have 128 KiB, all together a quarter of \
             the stack limit"
                .to_owned()
        }
        Some(rustix::io::Errno::NOEXEC) => "it is no program, and has no `#!` line".to_owned(),
        _ => error.to_string(),
    }
}

/// The child's own part.
struct Becoming {
    record: RawFd,
    door: Option<RawFd>,
    conditions: Conditions,
}

impl Becoming {
    fn run(&self) -> io::Result<()> {
        #[expect(unsafe_code, reason = "descriptors cross the fork as numbers")]
        // SAFETY: the parent keeps both open until `spawn` returns, and the fork has copied them.
        let (record, door) =
            unsafe { (BorrowedFd::borrow_raw(self.record), self.door.map(|door| BorrowedFd::borrow_raw(door))) };
        let at = |step: Step| rustix::io::pwrite(record, &[step as u8], STEP_AT).map(|_| ());
        at(Step::Session)?;
        rustix::process::setsid()?;
        at(Step::Record)?;
        let mut line = [0_u8; STEP_AT as usize];
        let stat = rustix::fs::open(c"/proc/self/stat", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
        let length = rustix::io::read(&stat, &mut line)?;
        rustix::io::pwrite(record, &line[..length], 0)?;
        drop(stat);
        if let Some(door) = door {
            at(Step::Cgroup)?;
            rustix::io::write(door, b"0")?;
        }
        self.conditions.take_on(|step| Ok(at(step)?))?;
        at(Step::Exec)?;
        Ok(())
    }
}

/// The environment with the values that lie in files.
pub(super) fn environment(env: &BTreeMap<String, EnvValue>) -> Result<BTreeMap<&str, String>, String> {
    env.iter().map(|(name, value)| Ok((name.as_str(), read_value(name, value)?))).collect()
}

fn read_value(name: &str, value: &EnvValue) -> Result<String, String> {
    match value {
        EnvValue::Text(text) => Ok(text.clone()),
        EnvValue::File(file) => file.read().map_err(|error| format!("the variable {name}: {}", in_full(&error))),
    }
}

/// Why the value of a variable could not be read.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    /// The file could not be read.
    #[error("reading {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is in the file cannot be the value of a variable.
    #[error("{path} {what}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

impl EnvFile {
    /// Reads the value. It is never shown in an error.
    ///
    /// # Errors
    /// The file or the key is not there, or what is there is too large or cannot be passed to a program.
    pub fn read(&self) -> Result<String, EnvFileError> {
        let path = || self.from_file.display().to_string();
        let unreadable = |source| EnvFileError::Unreadable { path: path(), source };
        let unusable = |what: String| EnvFileError::Unusable { path: path(), what };
        let mut bytes = Vec::new();
        // A pipe would be waited for here until somebody opens its other end.
        let at_once = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = File::options().read(true).custom_flags(at_once).open(&self.from_file).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(unusable("is not a file".to_owned()));
        }
        file.take(MOST_SECRET + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MOST_SECRET {
            return Err(unusable(format!("is larger than {MOST_SECRET} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| unusable("is not UTF-8".to_owned()))?;
        if text.contains('\0') {
            return Err(unusable("has a NUL byte in it".to_owned()));
        }
        let Some(key) = &self.key else {
            return Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned());
        };
        let value = text.lines().find_map(|line| line.split_once('=').filter(|(name, _)| name.trim() == key));
        value.map(|(_, value)| value.to_owned()).ok_or_else(|| unusable(format!("has no line {key}=…")))
    }
}

/// An error with its causes.
pub(super) fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
