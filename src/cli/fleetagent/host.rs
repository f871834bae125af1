//! What profiles need of a host, looked at for `fleetagent doctor`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, CWD, FlockOperation, Mode, OFlags, access, flock, mkfifoat, open};

use crate::cli::failure::Failure;
use crate::cli::findings;
use crate::clock::SharedClock;
use crate::model::fleet::Finding;
use crate::profiles::{ProcessSettings, Scope, SystemdSettings};

/// Where systemd shows what it can limit.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// What there is to say of the host for the `process` profile beside whether `settings.folder` can be written to.
pub(super) fn look(settings: &ProcessSettings) -> Vec<Finding> {
    vec![files(&settings.folder), users(&settings.folder), supervisors(settings), limits(settings)]
}

/// The folder itself, or the one that it will be made in.
fn nearest(folder: &Path) -> &Path {
    folder.ancestors().find(|path| path.is_dir()).unwrap_or(folder)
}

fn files(folder: &Path) -> Finding {
    let tried = try_files(nearest(folder)).map(|()| "its file system has pipes and locks".to_owned());
    let failed = |error| {
        let failure = Failure::local(format!("trying a pipe and a lock in {}", nearest(folder).display()), &error);
        failure.help("give the process profile a folder on a local file system")
    };
    findings::of("process_files", tried.map_err(failed))
}

