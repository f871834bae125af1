//! `fleetman serve`

use std::io;
use std::net::SocketAddr;

use clap::Args;
use tokio::net::TcpListener;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::web;

/// Serve the read API over HTTP, until Ctrl-C or SIGTERM.
///
/// /healthz, /readyz and /api/v1/{nodes,cells,manifests,deployments}. Nothing needs it to run: every verb speaks to the
/// bucket itself.
#[derive(Debug, Default, Args)]
#[command(after_help = "Example:\n  fleetman serve --listen 127.0.0.1:8080\n  curl http://127.0.0.1:8080/api/v1/cells")]
pub(super) struct ServeArgs {
    /// Where to listen [default: `listen` of the config]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Let other machines in, without encryption and without asking who they are
    #[arg(long)]
    insecure_http: bool,
}

pub(super) async fn run(args: ServeArgs, context: &Context) -> Result<Exit, Failure> {
    // Signals are watched before anything else, so that one that comes early is not lost.
    let ended = interrupt::watch()?;
    let address = match args.listen {
        Some(address) => address,
        None => context.quiet_config()?.listen,
    };
    if !address.ip().is_loopback() && !args.insecure_http {
        let message = format!("{address} is open to other machines, and this API neither encrypts nor asks who comes");
        return Err(Failure::usage(message).help("listen on 127.0.0.1 behind a proxy, or say --insecure-http"));
    }
    let controller = context.looker().await?;
    let listener = TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::new(Exit::Conflict, "port_taken", format!("{address} is taken"))
            .help("stop what listens there, or choose another with --listen"),
        _ => Failure::local(format!("listening on {address}"), &error),
    })?;
    let local = listener.local_addr().unwrap_or(address);
    context.output.say(&format!("Serving {} on http://{local}", controller.store().describe()));
    web::serve(controller, context.clock.clone(), listener, args.insecure_http, ended)
        .await
        .map_err(|error| Failure::local(format!("serving on {local}"), &error))?;
    Ok(Exit::Ok)
}
