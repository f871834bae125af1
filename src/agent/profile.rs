//! The port to whatever runs a cell.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending, ready};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use crate::model::drift::Deviation;
use crate::model::heartbeat::{Condition, ProcessReport, RunningState};
use crate::model::manifest::Manifest;
use crate::model::{CellName, Code, Epoch, Floor, Generation, ProcessName, VersionName};
use crate::render::OnNode;

/// What a profile promises to do.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How cells of one kind are run. The agent puts releases in place and switches the link; a profile does what is
/// left: it starts, stops and looks.
///
/// Every call may come again after a crash, and must then finish what the last one began. While one of
/// [`resume`](Profile::resume), [`activate`](Profile::activate), [`settle`](Profile::settle), [`stop`](Profile::stop)
/// and [`remove`](Profile::remove) is under way nothing else is done to that cell, not even what a newer trigger asks for,
/// so each must come back within a bounded time.
pub trait Profile: fmt::Debug + Send + Sync {
    /// The profile's name, as manifests write it.
    fn name(&self) -> &'static str;

    /// Where releases and the link of `cell` are.
    fn placement(&self, cell: &CellName) -> Placement;

    /// Brings up from what the node itself knows whatever of `cell` should run and does not.
    ///
    /// Asked once when the agent starts, for every cell that is deployed under this profile, all at the same time but for
    /// those that [start](Profile::starts) after others, and before anything is asked of the bucket: after a boot cells must come up without it. What runs already is left
    /// alone (I6). A failure is for [`state`](Profile::state) to tell.
    fn resume<'a>(&'a self, _cell: &'a CellName) -> Work<'a, ()> {
        Box::pin(ready(()))
    }

    /// Whether [`resume`](Profile::resume) would start anything of `cell`, and not only find it running or leave it to
    /// the host: then it is asked for once the cells that `cell` depends on are up.
    fn starts<'a>(&'a self, _cell: &'a CellName) -> Work<'a, bool> {
        Box::pin(ready(false))
    }

    /// Brings up what the link points at now, restarting what runs already.
    ///
    /// Idempotent by [`Start::activation`]: where the same activation was brought up before, nothing of it is
    /// restarted. An agent that crashed before it could write down that it was done asks for the same one again.
    ///
    /// # Errors
    /// The release could not be brought up; the agent goes back to the last known good one.
    fn activate<'a>(&'a self, start: Start<'a>) -> Work<'a, Result<(), ProfileError>>;

    /// Lets what runs of `over` go on as the version of `start`: from now on that is what is started whenever it has to
    /// be, also after a boot, and what runs is told to read its files again if `over` says so. Where it is not `over`
    /// that runs, or not all of it, or what is gone back from has ended and was started again, nothing is done, and it
    /// comes back with false: then it is to be [activated](Profile::activate).
    ///
    /// Idempotent by [`Start::activation`], but that what runs may be told once more.
    ///
    /// # Errors
    /// What runs cannot be told; the agent goes back to the last known good version.
    fn go_on<'a>(&'a self, _start: Start<'a>, _over: Over<'a>) -> Work<'a, Result<bool, ProfileError>> {
        Box::pin(ready(Ok(false)))
    }

    /// Whether what was activated is good: the health that [`Manifest::health`] asks for.
    ///
    /// Asked again and again after `activate`, at least each 500 ms and whenever [`changed`](Profile::changed)
    /// completes, also by an agent that was restarted meanwhile. It must answer at once from what is known, and count
    /// the time that the cell is healthy by itself. The deadline is the agent's to keep.
    fn check<'a>(&'a self, _start: Start<'a>) -> Work<'a, Gate> {
        Box::pin(ready(Gate::Passed))
    }

    /// Ends what ran before and was left running beside what was activated, which is good now. Until then nothing of it
    /// is stopped, so that it can be gone back to without a moment in which nothing runs.
    ///
    /// # Errors
    /// It may still run.
    fn settle<'a>(&'a self, _start: Start<'a>) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(ready(Ok(())))
    }

    /// Stops the cell and keeps it stopped, also across reboots. A cell that does not run is stopped.
    ///
    /// # Errors
    /// It may still run.
    fn stop<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>>;

    /// Takes away what [`Profile::activate`] put on the host; the cell is stopped already. Link and releases are
    /// the agent's to remove.
    ///
    /// # Errors
    /// Something of it is still there.
    fn remove<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>>;

    /// Whether the cell runs. It must answer at once.
    fn state<'a>(&'a self, cell: &'a CellName) -> Work<'a, Observed>;

    /// Completes once [`state`](Profile::state) may say something else of `cell` than it did last, so that the agent
    /// reports it at once. What changed while nobody waited counts.
    fn changed<'a>(&'a self, _cell: &'a CellName) -> Work<'a, ()> {
        Box::pin(pending())
    }

    /// Restarts what runs of a cell that is up, because its checks go on failing. What it is stays the same.
    ///
    /// # Errors
    /// It may not run as it should.
    fn restart<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        let message = format!("the {} profile runs nothing that could be restarted", self.name());
        Box::pin(ready(Err(ProfileError::Version(message))))
    }

    /// Where what the cell's programs say can be read.
    fn log(&self, _cell: &CellName) -> Log {
        Log::Nowhere
    }

    /// What [`activate`](Profile::activate) put on the host for `cell` beside its release, as far as it is not as it
    /// was put there. Nothing is changed.
    ///
    /// # Errors
    /// It cannot be told.
    fn drift<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Result<Vec<Strayed>, ProfileError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// Puts back whatever of [`drift`](Profile::drift) [can be](Deviation::is_mendable) put back. Nothing is started,
    /// stopped or restarted for it (I6), and what is not ours is left alone (I7).
    ///
    /// # Errors
    /// Something could not be put back.
    fn mend<'a>(&'a self, _deployed: OnNode<'a>) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(ready(Ok(())))
    }

    /// Ends what lives only as long as the agent's process, and completes once it is gone, within a bounded time.
    /// Nothing is asked of the profile afterwards.
    fn close(&self) -> Work<'_, ()> {
        Box::pin(ready(()))
    }

    /// The cells that the host holds something of, as their folders and units say; others than ours may be among
    /// them.
    ///
    /// # Errors
    /// The host could not be looked at.
    fn cells(&self) -> std::io::Result<Vec<CellName>>;

    /// What [`Profile::activate`] put on the host for `cell`, by its marker; `None` if nothing there is ours. It may
    /// stand although link and releases are gone, and is then still to be stopped and removed. Cheap: asked with each
    /// report for every cell that [`Profile::cells`] names.
    ///
    /// # Errors
    /// The host could not be looked at.
    fn mark(&self, _cell: &CellName) -> std::io::Result<Option<Mark>> {
        Ok(None)
    }
}

