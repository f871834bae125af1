//! Whether maintenance windows make sense.

use super::Checker;
use crate::model::window::{self, WindowError};
use crate::recipe::written::{Window, Windows};
use crate::yaml::Field;

impl Checker<'_> {
    pub(super) fn windows(&mut self, windows: &Windows) {
        let root = Field::root().key("windows");
        for (key, list) in [("download", &windows.download), ("activate", &windows.activate)] {
            let field = root.key(key);
            if list.len() > window::Windows::MOST {
                let message = format!("{} windows are more than the {} of a list", list.len(), window::Windows::MOST);
                self.key(&field, message, Some("a cron expression takes lists and ranges: \"0 2 * * mon-fri\""));
            }
            for (position, window) in list.iter().enumerate() {
                self.window(&field.index(position), window);
            }
        }
    }

    fn window(&mut self, field: &Field, window: &Window) {
        match window.window() {
            Ok(_) if window.r#for.0.subsec_nanos() == 0 => {}
            Ok(_) => self.value(&field.key("for"), "windows count in whole seconds", Some("for example 30m")),
            Err(error @ WindowError::Length { .. }) => {
                self.value(&field.key("for"), error.to_string(), Some("for example 2h"));
            }
            Err(error @ WindowError::Rule) => {
                let help = "begin it with `allow: \"0 2 * * *\"` or `deny: \"0 9 * * mon-fri\"`";
                self.value(field, error.to_string(), Some(help));
            }
        }
    }
}
