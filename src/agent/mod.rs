//! What a node does: it reads its corner of the bucket, verifies, deploys, and says what came of it.
//!
//! ```text
//! node     owns the state folder, the loop and its timing
//! round    one round of it: what was observed goes to the cells, what they report into the heartbeat
//! observe  reads index, triggers and history, and verifies them
//! cell     one task a cell: takes in, writes down, acts
//! decide   a cell's state + what was seen -> its next state, and what to do next
//! board    how each cell stands, for those that depend on it
//! orders   verifies orders and keeps them: holds; answers those for logs from what `output` reads
//! survey   what of a cell is on the host with our marker; of a cell that nothing is known of, `orphans` tells
//! stage    manifest and files -> a whole release beside the others
//! health   asks what runs whether it is well, as its manifest says
//! drift    whether what is on the host is still what was deployed; behind all else
//! perform  switch, bring up, watch, put back, stop, remove; and the outcome, which `outbox` sends
//! reset    takes cells off the host by hand, while no agent runs
//! ```
//!
//! `decide` does nothing and knows no clock; everything that it says is written to the cell's state file, and synced,
//! before it is done. So a crash between any two steps leaves a state that says what to finish or undo (I4, I5).
//!
//! # The state folder
//! ```text
//! agent.lock                        held while an agent runs; holds its pid
//! agent.json                        node, fleet and instance id
//! status.json                       the last heartbeat, for `fleetagent status`
//! orders.json                       the orders that count: what is held until when
//! cells/<cell>/state.json           what is owed, what runs, what failed; and the journal of attempts
//! cells/<cell>/log-marks.json       where the lines of what is up begin, if a check waits for one
//! cells/<cell>/manifests/           manifests of the releases on the node
//! cells/<cell>/outbox/              logs and outcomes that are not in the bucket yet
//! data/<cell>/                      `$FLEETMAN_DATA_DIR`: the cell's own, kept until `remove` with purge_data
//! ```
//! `agent.lock`, `cells` and the files are the agent's alone (0700 and 0600). The folder itself and `data` may be
//! passed through (0711), because cells run as other users.

mod attempt_log;
mod belief;
mod board;
mod cell;
mod context;
mod decide;
mod disk;
mod drift;
mod effect;
mod errand;
mod error;
mod fetch;
mod figures;
mod health;
mod heartbeat;
mod home;
mod hooks;
mod host;
mod lock;
mod narrate;
mod node;
mod observe;
mod onlooker;
mod orders;
mod orphans;
mod outbox;
mod output;
mod perform;
mod place;
mod profile;
mod release;
mod report;
mod reset;
mod reuse;
mod round;
mod settings;
mod stage;
mod state;
mod steps;
mod survey;
mod trouble;
mod users;
mod windows;

pub use disk::DiskError;
pub use drift::DriftSettings;
pub use error::AgentError;
pub use figures::Figures;
pub use node::{Agent, Status, read_status};
pub use onlooker::{Onlooker, Rest};
pub use profile::{
    Activation, Gate, Log, Mark, NotAnActivation, Observed, Over, Placement, Profile, ProfileError, Profiles, Start,
    Strayed, Work,
};
pub use reset::{Reset, ResetError, ResetOptions, ResetReport, ResetSettings};
pub use settings::AgentSettings;
pub use steps::Steps;
