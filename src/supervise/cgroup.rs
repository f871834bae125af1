//! Control groups, version 2: where the system lends us one, the kernel itself knows what belongs to a process; see
//! `cgroups(7)`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A group of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// The group that the calling process is in; None where there is only the first version of control groups.
    ///
    /// # Errors
    /// It cannot be divided further.
    pub(super) fn own() -> io::Result<Option<Self>> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let Some(folder) = own_folder(&mounts, &own) else { return Ok(None) };
        let group = Self { folder };
        group.door()?;
        Ok(Some(group))
    }

    /// A group below this one, made if it is missing.
    pub(super) fn child(&self, name: &str) -> io::Result<Self> {
        let folder = self.folder.join(name);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Self { folder }),
        }
    }

    /// The file to which a process writes `0` to enter.
    pub(super) fn door(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().write(true).open(self.folder.join("cgroup.procs"))
    }

    /// The processes in it, and in the groups that they made below it.
    ///
    /// # Errors
    /// It is not there, or cannot be read; or what is in it changes all the time.
    pub(super) fn members(&self) -> io::Result<Vec<i32>> {
        let mut members = Vec::new();
        for group in self.groups()? {
            match fs::read_to_string(group.join("cgroup.procs")) {
                Ok(text) => members.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
                // A group below may be gone by now, or hold threads of processes that are listed further up.
                Err(_) if group != self.folder => {}
                Err(error) => return Err(error),
            }
        }
        let events = fs::read_to_string(self.folder.join("cgroup.events"))?;
        if members.is_empty() && events.lines().any(|line| line == "populated 1") {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "its processes move from group to group"));
        }
        Ok(members)
    }

    /// Its folder, and then those of the groups below it.
    fn groups(&self) -> io::Result<Vec<PathBuf>> {
        let mut groups = vec![self.folder.clone()];
        let mut seen = 0;
        while let Some(group) = groups.get(seen) {
            let below: io::Result<Vec<_>> = fs::read_dir(group).and_then(Iterator::collect);
            match below {
                Ok(entries) => {
                    let is_group = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
                    groups.extend(entries.iter().filter(|entry| is_group(entry)).map(fs::DirEntry::path));
                }
                Err(_) if seen > 0 => {}
                Err(error) => return Err(error),
            }
            seen += 1;
        }
        Ok(groups)
    }

    /// Kills everything in it at once, forks included (since Linux 5.14).
    pub(super) fn kill(&self) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.kill"), "1")
    }

    /// Removes it with the groups below it, if nothing is in them.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.groups()?.iter().rev().try_for_each(fs::remove_dir)
    }
}

/// Where the second version is mounted, and the calling process in it.
fn own_folder(mounts: &str, own: &str) -> Option<PathBuf> {
    let own = Path::new(own.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (kind.split(' ').next() == Some("cgroup2"))
            .then(|| Some(Path::new(point).join(own.strip_prefix(root).ok()?)))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_groups_below_is_in_it_and_what_moves_is_not_taken_for_gone() {
        let folder = tempfile::tempdir().unwrap();
        let group = Cgroup { folder: folder.path().join("g") };
        let write = |path: &str, text: &str| fs::write(group.folder.join(path), text).unwrap();
        assert_eq!(group.members().unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir_all(group.folder.join("a/b")).unwrap();
        write("cgroup.procs", "1\n2\n");
        write("a/b/cgroup.procs", "3\n");
        write("cgroup.events", "populated 1\nfrozen 0\n");
        assert_eq!(group.members().unwrap(), [1, 2, 3]);
        write("cgroup.procs", "");
        write("a/b/cgroup.procs", "");
        assert_eq!(group.members().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        write("cgroup.events", "populated 0\nfrozen 0\n");
        assert_eq!(group.members().unwrap(), [0; 0]);
    }

    #[test]
    fn the_own_group_is_found_wherever_it_is_mounted() {
        let pure = "24 1 0:22 / /proc rw - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let own = "0::/system.slice/web.service\n";
        assert_eq!(own_folder(pure, own), Some("/sys/fs/cgroup/system.slice/web.service".into()));
        let both = "31 23 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n32 23 0:28 /system.slice /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own_folder(both, "4:pids:/x\n0::/system.slice/a\n"), Some("/sys/fs/cgroup/unified/a".into()));
        assert_eq!(own_folder(both, "4:pids:/x\n"), None);
        assert_eq!(own_folder(both, "0::/user.slice\n"), None, "what is not mounted here cannot be used");
    }
}
