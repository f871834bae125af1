//! `fleetman get`: lists.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};

use super::context::Context;
use super::select::Filter;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::{CellView, FleetReader, FleetView, Health, Liveness, LivenessLimits, Sync};
use crate::model::heartbeat::HoldReport;
use crate::model::{CellId, ManifestName};
use crate::web::listed_cells;
use crate::web::views::{Cell, ManifestEntry, Node, Release, Version};

/// List nodes, cells, manifests, deployments or versions.
///
/// With -o json or yaml in the shapes of the API.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman get cells -l region=eu --health failed\n  fleetman get versions n1/web -o json"
)]
pub(super) struct GetArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Machines that run an agent
    #[command(visible_aliases = ["node", "no"])]
    Nodes,
    /// What is deployed to nodes
    #[command(visible_aliases = ["cell", "ce"])]
    Cells(Box<Cells>),
    /// Recipes
    #[command(visible_aliases = ["manifest", "mf"])]
    Manifests,
    /// Uploaded releases
    #[command(visible_aliases = ["deployment"])]
    Deployments {
        /// Only those of this manifest
        manifest: Option<ManifestName>,
    },
    /// Versions of a cell
    #[command(visible_aliases = ["version"])]
    Versions {
        /// The cell, as <node>/<cell>
        cell: CellId,
    },
}

/// Which cells, by what they are and how they stand: what the portal's list can be asked for.
#[derive(Debug, Args)]
struct Cells {
    #[command(flatten)]
    filter: Filter,
    /// Only those with this in their name, or in that of their manifest
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only those that are so: synced, out-of-sync, unknown
    #[arg(long, value_name = "SYNC")]
    sync: Option<String>,
    /// Only those that are so: healthy, starting, degraded, failed, stopped, n-a, unknown
    #[arg(long, value_name = "HEALTH")]
    health: Option<String>,
    /// Only those whose host has, or has not, what was deployed: in-sync, drifted, unknown
    #[arg(long, value_name = "DRIFT")]
    drift: Option<String>,
    /// Only those with which the agent is doing this, such as waiting or failed
    #[arg(long, value_name = "PHASE")]
    phase: Option<String>,
    /// Only those that are to run this version, or run it
    #[arg(long, value_name = "VERSION")]
    of_version: Option<String>,
    /// Only those that are paused, or are not: yes, no
    #[arg(long, value_name = "YES|NO")]
    paused: Option<String>,
    /// Only those that have files of their own, or have none: yes, no
    #[arg(long, value_name = "YES|NO")]
    overrides: Option<String>,
    /// Only those of this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

impl Cells {
    /// As the portal's list is asked for them.
    fn asked(&self) -> Vec<(&str, &str)> {
        let all = [
            ("q", &self.search),
            ("sync", &self.sync),
            ("health", &self.health),
            ("drift", &self.drift),
            ("phase", &self.phase),
            ("version", &self.of_version),
            ("paused", &self.paused),
            ("overrides", &self.overrides),
            ("node", &self.node),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    fn fitting<'v>(&self, fleet: &'v FleetView) -> Result<Vec<&'v CellView>, Failure> {
        listed_cells(fleet, &self.asked()).map_err(Failure::usage)
    }
}

pub(super) async fn run(args: GetArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.looker().await?;
    let output = context.output;
    match args.kind {
        Kind::Nodes => {
            let fleet = fleet(&controller).await?;
            let nodes: Vec<Node> = fleet.nodes.iter().map(|node| Node::from(&**node)).collect();
            output.show(&nodes, |output| self::nodes(&nodes, &fleet, output))?;
        }
        Kind::Cells(asked) => {
            let fleet = fleet(&controller).await?;
            let fitting = asked.fitting(&fleet)?.into_iter();
            let cells: Vec<Cell> = fitting.filter(|cell| asked.filter.fits(cell)).map(Cell::from).collect();
            output.show(&cells, |output| self::cells(&cells, output))?;
        }
        Kind::Manifests => {
            let manifests: Vec<ManifestEntry> =
                controller.manifests().await?.into_iter().map(ManifestEntry::from).collect();
            output.show(&manifests, |output| {
                let mut rows = Rows::new(output, &["name", "size", "modified"]);
                for manifest in &manifests {
                    rows.row([(&manifest.name).into(), manifest.size.into(), time(manifest.last_modified)]);
                }
                rows.render()
            })?;
        }
        Kind::Deployments { manifest } => {
            let releases: Vec<Release> =
                controller.deployments(manifest.as_ref()).await?.iter().map(Release::from).collect();
            if let (Some(manifest), []) = (&manifest, releases.as_slice()) {
                // Nothing of nothing is another answer than nothing.
                controller.get_manifest(manifest).await?;
            }
            output.show(&releases, |output| self::releases(&releases, output))?;
        }
        Kind::Versions { cell } => {
            let versions: Vec<Version> = controller.versions(&cell).await?.into_iter().map(Version::from).collect();
            if versions.is_empty() {
                controller.get_cell(&cell).await?;
            }
            output.show(&versions, |output| self::versions(&versions, output))?;
        }
    }
    Ok(Exit::Ok)
}

/// The fleet as it is now.
pub(super) async fn fleet(controller: &crate::controller::Controller) -> Result<FleetView, Failure> {
    Ok(FleetReader::new(LivenessLimits::default()).refresh(controller).await?)
}

fn nodes(nodes: &[Node], fleet: &FleetView, output: Output) -> String {
    let mut rows = Rows::new(output, &["node", "status", "seen", "cells", "agent", "labels", "remark"]);
    for node in nodes {
        let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let seen = node.last_seen.map(|seen| format!("{} s ago", (fleet.at - seen).num_seconds().max(0)));
        rows.row([
            (&node.name).into(),
            liveness(node.liveness),
            seen.unwrap_or_else(|| "-".to_owned()).into(),
            format!("{}/{}", node.cells_synced, node.cells).into(),
            node.agent_version.as_deref().unwrap_or("-").into(),
            labels.join(",").into(),
            remarks(node).join("; ").into(),
        ]);
    }
    rows.render()
}

/// What is wrong with a node.
pub(super) fn remarks(node: &Node) -> Vec<String> {
    let unsigned = node.signing == Some(crate::model::heartbeat::SigningMode::Unsigned);
    let unsigned = unsigned.then(|| "its agent checks no signatures".to_owned());
    let store = node.store_error.as_ref().map(|fault| format!("bucket: {}: {}", fault.code, fault.message));
    let conditions = node.conditions.iter().map(|condition| format!("{}: {}", condition.code, condition.message));
    let held = node.hold.as_ref().map(held_by);
    unsigned.into_iter().chain(held).chain(store).chain(conditions).chain(node.problems.iter().cloned()).collect()
}

pub(super) fn cells(cells: &[Cell], output: Output) -> String {
    let mut rows = Rows::new(output, &["cell", "sync", "health", "phase", "desired", "current", "manifest", "remark"]);
    for cell in cells {
        let current = cell.running.as_ref().map_or_else(|| "-".to_owned(), |running| running.version.to_string());
        rows.row([
            (&cell.name).into(),
            sync(cell.sync),
            health(cell.health),
            cell.phase.map_or("-", crate::model::heartbeat::Phase::as_str).into(),
            wish(cell).into(),
            current.into(),
            cell.manifest.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string).into(),
            remark(cell).unwrap_or_default().into(),
        ]);
    }
    rows.render()
}

