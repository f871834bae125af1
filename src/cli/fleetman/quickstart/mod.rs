//! `fleetman quickstart`: a whole fleet in one process, on nothing but a folder.
//!
//! It uses the parts that real fleets use: config files, a signing key, an S3 server, a controller, three agents. Only
//! the S3 server is our own, and only the agents share a process.

mod guide;
mod home;
mod ports;
mod site;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::home::{BUCKET, CELLS, Home, MANIFEST, Ports};
use self::site::Listening;
pub(super) use self::site::{ServeFolderArgs, serve as serve_folder};
use super::context::Context;
use super::first_admin;
use crate::access::Gate;
use crate::agent::Agent;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::config::{AgentConfig, ConfigFile};
use crate::controller::{
    Controller, ControllerError, FleetReader, FleetView, Guard, Health, PublishRequest, Sync, UploadOptions,
};
use crate::embedded::{EmbeddedError, Options, Server};
use crate::model::heartbeat::RunningState;
use crate::model::name::NameError;
use crate::model::{CellId, DeploymentName, ManifestName, NodeName, VersionName};
use crate::profiles::Program;
use crate::recipe;
use crate::store::in_full;
use crate::web;
use crate::web::listener::{Listener, Settings};

/// Try Fleetman: a whole fleet on this machine, in one process, without root.
///
/// Starts an S3 server over a folder, a controller and three agents, runs a small web server on each node, and prints
/// where to look and what to try. Ctrl-C ends all of it; the next quickstart goes on where this one was.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fleetman quickstart
  fleetman quickstart --ephemeral       leave nothing behind
  fleetman quickstart --fresh           start over")]
pub(super) struct QuickstartArgs {
    /// Forget what an earlier quickstart left in the folder
    #[arg(long, conflicts_with = "ephemeral")]
    fresh: bool,
    /// Use a temporary folder, and remove it at the end
    #[arg(long, conflicts_with = "folder")]
    ephemeral: bool,
    /// Where everything is kept [default: ~/.local/state/fleetman/quickstart]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The first of five ports on 127.0.0.1; in place of one that is taken, one further up is used
    #[arg(long, default_value_t = 8400, value_parser = clap::value_parser!(u16).range(1..=65_400))]
    port: u16,
}

/// How long the three cells may take to be up to date. It takes a second or two.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a service that runs may take to say where it listens, and how often it is looked for.
const ADDRESS_WITHIN: Duration = Duration::from_secs(2);
const LOOK_FOR_ADDRESS: Duration = Duration::from_millis(20);

/// Between two looks at the fleet.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

pub(super) async fn run(args: QuickstartArgs, context: &Context) -> Result<Exit, Failure> {
    let began = context.clock.monotonic();
    // Watched before anything is started, so that a signal that comes early is not lost.
    let ended = interrupt::watch()?;
    let mut home = Home::open(args.folder, args.fresh, args.ephemeral, args.port)?;
    let fleet = Running::start(&mut home, context, &ended).await?;
    let result = tokio::select! {
        result = fleet.use_it(&home, context, began) => result,
        () = ended.cancelled() => Ok(()),
    };
    fleet.stop(context).await;
    if home.is_ephemeral() {
        context.output.say("Everything is removed again.");
    } else if result.is_ok() {
        context.output.say(&format!("Ended. What it did is kept in {}", home.folder().display()));
    }
    result.map(|()| Exit::Ok)
}

/// Everything that runs.
struct Running {
    server: Server,
    controller: Controller,
    /// Who comes into the portal.
    gate: Arc<Gate>,
    /// The agents and the API, until `ended`.
    tasks: JoinSet<Result<(), Failure>>,
    ended: CancellationToken,
    /// The last heartbeats of the agents before these.
    before: BTreeMap<NodeName, u64>,
}

