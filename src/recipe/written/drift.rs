//! What is done when what is on a node is not what was deployed any more.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::drift::{DriftMode, DriftSpec};
use crate::yaml::HumanDuration;

/// What is done when what is on a node is not what was deployed any more. What is left out is as the node's own config
/// says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Whether it is only reported, put back as well, or not looked for.
    pub mode: Option<DriftMode>,
    /// What may be otherwise: patterns of paths in the release, or of absolute ones on the host.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub ignore: Vec<String>,
    /// How long after one look the next one begins, give or take a fifth; from 10s to 7d.
    pub interval: Option<HumanDuration>,
    /// How often in an hour something is put back at most.
    #[schemars(range(min = 1, max = 60))]
    pub repairs_per_hour: Option<u32>,
}

impl Drift {
    /// As a manifest says it. Patterns that are none are left out: they were refused before.
    pub(in crate::recipe) fn spec(&self) -> DriftSpec {
        let Self { mode, ignore, interval, repairs_per_hour } = self;
        DriftSpec {
            mode: *mode,
            ignore: ignore.iter().filter_map(|text| text.parse().ok()).collect(),
            interval_ms: interval.map(HumanDuration::as_millis),
            repairs_per_hour: *repairs_per_hour,
        }
    }
}
