//! Unit files that are not as they were written, and writing them once more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::owned::{self, InPlace};
use super::{Systemd, disk, waiting};
use crate::agent::{Activation, ProfileError, Strayed};
use crate::model::drift::Deviation;
use crate::model::{CellName, Code};
use crate::render::OnNode;

impl Systemd {
    /// What of the cell's units is otherwise. Drop-ins are how the owner of a host says how a unit runs there, and not
    /// something that strayed: each look at the cell tells of them.
    pub(super) async fn strayed(&self, name: &CellName) -> Result<Vec<Strayed>, ProfileError> {
        let cell = self.cell(name);
        let site = &cell.site;
        let look = cell.look().await?;
        let Some(begun) = &look.begun else { return Ok(Vec::new()) };
        let mut strayed = Vec::new();
        let has_other = look.other.is_some() && begun.beside.is_some();
        let mut units = vec![
            (site.service(begun.instance()), true),
            (site.service(begun.instance().other()), has_other),
            (site.timer(), begun.is_scheduled),
        ];
        for stem in begun.all_sockets().collect::<BTreeSet<_>>() {
            units.extend(site.socket(stem).map(|path| (path, true)));
        }
        for (path, is_wanted) in units {
            let code = match site.look(&path).map_err(|error| disk("reading", &path, &error))? {
                InPlace::Nothing if is_wanted => Some(Deviation::UnitMissing),
                InPlace::Ours(ours) if ours.is_edited => Some(Deviation::UnitChanged),
                InPlace::Foreign(_) if is_wanted => Some(Deviation::UnitForeign),
                _ => None,
            };
            strayed.extend(code.map(|code| Strayed { code, path }));
        }
        Ok(strayed)
    }

    /// Writes the units once more as the same bringing up wrote them, and lets systemd read them. What runs goes on
    /// as it was started.
    pub(super) async fn write_again(&self, deployed: OnNode<'_>) -> Result<(), ProfileError> {
        let cell = self.cell(deployed.cell);
        let site = &cell.site;
        let _turn = self.changing.lock().await;
        let begun = site.begun().and_then(|begun| Some((begun.activation.parse::<Activation>().ok()?, begun)));
        let Some((activation, begun)) = begun else {
            let message = "which bringing up wrote its units is not known any more; redeploy to write them anew";
            return Err(waiting(Code::NeedsOperator, message.to_owned()));
        };
        let instance = begun.instance();
        let wanted = self.wanted(&deployed.start(activation), site, instance)?;
        let mut files: Vec<(PathBuf, &[u8])> = Vec::new();
        // The service last, as when they were written.
        for (stem, units) in &wanted.sockets {
            files.extend(site.socket(stem).into_iter().zip([&*units.socket, &*units.idle]));
        }
        files.extend(wanted.timer.as_deref().map(|timer| (site.timer(), timer)));
        files.push((site.service(instance), &wanted.service));
        let mut is_changed = false;
        for (path, bytes) in files {
            let path = &path;
            let is_whole = match site.look(path).map_err(|error| disk("reading", path, &error))? {
                InPlace::Foreign(what) => {
                    return Err(waiting(Code::UnitNotOwned, format!("{what}, so it is left alone")));
                }
                InPlace::Ours(ours) => !ours.is_edited,
                InPlace::Nothing => false,
            };
            if !is_whole {
                owned::write(path, bytes, 0o644).map_err(|error| disk("writing", path, &error))?;
                is_changed = true;
            }
        }
        if is_changed {
            self.bus.reload().await?;
        }
        cell.look().await?;
        Ok(())
    }
}
