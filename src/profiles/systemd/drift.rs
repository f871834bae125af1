//! Unit files that are not as they were written, and writing them once more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::install::is_same_file;
use super::look::is_of_unit;
use super::owned::{self, InPlace};
use super::{Systemd, disk, waiting};
use crate::agent::{Activation, Deployed, ProfileError, Strayed};
use crate::model::drift::Deviation;
use crate::model::{CellName, Code};

/// Of more drop-ins in one folder, the others are not told.
const MOST_DROP_INS: usize = 64;

impl Systemd {
    /// What of the cell's units is otherwise: as systemd has them, and as it would have them once it reads them again.
    pub(super) async fn strayed(&self, name: &CellName) -> Result<Vec<Strayed>, ProfileError> {
        let cell = self.cell(name);
        let site = &cell.site;
        let look = cell.look().await?;
        let Some(begun) = &look.begun else { return Ok(Vec::new()) };
        let mut strayed = Vec::new();
        let units =
            [(&site.service, true, Some(&look.service)), (&site.timer, begun.is_scheduled, look.timer.as_ref())];
        for (path, is_wanted, unit) in units {
            let code = match site.look(path).map_err(|error| disk("reading", path, &error))? {
                InPlace::Nothing if is_wanted => Some(Deviation::UnitMissing),
                InPlace::Ours(ours) if ours.is_edited => Some(Deviation::UnitChanged),
                InPlace::Foreign(_) if is_wanted => Some(Deviation::UnitForeign),
                _ => None,
            };
            strayed.extend(code.map(|code| Strayed { code, path: path.clone() }));
            let mut drop_ins = drop_ins_beside(path).map_err(|error| disk("looking beside", path, &error))?;
            let known = unit.into_iter().flat_map(|unit| &unit.drop_ins).filter(|path| is_of_unit(path));
            drop_ins.extend(known.cloned());
            drop_ins.sort_unstable();
            drop_ins.dedup_by(|one, other| one == other || is_same_file(one, other));
            strayed.extend(drop_ins.into_iter().map(|path| Strayed { code: Deviation::DropIn, path }));
        }
        Ok(strayed)
    }

    /// Writes the units once more as the same bringing up wrote them, and lets systemd read them. What runs goes on
    /// as it was started.
    pub(super) async fn write_again(&self, deployed: Deployed<'_>) -> Result<(), ProfileError> {
        let cell = self.cell(deployed.cell);
        let site = &cell.site;
        let _turn = self.changing.lock().await;
        let begun = site.begun().and_then(|begun| begun.activation.parse::<Activation>().ok());
        let Some(activation) = begun else {
            let message = "which bringing up wrote its units is not known any more; redeploy to write them anew";
            return Err(waiting(Code::NeedsOperator, message.to_owned()));
        };
        let wanted = self.wanted(&deployed.start(activation), site)?;
        let mut is_changed = false;
        // The timer first, as when they were written.
        for (path, bytes) in [(&site.timer, wanted.timer.as_ref()), (&site.service, Some(&wanted.service))] {
            let Some(bytes) = bytes else { continue };
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

/// Drop-ins in the unit's own folder, whether systemd has read them yet or not.
fn drop_ins_beside(unit: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folder = unit.as_os_str().to_owned();
    folder.push(".d");
    let entries = match fs::read_dir(Path::new(&folder)) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let drop_ins =
        paths.filter(|path| path.as_ref().map_or(true, |path| path.extension().is_some_and(|end| end == "conf")));
    drop_ins.take(MOST_DROP_INS).collect()
}
