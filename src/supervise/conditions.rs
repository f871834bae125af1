//! What a process changes about itself before it becomes its program.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::FileType;
use rustix::process::{Gid, Resource, Rlimit, Uid};

use super::definition::ProcessDef;
use super::users::Account;

/// What a child does before it becomes the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    Session = b's',
    Record = b'r',
    Cgroup = b'c',
    OpenFiles = b'n',
    Core = b'k',
    Groups = b'g',
    Group = b'h',
    User = b'u',
    Folder = b'd',
    Exec = b'x',
}

impl Step {
    pub(super) const ALL: [Self; 10] = [
        Self::Session,
        Self::Record,
        Self::Cgroup,
        Self::OpenFiles,
        Self::Core,
        Self::Groups,
        Self::Group,
        Self::User,
        Self::Folder,
        Self::Exec,
    ];

    /// What was being done, for people.
    pub(super) fn doing(self, def: &ProcessDef) -> String {
        match self {
            Self::Session => "making a session".to_owned(),
            Self::Record => "writing down its process id".to_owned(),
            Self::Cgroup => "entering its control group".to_owned(),
            Self::OpenFiles => "setting the limit of open files".to_owned(),
            Self::Core => "setting the limit of core dumps".to_owned(),
            Self::Groups | Self::Group | Self::User => {
                let user = def.user.as_deref().unwrap_or("its own user");
                format!("becoming {user} (only root can become somebody else)")
            }
            Self::Folder => {
                let folder = def.working_dir.as_deref().unwrap_or(Path::new("/"));
                format!("entering the working folder {}", folder.display())
            }
            Self::Exec => format!("executing {}", def.run.words().first().unwrap_or(&"")),
        }
    }
}

/// Limits, umask, user, groups and working folder, looked up and ready to be taken on between `fork` and `exec`.
pub(super) struct Conditions {
    open_files: Option<u64>,
    core_bytes: Option<u64>,
    umask: Option<u32>,
    ids: Option<(Uid, Gid)>,
    groups: Vec<Gid>,
    folder: CString,
}

impl Conditions {
    /// Those of a definition, whose user is `account`.
    ///
    /// # Errors
    /// Why there is no such thing, for people.
    pub(super) fn of(def: &ProcessDef, account: Option<Account>) -> Result<Self, String> {
        let folder = def.working_dir.clone().unwrap_or_else(|| "/".into());
        let folder = CString::new(folder.into_os_string().into_encoded_bytes())
            .map_err(|_| "a NUL byte in the working folder".to_owned())?;
        Ok(Self {
            open_files: def.limits.open_files,
            core_bytes: def.limits.core_bytes,
            umask: def.umask,
            ids: account.as_ref().map(|account| (Uid::from_raw(account.uid), Gid::from_raw(account.gid))),
            groups: account.map(|account| account.groups.into_iter().map(Gid::from_raw).collect()).unwrap_or_default(),
            folder,
        })
    }

    /// Changes the calling thread and its process. `at` is told of each step before it is taken.
    ///
    /// Only system calls are made, on memory that is there already: it may be called between `fork` and `exec`.
    ///
    /// # Errors
    /// The step that `at` was told of last failed.
    pub(super) fn take_on(&self, at: impl Fn(Step) -> io::Result<()>) -> io::Result<()> {
        let limit = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
        if let Some(most) = self.open_files {
            at(Step::OpenFiles)?;
            rustix::process::setrlimit(Resource::Nofile, limit(most))?;
        }
        if let Some(most) = self.core_bytes {
            at(Step::Core)?;
            rustix::process::setrlimit(Resource::Core, limit(most))?;
        }
        if let Some(mask) = self.umask {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
        }
        if let Some((uid, gid)) = self.ids {
            let mine = (rustix::process::geteuid(), rustix::process::getegid()) == (uid, gid);
            // Who is this user already may not be allowed to set its groups, and need not.
            if !mine || uid.is_root() {
                at(Step::Groups)?;
                rustix::thread::set_thread_groups(&self.groups)?;
                at(Step::Group)?;
                rustix::thread::set_thread_res_gid(gid, gid, gid)?;
                at(Step::User)?;
                rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            }
        }
        at(Step::Folder)?;
        Ok(rustix::process::chdir(self.folder.as_c_str())?)
    }
}

/// Makes the pipe that a program writes to its user's, because a program that opens `/dev/stderr` opens it anew, as
/// itself. Who is not root cannot give it away, and cannot become somebody else either.
pub(super) fn give_output(output: impl AsFd, account: Option<&Account>) {
    let is_pipe = rustix::fs::fstat(&output).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    if let Some(account) = account.filter(|_| is_pipe) {
        rustix::fs::fchown(output, Some(Uid::from_raw(account.uid)), Some(Gid::from_raw(account.gid))).ok();
    }
}
