use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use chrono::TimeDelta;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::agent::steps::Steps;
use crate::clock::SystemClock;
use crate::model::drift::{DriftReport, DriftSpec};
use crate::model::manifest::{ManifestFile, Mode, Origin};
use crate::model::run_spec::{DeploySpec, Limits, Profile};
use crate::model::{CellName, FilePath, ManifestName, NodeName, UserName, VersionName};

/// A release of these files on the disk.
struct Place {
    home: TempDir,
    manifest: Manifest,
}

impl Place {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let files = files.iter().map(|(path, bytes)| {
            let on_disk = home.path().join(path);
            fs::create_dir_all(on_disk.parent().unwrap()).unwrap();
            fs::write(&on_disk, bytes).unwrap();
            fs::set_permissions(&on_disk, Permissions::from_mode(0o644)).unwrap();
            ManifestFile {
                path: FilePath::new(*path).unwrap(),
                size: bytes.len() as u64,
                sha256: Sha256Digest::of(bytes),
                mode: Mode::READ,
                from: Origin::Deployment,
                object: None,
                offset: None,
            }
        });
        let manifest = Manifest {
            requires: Vec::new(),
            fleet: Uuid::nil(),
            node: NodeName::new("n").unwrap(),
            cell: CellName::new("c").unwrap(),
            version: VersionName::new("1").unwrap(),
            manifest: ManifestName::new("m").unwrap(),
            deployment: None,
            content_sha256: Sha256Digest::of(b""),
            created_at: DateTime::UNIX_EPOCH,
            created_by: UserName::new("a").unwrap(),
            note: None,
            profile: Profile::Deploy(DeploySpec::default()),
            strategy: Default::default(),
            reload_if: Vec::new(),
            restart_if: Vec::new(),
            health: crate::model::health::Health::default(),
            hooks: Default::default(),
            limits: Limits::default(),
            drift: DriftSpec::default(),
            windows: Default::default(),
            lock: None,
            dependencies: Default::default(),
            files: files.collect(),
        };
        Self { home, manifest }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn walk(&self, before: Arc<Prints>) -> Walk {
        let release = Folder::open(self.home.path(), 0o755, &Steps::default()).unwrap();
        Walk::new(release, Arc::new(self.manifest.clone()), before).unwrap()
    }

    /// A whole look at a time when everything has settled, in how many slices, and what it knows afterwards.
    fn look_after(&self, before: Prints) -> (Vec<(Deviation, String)>, u64, Prints, usize) {
        let mut walk = self.walk(Arc::new(before));
        let mut slices = 1;
        while !walk.advance(now() + TimeDelta::seconds(60)) {
            slices += 1;
        }
        let (found, prints) = walk.end();
        let (told, more) = found.told(&[], DateTime::UNIX_EPOCH);
        (told.into_iter().map(|one| (one.code, one.path)).collect(), more, prints, slices)
    }

    fn look(&self) -> Vec<(Deviation, String)> {
        self.look_after(Prints::new()).0
    }
}

fn now() -> DateTime<Utc> {
    SystemClock::shared().now()
}

fn found(code: Deviation, path: &str) -> Vec<(Deviation, String)> {
    vec![(code, path.to_owned())]
}