/// Something on the host is not as it was put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strayed {
    /// In what way.
    pub code: Deviation,
    /// Where.
    pub path: PathBuf,
}

impl<'a> OnNode<'a> {
    /// What brought it up, if that was `activation`.
    #[must_use]
    pub fn start(self, activation: Activation) -> Start<'a> {
        let Self { cell, manifest, release, data } = self;
        Start { cell, manifest, release, data, force: true, spares: false, activation }
    }
}

/// Where what a cell's programs say can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// There is no such place.
    Nowhere,
    /// In the files of this folder.
    Folder(PathBuf),
    /// In the journal.
    Journal {
        /// The units that there may be.
        units: Vec<String>,
        /// Whether the unit is of a user's own manager.
        is_users: bool,
    },
}

/// What the marker on the host says that was brought up last, as far as it says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// The version.
    pub version: Option<VersionName>,
    /// Which bringing up it was. From it an agent that lost its state sees that what runs is what is wanted, and that
    /// it must not go back (I5).
    pub activation: Option<Activation>,
}

/// What a profile sees of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The cell as a whole.
    pub state: RunningState,
    /// Its processes, if the profile tells them apart.
    pub processes: BTreeMap<ProcessName, ProcessReport>,
    /// What is on the host otherwise than the profile put it there, until somebody acts.
    pub conditions: Vec<Condition>,
}

impl From<RunningState> for Observed {
    fn from(state: RunningState) -> Self {
        Self { state, processes: BTreeMap::new(), conditions: Vec::new() }
    }
}

/// Whether what was activated is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It is, and becomes the last known good version.
    Passed,
    /// It may become so; what is missing, for the time when the deadline passes.
    Pending(String),
    /// It will not become so, and why: the agent goes back to the last known good version.
    Failed(String),
    /// It is not this activation that runs: activate again.
    NotStarted,
}

/// Names one bringing up of a cell: the trigger, the attempt at it, and whether it goes back. No two of a cell are
/// the same unless the agent means to go on with the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Activation {
    at: Floor,
    attempt: u32,
    restores: bool,
}

impl Activation {
    /// Of an attempt's own version.
    #[must_use]
    pub fn new(at: Floor, attempt: u32) -> Self {
        Self { at, attempt, restores: false }
    }

    /// The trigger that asked for it.
    #[must_use]
    pub fn at(self) -> Floor {
        self.at
    }

    /// Which attempt at the trigger it was, if it was of the attempt's own version.
    #[must_use]
    pub fn attempt(self) -> Option<u32> {
        (!self.restores).then_some(self.attempt)
    }

    /// Of the last known good version, after this one failed.
    #[must_use]
    pub fn restoring(self) -> Self {
        Self { restores: true, ..self }
    }
}

/// A text is not an activation's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no activation: expected <epoch>-<generation>-<attempt>, and -restore if it goes back")]
pub struct NotAnActivation(String);

