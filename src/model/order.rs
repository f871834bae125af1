//! `cells/<node>/_requests/<ulid>.json`: what a node is asked to do at once, signed like a trigger. It changes no
//! version.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use uuid::Uuid;

use super::cell_id::CellId;
use super::document::Document;
use super::name::{CellName, NodeName, ProcessName, UserName, shown};
use super::sign::Signed;

/// An order to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "OrderText", into = "OrderText")]
pub struct Order {
    /// Features without which a reader must not act on this document.
    pub requires: Vec<String>,
    /// The fleet that it is for.
    pub fleet: Uuid,
    /// The node that it is for.
    pub node: NodeName,
    /// The cell that it is about; the whole node if none is named.
    pub cell: Option<CellName>,
    /// Names it; of two about the same thing the one with the higher id counts.
    pub id: Ulid,
    /// What is to be done.
    pub action: OrderAction,
    /// When it was issued, by the store's clock.
    pub issued_at: DateTime<Utc>,
    /// From then on it is not carried out any more, and a hold ends.
    pub expires_at: DateTime<Utc>,
    /// Who issued it.
    pub issued_by: UserName,
    /// Why, in the issuer's words.
    pub reason: Option<String>,
}

/// What an order asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderAction {
    /// Change nothing that runs until the order expires.
    Hold,
    /// End the hold of the same cell, or of the node.
    Release,
    /// Upload what the cell's processes write.
    Logs(LogQuery),
    /// An action of a newer program: it is not carried out.
    Unknown(String),
}

impl OrderAction {
    /// The action's name as documents write it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Logs(_) => "logs",
            Self::Unknown(name) => name,
        }
    }

    /// Whether it is about what may be changed: of such orders the newest counts.
    #[must_use]
    pub fn is_about_holding(&self) -> bool {
        matches!(self, Self::Hold | Self::Release)
    }

    /// So long after it was issued such an order may still count.
    fn longest(&self) -> TimeDelta {
        match self {
            Self::Logs(_) => Order::LONGEST_LOGS,
            Self::Hold | Self::Release | Self::Unknown(_) => Order::LONGEST_HOLD,
        }
    }
}

/// Which lines of a cell's output are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, try_from = "LogQueryText")]
pub struct LogQuery {
    /// Of this process only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessName>,
    /// So many of the last lines of each process.
    pub lines: u32,
    /// Only what was written from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Only lines that have this in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grep: Option<String>,
    /// Whether `grep` is a regular expression.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub regex: bool,
    /// For so long what comes is uploaded, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow_secs: Option<u32>,
}

impl LogQuery {
    /// The most lines of the past.
    pub const MOST_LINES: u32 = 10_000;

    /// The longest follow in seconds.
    pub const LONGEST_FOLLOW_SECS: u32 = 3_600;

    /// The most bytes of what is looked for.
    pub const MOST_GREP_BYTES: usize = 512;

    /// The last `lines` lines of every process.
    #[must_use]
    pub fn last(lines: u32) -> Self {
        Self { lines, ..Self::default() }
    }

    /// Whether a node may be asked for it.
    ///
    /// # Errors
    /// What is too much, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.lines > Self::MOST_LINES {
            return Err(format!("at most {} lines can be asked for, got {}", Self::MOST_LINES, self.lines));
        }
        if self.grep.as_ref().is_some_and(|grep| grep.len() > Self::MOST_GREP_BYTES) {
            return Err(format!("what is looked for has more than {} bytes", Self::MOST_GREP_BYTES));
        }
        if let Some(grep) = self.grep.as_ref().filter(|_| self.regex)
            && let Err(error) = regex_lite::Regex::new(grep)
        {
            return Err(format!("{grep:?} is no regular expression: {error}"));
        }
        match self.follow_secs {
            Some(secs) if secs == 0 || secs > Self::LONGEST_FOLLOW_SECS => {
                Err(format!("a follow takes 1 to {} seconds, got {secs}", Self::LONGEST_FOLLOW_SECS))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for LogQuery {
    /// In words, for the audit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the last {} lines", self.lines)?;
        if let Some(process) = &self.process {
            write!(f, " of process {process}")?;
        }
        if let Some(since) = self.since {
            write!(f, " since {}", since.to_rfc3339_opts(SecondsFormat::Secs, true))?;
        }
        match &self.grep {
            Some(grep) if self.regex => write!(f, " matching {grep:?}")?,
            Some(grep) => write!(f, " with {grep:?}")?,
            None => {}
        }
        match self.follow_secs {
            Some(secs) => write!(f, ", and what comes for {secs} s"),
            None => Ok(()),
        }
    }
}

/// A query as the document has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LogQueryText {
    process: Option<ProcessName>,
    lines: u32,
    since: Option<DateTime<Utc>>,
    grep: Option<String>,
    regex: bool,
    follow_secs: Option<u32>,
}

