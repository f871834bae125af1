//! Unit files on the host: whether they are ours (I7), whether they are as we wrote them, and writing them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::model::{CellName, Sha256Digest};

/// A longer file is none of ours.
const MOST_BYTES: u64 = 4 << 20;

/// systemd passes over sections whose name begins so.
const SECTION: &str = "[X-Fleetman]";

/// The last line of what we write.
const DIGEST: &str = "Digest=";

/// What the section says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) cell: String,
    pub(super) version: String,
    pub(super) generation: String,
    pub(super) fleet: String,
    pub(super) node: String,
    /// Which bringing up wrote it; see [`crate::agent::Activation`].
    pub(super) activation: String,
    /// The cell's own folder, which tells agents apart that are on one host.
    pub(super) folder: String,
}

impl Marker {
    fn fields(&self) -> [(&'static str, &str); 7] {
        [
            ("Cell", &self.cell),
            ("Version", &self.version),
            ("Generation", &self.generation),
            ("Fleet", &self.fleet),
            ("Node", &self.node),
            ("Activation", &self.activation),
            ("Folder", &self.folder),
        ]
    }

    /// `unit` with this marker at its end, and a digest of all that is before it.
    pub(super) fn seal(&self, unit: &[u8]) -> Vec<u8> {
        let mut sealed = unit.to_vec();
        if !sealed.ends_with(b"\n") {
            sealed.push(b'\n');
        }
        sealed.extend_from_slice(format!("\n{SECTION}\n").as_bytes());
        for (key, value) in self.fields() {
            sealed.extend_from_slice(format!("{key}={value}\n").as_bytes());
        }
        let digest = Sha256Digest::of(&sealed);
        sealed.extend_from_slice(format!("{DIGEST}{digest}\n").as_bytes());
        sealed
    }

    /// The marker in `text`, if it has a whole one.
    fn find(text: &str) -> Option<Self> {
        let (_, section) = text.rsplit_once(&format!("\n{SECTION}\n"))?;
        let field = |name: &str| {
            let values = section.lines().filter_map(|line| line.split_once('='));
            values.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
        };
        Some(Self {
            cell: field("Cell")?,
            version: field("Version")?,
            generation: field("Generation")?,
            fleet: field("Fleet")?,
            node: field("Node")?,
            activation: field("Activation")?,
            folder: field("Folder")?,
        })
    }
}

/// Whether a release's own unit can be marked: it must not be so already, and its last line must end.
pub(super) fn check_own(unit: &[u8]) -> Result<(), &'static str> {
    let has = |text: &[u8]| unit.windows(text.len()).any(|window| window == text);
    if unit.contains(&0) {
        return Err("has a NUL byte in it");
    }
    if has(b"[X-Fleetman") {
        return Err("has a section [X-Fleetman] of its own");
    }
    if unit.trim_ascii_end().ends_with(b"\\") {
        return Err("ends in `\\`, which would join the marker to its last line");
    }
    Ok(())
}

/// What is in the place of a unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InPlace {
    Nothing,
    /// A file with our marker.
    Ours(Ours),
    /// Something else, and what.
    Foreign(String),
}

/// A unit file of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ours {
    pub(super) marker: Marker,
    pub(super) bytes: Vec<u8>,
    /// Whether it is not as we wrote it.
    pub(super) is_edited: bool,
}

/// What is at `path`, where the unit of `cell` should be whose folder is `folder`.
pub(super) fn look(path: &Path, cell: &CellName, folder: &Path) -> io::Result<InPlace> {
    let foreign = |what: &str| Ok(InPlace::Foreign(format!("{} {what}", path.display())));
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(InPlace::Nothing),
        meta => meta?,
    };
    if meta.is_symlink() {
        let target = fs::read_link(path)?;
        let is_masked = target == Path::new("/dev/null");
        return foreign(if is_masked { "is masked" } else { "is a symbolic link, which is not ours" });
    }
    if !meta.is_file() {
        return foreign("is no file");
    }
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return foreign("is too large to be ours");
    }
    let Some(marker) = Marker::find(&String::from_utf8_lossy(&bytes)) else {
        return foreign("has no marker of Fleetman");
    };
    if marker.cell != cell.as_str() {
        return foreign(&format!("is marked as the cell {:?}", marker.cell));
    }
    if Path::new(&marker.folder) != folder {
        return foreign(&format!("belongs to the agent that keeps the cell in {}", marker.folder));
    }
    Ok(InPlace::Ours(Ours { marker, is_edited: !is_sealed(&bytes), bytes }))
}