impl Running {
    async fn start(home: &mut Home, context: &Context, ended: &CancellationToken) -> Result<Self, Failure> {
        let wanted = home.state.ports.clone();
        let server = start_store(home, wanted.store).await?;
        let socket = ports::listen(wanted.api).await?;
        let listener = Listener::over(socket, Settings::default(), context.clock.clone()).await?;
        let api = listener.local_addr().port();
        home.settle(Ports { api, store: server.local_addr().port() })?;

        let context = context.with_config(home.path("controller_config.yaml"));
        let controller = context.controller().await?;
        controller.init().await?;
        // Before the agents, so that their first look finds what to deploy.
        prepare(&controller, home).await?;
        let before = heartbeats(&FleetReader::default().refresh(&controller).await?);
        let mut tasks = JoinSet::new();
        let ended = ended.child_token();
        let (site, clock, until) = (context.site(None).await?, context.clock.clone(), ended.clone());
        let gate = site.gate.clone();
        tasks.spawn(async move {
            web::serve(site, clock, listener, until).await;
            Ok(())
        });
        let program = Program::current().map_err(|error| Failure::local("finding this program", &error))?;
        let mut agents = Vec::new();
        for cell in Home::cells() {
            let config = AgentConfig::parse(&ConfigFile::read(&home.agent_config(&cell.node))?)?;
            let settings = config.settings(&program, context.clock.clone()).await?;
            agents.push(Agent::open(settings, context.clock.clone()).await?);
        }
        // Only now that nothing fails any more, because what they start has to be ended in order.
        for agent in agents {
            let ended = ended.clone();
            tasks.spawn(async move {
                let profiles = agent.profiles();
                let ended = agent.run(ended.cancelled_owned()).await;
                profiles.close().await;
                Ok(ended?)
            });
        }
        Ok(Self { server, controller, gate, tasks, ended, before })
    }

    /// Waits until all is up, tells what there is, then tells every change.
    async fn use_it(&self, home: &Home, context: &Context, began: Duration) -> Result<(), Failure> {
        let view = self.wait_until_ready(context).await?;
        let sites = addresses(home, &view, context).await;
        let took = context.clock.monotonic().saturating_sub(began);
        let portal = format!("http://127.0.0.1:{}", home.state.ports.api);
        let way_in = first_admin::link(&self.gate, &portal, &*context.clock).await;
        context.output.data(&guide::text(home, &sites, &view, took, &portal, way_in.as_deref()))?;
        let mut told = guide::cells(&view);
        let mut reader = FleetReader::default();
        loop {
            context.clock.sleep(LOOK_AGAIN).await;
            // A look that fails says nothing: the store is our own, and the next look comes at once.
            let Ok(view) = reader.refresh(&self.controller).await else { continue };
            let now = guide::cells(&view);
            for (cell, state) in now.iter().filter(|(cell, state)| told.get(*cell) != Some(*state)) {
                context.output.data(&format!("{cell}: {state}"))?;
            }
            told = now;
        }
    }

    /// Waits until every agent of this run has reported, and no cell lags behind what is wanted or is on its way up.
    async fn wait_until_ready(&self, context: &Context) -> Result<FleetView, Failure> {
        let mut reader = FleetReader::default();
        let began = context.clock.monotonic();
        loop {
            let view = reader.refresh(&self.controller).await?;
            let heard = heartbeats(&view);
            let is_heard = |cell: &CellId| {
                let sequence = heard.get(&cell.node);
                sequence.is_some() && sequence != self.before.get(&cell.node)
            };
            let is_settled = Home::cells().iter().all(is_heard)
                && view.cells().all(|cell| {
                    cell.sync == Sync::Synced && !matches!(cell.health, Health::Starting | Health::Unknown)
                });
            if is_settled || context.clock.monotonic().saturating_sub(began) > READY_WITHIN {
                return Ok(view);
            }
            context.clock.sleep(LOOK_AGAIN).await;
        }
    }

