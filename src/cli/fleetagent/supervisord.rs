//! What the `supervisor` profile needs of a host, looked at for `fleetagent doctor`.

use crate::cli::failure::Failure;
use crate::cli::findings;
use crate::clock::SharedClock;
use crate::model::fleet::Finding;
use crate::profiles::SupervisorSettings;

/// What there is to say of supervisord and of its configuration.
pub(super) async fn look(settings: &SupervisorSettings, clock: SharedClock) -> Vec<Finding> {
    let probe = settings.probe(clock).await;
    let (socket, main) = (settings.socket.display(), settings.config_file.display());
    let answers = probe.processes.map(|count| format!("it answers at {socket} and runs {count} processes"));
    let answers = answers.map_err(|why| {
        Failure::usage(why)
            .help("start supervisord as the user that the agent runs as, and give the agent its `socket`")
    });
    let included = probe.includes.map(|()| format!("{main} includes the files of cells"));
    let included = included.map_err(|why| Failure::usage(why).help("then: supervisorctl update"));
    let mut found = vec![findings::of("supervisord", answers), findings::of("supervisor_include", included)];
    found.extend(probe.broken.map(|why| {
        let failure = Failure::usage(format!("supervisord cannot read its configuration: {why}"));
        findings::of("supervisor_conf", Err(failure.help("mend the file; until then no cell can be changed")))
    }));
    found
}
