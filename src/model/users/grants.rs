//! Roles, and the cells that they are good for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::super::cell_id::CellId;
use super::super::name::{NodeName, shown};

/// What somebody may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Redeploys, rolls back, stops, pauses, resumes and holds.
    Operator,
    /// Publishes and removes; edits cells, overrides and manifests; uploads.
    Editor,
    /// Deletes; manages users, tokens and settings.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Editor, Self::Admin];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that says nothing about rights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No role.
    #[error("{text:?} is not a role: expected viewer, operator, editor or admin")]
    Role {
        /// The text, cut to a printable length.
        text: String,
    },
    /// No pattern.
    #[error("{text:?} is not a pattern of cells: {rule}")]
    Pattern {
        /// The text, cut to a printable length.
        text: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

impl FromStr for Role {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| GrantError::Role { text: shown(text) })
    }
}

/// Which cells: `*` for all of them, or `<node>/<cell>` where `*` stands for any part of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub enum CellPattern {
    /// Every cell, and what belongs to no cell.
    Everything,
    /// Those whose node and whose own name fit.
    Cells {
        /// For the node's name.
        node: String,
        /// For the cell's name.
        cell: String,
    },
}

impl CellPattern {
    /// The most bytes of either half.
    const MAX_BYTES: usize = 128;

    /// Whether `cell` is one of them.
    #[must_use]
    pub fn fits(&self, cell: &CellId) -> bool {
        match self {
            Self::Everything => true,
            Self::Cells { node, cell: name } => is_like(node, cell.node.as_str()) && is_like(name, cell.cell.as_str()),
        }
    }

    /// Whether cells of `node` may be among them.
    #[must_use]
    pub fn touches(&self, node: &NodeName) -> bool {
        match self {
            Self::Everything => true,
            Self::Cells { node: pattern, .. } => is_like(pattern, node.as_str()),
        }
    }

    /// Whether every cell that `node` could have is one of them.
    #[must_use]
    pub fn covers(&self, node: &NodeName) -> bool {
        match self {
            Self::Everything => true,
            Self::Cells { node: pattern, cell } => {
                is_like(pattern, node.as_str()) && cell.bytes().all(|byte| byte == b'*')
            }
        }
    }

    /// Whether it is limited to nothing.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::Everything
    }
}

/// Whether `text` is `pattern`, whose `*` stand for anything. The work is bounded by the product of both lengths.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where the newest star stands, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, seen));
                at += 1;
            }
            (Some(byte), _) if *byte == text[seen] => (at, seen) = (at + 1, seen + 1),
            (_, Some((place, taken))) => {
                star = Some((place, taken + 1));
                (at, seen) = (place + 1, taken + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl FromStr for CellPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        let refuse = |rule| GrantError::Pattern { text: shown(text), rule };
        let (node, cell) = text.split_once('/').ok_or_else(|| refuse("it is written <node>/<cell>, or * for all"))?;
        for half in [node, cell] {
            if half.is_empty() || half.len() > Self::MAX_BYTES {
                return Err(refuse("node and cell have 1 to 128 characters each"));
            }
            if !half.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-*".contains(&byte)) {
                return Err(refuse("only lower-case letters, digits, '-' and '*' are allowed"));
            }
        }
        Ok(Self::Cells { node: node.to_owned(), cell: cell.to_owned() })
    }
}

impl fmt::Display for CellPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.pad("*"),
            Self::Cells { node, cell } => f.pad(&format!("{node}/{cell}")),
        }
    }
}

stands_as_text!(CellPattern, GrantError);

/// A role, and for which cells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Grant {
    /// What may be done.
    pub role: Role,
    /// To which cells.
    pub cells: CellPattern,
}

impl Grant {
    /// `role` for everything.
    #[must_use]
    pub fn everywhere(role: Role) -> Self {
        Self { role, cells: CellPattern::Everything }
    }
}

/// Written `role` or `role:pattern`, as the command line takes it.
impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        match text.split_once(':') {
            Some((role, cells)) => Ok(Self { role: role.parse()?, cells: cells.parse()? }),
            None => Ok(Self::everywhere(text.parse()?)),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.role, self.cells))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> CellPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_stands_for_any_part_of_a_name_and_never_for_a_slash() {
        for (text, cell, fits) in [
            ("*", "n1/web", true),
            ("*/*", "n1/web", true),
            ("n1/*", "n1/web", true),
            ("n1/*", "n10/web", false),
            ("edge-*/*", "edge-7/web", true),
            ("edge-*/*", "hedge-7/web", false),
            ("*/web", "n1/web", true),
            ("*/web", "n1/web-2", false),
            ("*-a*b/w*b", "x-a-ab-b/wb", true),
            ("*-a*b/w*b", "x-b-ab-c/wb", false),
            ("n1/web", "n1/web", true),
            ("n**1/web", "n1/web", true),
        ] {
            assert_eq!(pattern(text).fits(&cell.parse().unwrap()), fits, "{text} and {cell}");
        }
    }

    #[test]
    fn a_node_is_covered_only_by_a_pattern_for_all_of_its_cells() {
        let node = NodeName::new("edge-1").unwrap();
        for (text, touches, covers) in
            [("*", true, true), ("edge-*/*", true, true), ("edge-*/web", true, false), ("n1/*", false, false)]
        {
            assert_eq!((pattern(text).touches(&node), pattern(text).covers(&node)), (touches, covers), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_or_role_is_refused_by_its_rule() {
        for text in ["", "n1", "n1/", "/web", "n1/web/x", "**", "N1/web", "n?/web", "n1/we b"] {
            assert!(text.parse::<CellPattern>().is_err(), "{text:?}");
        }
        assert!(format!("{}/web", "a".repeat(129)).parse::<CellPattern>().is_err());
        assert!("root".parse::<Role>().is_err());
        let error = serde_json::from_str::<Grant>(r#"{"role":"admin","cells":"n1"}"#).unwrap_err().to_string();
        assert!(error.contains("<node>/<cell>"), "{error}");
    }

    #[test]
    fn a_grant_reads_back_what_it_wrote() {
        for text in ["viewer:*", "operator:edge-*/*", "admin:n1/web"] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        assert_eq!("editor".parse::<Grant>().unwrap(), Grant::everywhere(Role::Editor));
    }

    /// What a pattern means, by its definition: a star takes some of the text or none of it.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| by_definition(rest, &text[taken..])),
            Some((byte, rest)) => text.first() == Some(byte) && by_definition(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(is_like(&pattern, &text), by_definition(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