    /// Completes once nothing of it runs any more, not even the services.
    async fn stop(self, context: &Context) {
        self.ended.cancel();
        let mut tasks = self.tasks;
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => context.output.say(&failure.for_people()),
                Err(error) => context.output.say(&format!("error: a part ended unexpectedly: {error}")),
            }
        }
        self.server.shutdown().await;
    }
}

/// The number of each node's last heartbeat.
fn heartbeats(view: &FleetView) -> BTreeMap<NodeName, u64> {
    view.nodes.iter().filter_map(|node| Some((node.node.clone(), node.heartbeat.as_ref()?.sequence))).collect()
}

/// Where the services of the sample listen. Those of people's own do not say so, and are not waited for long.
async fn addresses(home: &Home, view: &FleetView, context: &Context) -> BTreeMap<CellId, SocketAddr> {
    let give_up_at = context.clock.monotonic() + ADDRESS_WITHIN;
    loop {
        let running = view.cells().filter_map(|cell| match cell.report()?.state {
            RunningState::Running { pid, .. } => Some((&cell.cell, pid)),
            _ => None,
        });
        let running: Vec<_> = running.collect();
        let known = running.iter().filter_map(|&(cell, pid)| {
            // What the process before it wrote tells nothing.
            let listening = Listening::read(&home.data_folder(cell)).filter(|listening| Some(listening.pid) == pid)?;
            Some((cell.clone(), listening.address))
        });
        let known: BTreeMap<_, _> = known.collect();
        if known.len() == running.len() || context.clock.monotonic() > give_up_at {
            return known;
        }
        context.clock.sleep(LOOK_FOR_ADDRESS).await;
    }
}

/// The recipe, both releases, and a version of the first on each node: what the printed commands would do. What is
/// there already is left as it is.
async fn prepare(controller: &Controller, home: &Home) -> Result<(), Failure> {
    let site = sample_name::<ManifestName>("site")?;
    if controller.manifests().await?.iter().all(|manifest| manifest.name != site) {
        let mut documents = Vec::new();
        for name in [MANIFEST, CELLS] {
            let path = home.path(name);
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Failure::local(format!("reading {}", path.display()), &error))?;
            documents.extend(recipe::read(&text, &path.display().to_string()).map_err(ControllerError::from)?);
        }
        controller.apply(documents).await?;
    }
    let there = controller.deployments(Some(&site)).await?;
    for release in ["1", "2"] {
        let name = sample_name::<DeploymentName>(release)?;
        if there.iter().all(|deployment| deployment.name != name) {
            let folder = home.path(&format!("site-{release}"));
            controller.upload(&site, Some(&name), &folder, &UploadOptions::default(), &|_| {}).await?;
        }
    }
    for cell in Home::cells() {
        if controller.history(&cell, 1).await?.is_empty() {
            let request = PublishRequest {
                deployment: Some(sample_name("1")?),
                version: Some(sample_name::<VersionName>("1")?),
                reason: Some("quickstart".to_owned()),
                ..PublishRequest::new(cell)
            };
            controller.publish(&request, &Guard::default()).await?;
        }
    }
    Ok(())
}

/// The names of the sample, which are all written in this folder.
fn sample_name<N: FromStr<Err = NameError>>(name: &str) -> Result<N, Failure> {
    name.parse().map_err(|error: NameError| Failure::new(Exit::Internal, "sample", error.to_string()))
}

/// The S3 server at the wanted port, or at the next free one.
async fn start_store(home: &Home, port: u16) -> Result<Server, Failure> {
    for port in ports::candidates(port) {
        let options = Options {
            root: home.path("store"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            access_key: home.state.access_key.clone(),
            secret_key: home.state.secret_key.clone(),
            buckets: vec![BUCKET.to_owned()],
        };
        match Server::start(options).await {
            Ok(server) => return Ok(server),
            Err(EmbeddedError::PortTaken { .. }) => {}
            Err(error) => return Err(Failure::new(Exit::Internal, "store", in_full(&error))),
        }
    }
    Err(ports::none_free(port))
}
