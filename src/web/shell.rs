//! What stands around every page: navigation, the age of what is shown, who is signed in.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use super::assets;
use super::snapshot::Age;
use crate::access::Identity;
use crate::model::CellId;
use crate::model::users::Role;

/// The entries of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nav {
    Overview,
    Alerts,
    Events,
    Agents,
    Cells,
    Manifests,
    Deployments,
    Buckets,
    Audit,
    Settings,
    /// Pages that no entry leads to.
    Elsewhere,
}

impl Nav {
    /// The entry that a path belongs to.
    pub(super) fn of(path: &str) -> Self {
        match path.split('/').nth(1).unwrap_or_default() {
            "alerts" => Self::Alerts,
            "events" => Self::Events,
            "agents" => Self::Agents,
            "cells" | "bulk" => Self::Cells,
            "manifests" => Self::Manifests,
            "deployments" | "uploads" => Self::Deployments,
            "buckets" => Self::Buckets,
            "audit" => Self::Audit,
            "settings" => Self::Settings,
            _ => Self::Elsewhere,
        }
    }
}

/// One of the entries of the navigation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) href: String,
    /// The letter that leads there behind a `g`.
    pub(super) key: char,
    pub(super) is_current: bool,
    /// How much there is to look at.
    pub(super) count: usize,
}

/// A link to the same place in another bucket.
#[derive(Debug, Clone)]
pub(super) struct BucketLink {
    pub(super) name: String,
    pub(super) href: String,
    pub(super) is_current: bool,
}

/// What stands around a page.
#[derive(Debug, Clone)]
pub(super) struct Shell {
    pub(super) title: String,
    pub(super) nav: Nav,
    /// The bucket's name in the config.
    pub(super) bucket: String,
    pub(super) buckets: Vec<BucketLink>,
    /// Who is signed in.
    pub(super) user: String,
    /// What they may do: a page shows no link that leads to a refusal.
    pub(super) identity: Identity,
    /// What must not be overlooked on any page: signatures are off, users are not believed.
    pub(super) alarms: Vec<String>,
    /// Why nothing can be changed at present.
    pub(super) read_only: Option<String>,
    /// The command that does the same, or shows the same.
    pub(super) cli: String,
    pub(super) age: Age,
    /// Path and query of this page, with the bucket's prefix.
    pub(super) url: String,
    /// Whether only the part that changes by itself is asked for.
    pub(super) is_fragment: bool,
    /// Whether the page has such a part.
    pub(super) is_live: bool,
    pub(super) now: DateTime<Utc>,
    pub(super) base: String,
    /// How many alerts are open that somebody should look at.
    pub(super) open_alerts: usize,
}

/// A time, for people and for programs.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// RFC 3339.
    pub(super) iso: String,
    /// In full.
    pub(super) full: String,
    /// How long ago, or how long until then.
    pub(super) text: String,
}

impl Shell {
    /// The address of a page of the same bucket.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A command, for this page's bucket.
    pub(super) fn command(&self, command: impl fmt::Display) -> String {
        let command = command.to_string();
        // Users and settings are those of the whole portal, and of its first bucket.
        let is_of_portal =
            ["user", "token", "config"].iter().any(|verb| command.starts_with(&format!("fleetman {verb} ")));
        match command.strip_prefix("fleetman ") {
            Some(words) if !self.base.is_empty() && !is_of_portal => {
                format!("fleetman -b {} {words}", super::command::quoted(&self.bucket))
            }
            _ => command,
        }
    }

    /// Whether it is only for the bucket, which is away, that something cannot be done.
    pub(super) fn is_away(&self, why: Option<&str>) -> bool {
        self.age.problem.is_some() && why == self.read_only.as_deref()
    }

    /// The address of a file below `static/`.
    pub(super) fn asset(&self, name: &str) -> String {
        assets::path(name)
    }

    /// Whether the upkeep, the users and the settings are theirs.
    pub(super) fn is_admin(&self) -> bool {
        self.identity.may_everywhere(Role::Admin)
    }

    /// Whether they may see what tells of every cell: the bucket, the audit.
    pub(super) fn sees_all(&self) -> bool {
        self.identity.may_everywhere(Role::Viewer)
    }

    /// Whether there is anything that they may make.
    pub(super) fn may_make(&self) -> bool {
        self.identity.may_somewhere(Role::Editor)
    }

    /// Whether they may stop, start and hold a cell.
    pub(super) fn may_operate(&self, cell: &CellId) -> bool {
        self.identity.may(Role::Operator, cell)
    }

    /// The entries of the navigation that lead somewhere.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let entries: [(Nav, &str, &str, char); 10] = [
            (Nav::Overview, "/", "Overview", 'o'),
            (Nav::Alerts, "/alerts", "Alerts", 'l'),
            (Nav::Events, "/events", "Events", 'e'),
            (Nav::Agents, "/agents", "Agents", 'a'),
            (Nav::Cells, "/cells", "Cells", 'c'),
            (Nav::Manifests, "/manifests", "Manifests", 'm'),
            (Nav::Deployments, "/deployments", "Deployments", 'd'),
            (Nav::Buckets, "/buckets", "Buckets", 'b'),
            (Nav::Audit, "/audit", "Audit", 'u'),
            // Who looks after nothing has an account and tokens all the same.
            (Nav::Settings, if self.is_admin() { "/settings" } else { "/settings/account" }, "Settings", 's'),
        ];
        let is_open = |nav| !matches!(nav, Nav::Buckets | Nav::Audit) || self.sees_all();
        let entry = |(nav, path, name, key): (Nav, &str, &'static str, char)| Entry {
            name,
            href: self.link(path),
            key,
            is_current: nav == self.nav,
            count: if nav == Nav::Alerts { self.open_alerts } else { 0 },
        };
        entries.into_iter().filter(|(nav, ..)| is_open(*nav)).map(entry).collect()
    }

    /// A time as pages show it. In a part that is fetched again it stands in full, so that only what really changed
    /// differs; the browser says how long ago it is.
    pub(super) fn moment(&self, at: &DateTime<Utc>) -> Moment {
        let full = sentence_time(*at);
        let text = if self.is_fragment { full.clone() } else { ago(self.now, *at) };
        Moment { iso: at.to_rfc3339_opts(SecondsFormat::Millis, true), full, text }
    }
}

/// How long before `now` something was, or how long after it it will be, in the coarsest unit that says enough.
pub(super) fn ago(now: DateTime<Utc>, at: DateTime<Utc>) -> String {
    match (now - at).num_seconds() {
        secs @ i64::MIN..=-5 => format!("in {}", span(Duration::from_secs(secs.unsigned_abs()))),
        -4..=0 => "just now".to_owned(),
        secs => format!("{} ago", span(Duration::from_secs(secs.unsigned_abs()))),
    }
}

/// A time in the middle of a sentence.
pub(super) fn sentence_time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A duration in its coarsest unit.
pub(super) fn span(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => format!("{} min", secs / 60),
        3_600..86_400 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_coarsest_unit() {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        for (secs, text) in [
            (0, "just now"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (7_199, "1 h ago"),
            (86_400 * 3, "3 d ago"),
            (-60, "in 1 min"),
            (-4, "just now"),
        ] {
            assert_eq!(ago(now, now - chrono::TimeDelta::seconds(secs)), text);
        }
    }
}