/// Whether the last line is the digest of all before it.
fn is_sealed(bytes: &[u8]) -> bool {
    let Some(whole) = bytes.strip_suffix(b"\n") else { return false };
    let at = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (before, last) = whole.split_at(at);
    last == format!("{DIGEST}{}", Sha256Digest::of(before)).as_bytes()
}

/// The name of a file that is to become `name`: not one that systemd takes for a unit.
fn unfinished(name: &str) -> String {
    format!(".{name}.new")
}

/// What a file of that name was to become; None if it is no such file.
pub(super) fn finished(name: &str) -> Option<&str> {
    name.strip_prefix('.')?.strip_suffix(".new")
}

fn parts(path: &Path) -> io::Result<(&Path, String)> {
    let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    path.parent().zip(name).ok_or_else(|| io::Error::other("this is no path of a file"))
}

/// Puts `bytes` at `path`: after any crash the old bytes are there or the new ones, and the new ones once this has
/// returned.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (folder, name) = parts(path)?;
    let new = folder.join(unfinished(&name));
    gone(fs::remove_file(&new))?;
    let written = write_new(&new, bytes, mode).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What is wrong is wrong with the file itself.
        let _ = fs::remove_file(&new);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write_new(path: &PathBuf, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes what is at `path`, and what was to become it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let (folder, name) = parts(path)?;
    gone(fs::remove_file(folder.join(unfinished(&name))))?;
    gone(fs::remove_file(path))?;
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        Err(error) => gone(Err(error)),
    }
}

/// What is not there need not be removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(folder: &Path) -> Marker {
        Marker {
            cell: "web".into(),
            version: "r1".into(),
            generation: "3".into(),
            fleet: "f".into(),
            node: "n1".into(),
            activation: "1-3-1".into(),
            folder: folder.display().to_string(),
        }
    }

    #[test]
    fn what_was_written_is_found_and_what_was_changed_is_seen() {
        let home = tempfile::tempdir().unwrap();
        let (path, folder) = (home.path().join("fleetman-web.service"), home.path().join("systemd/web"));
        let cell = CellName::new("web").unwrap();
        let found = || look(&path, &cell, &folder).unwrap();
        assert_eq!(found(), InPlace::Nothing);
        let sealed = marker(&folder).seal(b"[Service]\nExecStart=/x");
        write(&path, &sealed, 0o644).unwrap();
        let ours =
            |is_edited, bytes: &[u8]| InPlace::Ours(Ours { marker: marker(&folder), bytes: bytes.to_vec(), is_edited });
        assert_eq!(found(), ours(false, &sealed));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        for (from, to) in [("/x", "/y"), ("[Service]", "[Service]\nUser=a"), ("Version=r1", "Version=r1\nExtra=1")] {
            let text = String::from_utf8(sealed.clone()).unwrap().replace(from, to);
            fs::write(&path, &text).unwrap();
            let InPlace::Ours(ours) = found() else { panic!("{text}") };
            assert!(ours.is_edited, "{text}");
        }
        let mut longer = sealed.clone();
        longer.extend_from_slice(b"[Service]\nUser=root\n");
        fs::write(&path, &longer).unwrap();
        assert_eq!(found(), ours(true, &longer));
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(found(), InPlace::Nothing);
    }

    #[test]
    fn what_is_not_ours_is_said_to_be_so() {
        let home = tempfile::tempdir().unwrap();
        let (path, folder) = (home.path().join("u.service"), home.path().join("web"));
        let cell = CellName::new("web").unwrap();
        let foreign = |what: &str| match look(&path, &cell, &folder).unwrap() {
            InPlace::Foreign(why) => assert!(why.ends_with(what), "{why}"),
            found => panic!("{found:?}"),
        };
        fs::write(&path, "[Service]\nExecStart=/x\n").unwrap();
        foreign("has no marker of Fleetman");
        write(&path, &Marker { cell: "db".into(), ..marker(&folder) }.seal(b""), 0o644).unwrap();
        foreign("is marked as the cell \"db\"");
        write(&path, &marker(Path::new("/other")).seal(b""), 0o644).unwrap();
        foreign("belongs to the agent that keeps the cell in /other");
        remove(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        foreign("is masked");
        remove(&path).unwrap();
        fs::create_dir(&path).unwrap();
        foreign("is no file");
    }

    #[test]
    fn a_unit_that_cannot_be_marked_is_refused() {
        assert_eq!(check_own(b"[Service]\nExecStart=/x\n"), Ok(()));
        for unit in [&b"[X-Fleetman]\n"[..], b"[Service]\nExecStart=/x \\\n", b"a\0b"] {
            assert!(check_own(unit).is_err(), "{unit:?}");
        }
    }
}
