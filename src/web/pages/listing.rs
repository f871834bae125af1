//! What lists have in common: a filter, an order and a page, all of them in the query.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// How many rows a page has unless more are asked for.
const USUAL_ROWS: usize = 100;

/// The most rows of a page.
const MOST_ROWS: usize = 500;

/// What a list is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ListQuery {
    /// What names contain.
    #[serde(default)]
    pub(super) q: String,
    /// Only what belongs to this manifest.
    #[serde(default)]
    pub(super) manifest: String,
    /// A column; with `-` before it downwards.
    #[serde(default)]
    pub(super) sort: String,
    #[serde(default)]
    pub(super) page: Option<usize>,
    #[serde(default)]
    pub(super) per: Option<usize>,
}

/// The rows of one page, and the way to the others.
#[derive(Debug)]
pub(super) struct Listing<T> {
    pub(super) query: ListQuery,
    pub(super) rows: Vec<T>,
    /// How many fit the filter.
    pub(super) fitting: usize,
    /// How many there are.
    pub(super) total: usize,
    page: usize,
    per: usize,
    path: String,
}

impl<T> Listing<T> {
    /// `fitting` are the rows that the filter leaves of `total`, in their order.
    pub(super) fn new(query: ListQuery, path: String, total: usize, fitting: Vec<T>) -> Self {
        let per = query.per.unwrap_or(USUAL_ROWS).clamp(1, MOST_ROWS);
        let count = fitting.len();
        let page = query.page.unwrap_or(1).clamp(1, count.div_ceil(per).max(1));
        let rows = fitting.into_iter().skip((page - 1) * per).take(per).collect();
        Self { query, rows, fitting: count, total, page, per, path }
    }

    /// `12 of 10,034`.
    pub(super) fn count(&self) -> String {
        match self.fitting == self.total {
            true => grouped(self.total),
            false => format!("{} of {}", grouped(self.fitting), grouped(self.total)),
        }
    }

    /// Whether something is filtered out.
    pub(super) fn is_filtered(&self) -> bool {
        !self.query.q.is_empty() || !self.query.manifest.is_empty()
    }

    /// The page before this one.
    pub(super) fn previous(&self) -> Option<String> {
        (self.page > 1).then(|| self.at(&self.query.sort, self.page - 1))
    }

    /// The page after this one.
    pub(super) fn next(&self) -> Option<String> {
        (self.page * self.per < self.fitting).then(|| self.at(&self.query.sort, self.page + 1))
    }

    /// `Page 2 of 7`.
    pub(super) fn place(&self) -> String {
        format!("Page {} of {}", self.page, self.fitting.div_ceil(self.per).max(1))
    }

    /// The same list in the order of a column, downwards if it is in that order already.
    pub(super) fn sorted_by(&self, column: &str) -> String {
        let sort = if self.query.sort == column { format!("-{column}") } else { column.to_owned() };
        self.at(&sort, 1)
    }

    /// For `aria-sort`.
    pub(super) fn direction(&self, column: &str) -> &'static str {
        match self.query.sort.strip_prefix('-') {
            Some(down) if down == column => "descending",
            None if self.query.sort == column => "ascending",
            _ => "none",
        }
    }

    fn at(&self, sort: &str, page: usize) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut parts = Vec::new();
        for (name, value) in [("q", self.query.q.as_str()), ("manifest", &self.query.manifest), ("sort", sort)] {
            if !value.is_empty() {
                parts.push(format!("{name}={}", encoded(value)));
            }
        }
        parts.extend((page > 1).then(|| format!("page={page}")));
        parts.extend(self.query.per.map(|per| format!("per={per}")));
        let mark = if parts.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", self.path, parts.join("&"))
    }
}

/// Thousands are set apart.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(query: ListQuery, count: usize) -> Listing<usize> {
        Listing::new(query, "/list".to_owned(), 10_034, (0..count).collect())
    }

    #[test]
    fn a_page_is_part_of_what_the_filter_left_and_links_to_its_neighbours() {
        let query = ListQuery { q: "a&b".to_owned(), page: Some(2), per: Some(10), ..ListQuery::default() };
        let listing = listing(query, 25);
        assert_eq!(listing.rows, (10..20).collect::<Vec<_>>());
        assert_eq!((listing.count().as_str(), listing.place().as_str()), ("25 of 10,034", "Page 2 of 3"));
        assert_eq!(listing.previous().unwrap(), "/list?q=a%26b&per=10");
        assert_eq!(listing.next().unwrap(), "/list?q=a%26b&page=3&per=10");
    }

    #[test]
    fn a_page_that_is_not_there_is_the_nearest_and_none_is_larger_than_allowed() {
        let far = listing(ListQuery { page: Some(99), ..ListQuery::default() }, 150);
        assert_eq!((far.rows.len(), far.next()), (50, None));
        assert_eq!(listing(ListQuery { per: Some(9_999), ..ListQuery::default() }, 1_000).rows.len(), MOST_ROWS);
        assert_eq!(listing(ListQuery { page: Some(0), per: Some(0), ..ListQuery::default() }, 3).rows.len(), 1);
        assert_eq!(listing(ListQuery::default(), 0).place(), "Page 1 of 1");
    }

    #[test]
    fn a_column_turns_round_when_it_is_chosen_again() {
        let up = listing(ListQuery { sort: "name".to_owned(), ..ListQuery::default() }, 1);
        assert_eq!((up.sorted_by("name").as_str(), up.direction("name")), ("/list?sort=%2Dname", "ascending"));
        assert_eq!(up.sorted_by("size"), "/list?sort=size");
        let down = listing(ListQuery { sort: "-name".to_owned(), ..ListQuery::default() }, 1);
        assert_eq!((down.sorted_by("name").as_str(), down.direction("name")), ("/list?sort=name", "descending"));
    }
}
