//! What of the audit is asked for.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::Deserialize;

use crate::controller::{AuditFilter, AuditPlace, ResultFilter, day_after};
use crate::web::address::with_query;
use crate::web::command::quoted;
use crate::web::failure::Failure;

/// The fields of the form above the audit, as they were sent; an empty one asks nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuditQuery {
    /// A day.
    pub(super) from: String,
    /// A day, which is asked for too.
    pub(super) to: String,
    pub(super) actor: String,
    pub(super) action: String,
    pub(super) object: String,
    pub(super) source: String,
    pub(super) result: String,
    /// Where the page begins.
    after: String,
}

impl AuditQuery {
    /// The sources that there are.
    pub(super) const SOURCES: [&'static str; 3] = ["cli", "portal", "api"];
    /// The results, as the query and as people say them.
    pub(super) const RESULTS: [(&'static str, &'static str); 3] =
        [("done", "Done"), ("failed", "Failed"), ("not-concluded", "Not concluded")];

    pub(super) fn filter(&self) -> Result<AuditFilter, Failure> {
        let text = |field: &String| Some(field.trim().to_owned()).filter(|field| !field.is_empty());
        let result = match self.result.as_str() {
            "" => None,
            "done" => Some(ResultFilter::Done),
            "failed" => Some(ResultFilter::Failed),
            "not-concluded" => Some(ResultFilter::NotConcluded),
            _ => return Err(Failure::bad_request("invalid_result", "result is done, failed or not-concluded")),
        };
        Ok(AuditFilter {
            from: day("from", &self.from)?.map(first_moment),
            until: day("to", &self.to)?.map(day_after),
            actor: text(&self.actor),
            action: text(&self.action),
            object: text(&self.object),
            source: text(&self.source),
            result,
        })
    }

    pub(super) fn after(&self) -> Result<Option<AuditPlace>, Failure> {
        if self.after.is_empty() {
            return Ok(None);
        }
        self.after.parse().map(Some).map_err(|error| Failure::bad_request("invalid_place", format!("after: {error}")))
    }

    /// Whether anything is asked.
    pub(super) fn is_filtered(&self) -> bool {
        self.fields().iter().any(|(_, value)| !value.is_empty())
    }

    /// The address of `path` with the same filter.
    pub(super) fn address(&self, path: &str, after: &str) -> String {
        let mut fields = self.fields().to_vec();
        fields.push(("after", after));
        with_query(path, fields)
    }

    /// The command that shows the same.
    pub(super) fn command(&self) -> String {
        let mut command = "fleetman audit".to_owned();
        let times = [
            ("from", &self.from, day("from", &self.from).ok().flatten().map(first_moment)),
            ("until", &self.to, day("to", &self.to).ok().flatten().map(day_after)),
        ];
        for (name, _, time) in times {
            if let Some(time) = time {
                command.push_str(&format!(" --{name} {}", time.format("%Y-%m-%dT%H:%M:%SZ")));
            }
        }
        for (name, value) in &self.fields()[2..] {
            if !value.is_empty() {
                command.push_str(&format!(" --{name} {}", quoted(value)));
            }
        }
        command
    }

    fn fields(&self) -> [(&'static str, &str); 7] {
        [
            ("from", &self.from),
            ("to", &self.to),
            ("actor", &self.actor),
            ("action", &self.action),
            ("object", &self.object),
            ("source", &self.source),
            ("result", &self.result),
        ]
    }
}

fn first_moment(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

fn day(name: &str, text: &str) -> Result<Option<NaiveDate>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d");
    day.map(Some).map_err(|_| Failure::bad_request("invalid_day", format!("{name} is a day such as 2026-03-01")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_a_filter_a_link_and_a_command() {
        let query = AuditQuery {
            from: "2026-03-01".to_owned(),
            to: "2026-03-02".to_owned(),
            actor: " alice ".to_owned(),
            object: "n1/web's".to_owned(),
            result: "not-concluded".to_owned(),
            ..AuditQuery::default()
        };
        let filter = query.filter().unwrap();
        let times = [filter.from, filter.until].map(|time| time.unwrap().to_rfc3339());
        assert_eq!(times, ["2026-03-01T00:00:00+00:00", "2026-03-03T00:00:00+00:00"]);
        assert_eq!((filter.actor.as_deref(), filter.action), (Some("alice"), None));
        assert_eq!(
            query.address("/audit", "X"),
            "/audit?from=2026%2D03%2D01&to=2026%2D03%2D02&actor=%20alice%20&object=n1%2Fweb%27s&result=not%2Dconcluded&after=X"
        );
        assert_eq!(
            query.command(),
            "fleetman audit --from 2026-03-01T00:00:00Z --until 2026-03-03T00:00:00Z --actor ' alice ' \
             --object 'n1/web'\\''s' --result not-concluded"
        );
        assert_eq!(AuditQuery::default().command(), "fleetman audit");
    }

    #[test]
    fn what_makes_no_sense_is_a_bad_request() {
        for query in [
            AuditQuery { from: "yesterday".to_owned(), ..AuditQuery::default() },
            AuditQuery { to: "2026-02-30".to_owned(), ..AuditQuery::default() },
            AuditQuery { result: "good".to_owned(), ..AuditQuery::default() },
        ] {
            assert_eq!(query.filter().unwrap_err().status(), 400);
        }
        let query = AuditQuery { after: "x".to_owned(), ..AuditQuery::default() };
        assert_eq!(query.after().unwrap_err().status(), 400);
    }
}
