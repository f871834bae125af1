//! `fleetagent doctor`: everything that an agent needs, looked at without a change that stays.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use super::context::Context;
use super::{bucket, host, supervisord};
use crate::agent::{self, AgentError};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::findings;
use crate::config::AgentConfig;
use crate::model::fleet::{Finding, Verdict};
use crate::store::Store;

pub(super) async fn run(context: &Context) -> Result<Exit, Failure> {
    let mut found = Vec::new();
    match context.quiet_config() {
        Err(failure) => found.push(findings::of("config", Err(failure))),
        Ok(config) => {
            let path = context.find_config()?;
            found.push(findings::of("config", Ok(format!("{} can be used", path.display()))));
            found.extend(config.warnings.iter().map(|warning| findings::warning("config", warning.as_str(), None)));
            found.push(folder("state_folder", &config.state_folder));
            found.push(agent_process(&config));
            found.push(profiles(&config, context)?);
            found.extend(config.profiles.deploy.iter().map(|deploy| folder("deploy_folder", &deploy.target_folder)));
            if let Some(process) = &config.profiles.process {
                let finding = folder("process_folder", &process.folder);
                let can_be_made = finding.verdict == Verdict::Ok;
                found.push(finding);
                // Nothing else makes sense of a folder that cannot be.
                found.extend(if can_be_made { host::look(process) } else { Vec::new() });
            }
            if let Some(supervisor) = &config.profiles.supervisor {
                found.push(folder("supervisor_folder", &supervisor.folder));
                found.push(folder("supervisor_conf_d", &supervisor.conf_d_folder));
                found.extend(supervisord::look(supervisor, context.clock.clone()).await);
            }
            if let Some(systemd) = &config.profiles.systemd {
                found.push(folder("systemd_folder", &systemd.folder));
                found.push(folder("systemd_service_folder", &systemd.service_folder));
                found.extend(host::look_at_systemd(systemd, &context.clock).await);
            }
            match Store::connect(config.store.clone(), context.clock.clone()).await {
                Err(error) => found.push(findings::of("bucket", Err(error.into()))),
                Ok(store) => found.extend(bucket::look(&store, &config, context).await),
            }
        }
    }
    context.output.show(&found, |output| findings::table(&found, output))?;
    Ok(findings::exit(&found))
}

/// Whether `folder`, or the one that it will be made in, can be written to.
fn folder(check: &str, folder: &Path) -> Finding {
    let result = match folder.ancestors().find(|path| path.exists()) {
        None => Err(Failure::usage(format!("{} cannot be made", folder.display()))),
        Some(path) if !path.is_dir() => Err(Failure::usage(format!("{} is not a folder", path.display()))),
        Some(path) => access(path, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| Failure::local(format!("writing to {}", path.display()), &io::Error::from(error)))
            .map(|()| match path == folder {
                true => format!("{} can be written to", folder.display()),
                false => format!("{} will be made", folder.display()),
            }),
    };
    findings::of(check, result)
}

fn agent_process(config: &AgentConfig) -> Finding {
    match agent::read_status(&config.state_folder) {
        Ok(status) => match status.pid {
            Some(pid) => findings::of("agent", Ok(format!("running, pid {pid}"))),
            None => findings::warning("agent", "not running", Some("systemctl start fleetagent".to_owned())),
        },
        Err(error @ AgentError::NeverRan { .. }) => findings::warning("agent", error.to_string(), None),
        Err(error) => findings::of("agent", Err(error.into())),
    }
}

/// Which profiles the node is set up for.
fn profiles(config: &AgentConfig, context: &Context) -> Result<Finding, Failure> {
    let names = context.profiles(config)?;
    if names.is_empty() {
        let help = "set up at least one, as agent_config.example.yaml shows";
        return Ok(findings::warning("profiles", "no profile is set up: every cell waits", Some(help.to_owned())));
    }
    Ok(findings::of("profiles", Ok(format!("set up for {}", names.join(", ")))))
}
