//! The labels that cells have, to choose from.

use std::collections::{BTreeMap, HashMap};

use crate::controller::FleetView;
use crate::model::index::About;

/// So many labels are offered, those of the most cells first.
const MOST_LABELS: usize = 20;

/// The labels that most cells of `view` have, and how many have each.
pub(super) fn frequent(view: &FleetView) -> Vec<(String, usize)> {
    // Cells that say the same share what they say, so that far fewer texts than cells are looked at.
    let mut abouts: HashMap<*const About, (&About, usize)> = HashMap::new();
    for about in view.cells().filter_map(|cell| cell.about()).filter(|about| !about.labels.is_empty()) {
        abouts.entry(std::ptr::from_ref(about)).or_insert((about, 0)).1 += 1;
    }
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (about, count) in abouts.values() {
        for (key, value) in &about.labels {
            *counts.entry((key, value)).or_default() += count;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(MOST_LABELS);
    counts.into_iter().map(|((key, value), count)| (format!("{key}={value}"), count)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::controller::fleet_sample::{Wish, fleet, node};

    #[test]
    fn labels_are_counted_over_all_cells_the_most_frequent_first() {
        let about = |labels| Wish {
            about: Some(Arc::new(serde_json::from_value(json!({"manifest": "site", "labels": labels})).unwrap())),
            ..Wish::default()
        };
        let shared = about(json!({"tier": "front", "zone": "a"}));
        let view = fleet(vec![
            node("n1", None, [("a", shared.clone()), ("b", shared), ("c", Wish::default())]),
            node("n2", None, [("a", about(json!({"tier": "front"}))), ("b", about(json!({})))]),
        ]);
        assert_eq!(frequent(&view), [("tier=front".to_owned(), 3), ("zone=a".to_owned(), 2)]);
    }
}