/// What a cell is to be, in a word.
pub(super) fn wish(cell: &Cell) -> String {
    match &cell.desired {
        None => "-".to_owned(),
        Some(wish) => wish.version.as_ref().map_or_else(|| wish.action.clone(), ToString::to_string),
    }
}

/// What is to be known of a cell beside its state.
pub(super) fn remark(cell: &Cell) -> Option<String> {
    let paused = cell.paused.as_ref().map(|reason| format!("paused: {reason}"));
    let waiting = cell.waiting.as_ref().map(|waiting| format!("{}: {}", waiting.reason, waiting.message));
    let fault = cell.last_error.as_ref().filter(|_| cell.sync != Sync::Synced);
    let fault = fault.map(|fault| format!("{}: {}", fault.code, fault.message));
    let held = cell.hold.as_ref().map(held_by);
    cell.problem.clone().or(waiting).or(fault).or(held).or(paused)
}

/// Who holds a cell or a node, until when and why.
fn held_by(hold: &HoldReport) -> String {
    let what = if hold.whole_node { "the node is held" } else { "held" };
    let until = hold.until.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("{what} by {} until {until}: {}", hold.by, hold.reason)
}

fn releases(releases: &[Release], output: Output) -> String {
    let mut rows = Rows::new(output, &["manifest", "deployment", "state", "files", "bytes", "created", "by", "note"]);
    for release in releases {
        let tone = if release.state == "whole" { Tone::Good } else { Tone::Warn };
        rows.row([
            (&release.manifest).into(),
            (&release.name).into(),
            Shown::from(release.state).toned(tone),
            release.files.into(),
            release.bytes.into(),
            time(release.created_at),
            release.created_by.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string).into(),
            release.problem.as_deref().or(release.note.as_deref()).unwrap_or_default().into(),
        ]);
    }
    rows.render()
}

fn versions(versions: &[Version], output: Output) -> String {
    let mut rows =
        Rows::new(output, &["version", "state", "deployment", "files", "bytes", "created", "by", "needed", "note"]);
    for version in versions {
        let tone = if version.state == "whole" { Tone::Good } else { Tone::Warn };
        rows.row([
            (&version.name).into(),
            Shown::from(version.state).toned(tone),
            version.deployment.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string).into(),
            version.files.into(),
            version.bytes.into(),
            time(version.created_at),
            version.created_by.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string).into(),
            version.needed.join("; ").into(),
            version.problem.as_deref().or(version.note.as_deref()).unwrap_or_default().into(),
        ]);
    }
    rows.render()
}

fn time(at: Option<DateTime<Utc>>) -> Shown {
    at.map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true)).into()
}

pub(super) fn liveness(liveness: Liveness) -> Shown {
    let tone = match liveness {
        Liveness::Active => Tone::Good,
        Liveness::Warning | Liveness::Unknown => Tone::Warn,
        Liveness::Dead => Tone::Bad,
    };
    Shown::from(liveness.as_str()).toned(tone)
}

pub(super) fn sync(sync: Sync) -> Shown {
    let (word, tone) = match sync {
        Sync::Synced => ("synced", Tone::Good),
        Sync::OutOfSync => ("out of sync", Tone::Warn),
        Sync::Unknown => ("unknown", Tone::Warn),
    };
    Shown::from(word).toned(tone)
}

pub(super) fn health(health: Health) -> Shown {
    let (word, tone) = match health {
        Health::NotApplicable => ("n/a", Tone::Faint),
        Health::Healthy => ("healthy", Tone::Good),
        Health::Starting => ("starting", Tone::Warn),
        Health::Degraded => ("degraded", Tone::Warn),
        Health::Stopped => ("stopped", Tone::Faint),
        Health::Failed => ("failed", Tone::Bad),
        Health::Unknown => ("unknown", Tone::Warn),
    };
    Shown::from(word).toned(tone)
}