#[test]
fn every_way_in_which_a_file_is_otherwise_is_told() {
    let place = Place::new(&[("bin/run", b"one"), ("empty", b""), ("index.html", b"two")]);
    assert_eq!(place.look(), []);
    let run = place.path("bin/run");

    fs::write(&run, b"ONE").unwrap();
    assert_eq!(place.look(), found(Deviation::Changed, "bin/run"));
    fs::write(&run, b"one more").unwrap();
    assert_eq!(place.look(), found(Deviation::Changed, "bin/run"));
    fs::write(&run, b"one").unwrap();
    fs::set_permissions(&run, Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(place.look(), found(Deviation::ModeChanged, "bin/run"));
    fs::set_permissions(&run, Permissions::from_mode(0o000)).unwrap();
    assert_eq!(place.look(), found(Deviation::ModeChanged, "bin/run"), "who may not read it either");
    fs::remove_file(&run).unwrap();
    assert_eq!(place.look(), found(Deviation::Missing, "bin/run"));

    symlink(place.path("index.html"), &run).unwrap();
    assert_eq!(place.look(), found(Deviation::NotAFile, "bin/run"));
    fs::remove_file(&run).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &run, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    assert_eq!(place.look(), found(Deviation::NotAFile, "bin/run"), "nobody waits for who writes into a pipe");
    fs::remove_file(&run).unwrap();
    fs::create_dir(&run).unwrap();
    assert_eq!(place.look(), found(Deviation::NotAFile, "bin/run"));
    fs::remove_dir(&run).unwrap();
    fs::remove_dir(place.path("bin")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("run"), b"one").unwrap();
    symlink(elsewhere.path(), place.path("bin")).unwrap();
    assert_eq!(place.look(), found(Deviation::Missing, "bin/run"), "what lies behind a link is not of the release");
}

#[test]
fn what_can_be_executed_and_is_not_of_the_release_is_told() {
    let mut place = Place::new(&[("bin/run", b"one")]);
    fs::write(place.path("cache"), b"data").unwrap();
    fs::create_dir(place.path("new")).unwrap();
    for hostile in ["bin/x", "new/\u{1b}[2J\n\u{202e}gpj", "new/ignored.bin"] {
        fs::write(place.path(hostile), b"#!").unwrap();
        fs::set_permissions(place.path(hostile), Permissions::from_mode(0o711)).unwrap();
    }
    symlink("/bin/sh", place.path("bin/sh")).unwrap();
    place.manifest.drift.ignore = vec!["**/*.bin".parse().unwrap()];
    let mut told = place.look();
    told.sort();
    let extra = |path: &str| (Deviation::ExtraExecutable, path.to_owned());
    assert_eq!(told, [extra("bin/x"), extra("new/\u{fffd}[2J\u{fffd}\u{fffd}gpj")]);

    let name = OsStr::from_bytes(b"new/\xff\xfe");
    fs::write(place.home.path().join(name), b"#!").unwrap();
    fs::set_permissions(place.home.path().join(name), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(place.look().len(), 3, "a name that is no text is told of as well");
}

#[test]
fn what_is_ignored_is_not_looked_at_and_the_rest_is() {
    let mut place = Place::new(&[("conf/a.yaml", b"a"), ("conf/b.yaml", b"b"), ("c", b"c")]);
    place.manifest.drift.ignore = vec!["conf/*.yaml".parse().unwrap()];
    fs::write(place.path("conf/a.yaml"), b"x").unwrap();
    fs::remove_file(place.path("conf/b.yaml")).unwrap();
    assert_eq!(place.look(), []);
    fs::write(place.path("c"), b"x").unwrap();
    assert_eq!(place.look(), found(Deviation::Changed, "c"));
}

#[test]
fn what_was_not_touched_is_not_read_again_and_what_was_is() {
    let place = Place::new(&[("big", &vec![7; 9 << 20]), ("small", b"small")]);
    let (told, _, prints, slices) = place.look_after(Prints::new());
    assert_eq!((told, slices), (vec![], 3), "no slice reads more than its share");
    assert!(prints.iter().all(|print| *print != 0));
    let (told, _, again, slices) = place.look_after(prints.clone());
    assert_eq!((told, again, slices), (vec![], prints.clone(), 1));
    // The same length, and a time that lies about it.
    let times = fs::metadata(place.path("small")).unwrap().modified().unwrap();
    fs::write(place.path("small"), b"SMALL").unwrap();
    fs::File::open(place.path("small")).unwrap().set_modified(times).unwrap();
    let (told, _, after, slices) = place.look_after(prints);
    assert_eq!((told, slices, after[1]), (found(Deviation::Changed, "small"), 1, 0));
    let (told, ..) = place.look_after(after);
    assert_eq!(told, found(Deviation::Changed, "small"), "what is wrong is never taken for known");
}

#[test]
fn what_has_not_settled_is_read_again() {
    let place = Place::new(&[("a", b"a")]);
    let mut walk = place.walk(Arc::default());
    assert!(walk.advance(now()));
    let (found, prints) = walk.end();
    assert_eq!((found.is_nothing(), prints), (true, vec![0]));
}

#[test]
fn what_is_told_of_many_files_is_bounded_and_all_of_them_can_be_put_back() {
    let names: Vec<String> = (0..2_000).map(|at| format!("d{}/f{at}", at % 7)).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let place = Place::new(&files);
    let (told, _, prints, slices) = place.look_after(Prints::new());
    assert_eq!((told, prints.len()), (vec![], 2_000));
    assert!(slices > 2_000 / SLICE_LOOKS, "{slices}");
    for at in 0..7 {
        fs::remove_dir_all(place.path(&format!("d{at}"))).unwrap();
    }
    let mut walk = place.walk(Arc::default());
    while !walk.advance(now()) {}
    let (found, _) = walk.end();
    assert_eq!(found.files.len(), 2_000);
    let (told, more) = found.told(&[], DateTime::UNIX_EPOCH);
    assert_eq!((told.len(), more), (DriftReport::MOST_FINDINGS, 2_000 - DriftReport::MOST_FINDINGS as u64));
}

#[test]
fn a_folder_of_too_many_entries_is_given_up_and_said_to_be() {
    let place = Place::new(&[("a", b"a")]);
    fs::create_dir(place.path("many")).unwrap();
    let mut walk = place.walk(Arc::default());
    walk.entries = MOST_ENTRIES - 3;
    for at in 0..5 {
        fs::write(place.path(&format!("many/{at}")), b"").unwrap();
    }
    while !walk.advance(now()) {}
    let (found, _) = walk.end();
    assert!(found.is_nothing() && found.gap.unwrap().contains("more than 100000 entries"));
}
