//! When a node may fetch a version and switch to it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::window::{self, Cron, WindowError, Zone};
use crate::recipe::value::{CronText, ZoneText};
use crate::yaml::HumanDuration;

/// Maintenance windows. Where a list is left out, it may happen at any time.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// When a node may fetch the files of a version.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub download: Vec<Window>,
    /// When a node may switch from the version that runs to another one.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub activate: Vec<Window>,
}

/// A recurring span of time in which something may happen, or may not. What is denied is denied, whatever allows it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["allow"]}, {"required": ["deny"]}]))]
pub struct Window {
    /// When a span begins in which it may happen: five fields of cron.
    #[schemars(with = "Option<CronText>")]
    pub allow: Option<Cron>,
    /// When a span begins in which it may not: five fields of cron.
    #[schemars(with = "Option<CronText>")]
    pub deny: Option<Cron>,
    /// How long the span is, from `1m` to `31d`.
    pub r#for: HumanDuration,
    /// By whose clocks it begins, by a name of the IANA data base; `UTC` if left out.
    #[schemars(with = "Option<ZoneText>")]
    pub time_zone: Option<Zone>,
}

impl Window {
    /// The window as `manifest.json` has it.
    pub(in crate::recipe) fn window(&self) -> Result<window::Window, WindowError> {
        let Self { allow, deny, r#for, time_zone } = self.clone();
        window::Window::new(allow, deny, r#for.0.as_secs(), time_zone.unwrap_or_else(window::Zone::utc))
    }
}

impl From<&Windows> for window::Windows {
    /// What is no window was refused when the document was read.
    fn from(written: &Windows) -> Self {
        let read = |list: &[Window]| list.iter().filter_map(|window| window.window().ok()).collect();
        Self { download: read(&written.download), activate: read(&written.activate) }
    }
}