impl TryFrom<LogQueryText> for LogQuery {
    type Error = String;

    fn try_from(text: LogQueryText) -> Result<Self, String> {
        let LogQueryText { process, lines, since, grep, regex, follow_secs } = text;
        let query = Self { process, lines, since, grep, regex, follow_secs };
        query.check().map(|()| query)
    }
}

impl Order {
    /// The longest that anything is held. Whoever holds longer than that has forgotten it.
    pub const LONGEST_HOLD: TimeDelta = TimeDelta::days(30);

    /// So long a node that is away may leave somebody waiting for its logs.
    pub const LONGEST_LOGS: TimeDelta = TimeDelta::hours(1);

    /// The most orders of a node that its index names.
    pub const MOST_OF_NODE: usize = 256;

    /// The first thing that this program would have to know to act on it, if there is one.
    #[must_use]
    pub fn unsupported(&self) -> Option<&str> {
        let feature = self.requires.iter().find(|feature| !Self::FEATURES.contains(&feature.as_str()));
        feature.map(String::as_str).or(match &self.action {
            OrderAction::Unknown(name) => Some(name),
            _ => None,
        })
    }

    /// Whom it is about.
    #[must_use]
    pub fn addressee(&self) -> Addressee {
        Addressee { node: self.node.clone(), cell: self.cell.clone() }
    }
}

/// Whom an order is about: `n1/web`, or `n1` for the whole node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addressee {
    /// The node.
    pub node: NodeName,
    /// The cell, if it is not about all of them.
    pub cell: Option<CellName>,
}

impl Addressee {
    /// The cell, if it is about one.
    #[must_use]
    pub fn cell_id(&self) -> Option<CellId> {
        Some(CellId::new(self.node.clone(), self.cell.clone()?))
    }
}

impl From<CellId> for Addressee {
    fn from(cell: CellId) -> Self {
        Self { node: cell.node, cell: Some(cell.cell) }
    }
}

impl From<NodeName> for Addressee {
    fn from(node: NodeName) -> Self {
        Self { node, cell: None }
    }
}

impl FromStr for Addressee {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Ok(text.parse::<CellId>().map_err(|error| error.to_string())?.into());
        }
        Ok(NodeName::new(text).map_err(|error| error.to_string())?.into())
    }
}

impl fmt::Display for Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cell {
            Some(cell) => write!(f, "{}/{cell}", self.node),
            None => write!(f, "{}", self.node),
        }
    }
}

impl Document for Order {
    const SCHEMA: &'static str = "fleetman/order/1";
    const MAX_BYTES: u64 = 16 << 10;
}

impl Signed for Order {
    const KIND: &'static str = "order";

    fn requires(&self) -> &[String] {
        &self.requires
    }

    const FEATURES: &'static [&'static str] = &[];
}

/// An order as the document has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OrderText {
    requires: Vec<String>,
    fleet: Uuid,
    node: NodeName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cell: Option<CellName>,
    id: Ulid,
    action: String,
    /// Of a newer program's actions nothing is known, so it is read as text first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<serde_json::Value>,
    issued_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    issued_by: UserName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl TryFrom<OrderText> for Order {
    type Error = String;

    fn try_from(text: OrderText) -> Result<Self, String> {
        let action = match (text.action.as_str(), text.args) {
            ("hold", _) => OrderAction::Hold,
            ("release", _) => OrderAction::Release,
            ("logs", args) => {
                if text.cell.is_none() {
                    return Err("action \"logs\" needs a cell".to_owned());
                }
                let args = args.ok_or("action \"logs\" needs args")?;
                OrderAction::Logs(serde_json::from_value(args).map_err(|error| format!("args: {error}"))?)
            }
            (other, _) => OrderAction::Unknown(shown(other)),
        };
        let order = Self {
            requires: text.requires,
            fleet: text.fleet,
            node: text.node,
            cell: text.cell,
            id: text.id,
            action,
            issued_at: text.issued_at,
            expires_at: text.expires_at,
            issued_by: text.issued_by,
            reason: text.reason,
        };
        let lasts = order.expires_at - order.issued_at;
        let longest = order.action.longest();
        if lasts <= TimeDelta::zero() || lasts > longest {
            let (lasts, longest) = (lasts.num_seconds(), longest.num_seconds());
            return Err(format!("it is to count for {lasts} s, expected 1 to {longest}"));
        }
        Ok(order)
    }
}

