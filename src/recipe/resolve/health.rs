//! What is asked of a version: the manifest's checks with templates rendered.

use super::profile::Runs;
use super::run::Place;
use crate::model::health::{self, Line};
use crate::recipe::written::{Check, ExecCheck, FileCheck, HttpCheck, LogCheck, TcpCheck};
use crate::yaml::{Field, HumanDuration};

impl Runs<'_> {
    /// When the version counts as good. What is wrong with it is among the errors.
    pub(super) fn health(&mut self) -> health::Health {
        let recipe = self.recipe;
        let Some(written) = &recipe.health else { return health::Health::default() };
        let place = Place { document: &recipe.document, field: Field::root().key("health").key("checks") };
        let checks = written.checks.iter().filter_map(|(name, check)| {
            let place = place.key(name.as_str());
            Some((name.clone(), self.check(&place, check)?))
        });
        health::Health { checks: checks.collect(), ..written.times() }
    }

    fn check(&mut self, place: &Place<'_>, check: &Check) -> Option<health::Check> {
        Some(match check {
            Check::Http(HttpCheck { url, status, contains, insecure }) => {
                let place = place.key("http");
                health::Check::Http(health::HttpCheck {
                    url: self.parsed(&place.key("url"), url)?,
                    status: status.map(|status| status.0).unwrap_or_default(),
                    contains: contains.as_ref().map(|text| self.looked_for(&place.key("contains"), text)),
                    insecure: *insecure,
                })
            }
            Check::Tcp(TcpCheck { address }) => {
                let address = self.parsed(&place.key("tcp").key("address"), address)?;
                health::Check::Tcp(health::TcpCheck { address })
            }
            Check::Exec(ExecCheck { command }) => {
                let command = self.command(&place.key("exec").key("command"), command);
                health::Check::Exec(health::ExecCheck { command })
            }
            Check::File(FileCheck { path, newer_than }) => {
                let field = place.key("file").key("path");
                let path = self.text(&field, path);
                if let Err(error) = crate::model::FilePath::new(path.strip_prefix('/').unwrap_or(&path)) {
                    self.refuse(&field, &error.to_string(), "look into the variables that it uses");
                }
                health::Check::File(health::FileCheck { path, newer_than_ms: newer_than.map(HumanDuration::as_millis) })
            }
            Check::Log(LogCheck { contains, matches }) => {
                let place = place.key("log");
                let contains =
                    contains.as_ref().map(|text| Line::Contains(self.looked_for(&place.key("contains"), text)));
                // What is no expression was refused when the document was read.
                let matches = || Some(Line::Matches(matches.as_ref()?.parse().ok()?));
                health::Check::Log(health::LogCheck { line: contains.or_else(matches)? })
            }
        })
    }

    /// What a text means once it is rendered.
    fn parsed<T: std::str::FromStr<Err = health::NotCheckable>>(&mut self, place: &Place<'_>, text: &str) -> Option<T> {
        match self.text(place, text).parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.refuse(place, &error.to_string(), "look into the variables that it uses");
                None
            }
        }
    }

    fn looked_for(&mut self, place: &Place<'_>, text: &str) -> String {
        let rendered = self.text(place, text);
        if rendered.is_empty() || rendered.len() > health::Health::MOST_TEXT {
            let message = format!("the text has {} bytes, expected 1 to {}", rendered.len(), health::Health::MOST_TEXT);
            self.refuse(place, &message, "look into the variables that it uses");
        }
        rendered
    }
}
