//! Folders from their paths.

use chrono::NaiveDate;

use super::{Folder, cell_id, parse_ulid};
use crate::model::name::{DeploymentName, ManifestName, NodeName, VersionName};

impl Folder {
    /// The folder with this path below the fleet's prefix; None where the protocol has none. The path ends in a slash
    /// unless it is empty.
    #[must_use]
    pub fn parse(relative: &str) -> Option<Self> {
        if relative.is_empty() {
            return Some(Self::Root);
        }
        let segments: Vec<&str> = relative.strip_suffix('/')?.split('/').collect();
        Some(match segments.as_slice() {
            ["agents"] => Self::Agents,
            ["index"] => Self::Indexes,
            ["controllers"] => Self::Controllers,
            ["manifests"] => Self::Manifests,
            ["deployments"] => Self::Deployments(None),
            ["deployments", manifest] => Self::Deployments(Some(ManifestName::new(*manifest).ok()?)),
            ["deployments", manifest, deployment] => {
                Self::Deployment(ManifestName::new(*manifest).ok()?, DeploymentName::new(*deployment).ok()?)
            }
            ["cells"] => Self::Cells,
            ["cells", node] => Self::NodeCells(NodeName::new(*node).ok()?),
            ["cells", node, "_requests"] => Self::Requests(NodeName::new(*node).ok()?),
            ["cells", node, cell] => Self::Cell(cell_id(node, cell)?),
            ["cells", node, cell, "overrides"] => Self::Overrides(cell_id(node, cell)?),
            ["cells", node, cell, "versions"] => Self::Versions(cell_id(node, cell)?),
            ["cells", node, cell, "versions", version] => {
                Self::Version(cell_id(node, cell)?, VersionName::new(*version).ok()?)
            }
            ["cells", node, cell, "versions", version, "files", content] => {
                Self::VersionFiles(cell_id(node, cell)?, VersionName::new(*version).ok()?, content.parse().ok()?)
            }
            ["cells", node, cell, "history"] => Self::History(cell_id(node, cell)?),
            ["logs"] => Self::Logs,
            ["logs", node] => Self::NodeLogs(NodeName::new(*node).ok()?),
            ["logs", node, "_requests"] => Self::Answers(NodeName::new(*node).ok()?),
            ["logs", node, "_requests", order] => Self::Answer(NodeName::new(*node).ok()?, parse_ulid(order)?),
            ["logs", node, cell] => Self::CellLogs(cell_id(node, cell)?),
            ["audit"] => Self::Audit(None),
            ["audit", day] => {
                let date = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
                Self::Audit((date.to_string() == *day).then_some(Some(date))?)
            }
            ["alerts"] => Self::Alerts,
            ["auth"] => Self::Auth,
            ["probes"] => Self::Probes(None),
            ["probes", run] => Self::Probes(Some(parse_ulid(run)?)),
            _ => return None,
        })
    }
}
