//! What a version becomes on its node, rendered by what the agent itself renders it with, and what differs in it.
//!
//! The node alone knows its folders, and names and numbers are made later. In their places stand words in angle
//! brackets. Values that may be secrets are masked before anything is rendered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::diff::{self, FileKind, MOST_TEXT_BYTES, TextDiff};
use super::secret;
use crate::model::VersionName;
use crate::model::manifest::Manifest;
use crate::model::process::ProcessSpec;
use crate::model::run_spec::{EnvValue, Profile, RunSpec};
use crate::model::strategy::Strategy;
use crate::model::systemd::SystemdSpec;
use crate::render::instance::{INSTANCE, Instance};
use crate::render::stanza::{self, Stanza};
use crate::render::unit::{self, Names, Scope};
use crate::render::{OnNode, instance, service};
use crate::supervise::ServiceDef;

/// What stands for what only the node knows while it is rendered, as nobody writes it; what is shown for it; and what it
/// is.
const STAND_INS: [(&str, &str, &str); 6] = [
    (RELEASE, "<release>", "the folder of the version on the node"),
    (DATA, "<data>", "the folder of the cell's data on the node"),
    (CELL, "<cell>", "the folder of the cell on the node"),
    (AGENT, "<fleetagent>", "the path of fleetagent on the node"),
    (VERSION, "<version>", "the name of the version, another one each time"),
    (TURN, "<instance>", "a or b, by turns"),
];
// Where it stands beside the link to the current one, which programs are told of, too.
const RELEASE: &str = "/..fleetman.cell/releases/..fleetman.release";
const DATA: &str = "/..fleetman.data";
const CELL: &str = "/..fleetman.cell";
const AGENT: &str = "/..fleetman.agent";
const VERSION: &str = "v..fleetman.version";
const TURN: &str = "..fleetman.instance";

/// Something that stands on the host for a version, and differs from what another one has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DefinitionChange {
    /// What it is: the name of a unit or of a file of supervisord, or `process <name>`.
    pub name: String,
    /// How it differs.
    pub kind: FileKind,
    /// The lines that differ.
    pub diff: TextDiff,
}

/// A word in angle brackets that stands for what only the node knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StandIn {
    /// The word, such as `<release>`.
    pub word: String,
    /// What the node has in its place.
    pub means: String,
}

/// What stands on the host for a version, by name; or why no agent will put it there.
type Definitions = BTreeMap<String, String>;

/// What differs between what two versions are on their host. What cannot be rendered is not compared: see [`refusal`].
pub(super) fn changed(before: Option<&Manifest>, after: &Manifest) -> Vec<DefinitionChange> {
    let of = |manifest: &Manifest, other: Option<&Manifest>| render(&masked(manifest, other)).unwrap_or_default();
    let (before, after) = (before.map(|it| of(it, None)).unwrap_or_default(), of(after, before));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let (before, after) = (before.get(name), after.get(name));
        let kind = match (before, after) {
            (Some(before), Some(after)) if before == after => return None,
            (Some(_), None) => FileKind::Removed,
            (None, _) => FileKind::Added,
            (Some(_), Some(_)) => FileKind::Changed,
        };
        let text = |side: Option<&String>| side.map(String::as_str).unwrap_or_default().to_owned();
        let (before, after) = (text(before), text(after));
        let diff = match (before.len() + after.len()) as u64 > MOST_TEXT_BYTES {
            true => TextDiff::TooLarge,
            false => diff::lines(before.as_bytes(), after.as_bytes()),
        };
        Some(DefinitionChange { name: name.clone(), kind, diff })
    };
    names.into_iter().filter_map(change).collect()
}

