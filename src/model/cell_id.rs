//! A cell's full name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::name::{CellName, NameError, NodeName, shown};

/// A cell on its node, written `<node>/<cell>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct CellId {
    /// The node that the cell runs on.
    pub node: NodeName,
    /// The cell's name on that node.
    pub cell: CellName,
}

impl CellId {
    /// The cell called `cell` on `node`.
    #[must_use]
    pub fn new(node: NodeName, cell: CellName) -> Self {
        Self { node, cell }
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.node, self.cell))
    }
}

impl FromStr for CellId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some((node, cell)) = text.split_once('/') else {
            return Err(NameError { what: "cell", text: shown(text), rule: "a cell is written <node>/<cell>" });
        };
        Ok(Self::new(NodeName::new(node)?, CellName::new(cell)?))
    }
}

stands_as_text!(CellId, NameError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_written_as_node_slash_cell() {
        let id: CellId = "n1/web".parse().unwrap();
        assert_eq!((id.node.as_str(), id.cell.as_str()), ("n1", "web"));
        assert_eq!(id.to_string(), "n1/web");
        for bad in ["n1", "n1/", "/web", "n1/web/x", "n1/_requests"] {
            assert!(bad.parse::<CellId>().is_err(), "{bad}");
        }
    }
}
