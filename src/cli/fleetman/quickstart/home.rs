//! The folder that a quickstart lives in.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use askama::Template;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use uuid::Uuid;

use super::ports;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config;
use crate::entropy;
use crate::model::sign::{PrivateKey, PublicKey};
use crate::model::{CellId, CellName, NodeName};

/// How many nodes there are.
const NODES: u16 = 3;

/// The bucket's name.
pub(super) const BUCKET: &str = "fleet";

/// The sample, as files that people can look at and edit.
const SAMPLE: [(&str, &str); 7] = [
    (MANIFEST, include_str!("../../../../static/quickstart/manifest.yaml")),
    ("site-1/index.html", include_str!("../../../../static/quickstart/version-1.html")),
    ("site-1/style.css", include_str!("../../../../static/quickstart/style.css")),
    ("site-1/live.js", include_str!("../../../../static/quickstart/live.js")),
    ("site-2/index.html", include_str!("../../../../static/quickstart/version-2.html")),
    ("site-2/style.css", include_str!("../../../../static/quickstart/style.css")),
    ("site-2/live.js", include_str!("../../../../static/quickstart/live.js")),
];

/// The manifest, as a file of the sample.
pub(super) const MANIFEST: &str = "site.yaml";

/// The cells, as a file like those of the sample.
pub(super) const CELLS: &str = "cells.yaml";

/// A link to this program.
const PROGRAM: &str = "fleetman";

/// What is the same at each start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// Where the folder was when it was made: what is published names it.
    folder: PathBuf,
    pub(super) fleet: Uuid,
    pub(super) access_key: String,
    pub(super) secret_key: String,
    /// Where it listened last, so that addresses stay.
    pub(super) ports: Ports,
}

/// Where quickstart itself listens on the loopback address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) api: u16,
    pub(super) store: u16,
}

/// The folder, open.
pub(super) struct Home {
    folder: PathBuf,
    pub(super) state: State,
    pub(super) key: PrivateKey,
    /// Removes the folder with everything in it at the end.
    ephemeral: Option<TempDir>,
    /// Held so that no other quickstart uses the folder.
    _lock: File,
}

#[derive(Template)]
#[template(path = "quickstart_controller.yaml", escape = "none")]
struct ControllerConfig<'a> {
    state: &'a State,
    bucket: &'a str,
}

#[derive(Template)]
#[template(path = "quickstart_agent.yaml", escape = "none")]
struct AgentConfig<'a> {
    state: &'a State,
    bucket: &'a str,
    node: &'a NodeName,
    key: PublicKey,
}

#[derive(Template)]
#[template(path = "quickstart_cells.yaml", escape = "none")]
struct Cells {
    program: Quoted,
    cells: Vec<Cell>,
}

struct Cell {
    id: CellId,
    port: u16,
}

/// A path as YAML takes it whatever is in it.
struct Quoted(PathBuf);

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

impl Home {
    /// The file that marks a folder as ours: no other is ever removed or written to.
    const MARKER: &'static str = "quickstart.json";