/// Makes a pipe in `folder` and locks it, and leaves nothing behind.
fn try_files(folder: &Path) -> io::Result<()> {
    let place = folder.join(format!(".fleetagent-doctor-{}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&place)?;
    let place = Trial(place);
    let pipe = place.0.join("pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR)?;
    open(&pipe, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    let lock = fs::File::create(place.0.join("lock"))?;
    Ok(flock(&lock, FlockOperation::NonBlockingLockExclusive)?)
}

/// A folder that goes when this goes.
struct Trial(PathBuf);

impl Drop for Trial {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a folder that was made for a trial stays behind");
        }
    }
}

fn users(folder: &Path) -> Finding {
    const CHECK: &str = "process_users";
    if !rustix::process::geteuid().is_root() {
        return findings::of(CHECK, Ok("cells run as this user, because only root can run them as others".to_owned()));
    }
    match closed(folder) {
        Err(error) => findings::of(CHECK, Err(Failure::local(format!("looking at {}", folder.display()), &error))),
        Ok(None) => findings::of(CHECK, Ok("cells can run as any user".to_owned())),
        Ok(Some((path, mode))) => {
            let path = path.display();
            let message =
                format!("cells cannot run as other users than root: these cannot pass {path} (mode {mode:o})");
            findings::warning(CHECK, message, Some(format!("chmod o+x {path}")))
        }
    }
}

/// The first folder on the way to `folder` that others may not pass through, and its mode.
fn closed(folder: &Path) -> io::Result<Option<(&Path, u32)>> {
    let mut way: Vec<&Path> = nearest(folder).ancestors().collect();
    way.reverse();
    for path in way {
        let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
        if mode & 0o001 == 0 {
            return Ok(Some((path, mode)));
        }
    }
    Ok(None)
}

fn supervisors(settings: &ProcessSettings) -> Finding {
    let how = if settings.with_agent {
        "each cell's supervisor is a child of the agent, and ends with it"
    } else if settings.uses_systemd() {
        "each cell's supervisor is a unit of systemd"
    } else if rustix::process::geteuid().is_root() {
        "each cell's supervisor is a process of its own, because systemd does not run this host"
    } else {
        "each cell's supervisor is a process of its own, because only root can make it a unit of systemd"
    };
    findings::of("process_supervisors", Ok(how.to_owned()))
}

fn limits(settings: &ProcessSettings) -> Finding {
    const CHECK: &str = "process_limits";
    if !settings.uses_systemd() {
        let message = "a cell that limits memory or tasks waits, because only units of systemd can be limited";
        return findings::of(CHECK, Ok(message.to_owned()));
    }
    if can_limit(Path::new(CONTROL_GROUPS)) {
        return findings::of(CHECK, Ok("systemd limits the memory and the tasks of cells".to_owned()));
    }
    let message = "limits of memory and tasks have no effect: systemd has no control groups for them";
    findings::warning(CHECK, message, Some("boot with systemd.unified_cgroup_hierarchy=1".to_owned()))
}

/// Whether memory and tasks can be limited through the control groups in `root`, of either version; see `cgroups(7)`.
fn can_limit(root: &Path) -> bool {
    const WANTED: [&str; 2] = ["memory", "pids"];
    match fs::read_to_string(root.join("cgroup.controllers")) {
        Ok(there) => WANTED.iter().all(|wanted| there.split_whitespace().any(|name| name == *wanted)),
        Err(_) => WANTED.iter().all(|wanted| access(root.join(wanted), Access::WRITE_OK).is_ok()),
    }
}

/// What there is to say of the host for the `systemd` profile beside whether its folders can be written to.
pub(super) async fn look_at_systemd(settings: &SystemdSettings, clock: &SharedClock) -> Vec<Finding> {
    const CHECK: &str = "systemd_manager";
    let folders = match settings.unit_folders(clock).await {
        Ok(folders) => folders,
        Err(why) => {
            let help = match settings.scope {
                Scope::System => "the profile needs a host whose PID 1 is systemd, with dbus: apt-get install dbus",
                Scope::User => "the user's manager and bus must run: apt-get install dbus-user-session, then log in",
            };
            return vec![findings::of(CHECK, Err(Failure::usage(why).help(help)))];
        }
    };
    let mut found = Vec::new();
    let (folder, is_root) = (&settings.service_folder, rustix::process::geteuid().is_root());
    found.push(match () {
        () if !folders.contains(folder) => {
            let failure = Failure::usage(format!("systemd does not look for units in {}", folder.display()));
            findings::of(CHECK, Err(failure.help("see: systemctl show --property=UnitPath")))
        }
        () if settings.scope == Scope::System && !is_root => {
            let failure = Failure::usage("only root may change units of the system");
            findings::of(CHECK, Err(failure.help("run the agent as root, or give systemd `scope: user` in the config")))
        }
        () => findings::of(CHECK, Ok("it answers and finds the cells' units".to_owned())),
    });
    if settings.scope == Scope::User {
        found.push(lingering(Path::new("/etc/passwd"), Path::new("/var/lib/systemd/linger")));
    }
    found
}

/// Whether this user's manager runs without a login; see `loginctl(1)`.
fn lingering(passwd: &Path, linger: &Path) -> Finding {
    const CHECK: &str = "systemd_lingering";
    let own = rustix::process::geteuid().as_raw().to_string();
    let passwd = fs::read_to_string(passwd).unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        (uid == own).then(|| name.to_owned())
    });
    let name = name.unwrap_or(own);
    if linger.join(&name).exists() {
        return findings::of(CHECK, Ok(format!("{name} lingers, so cells run without a login")));
    }
    let message = format!("cells end when {name} logs out, and do not start with the host: {name} does not linger");
    findings::warning(CHECK, message, Some(format!("loginctl enable-linger {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::Verdict;

    #[test]
    fn files_are_tried_where_the_folder_will_be_and_nothing_is_left() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(files(&home.path().join("not/there/yet")).verdict, Verdict::Ok);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        let finding = files(Path::new("/proc/self"));
        assert_eq!(finding.verdict, Verdict::Failed, "{finding:?}");
        assert!(finding.message.contains("/proc/self") && finding.help.is_some(), "{finding:?}");
    }

    #[test]
    fn a_folder_that_others_cannot_pass_through_is_found() {
        let home = tempfile::tempdir().unwrap();
        let (outer, inner) = (home.path().join("outer"), home.path().join("outer/inner"));
        fs::create_dir_all(&inner).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        set(home.path(), 0o711);
        set(&inner, 0o711);
        set(&outer, 0o710);
        assert_eq!(closed(&inner.join("cells")).unwrap(), Some((outer.as_path(), 0o710)));
        set(&outer, 0o711);
        assert_eq!(closed(&inner.join("cells")).unwrap(), None);
    }

    #[test]
    fn a_user_who_does_not_linger_is_told_what_that_means() {
        let home = tempfile::tempdir().unwrap();
        let (passwd, linger) = (home.path().join("passwd"), home.path().join("linger"));
        let own = rustix::process::geteuid().as_raw();
        fs::write(&passwd, format!("other:x:4242:1::/:/bin/sh\nme:x:{own}:1::/:/bin/sh\n")).unwrap();
        let finding = lingering(&passwd, &linger);
        assert_eq!((finding.verdict, finding.help.as_deref()), (Verdict::Warning, Some("loginctl enable-linger me")));
        fs::create_dir(&linger).unwrap();
        fs::write(linger.join("me"), "").unwrap();
        assert_eq!(lingering(&passwd, &linger).verdict, Verdict::Ok);
    }

    #[test]
    fn limits_need_both_controllers_in_either_version() {
        let root = tempfile::tempdir().unwrap();
        assert!(!can_limit(root.path()));
        fs::create_dir(root.path().join("memory")).unwrap();
        assert!(!can_limit(root.path()));
        fs::create_dir(root.path().join("pids")).unwrap();
        assert!(can_limit(root.path()));
        let unified = |text: &str| {
            fs::write(root.path().join("cgroup.controllers"), text).unwrap();
            can_limit(root.path())
        };
        assert!(unified("cpu memory pids\n"));
        assert!(!unified("cpu memory\n") && !unified("\n"));
    }
}
