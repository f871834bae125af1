//! What a node must be allowed to do in the bucket: everything that an agent asks of it, and nothing else. The policy
//! that `fleetman node add` prints and what `fleetagent doctor` tries are made from this one list.

use super::keys::{Folder, ObjectKey, Prefix};
use super::name::NodeName;

/// What may be done, in the words of S3's policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Reading an object, or asking whether it is there.
    Get,
    /// Listing, with the place as the prefix that is asked for. Where a store answers 403 to an absent object, this
    /// is what tells it from a denied one.
    List,
    /// Writing an object.
    Put,
}

impl Act {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Get, Self::List, Self::Put];

    /// The action's name in policies.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Get => "s3:GetObject",
            Self::List => "s3:ListBucket",
            Self::Put => "s3:PutObject",
        }
    }
}

/// Where it may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// To everything in a folder.
    Below(Folder),
    /// To one object.
    At(ObjectKey),
}

impl Scope {
    /// The scope as policies write it: a key as it stands in the bucket, with `*` for the rest of one.
    #[must_use]
    pub fn pattern(&self, prefix: &Prefix) -> String {
        match self {
            // The slash before the star keeps node `web-1` out of what is of `web-10`.
            Self::Below(folder) => format!("{}*", prefix.join(&folder.relative())),
            Self::At(key) => key.render(prefix),
        }
    }
}

/// One thing that a node may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// What it is called where rights are looked at one by one.
    pub name: &'static str,
    /// What may be done.
    pub act: Act,
    /// Where.
    pub scope: Scope,
}

impl Right {
    /// The right in the words of a policy: `s3:PutObject on prod/agents/n1.json`.
    #[must_use]
    pub fn in_words(&self, prefix: &Prefix) -> String {
        format!("{} on {}", self.act.action(), self.scope.pattern(prefix))
    }
}

/// The rights of `node`.
#[must_use]
pub fn of_node(node: &NodeName) -> [Right; 8] {
    let cells = || Scope::Below(Folder::NodeCells(node.clone()));
    let index = || Scope::At(ObjectKey::Index(node.clone()));
    let heartbeat = || Scope::At(ObjectKey::Heartbeat(node.clone()));
    let logs = || Scope::Below(Folder::NodeLogs(node.clone()));
    [
        Right { name: "read_cells", act: Act::Get, scope: cells() },
        Right { name: "read_index", act: Act::Get, scope: index() },
        Right { name: "read_heartbeat", act: Act::Get, scope: heartbeat() },
        Right { name: "list_cells", act: Act::List, scope: cells() },
        Right { name: "list_index", act: Act::List, scope: index() },
        Right { name: "list_heartbeat", act: Act::List, scope: heartbeat() },
        Right { name: "write_heartbeat", act: Act::Put, scope: heartbeat() },
        Right { name: "write_logs", act: Act::Put, scope: logs() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rights_of_a_node_are_its_own_corner() {
        let prefix = Prefix::new("prod/eu").unwrap();
        let rights = of_node(&NodeName::new("web-1").unwrap());
        let told: Vec<String> = rights.iter().map(|right| right.in_words(&prefix)).collect();
        assert_eq!(
            told,
            [
                "s3:GetObject on prod/eu/cells/web-1/*",
                "s3:GetObject on prod/eu/index/web-1.json",
                "s3:GetObject on prod/eu/agents/web-1.json",
                "s3:ListBucket on prod/eu/cells/web-1/*",
                "s3:ListBucket on prod/eu/index/web-1.json",
                "s3:ListBucket on prod/eu/agents/web-1.json",
                "s3:PutObject on prod/eu/agents/web-1.json",
                "s3:PutObject on prod/eu/logs/web-1/*",
            ]
        );
    }
}
