//! A cell's file that is not as it was written, and writing it once more.

use super::found::Found;
use super::install::{MODE, disk};
use super::shim::replace;
use super::{Supervisor, waiting};
use crate::agent::{ProfileError, Strayed};
use crate::model::drift::Deviation;
use crate::model::{CellName, Code};
use crate::render::OnNode;
use crate::render::stanza::{self, Stanza};

impl Supervisor {
    /// What is otherwise with the cell's file, where one belongs.
    pub(super) fn strayed(&self, cell: &CellName) -> Result<Vec<Strayed>, ProfileError> {
        let path = self.places.conf(cell);
        let found = self.places.found(cell).map_err(|error| disk(&format!("reading {}", path.display()), &error))?;
        let code = match found {
            Found::Nothing if self.places.shim(cell).has_activations() => Deviation::UnitMissing,
            Found::Ours { is_edited: true, .. } => Deviation::UnitChanged,
            Found::Foreign(_) => Deviation::UnitForeign,
            Found::Nothing | Found::Ours { .. } => return Ok(Vec::new()),
        };
        Ok(vec![Strayed { code, path }])
    }

    /// Writes the cell's file once more as its activation wrote it, and lets supervisord read it. What runs goes on as
    /// it was started; what does not run is not started.
    pub(super) async fn write_again(&self, deployed: OnNode<'_>) -> Result<(), ProfileError> {
        let (cell, shim) = (deployed.cell, self.places.shim(deployed.cell));
        let path = self.places.conf(cell);
        let reading = |error| disk(&format!("reading what was activated of {cell}"), &error);
        let Some((activation, service)) = shim.only().map_err(reading)? else {
            let message = "which activation wrote its file is not known any more; redeploy to write it anew";
            return Err(waiting(Code::NeedsOperator, message.to_owned()));
        };
        let stanza = Stanza {
            cell,
            version: &deployed.manifest.version,
            activation: &activation,
            folder: &self.places.folder(cell),
            spec: &shim.activation(&activation),
            logs: &self.places.logs(cell),
            program: &self.program.path,
            service: &service,
        };
        let text = stanza.render().map_err(|why| waiting(Code::NeedsOperator, why))?;
        {
            let _turn = self.turn.lock().await;
            // Looked at once more: it may have become somebody else's since (I7).
            if let Found::Foreign(why) =
                self.places.found(cell).map_err(|error| disk(&format!("reading {}", path.display()), &error))?
            {
                return Err(waiting(Code::UnitNotOwned, format!("{} is not ours: {why}", path.display())));
            }
            let written = replace(&self.places.0.conf_d_folder, &stanza::file_name(cell), text.as_bytes(), MODE);
            written.map_err(|error| disk(&format!("writing {}", path.display()), &error))?;
            // supervisord compares what it runs with what it has read. That it cannot be asked now is no matter: it reads
            // the file when it starts.
            if let Err(error) = self.supervisord.reread().await {
                tracing::warn!(%cell, "supervisord has not read the file that was put back: {}", crate::store::in_full(&error));
            }
        }
        self.watch.refresh(cell).await;
        Ok(())
    }
}