/// The stand-ins in these lines.
pub(super) fn stand_ins<'a>(changes: impl IntoIterator<Item = &'a DefinitionChange>) -> Vec<StandIn> {
    let texts = changes.into_iter().filter_map(|change| match &change.diff {
        TextDiff::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let texts: Vec<&str> = texts.collect();
    let known = STAND_INS.iter().filter(|(_, word, _)| texts.iter().any(|text| text.contains(word)));
    known.map(|(_, word, means)| StandIn { word: (*word).to_owned(), means: (*means).to_owned() }).collect()
}

/// Why the agent will not bring up a version, as far as rendering it tells.
pub(super) fn refusal(manifest: &Manifest) -> Option<String> {
    render(manifest).err()
}

fn render(manifest: &Manifest) -> Result<Definitions, String> {
    // It is no text that could be no name.
    let version = VersionName::new(VERSION).map_err(|error| error.to_string())?;
    let manifest = &Manifest { version, ..manifest.clone() };
    let on_node = OnNode { cell: &manifest.cell, manifest, release: Path::new(RELEASE), data: Path::new(DATA) };
    let rendered = match &manifest.profile {
        Profile::Deploy(_) => Definitions::new(),
        Profile::Process(spec) => processes(&defined(spec, &on_node)),
        Profile::Supervisor(spec) => {
            let service = defined(spec, &on_node);
            let mut rendered = processes(&service);
            rendered.insert(stanza::file_name(&manifest.cell), conf(&service, &on_node)?);
            rendered
        }
        Profile::Systemd(spec) => units(spec, &on_node)?,
    };
    let shown = |text: String| STAND_INS.iter().fold(text, |text, (stand_in, word, _)| text.replace(stand_in, word));
    Ok(rendered.into_iter().map(|(name, text)| (name, shown(text))).collect())
}

/// The processes as their supervisor will have them.
fn defined(spec: &ProcessSpec, on_node: &OnNode<'_>) -> ServiceDef {
    let Strategy::StartStop(how) = &on_node.manifest.strategy else { return service::service(spec, on_node) };
    let mut service = instance::service(spec, how, on_node, Instance::A);
    for process in service.processes.values_mut() {
        process.env.insert(INSTANCE.to_owned(), TURN.into());
    }
    service
}

fn processes(service: &ServiceDef) -> Definitions {
    // Definitions have nothing that JSON lacks.
    let json = |def| serde_json::to_string_pretty(def).unwrap_or_default();
    service.processes.iter().map(|(name, def)| (format!("process {name}"), format!("{}\n", json(def)))).collect()
}

fn conf(service: &ServiceDef, on_node: &OnNode<'_>) -> Result<String, String> {
    let folder = Path::new(CELL);
    let stanza = Stanza {
        cell: on_node.cell,
        version: &on_node.manifest.version,
        activation: VERSION,
        folder,
        spec: &folder.join("activations").join(VERSION),
        logs: &folder.join("logs"),
        program: Path::new(AGENT),
        service,
    };
    let text = stanza.render()?;
    // The first line is the agent's mark, with a digest of what the node has.
    Ok(text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default())
}

fn units(spec: &SystemdSpec, on_node: &OnNode<'_>) -> Result<Definitions, String> {
    let names = Names::of(on_node.cell);
    let spec = match spec {
        SystemdSpec::Rendered(spec) => spec,
        SystemdSpec::Own(own) => {
            let found = on_node.manifest.files.iter().find(|file| file.path == own.unit_file);
            let digest = found.map(|file| format!(", {}", file.sha256)).unwrap_or_default();
            return Ok([(
                names.service(Instance::A).to_owned(),
                format!("the version's own {}{digest}\n", own.unit_file),
            )]
            .into());
        }
    };
    let units = unit::units(spec, on_node, Instance::A, Scope::System, Path::new(AGENT));
    let units = units.map_err(|error| error.to_string())?;
    let text = |unit: Vec<u8>| String::from_utf8_lossy(&unit).into_owned();
    let first = format!("\"{INSTANCE}={}\"", Instance::A.name());
    let service = text(units.service).replace(&first, &format!("\"{INSTANCE}={TURN}\""));
    let mut rendered = Definitions::from([(names.service(Instance::A).to_owned(), service)]);
    rendered.extend(units.timer.map(|timer| (names.timer, text(timer))));
    for (stem, socket) in units.sockets {
        rendered.insert(format!("{stem}.socket"), text(socket.socket));
        rendered.insert(format!("{stem}.service"), text(socket.idle));
    }
    Ok(rendered)
}

/// The same with values masked that may be secrets. Where one is another than in `before` the mask says so.
fn masked(manifest: &Manifest, before: Option<&Manifest>) -> Manifest {
    let mut masked = manifest.clone();
    let before: BTreeMap<String, &RunSpec> = before.map(|before| runs(&before.profile)).unwrap_or_default();
    for (name, run) in runs_mut(&mut masked.profile) {
        let before = before.get(&name);
        for (variable, value) in &mut run.env {
            let EnvValue::Text(text) = value else { continue };
            if secret::is_variable(variable) || secret::has_password(text) {
                let other = before.and_then(|before| before.env.get(variable));
                let is_other = other.is_some_and(|other| !matches!(other, EnvValue::Text(other) if other == text));
                *text = mask(is_other);
            }
        }
        for (at, word) in run.command.iter_mut().enumerate().filter(|(_, word)| secret::has_password(word)) {
            let other = before.and_then(|before| before.command.get(at));
            *word = mask(other.is_some_and(|other| other != word));
        }
    }
    if let Profile::Systemd(SystemdSpec::Rendered(unit)) = &mut masked.profile {
        let words = unit.reload_command.iter_mut().flatten();
        words.filter(|word| secret::has_password(word)).for_each(|word| *word = mask(false));
    }
    masked
}

fn mask(is_other: bool) -> String {
    if is_other { format!("{}, another one", secret::MASK) } else { secret::MASK.to_owned() }
}

fn runs(profile: &Profile) -> BTreeMap<String, &RunSpec> {
    match profile {
        Profile::Deploy(_) => BTreeMap::new(),
        Profile::Process(spec) | Profile::Supervisor(spec) => {
            spec.processes.iter().map(|(name, process)| (name.to_string(), &process.run)).collect()
        }
        Profile::Systemd(spec) => spec.rendered().map(|unit| (String::new(), &unit.run)).into_iter().collect(),
    }
}

fn runs_mut(profile: &mut Profile) -> BTreeMap<String, &mut RunSpec> {
    match profile {
        Profile::Deploy(_) | Profile::Systemd(SystemdSpec::Own(_)) => BTreeMap::new(),
        Profile::Process(spec) | Profile::Supervisor(spec) => {
            spec.processes.iter_mut().map(|(name, process)| (name.to_string(), &mut process.run)).collect()
        }
        Profile::Systemd(SystemdSpec::Rendered(unit)) => [(String::new(), &mut unit.run)].into(),
    }
}

#[cfg(test)]
mod tests;