impl From<Order> for OrderText {
    fn from(order: Order) -> Self {
        let args = match &order.action {
            // A query is a plain structure, which always becomes a value.
            OrderAction::Logs(query) => serde_json::to_value(query).ok(),
            OrderAction::Hold | OrderAction::Release | OrderAction::Unknown(_) => None,
        };
        Self {
            requires: order.requires,
            fleet: order.fleet,
            node: order.node,
            cell: order.cell,
            id: order.id,
            action: order.action.name().to_owned(),
            args,
            issued_at: order.issued_at,
            expires_at: order.expires_at,
            issued_by: order.issued_by,
            reason: order.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text(change: impl FnOnce(&mut Value)) -> Result<Order, String> {
        let mut value = json!({
            "requires": [], "fleet": "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10", "node": "n1", "cell": "web",
            "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "action": "logs", "args": {"lines": 100},
            "issued_at": "2026-01-02T03:04:05Z", "expires_at": "2026-01-02T03:14:05Z", "issued_by": "alice",
        });
        change(&mut value);
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn an_order_reads_back_what_it_wrote() {
        for order in [
            text(|_| {}),
            text(|o| o["action"] = json!("hold")),
            text(|o| {
                o["args"] = json!({"lines": 0, "grep": "e+", "regex": true, "follow_secs": 60, "process": "main"})
            }),
            text(|o| {
                o["action"] = json!("release");
                o.as_object_mut().unwrap().remove("cell");
            }),
        ] {
            let order = order.unwrap();
            let value = serde_json::to_value(&order).unwrap();
            assert_eq!(serde_json::from_value::<Order>(value).unwrap(), order);
        }
    }

    #[test]
    fn an_order_that_asks_for_too_much_is_refused() {
        let refused = |change: fn(&mut Value)| text(change).unwrap_err();
        assert!(refused(|o| o["expires_at"] = json!("2026-01-02T04:04:06Z")).contains("expected 1 to 3600"));
        assert!(refused(|o| o["expires_at"] = json!("2026-01-02T03:04:05Z")).contains("0 s"));
        assert!(refused(|o| o["args"] = json!({"lines": 10_001})).contains("at most 10000 lines"));
        assert!(refused(|o| o["args"] = json!({"follow_secs": 3_601})).contains("1 to 3600 seconds"));
        assert!(refused(|o| o["args"] = json!({"grep": "x".repeat(513)})).contains("512 bytes"));
        assert!(refused(|o| o["args"] = json!({"grep": "(", "regex": true})).contains("no regular expression"));
        assert!(refused(|o| drop(o.as_object_mut().unwrap().remove("cell"))).contains("needs a cell"));
        assert!(refused(|o| drop(o.as_object_mut().unwrap().remove("args"))).contains("needs args"));
        let hold = |until: &str| {
            text(|o| {
                o["action"] = json!("hold");
                o["expires_at"] = json!(until);
            })
        };
        assert!(hold("2026-02-01T03:04:05Z").is_ok());
        assert!(hold("2026-02-01T03:04:06Z").unwrap_err().contains("expected 1 to 2592000"));
    }

    #[test]
    fn a_query_is_told_in_words() {
        assert_eq!(LogQuery::last(7).to_string(), "the last 7 lines");
        let query = text(|o| {
            let args =
                json!({"lines": 5, "process": "main", "since": "2026-01-02T03:04:05Z", "grep": "e+", "regex": true});
            o["args"] = args;
            o["args"]["follow_secs"] = json!(60);
        });
        let OrderAction::Logs(query) = query.unwrap().action else { panic!("it is an order for logs") };
        let words =
            "the last 5 lines of process main since 2026-01-02T03:04:05Z matching \"e+\", and what comes for 60 s";
        assert_eq!(query.to_string(), words);
        assert_eq!(LogQuery { regex: false, ..query }.to_string(), words.replace("matching", "with"));
    }

    #[test]
    fn an_addressee_is_a_node_or_one_of_its_cells() {
        for text in ["n1", "n1/web"] {
            assert_eq!(text.parse::<Addressee>().unwrap().to_string(), text);
        }
        assert_eq!("n1".parse::<Addressee>().unwrap().cell_id(), None);
        for bad in ["", "/web", "n1/", "n1/web/x", "N1"] {
            assert!(bad.parse::<Addressee>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_only_a_newer_agent_understands_is_named() {
        assert_eq!(text(|_| {}).unwrap().unsupported(), None);
        let newer = text(|o| {
            o["action"] = json!("dance");
            o["args"] = json!([1, 2]);
        });
        assert_eq!(newer.unwrap().unsupported(), Some("dance"));
        assert_eq!(text(|o| o["requires"] = json!(["warp"])).unwrap().unsupported(), Some("warp"));
    }
}
