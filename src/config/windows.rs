//! When the node's owner lets its cells change.

use serde::Deserialize;

use crate::model::window::{Cron, Window, WindowError, Windows, Zone};
use crate::yaml::{Document, Field, HumanDuration, YamlError};

/// Maintenance windows of the node, as people write them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenWindows {
    download: Vec<WrittenWindow>,
    activate: Vec<WrittenWindow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWindow {
    allow: Option<Cron>,
    deny: Option<Cron>,
    r#for: HumanDuration,
    time_zone: Option<Zone>,
}

impl WrittenWindows {
    pub(super) fn check(self, document: &Document, at: &Field) -> Result<Windows, YamlError> {
        let read = |key: &str, list: Vec<WrittenWindow>| {
            let field = at.key(key);
            if list.len() > Windows::MOST {
                let message = format!("{} windows are more than the {} of a list", list.len(), Windows::MOST);
                return Err(document.error(&field, &message, Some("a cron expression takes lists and ranges")));
            }
            let windows = list.into_iter().enumerate().map(|(position, window)| {
                let field = field.index(position);
                let WrittenWindow { allow, deny, r#for: HumanDuration(length), time_zone } = window;
                if length.subsec_nanos() != 0 {
                    let help = Some("for example 30m");
                    return Err(document.error(&field.key("for"), "windows count in whole seconds", help));
                }
                let time_zone = time_zone.unwrap_or_else(Zone::utc);
                Window::new(allow, deny, length.as_secs(), time_zone).map_err(|error| {
                    let field = if error == WindowError::Rule { field.clone() } else { field.key("for") };
                    document.error(&field, &error.to_string(), Some("for example `allow: \"0 2 * * *\"`, `for: 2h`"))
                })
            });
            windows.collect::<Result<Vec<Window>, YamlError>>()
        };
        Ok(Windows { download: read("download", self.download)?, activate: read("activate", self.activate)? })
    }
}