    /// Opens the folder, and makes it if it is not there.
    pub(super) fn open(folder: Option<PathBuf>, fresh: bool, ephemeral: bool, port: u16) -> Result<Self, Failure> {
        let temporary = if ephemeral {
            Some(
                tempfile::Builder::new()
                    .prefix("fleetman-quickstart-")
                    .tempdir()
                    .map_err(local("making", Path::new("a temporary folder")))?,
            )
        } else {
            None
        };
        let folder = match (&temporary, folder) {
            (Some(temporary), _) => temporary.path().to_owned(),
            (None, Some(folder)) => std::path::absolute(&folder).map_err(local("finding", &folder))?,
            (None, None) => default_folder()?,
        };
        if fresh {
            remove_ours(&folder)?;
        }
        make_folder(&folder)?;
        let folder = fs::canonicalize(&folder).map_err(local("finding", &folder))?;
        if folder.to_str().is_none() {
            let message = format!("{} is not UTF-8, as the names of folders in documents are", folder.display());
            return Err(Failure::usage(message).help("--folder names another folder"));
        }
        let lock = lock(&folder)?;
        let state = read_or_make_state(&folder, port)?;
        let key = read_or_make_key(&folder.join("signing.key"))?;
        let home = Self { folder, state, key, ephemeral: temporary, _lock: lock };
        for (name, text) in SAMPLE {
            home.write_once(name, text)?;
        }
        let cells = Self::cells().into_iter().zip(port + 1..).map(|(id, port)| Cell { id, port });
        let cells = Cells { program: Quoted(home.path(PROGRAM)), cells: cells.collect() };
        home.write_once(CELLS, &rendered(cells.render())?)?;
        home.link_program()?;
        Ok(home)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn is_ephemeral(&self) -> bool {
        self.ephemeral.is_some()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The nodes, each with its cell.
    pub(super) fn cells() -> Vec<CellId> {
        let cell = |number| Some(CellId::new(NodeName::new(format!("n{number}")).ok()?, CellName::new("site").ok()?));
        (1..=NODES).filter_map(cell).collect()
    }

    pub(super) fn node_folder(&self, node: &NodeName) -> PathBuf {
        self.folder.join("nodes").join(node.as_str())
    }

    pub(super) fn agent_config(&self, node: &NodeName) -> PathBuf {
        self.node_folder(node).join("agent_config.yaml")
    }

    /// Versions name the program by a link, so that they outlive a move of the program.
    fn link_program(&self) -> Result<(), Failure> {
        let program = std::env::current_exe().map_err(local("finding", Path::new("this program")))?;
        let (link, new) = (self.path(PROGRAM), self.path("fleetman.new"));
        let cleared = match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        cleared
            .and_then(|()| symlink(program, &new))
            .and_then(|()| fs::rename(&new, &link))
            .map_err(local("making", &link))
    }

    /// Writes down where it listens now, in the state and in the configs.
    pub(super) fn settle(&mut self, ports: Ports) -> Result<(), Failure> {
        self.state.ports = ports;
        write_state(&self.folder, &self.state)?;
        let config = rendered(ControllerConfig { state: &self.state, bucket: BUCKET }.render())?;
        write_private(&self.path("controller_config.yaml"), &config)?;
        for id in Self::cells() {
            let config = AgentConfig { state: &self.state, bucket: BUCKET, node: &id.node, key: self.key.public() };
            let folder = self.node_folder(&id.node);
            fs::create_dir_all(&folder).map_err(local("making", &folder))?;
            write_private(&self.agent_config(&id.node), &rendered(config.render())?)?;
        }
        Ok(())
    }

    /// What outlives the versions of a cell.
    pub(super) fn data_folder(&self, cell: &CellId) -> PathBuf {
        self.node_folder(&cell.node).join("state/data").join(cell.cell.as_str())
    }

    /// Writes a sample file unless it is there: people are told to edit these.
    fn write_once(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(local("making", folder))?;
        }
        match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => file.write_all(text.as_bytes()).map_err(local("writing", &path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(local("making", &path)(error)),
        }
    }
}

fn rendered(text: Result<String, askama::Error>) -> Result<String, Failure> {
    text.map_err(|error| Failure::new(Exit::Internal, "template", error.to_string()))
}

fn local(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let doing = format!("{doing} {}", path.display());
    move |error| Failure::local(doing, &error)
}

/// `$XDG_STATE_HOME/fleetman/quickstart`, or the same below `~/.local/state`.
fn default_folder() -> Result<PathBuf, Failure> {
    let state = config::state_home();
    let state = state.ok_or_else(|| Failure::usage("HOME is not set").help("--folder says where to keep the state"))?;
    Ok(state.join("fleetman/quickstart"))
}

/// Removes a folder that a quickstart made, and refuses any other.
fn remove_ours(folder: &Path) -> Result<(), Failure> {
    if !is_empty_or_absent(folder)? {
        if !folder.join(Home::MARKER).is_file() {
            return Err(not_ours(folder));
        }
        let _lock = lock(folder)?;
        fs::remove_dir_all(folder).map_err(local("removing", folder))?;
    }
    Ok(())
}

/// Takes a folder until what is returned is dropped.
fn lock(folder: &Path) -> Result<File, Failure> {
    let file = File::open(folder).map_err(local("opening", folder))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            let message = format!("a quickstart is running in {} already", folder.display());
            let help = "end it with Ctrl-C, or use --folder or --ephemeral for a second one";
            Err(Failure::new(Exit::Conflict, "running", message).help(help))
        }
        Err(error) => Err(local("locking", folder)(error.into())),
    }
}

fn not_ours(folder: &Path) -> Failure {
    let message = format!("{} has other files in it, and no {}", folder.display(), Home::MARKER);
    Failure::new(Exit::Conflict, "not_ours", message).help("--folder names another folder; one that is empty or new")
}

fn is_empty_or_absent(folder: &Path) -> Result<bool, Failure> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(local("reading", folder)(error)),
    }
}

/// It holds keys: nobody else may look in.
fn make_folder(folder: &Path) -> Result<(), Failure> {
    if !folder.join(Home::MARKER).is_file() && !is_empty_or_absent(folder)? {
        return Err(not_ours(folder));
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(local("making", folder))
}

fn read_or_make_state(folder: &Path, port: u16) -> Result<State, Failure> {
    let path = folder.join(Home::MARKER);
    match fs::read(&path) {
        Ok(bytes) => {
            let invalid =
                |message: String| Failure::new(Exit::Usage, "state_invalid", message).help("--fresh starts over");
            let state: State = serde_json::from_slice(&bytes)
                .map_err(|error| invalid(format!("{} is of another version: {error}", path.display())))?;
            if state.folder != folder {
                let (now, then) = (folder.display(), state.folder.display());
                return Err(invalid(format!("{now} was made as {then}, and what is published there names that path")));
            }
            Ok(state)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = entropy::bytes::<20>().map_err(local("asking for", Path::new("randomness")))?;
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let state = State {
                folder: folder.to_owned(),
                fleet: entropy::uuid().map_err(local("asking for", Path::new("randomness")))?,
                access_key: "quickstart".to_owned(),
                secret_key: hex(&secret),
                // Those between are the services'.
                ports: Ports { api: port, store: port + ports::STEP - 1 },
            };
            write_state(folder, &state)?;
            Ok(state)
        }
        Err(error) => Err(local("reading", &path)(error)),
    }
}

fn write_state(folder: &Path, state: &State) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(state)
        .map_err(|error| Failure::new(Exit::Internal, "state", error.to_string()))?;
    write_private(&folder.join(Home::MARKER), &text)
}

fn read_or_make_key(path: &Path) -> Result<PrivateKey, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => PrivateKey::from_file_text(&text).map_err(|error| {
            let message = format!("{}: {error}", path.display());
            Failure::new(Exit::Usage, "key_invalid", message).help("--fresh starts over")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let seed = entropy::bytes::<32>().map_err(local("asking for", Path::new("randomness")))?;
            let key = PrivateKey::from_seed(&seed);
            write_private(path, &key.to_file_text())?;
            Ok(key)
        }
        Err(error) => Err(local("reading", path)(error)),
    }
}

/// Replaces a file of ours as a whole; only its owner may read it.
fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let new = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&new).and_then(|mut file| file.write_all(text.as_bytes()));
    written.and_then(|()| fs::rename(&new, path)).map_err(local("writing", path))
}
