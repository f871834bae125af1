//! The audit as a file: one act a line, newest first, as NDJSON or CSV.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::stream::{self, Stream};
use serde::Serialize;

use super::{AuditCache, AuditFilter, AuditPlace, AuditRow};
use crate::controller::{Controller, ControllerError};
use crate::model::csv;

/// How many acts are read at once.
const AT_ONCE: usize = 500;

/// How the audit is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// A JSON object a line.
    Ndjson,
    /// RFC 4180, the names of the columns first.
    Csv,
}

/// An act as programs read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditLine<'a> {
    /// The id of its intent.
    pub id: String,
    /// When it was begun, in RFC 3339.
    pub at: String,
    /// Who acted; empty in an entry that cannot be read, as is what follows.
    pub actor: &'a str,
    /// From where: `cli`, `portal`, `api`.
    pub source: &'a str,
    /// The machine.
    pub host: &'a str,
    /// The verb.
    pub action: &'a str,
    /// To what.
    pub object: &'a str,
    /// What it was before.
    pub before: Option<&'a str>,
    /// What it was to be.
    pub after: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// `done`, `failed`, `not concluded` or `unreadable`.
    pub result: &'a str,
    /// What was written about that.
    pub message: Option<&'a str>,
    /// When that was.
    pub concluded_at: Option<String>,
    /// `signed`, `not signed`, `broken` or `signatures are off`; empty in an entry that cannot be read.
    pub signature: &'a str,
}

const COLUMNS: [&str; 14] = [
    "id",
    "at",
    "actor",
    "source",
    "host",
    "action",
    "object",
    "before",
    "after",
    "reason",
    "result",
    "message",
    "concluded_at",
    "signature",
];

impl AuditLine<'_> {
    fn cells(&self) -> [&str; COLUMNS.len()] {
        [
            &self.id,
            &self.at,
            self.actor,
            self.source,
            self.host,
            self.action,
            self.object,
            self.before.unwrap_or_default(),
            self.after.unwrap_or_default(),
            self.reason.unwrap_or_default(),
            self.result,
            self.message.unwrap_or_default(),
            self.concluded_at.as_deref().unwrap_or_default(),
            self.signature,
        ]
    }
}

impl AuditRow {
    /// The act as programs read it.
    #[must_use]
    pub fn line(&self) -> AuditLine<'_> {
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let unreadable = AuditLine {
            id: self.id.to_string(),
            at: time(self.at),
            actor: "",
            source: "",
            host: "",
            action: "",
            object: "",
            before: None,
            after: None,
            reason: None,
            result: "unreadable",
            message: None,
            concluded_at: None,
            signature: "",
        };
        match &self.act {
            Err(why) => AuditLine { message: Some(why), ..unreadable },
            Ok(act) => AuditLine {
                actor: act.actor.as_str(),
                source: &act.source,
                host: &act.host,
                action: &act.action,
                object: &act.object,
                before: act.before.as_deref(),
                after: act.after.as_deref(),
                reason: act.reason.as_deref(),
                result: act.result.as_str(),
                message: act.result.message(),
                concluded_at: act.result.at().map(time),
                signature: act.seal.as_str(),
                ..unreadable
            },
        }
    }
}

impl ExportFormat {
    /// What stands before the first act.
    fn head(self) -> Bytes {
        match self {
            Self::Ndjson => Bytes::new(),
            Self::Csv => csv::record(COLUMNS).into(),
        }
    }

    fn render(self, rows: &[AuditRow]) -> Result<Bytes, serde_json::Error> {
        let mut text = Vec::new();
        for row in rows {
            match self {
                Self::Ndjson => {
                    serde_json::to_writer(&mut text, &row.line())?;
                    text.push(b'\n');
                }
                Self::Csv => text.extend_from_slice(csv::record(row.line().cells()).as_bytes()),
            }
        }
        Ok(text.into())
    }
}

impl Controller {
    /// Every act that `filter` wants, newest first, page by page as the reader takes it. A stream that fails halfway
    /// ends with the error, so that nobody takes it for whole.
    pub fn audit_export(
        self: Arc<Self>,
        cache: Arc<AuditCache>,
        filter: AuditFilter,
        format: ExportFormat,
    ) -> impl Stream<Item = Result<Bytes, ControllerError>> + Send + use<> {
        enum Next {
            Head,
            Page(Option<AuditPlace>),
        }
        stream::try_unfold(Some(Next::Head), move |next| {
            let (this, cache, filter) = (self.clone(), cache.clone(), filter.clone());
            async move {
                let after = match next {
                    None => return Ok(None),
                    Some(Next::Head) => return Ok(Some((format.head(), Some(Next::Page(None))))),
                    Some(Next::Page(after)) => after,
                };
                let page = this.audit_page(&cache, &filter, after.as_ref(), AT_ONCE).await?;
                let lines = format.render(&page.rows).map_err(|error| ControllerError::invalid("the audit", error))?;
                Ok(Some((lines, page.next.map(|place| Next::Page(Some(place))))))
            }
        })
    }
}
