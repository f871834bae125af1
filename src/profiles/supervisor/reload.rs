//! A version that takes the place of another one without a restart. supervisord keeps the file and the command line that
//! it knows, so nothing changes for it. What these name is the version's from now on, and what runs is sent a signal.

use super::Supervisor;
use super::found::Found;
use super::install::{disk, unavailable};
use super::rpc::State;
use super::shim::GoesOnAs;
use crate::agent::{Over, ProfileError, Start};
use crate::model::run_spec::Profile;
use crate::profiles::definition::check_secrets;
use crate::render::service::service;
use crate::render::stanza;
use crate::supervise::Kind;

impl Supervisor {
    /// Lets what runs of `over` go on as the version of `start`, if it runs just so.
    pub(super) async fn go_over(&self, start: Start<'_>, over: Over<'_>) -> Result<bool, ProfileError> {
        let (Profile::Supervisor(spec), Profile::Supervisor(former)) =
            (&start.manifest.profile, &over.manifest.profile)
        else {
            return Ok(false);
        };
        let was = service(former, &over.start(start).on_node());
        let service = service(spec, &start.on_node());
        let (path, shim) = (self.places.conf(start.cell), self.places.shim(start.cell));
        let reading = |error| disk(&format!("reading what is activated by {}", path.display()), &error);
        let Found::Ours { activation: current, is_edited: false, .. } =
            self.places.found(start.cell).map_err(reading)?
        else {
            return Ok(false);
        };
        let Some((begun, activated)) = shim.only().map_err(reading)? else { return Ok(false) };
        // What could not be brought up left what is gone back to as it was.
        if activated != was && activated != service {
            return Ok(false);
        }
        let gone_back = start.restores() && current != begun;
        let running = self.supervisord.processes().await.map_err(unavailable)?;
        let group = stanza::group(start.cell);
        // As the cell's file names them.
        let named = |name: &str| if service.processes.len() == 1 { group.clone() } else { name.to_owned() };
        // What is gone back from must not have ended and been started again.
        let was_started = |name: &str| shim.started(name).is_some_and(|started| started.activation == current);
        let runs = |name: &str| {
            let found = running.iter().find(|process| process.group == group && process.name == named(name));
            found.is_some_and(|process| matches!(process.state, State::Running | State::Starting))
        };
        let mut services = service.processes.iter().filter(|(_, def)| def.autostart && def.kind == Kind::Service);
        if self.is_running(start.cell, &running) != Some(true)
            || !services.all(|(name, _)| runs(name) && !(gone_back && was_started(name)))
        {
            return Ok(false);
        }
        check_secrets(&service)?;
        let other = GoesOnAs { activation: start.activation.to_string(), version: start.manifest.version.to_string() };
        let gone_on = shim.go_on(&begun, &other, &service);
        gone_on.map_err(|error| disk(&format!("writing to {}", shim.activation(&begun).display()), &error))?;
        for (name, def) in service.processes.iter().filter(|(name, _)| over.reloads && runs(name)) {
            if let Some(signal) = def.reload_signal {
                let told = self.supervisord.signal(&group, &named(name), stanza::signal(signal)).await;
                told.map_err(unavailable)?;
            }
        }
        self.watch.refresh(start.cell).await;
        Ok(true)
    }
}
