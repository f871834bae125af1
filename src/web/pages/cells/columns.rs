//! Which columns a list of cells has.

use super::select::Key;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Column, Order};

/// A column beside the cell's name: its word in `cols=`, its head, what it is sorted by, and whether it is there
/// unless others are asked for.
type Known = (&'static str, &'static str, Option<Key>, bool);

const ALL: [Known; 11] = [
    ("agent", "Agent", Some(Key::Name), false),
    ("sync", "Sync", Some(Key::Sync), true),
    ("health", "Health", Some(Key::Health), true),
    ("phase", "Phase", None, true),
    ("desired", "Desired", Some(Key::Desired), true),
    ("running", "Running", Some(Key::Running), true),
    ("manifest", "Manifest", Some(Key::Manifest), true),
    ("labels", "Labels", None, false),
    ("overrides", "Overrides", None, false),
    ("changed", "Last change", Some(Key::Changed), true),
    ("remark", "Remark", None, true),
];

/// The columns of a list, by their words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct Columns(Vec<&'static str>);

impl Columns {
    /// Those that are asked for; the usual ones where none are.
    pub(super) fn of(asked: &Asked) -> Result<Self, Failure> {
        let wanted: Vec<&str> = asked.all("cols").flat_map(|words| words.split(',')).map(str::trim).collect();
        if let Some(strange) = wanted.iter().find(|word| !ALL.iter().any(|known| known.0 == **word)) {
            let words = ALL.map(|known| known.0).join(", ");
            let detail = format!("cols are some of {words}; got {strange:?}");
            return Err(Failure::bad_request("invalid_columns", detail));
        }
        let is_in = |known: &&Known| if wanted.is_empty() { known.3 } else { wanted.contains(&known.0) };
        Ok(Self(ALL.iter().filter(is_in).map(|known| known.0).collect()))
    }

    /// Those of a list of the cells of one node.
    pub(in crate::web) fn of_node() -> Self {
        Self(ALL.iter().filter(|known| known.3).map(|known| known.0).collect())
    }

    pub(in crate::web) fn words(&self) -> &[&'static str] {
        &self.0
    }

    /// Their heads, with no links to sort by.
    pub(in crate::web) fn names(&self) -> Vec<&'static str> {
        self.known().map(|known| known.1).collect()
    }

    /// Their heads, each with the link that sorts by it.
    pub(super) fn heads(&self, asked: &Asked, order: Order<Key>, has_ticks: bool) -> Vec<Column> {
        let tick = has_ticks.then_some(Column { name: "Tick", is_number: false, href: None, sorted: "" });
        let name = order.column(asked, "Cell", "name", Key::Name, false);
        let others = self.known().map(|(word, name, key, _)| match key {
            // The names of cells begin with that of their agent.
            Some(Key::Name) | None => Column { name, is_number: false, href: None, sorted: "" },
            Some(key) => order.column(asked, name, word, *key, false),
        });
        tick.into_iter().chain([name]).chain(others).collect()
    }

    fn known(&self) -> impl Iterator<Item = &'static Known> {
        ALL.iter().filter(|known| self.0.contains(&known.0))
    }

    /// Every column there is, and whether it is among these.
    pub(super) fn choices(&self) -> Vec<(&'static str, &'static str, bool)> {
        ALL.iter().map(|known| (known.0, known.1, self.0.contains(&known.0))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_that_are_asked_for_in_their_usual_order() {
        let of = |pairs: &[(&str, &str)]| Columns::of(&Asked::of(pairs)).map(|columns| columns.0);
        assert_eq!(of(&[]).unwrap(), Columns::of_node().0);
        assert_eq!(of(&[("cols", "")]).unwrap(), Columns::of_node().0);
        assert_eq!(of(&[("cols", "labels, agent"), ("cols", "sync")]).unwrap(), ["agent", "sync", "labels"]);
        assert!(of(&[("cols", "sync,shoes")]).unwrap_err().detail().contains("got \"shoes\""));
    }
}