impl FromStr for Activation {
    type Err = NotAnActivation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (numbers, restores) = text.strip_suffix("-restore").map_or((text, false), |numbers| (numbers, true));
            let mut numbers = numbers.split('-');
            let epoch = Epoch::new(numbers.next()?.parse().ok()?).ok()?;
            let generation = Generation::new(numbers.next()?.parse().ok()?).ok()?;
            let attempt = numbers.next()?.parse().ok()?;
            let at = Floor::new(epoch, generation);
            numbers.next().is_none().then_some(Self { at, attempt, restores })
        };
        // Only the one text that it is written as.
        read().filter(|read| read.to_string() == text).ok_or_else(|| NotAnActivation(text.to_owned()))
    }
}

impl fmt::Display for Activation {
    /// `<epoch>-<generation>-<attempt>`, as outcomes count them, and `-restore` if it goes back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, attempt, restores } = self;
        write!(f, "{}-{}-{attempt}{}", at.epoch, at.generation, if *restores { "-restore" } else { "" })
    }
}

/// Where releases and the link of a cell are: `<folder>/<link>` points to `<releases>/<release>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The folder that holds the link.
    pub folder: PathBuf,
    /// The link's name.
    pub link: String,
    /// The folder of the cell's releases, relative to `folder`, segment by segment.
    pub releases: Vec<String>,
    /// Whether `folder` is the cell's own, and goes with it.
    pub is_own: bool,
}

impl Placement {
    /// The link.
    #[must_use]
    pub fn link_path(&self) -> PathBuf {
        self.folder.join(&self.link)
    }

    /// The folder of the cell's releases.
    #[must_use]
    pub fn releases_path(&self) -> PathBuf {
        self.releases.iter().fold(self.folder.clone(), |path, segment| path.join(segment))
    }

    /// What the link says when it points at `release`.
    #[must_use]
    pub fn link_text(&self, release: &str) -> String {
        format!("{}/{release}", self.releases.join("/"))
    }
}

/// What a profile is to bring up.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The cell.
    pub cell: &'a CellName,
    /// What to run, and how.
    pub manifest: &'a Manifest,
    /// The release's own folder.
    pub release: &'a Path,
    /// The cell's data folder.
    pub data: &'a Path,
    /// Whether to overwrite what was changed by hand on the host.
    pub force: bool,
    /// Whether what runs may not be stopped for it yet: where it would have to be,
    /// [`activate`](Profile::activate) comes back with [`ProfileError::StopsFirst`], and what runs goes on.
    pub spares: bool,
    /// Which bringing up this is.
    pub activation: Activation,
}

impl<'a> Start<'a> {
    /// The version on its node.
    #[must_use]
    pub fn on_node(&self) -> OnNode<'a> {
        let Self { cell, manifest, release, data, .. } = *self;
        OnNode { cell, manifest, release, data }
    }

    /// Whether it is gone back to, because another version failed.
    #[must_use]
    pub fn restores(&self) -> bool {
        self.activation.restores
    }
}

/// A version that runs, and is to go on as another one.
#[derive(Debug, Clone, Copy)]
pub struct Over<'a> {
    /// What it is.
    pub manifest: &'a Manifest,
    /// Its release's own folder.
    pub release: &'a Path,
    /// Whether what runs is to be told to read its files again.
    pub reloads: bool,
}

impl<'a> Over<'a> {
    /// What brought it up, as far as the version decides that, if `start` is what takes its place.
    #[must_use]
    pub fn start(self, start: Start<'a>) -> Start<'a> {
        Start { manifest: self.manifest, release: self.release, ..start }
    }
}

/// Why a profile did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// It is this version that cannot be brought up: go back.
    #[error("{0}")]
    Version(String),
    /// Something else is in the way, which may change: try again.
    #[error("{message}")]
    Waiting {
        /// What programs compare.
        code: Code,
        /// What people read.
        message: String,
    },
    /// What runs would have to be stopped first, and is [spared](Start::spares). Why, for people.
    #[error("what runs has to be stopped first: {0}")]
    StopsFirst(String),
}

/// The profiles that an agent can use.
#[derive(Debug, Clone, Default)]
pub struct Profiles(Vec<Arc<dyn Profile>>);

impl Profiles {
    /// These profiles.
    #[must_use]
    pub fn new(profiles: Vec<Arc<dyn Profile>>) -> Self {
        Self(profiles)
    }

    /// The profile called `name`, if the agent can use it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Profile>> {
        self.0.iter().find(|profile| profile.name() == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Profile>> {
        self.0.iter()
    }

    /// Closes each of them: for the end of the process, after its agents have ended.
    pub async fn close(&self) {
        for profile in self.iter() {
            profile.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activation_is_read_as_it_is_written() {
        let first = Activation::new(Floor::new(Epoch::new(2).unwrap(), Generation::new(17).unwrap()), 3);
        for (activation, text) in [(first, "2-17-3"), (first.restoring(), "2-17-3-restore")] {
            assert_eq!(activation.to_string(), text);
            assert_eq!(text.parse(), Ok(activation));
        }
        for text in ["", "2-17", "2-17-3-", "2-17-3-again", "2-17-3-1", "02-17-3", "+2-17-3", "0-17-3", "2-17--restore"]
        {
            assert!(text.parse::<Activation>().is_err(), "{text}");
        }
    }
}
