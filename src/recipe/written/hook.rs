//! Programs that are run around a deployment.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::hook::HookEvent;
use crate::recipe::value::Scalar;
use crate::yaml::HumanDuration;

/// The hooks of a manifest, by the moment at which they are run.
pub type Hooks = BTreeMap<HookEvent, Hook>;

/// A program that is run at a moment of a deployment. It may be run more than once for one deployment, so it must be
/// idempotent. Exit code 21 asks to be run again later; any other than 0 is a failure.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The program and its arguments. One without a leading `/` is one of the version's files.
    #[schemars(with = "Vec<Scalar>", length(min = 1))]
    pub command: Vec<String>,
    /// How long it may take before it is killed with all that it started, and has failed; `1m` if left out.
    pub timeout: Option<HumanDuration>,
    /// How long it may put off the deployment by exit code 21; `1h` if left out.
    pub retry_for: Option<HumanDuration>,
    /// Only run it if a file that one of these patterns matches has changed.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub if_changed: Vec<String>,
    /// Whether the deployment goes on although it failed.
    #[serde(default)]
    pub ignore_failure: bool,
    /// As whom it is run; the user that owns the cell's data if left out.
    #[schemars(with = "Option<Scalar>")]
    pub user: Option<String>,
}
