//! What a service has on disk besides its logs; [the front page](super) lists it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};

use super::definition::{ProcessDef, check_name};
use super::error::SupervisorError;
use super::ownership::check_ownership;
use super::proc::{self, Stat};
use super::restart::Then;
use super::spawn::Record;
use super::state::ProcessStatus;
use crate::clock::SharedClock;

const STATE: &str = "state.json";

/// What the names of records end with.
const RECORD: &str = ".pid";

/// The largest file that is believed to be our own.
const MOST_STATE: u64 = 64 << 20;

/// How long a child of a killed supervisor may take to become its program and let go of the lock, and how often it is
/// asked.
const LOCK_WITHIN: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// What a supervisor leaves to the next one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// Of another boot nothing runs any more.
    pub(super) boot_id: String,
    pub(super) processes: BTreeMap<String, Former>,
}

/// What is remembered of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Former {
    /// What it was started by.
    pub(super) def: ProcessDef,
    pub(super) status: ProcessStatus,
    pub(super) restarts: u32,
    pub(super) restarts_in_a_row: u32,
    /// While it is stopping, what comes then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) then: Option<Then>,
}

/// The folder of one service, taken.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) run: PathBuf,
    pub(super) logs: PathBuf,
    pub(super) boot_id: String,
    /// Device and inode of the folder: a name for it that no container shares.
    identity: (u64, u64),
    _lock: File,
}

impl Home {
    /// Takes the service; None if another supervisor has it.
    pub(super) async fn take(
        folder: &Path,
        service: &str,
        clock: &SharedClock,
    ) -> Result<Option<Self>, SupervisorError> {
        let (run, logs) = (run_folder(folder, service)?, folder.join(service).join("logs"));
        make(&logs)?;
        let Some(lock) = lock(&run.join("lock"), clock).await? else { return Ok(None) };
        let meta = fs::metadata(&run).map_err(at("reading", &run))?;
        let boot_id = proc::boot_id().map_err(at("reading", Path::new("/proc/sys/kernel/random/boot_id")))?;
        Ok(Some(Self { run, logs, boot_id, identity: (meta.dev(), meta.ino()), _lock: lock }))
    }

    /// What marks everything that `process` starts.
    pub(super) fn mark(&self, service: &str, process: &str) -> String {
        format!("{:x}.{:x}/{service}/{process}", self.identity.0, self.identity.1)
    }

    pub(super) fn pipe_path(&self, process: &str) -> PathBuf {
        self.run.join(format!("{process}.out"))
    }

    /// The pipe's reading end, and its device and inode. What an earlier process wrote and nobody read is still in it
    /// while anything has it open.
    pub(super) fn pipe(&self, process: &str) -> Result<(OwnedFd, (u64, u64)), SupervisorError> {
        let path = self.pipe_path(process);
        match rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(at("making", &path)(error.into())),
        }
        // Also for writing, so that it never ends: writers come and go.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| at("opening", &path)(error.into()))?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| at("reading", &path)(error.into()))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Fifo {
            let error = io::Error::new(io::ErrorKind::AlreadyExists, "it is no pipe; remove it");
            return Err(at("opening", &path)(error));
        }
        Ok((fd, (stat.st_dev, stat.st_ino)))
    }

    /// Who `process` is.
    pub(super) fn record(&self, process: &str) -> Result<Record, SupervisorError> {
        let path = self.record_path(process);
        Record::open(&path, &self.boot_id).map_err(at("opening", &path))
    }

    pub(super) fn record_path(&self, process: &str) -> PathBuf {
        self.run.join(format!("{process}{RECORD}"))
    }

    /// The processes that have a record, whatever else is known of them.
    pub(super) fn recorded(&self) -> Result<Vec<String>, SupervisorError> {
        let failed = |error| at("reading", &self.run)(error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.run).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let process = name.to_str().and_then(|name| name.strip_suffix(RECORD));
            names.extend(process.filter(|process| check_name(process).is_ok()).map(str::to_owned));
        }
        Ok(names)
    }

    /// The processes of the service that run, whoever started them.
    pub(super) fn running(&self) -> Vec<Stat> {
        let records = self.recorded().unwrap_or_default();
        let stats = records.iter().filter_map(|process| self.record(process).ok()?.read().ok()?);
        stats.filter(|stat| stat.lives().unwrap_or(false)).collect()
    }

    /// What the supervisor before left, if it was of this boot and can be read.
    pub(super) fn load(&self) -> BTreeMap<String, Former> {
        let path = self.run.join(STATE);
        match read_state(&path) {
            Ok(Some(remembered)) if remembered.boot_id == self.boot_id => remembered.processes,
            Ok(_) => BTreeMap::new(),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "what was left by the supervisor before cannot be read");
                BTreeMap::new()
            }
        }
    }

    /// Leaves word to the next supervisor. It need not survive the machine: of another boot nothing runs any more.
    pub(super) fn save(&self, processes: BTreeMap<String, Former>) -> io::Result<()> {
        let remembered = Remembered { boot_id: self.boot_id.clone(), processes };
        let new = self.run.join(format!("{STATE}.new"));
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(&remembered)?)?;
        replace(&new, &self.run.join(STATE))
    }

    /// Removes what `process` had here; its logs stay.
    pub(super) fn forget(&self, process: &str) {
        for path in [self.pipe_path(process), self.record_path(process)] {
            if let Err(error) = fs::remove_file(&path).or_else(absent_is_fine) {
                tracing::warn!(file = %path.display(), %error, "a file of a removed process stays behind");
            }
        }
    }
}

