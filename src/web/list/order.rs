//! The order of a list.

use std::cmp::Ordering;

use super::{Asked, Column};

/// Which column a list is sorted by, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) struct Order<K> {
    pub(in crate::web) key: K,
    pub(in crate::web) is_descending: bool,
}

impl<K: Copy + PartialEq> Order<K> {
    /// The order that `sort=` asks for: the word of a column, with a minus for the other way. Other words are none, so
    /// that an old link still leads to the list. The first of `keys` is the usual one.
    pub(in crate::web) fn of(asked: &Asked, keys: &[(&'static str, K)]) -> Self {
        let text = asked.one("sort").unwrap_or_default();
        let (word, is_descending) = text.strip_prefix('-').map_or((text, false), |word| (word, true));
        match keys.iter().find(|(name, _)| *name == word) {
            Some((_, key)) => Self { key: *key, is_descending },
            None => Self { key: keys[0].1, is_descending: false },
        }
    }

    /// The head of a column that is sorted by `key`, which `word` asks for.
    pub(in crate::web) fn column(
        self,
        asked: &Asked,
        name: &'static str,
        word: &str,
        key: K,
        is_number: bool,
    ) -> Column {
        let is_sorted = self.key == key;
        let sorted = match (is_sorted, self.is_descending) {
            (false, _) => "none",
            (true, false) => "ascending",
            (true, true) => "descending",
        };
        let turned = is_sorted && !self.is_descending;
        let href = Some(asked.with("sort", &format!("{}{word}", if turned { "-" } else { "" })));
        Column { name, is_number, href, sorted }
    }

    /// Puts the rows from `from` to `to` where they belong, and leaves the others in any order: of fifty thousand a page
    /// shows a hundred.
    pub(in crate::web) fn sort_part<T>(
        self,
        rows: &mut [T],
        from: usize,
        to: usize,
        compare: impl Fn(K, &T, &T) -> Ordering,
    ) {
        let compare = |a: &T, b: &T| {
            let order = compare(self.key, a, b);
            if self.is_descending { order.reverse() } else { order }
        };
        if to == 0 || rows.is_empty() {
            return;
        }
        if to < rows.len() {
            rows.select_nth_unstable_by(to - 1, compare);
        }
        let first = &mut rows[..to];
        if from > 0 && from < first.len() {
            first.select_nth_unstable_by(from, compare);
        }
        first[from.min(to)..].sort_unstable_by(compare);
    }

    /// The same, where what a row is sorted by takes a while to find: it is asked for once of each. Rows that are alike
    /// are in their own order.
    pub(in crate::web) fn sort_part_by_value<T: Copy + Ord, V: Ord>(
        self,
        rows: &mut [T],
        from: usize,
        to: usize,
        value: impl Fn(K, T) -> V,
    ) {
        let mut valued: Vec<(V, T)> = rows.iter().map(|row| (value(self.key, *row), *row)).collect();
        self.sort_part(&mut valued, from, to, |_, a, b| a.cmp(b));
        for (row, (_, sorted)) in rows.iter_mut().zip(valued) {
            *row = sorted;
        }
    }
}

/// Orders what happened last first, and what never happened last.
pub(in crate::web) fn newest_first<T: Ord>(a: Option<T>, b: Option<T>) -> Ordering {
    b.cmp(&a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Key {
        Name,
        Size,
    }

    const KEYS: [(&str, Key); 2] = [("name", Key::Name), ("size", Key::Size)];

    #[test]
    fn the_head_of_the_sorted_column_turns_the_order() {
        let asked = Asked::of(&[("sort", "size"), ("q", "x")]);
        let order = Order::of(&asked, &KEYS);
        assert_eq!(order, Order { key: Key::Size, is_descending: false });
        let size = order.column(&asked, "Size", "size", Key::Size, true);
        assert_eq!((size.href.as_deref(), size.sorted), (Some("?q=x&sort=%2Dsize"), "ascending"));
        let name = order.column(&asked, "Name", "name", Key::Name, false);
        assert_eq!((name.href.as_deref(), name.sorted), (Some("?q=x&sort=name"), "none"));
        let turned = Order::of(&Asked::of(&[("sort", "-size")]), &KEYS);
        let size = turned.column(&asked, "Size", "size", Key::Size, true);
        assert_eq!(
            (turned.is_descending, size.sorted, size.href.as_deref()),
            (true, "descending", Some("?q=x&sort=size"))
        );
        assert_eq!(Order::of(&Asked::of(&[("sort", "-shoes")]), &KEYS), Order { key: Key::Name, is_descending: false });
    }

    #[test]
    fn the_shown_part_is_as_if_all_was_sorted() {
        let rows: Vec<u32> = (0..997).map(|number| number * 7919 % 997).collect();
        for is_descending in [false, true] {
            let order = Order { key: Key::Size, is_descending };
            let mut sorted = rows.clone();
            order.sort_part(&mut sorted, 0, 997, |_, a, b| a.cmp(b));
            assert!(sorted.is_sorted_by(|a, b| if is_descending { a > b } else { a < b }));
            for (from, to) in [(0, 0), (0, 10), (10, 20), (990, 997), (996, 997), (0, 997)] {
                let mut part = rows.clone();
                order.sort_part(&mut part, from, to, |_, a, b| a.cmp(b));
                assert_eq!(part[from..to], sorted[from..to], "{from}..{to}");
            }
        }
        Order { key: Key::Size, is_descending: false }.sort_part(&mut Vec::<u32>::new(), 0, 0, |_, a, b| a.cmp(b));
    }
}
