//! Dependencies: other cells of its node that a cell starts after, or does not start without.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::name::CellName;

/// The cells of its own node that a version depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependencies {
    /// It starts after these, as far as they are on their way up.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<CellName>,
    /// It starts after these, and not without them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub requires: BTreeSet<CellName>,
}

/// A version depends on what it cannot depend on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DependenciesError {
    /// On itself.
    #[error("cell {0} depends on itself")]
    Itself(CellName),
    /// On too many.
    #[error("{0} cells are more than the {most} that a list of dependencies may have", most = Dependencies::MOST)]
    TooMany(usize),
}

impl Dependencies {
    /// The most cells of each kind.
    pub const MOST: usize = 32;

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.after.is_empty() && self.requires.is_empty()
    }

    /// Each of the cells once, by name.
    #[must_use]
    pub fn all(&self) -> BTreeSet<&CellName> {
        self.after.union(&self.requires).collect()
    }

    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// See [`DependenciesError`].
    pub fn check(&self, cell: &CellName) -> Result<(), DependenciesError> {
        if self.all().contains(cell) {
            return Err(DependenciesError::Itself(cell.clone()));
        }
        match [&self.after, &self.requires].into_iter().find(|list| list.len() > Self::MOST) {
            Some(list) => Err(DependenciesError::TooMany(list.len())),
            None => Ok(()),
        }
    }
}

/// The shortest way from a cell back to itself, each of whose cells depends on the next; its first is its last as well.
pub fn circle<'a>(
    from: &'a CellName,
    needs: impl Fn(&CellName) -> Option<&'a Dependencies>,
) -> Option<Vec<&'a CellName>> {
    way(from, from, needs)
}

/// The shortest way, of one step at least, along dependencies.
pub fn way<'a>(
    from: &'a CellName,
    to: &CellName,
    needs: impl Fn(&CellName) -> Option<&'a Dependencies>,
) -> Option<Vec<&'a CellName>> {
    // Each cell that was come to, and from where.
    let mut came: BTreeMap<&CellName, &CellName> = BTreeMap::new();
    let mut ahead = VecDeque::from([from]);
    while let Some(cell) = ahead.pop_front() {
        for next in needs(cell).map(Dependencies::all).unwrap_or_default() {
            if came.contains_key(next) {
                continue;
            }
            came.insert(next, cell);
            if next == to {
                let mut way = vec![next];
                let mut at = next;
                while let Some(before) = came.get(at).copied() {
                    way.push(before);
                    if before == from {
                        break;
                    }
                    at = before;
                }
                way.reverse();
                return Some(way);
            }
            ahead.push_back(next);
        }
    }
    None
}

/// A way in words: `a → b → a`.
#[must_use]
pub fn shown(way: &[&CellName]) -> String {
    way.iter().map(|cell| cell.as_str()).collect::<Vec<_>>().join(" → ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CellName {
        CellName::new(text).unwrap()
    }

    /// `a:b,c` = a starts after b and requires c.
    fn graph(text: &str) -> BTreeMap<CellName, Dependencies> {
        let cell = |part: &str| {
            let (cell, on) = part.split_once(':').unwrap();
            let mut on = on.split(',').filter(|on| !on.is_empty()).map(name);
            let after = on.next().into_iter().collect();
            (name(cell), Dependencies { after, requires: on.collect() })
        };
        text.split(' ').map(cell).collect()
    }

    #[test]
    fn the_shortest_circle_through_a_cell_is_found() {
        let found = |text: &str, from: &str| {
            let (graph, from) = (graph(text), name(from));
            circle(&from, |cell| graph.get(cell)).map(|way| shown(&way))
        };
        assert_eq!(found("a:b b:c c:", "a"), None);
        assert_eq!(found("a:b b:c c:a", "a").unwrap(), "a → b → c → a");
        assert_eq!(found("a:b,c b:c c:a", "a").unwrap(), "a → c → a", "a requires c as well");
        assert_eq!(found("a:b b:c c:b", "a"), None, "it leads to one and is in none");
        assert_eq!(found("a:b b:c c:b", "b").unwrap(), "b → c → b");
        assert_eq!(found("a:gone", "a"), None);
        assert_eq!(found("a:a", "a").unwrap(), "a → a");
    }

    #[test]
    fn a_cell_depends_neither_on_itself_nor_on_a_crowd() {
        let on = |count: usize| Dependencies {
            after: (0..count).map(|at| name(&format!("c{at}"))).collect(),
            requires: BTreeSet::from([name("db")]),
        };
        assert_eq!(on(Dependencies::MOST).check(&name("web")), Ok(()));
        assert_eq!(on(33).check(&name("web")), Err(DependenciesError::TooMany(33)));
        assert_eq!(on(1).check(&name("db")), Err(DependenciesError::Itself(name("db"))));
    }
}