/// Puts `new` in the place of `path`, so that at any time one or the other is there, whole. A plain rename over a file
/// would make ext4 write the new one to the disk first, which a process that is to be started again would wait for.
fn replace(new: &Path, path: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_file(new),
        // There was none before, or the file system cannot exchange files.
        Err(_) => fs::rename(new, path),
    }
}

fn read_state(path: &Path) -> io::Result<Option<Remembered>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MOST_STATE).read_to_end(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

/// The folder in which supervisors of `service` keep what is theirs, for whoever starts one and has it log there too.
/// It and those on the way from `folder` on are made if they are not there, for their owner alone.
///
/// # Errors
/// One of them is somebody else's, or others may write to it; or it cannot be made.
pub fn run_folder(folder: &Path, service: &str) -> Result<PathBuf, SupervisorError> {
    make(folder)?;
    let service = folder.join(service);
    make(&service)?;
    let run = service.join("run");
    make(&run)?;
    Ok(run)
}

/// Makes a folder that only its owner can look into, with those above it. One that is there may let others look.
pub(super) fn make(folder: &Path) -> Result<(), SupervisorError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at("making", folder))?;
    Ok(check_ownership(folder)?)
}

/// Takes a lock, which is given back when the file is closed; None if another one holds it. A child of one that was
/// killed may hold it until it has become its program, so it is asked for a while.
pub(super) async fn lock(path: &Path, clock: &SharedClock) -> Result<Option<File>, SupervisorError> {
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = file.map_err(at("opening", path))?;
    let give_up_at = clock.monotonic() + LOCK_WITHIN;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) if clock.monotonic() >= give_up_at => return Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => clock.sleep(LOCK_PAUSE).await,
            Err(error) => return Err(at("locking", path)(error.into())),
        }
    }
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

pub(super) fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SupervisorError + 'a {
    move |source| SupervisorError::Disk { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn folders_are_made_for_their_owner_alone_and_none_that_others_write_to_is_taken() {
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("above/folder");
        let run = run_folder(&folder, "web").unwrap();
        assert_eq!(run, folder.join("web/run"));
        let all = [run.clone(), folder.join("web"), folder.clone(), place.path().join("above")];
        assert_eq!(all.each_ref().map(|path| mode(path)), [0o700; 4]);
        // What is above is whoever's it is, as /tmp is everybody's.
        set(&all[3], 0o1777);
        for path in &all[..3] {
            set(path, 0o755);
            run_folder(&folder, "web").unwrap();
            for open in [0o775, 0o757] {
                set(path, open);
                let error = run_folder(&folder, "web").unwrap_err();
                assert!(error.to_string().ends_with(&format!("; chmod go-w {}", path.display())), "{error}");
            }
            set(path, 0o755);
        }
    }

    #[test]
    fn a_file_is_replaced_whether_or_not_there_was_one() {
        let folder = tempfile::tempdir().unwrap();
        let (new, path) = (folder.path().join("new"), folder.path().join("state"));
        for text in ["one", "two"] {
            fs::write(&new, text).unwrap();
            replace(&new, &path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert!(!new.exists());
        }
    }
}
