//! Lists: what the query string asks for, and the links of a list that ask for something else.
//!
//! Everything that is chosen stands in the address, so that a list can be linked to, and works as a plain form.

pub(super) mod export;
mod order;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

pub(super) use self::order::{Order, newest_first};
use super::address::with_query;
use super::failure::Failure;

/// Rows of a page unless something else is asked for.
const PER_PAGE: usize = 100;

/// The most rows of a page: a browser has to draw them.
const MOST_PER_PAGE: usize = 500;

/// What the query string asks for. What is left empty, as forms do, is not asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    path: String,
    pairs: Vec<(String, String)>,
}

/// One of the things that were asked for, and the link that asks for all but it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chip {
    pub(super) text: String,
    pub(super) without: String,
}

/// A column of a table, and the link that sorts by it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) is_number: bool,
    /// None for one that nothing is sorted by.
    pub(super) href: Option<String>,
    /// As `aria-sort` says it.
    pub(super) sorted: &'static str,
}

/// Which part of a list a page shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pager {
    /// How many rows fit, with thousands set apart.
    pub(super) fitting: String,
    /// How many there are.
    pub(super) total: String,
    pub(super) is_filtered: bool,
    pub(super) page: usize,
    pub(super) pages: usize,
    /// What of the list is shown, from 0.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
}

impl<S: Send + std::marker::Sync> FromRequestParts<S> for Asked {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = parts.uri.path().to_owned();
        let Query(pairs) = Query::from_request_parts(parts, state)
            .await
            .map_err(|error| Failure::bad_request("invalid_query", error.body_text()))?;
        Ok(Self { path, pairs })
    }
}

impl Asked {
    /// The same asked for by other means than an address.
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { path: "/list".to_owned(), pairs: pairs.collect() }
    }

    /// Everything that is asked for under a name.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.pairs.iter().filter(move |(of, value)| of == name && !value.is_empty());
        named.map(|(_, value)| value.trim())
    }

    /// What is asked for under a name; of several, the last.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(of, value)| of == name && !value.is_empty()).map(|(_, value)| value.trim())
    }

    /// What is asked for under a name, as a form shows it again.
    pub(super) fn text(&self, name: &str) -> &str {
        self.one(name).unwrap_or_default()
    }

    /// What is asked for under a name, which has to be one of `words`.
    ///
    /// # Errors
    /// Which words there are.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Failure> {
        let Some(asked) = self.one(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == asked);
        found.map(|(_, meant)| Some(*meant)).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Failure::bad_request("invalid_filter", format!("{name} is one of {}", words.join(", ")))
        })
    }

    /// The same list under another path, from its first page.
    pub(super) fn elsewhere(&self, path: &str) -> String {
        self.linked(path, |name, _| name != "page", None)
    }

    /// The same list with this in the place of what was asked for under the name, from its first page.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        self.linked("", |of, _| of != name && of != "page", Some((name, value)))
    }

    /// The same list with this asked for besides, from its first page.
    pub(super) fn and(&self, name: &str, value: &str) -> String {
        self.linked("", |of, also| of != "page" && (of != name || also != value), Some((name, value)))
    }

    /// Everything that is asked for but what stands under `name`, for a form that asks for that.
    pub(super) fn beside<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let is_other = move |of: &str, value: &str| of != name && of != "page" && !value.is_empty();
        let pairs = self.pairs.iter().map(|(of, value)| (of.as_str(), value.as_str()));
        pairs.filter(move |(of, value)| is_other(of, value))
    }

    fn linked(&self, path: &str, is_kept: impl Fn(&str, &str) -> bool, added: Option<(&str, &str)>) -> String {
        let kept = self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let kept = kept.filter(|(name, value)| !value.is_empty() && is_kept(name, value));
        let address = with_query(path, kept.chain(added));
        if !address.is_empty() {
            return address;
        }
        // An empty address would be that of this page, with its query.
        self.path.rsplit('/').next().map_or_else(String::new, |last| format!("./{last}"))
    }

    /// What was asked for under these names, each with a link that leaves it out.
    pub(super) fn chips(&self, names: &[&str]) -> Vec<Chip> {
        let asked = self.pairs.iter().filter(|(name, value)| names.contains(&name.as_str()) && !value.is_empty());
        asked
            .map(|(name, value)| Chip {
                text: format!("{name}: {value}"),
                without: self.linked("", |of, also| of != "page" && (of != name || also != value), None),
            })
            .collect()
    }

    /// Which part of a list with `fitting` of `total` rows is asked for. A page behind the last is the last.
    pub(super) fn pager(&self, fitting: usize, total: usize) -> Pager {
        self.pager_of(fitting, total, PER_PAGE)
    }

    /// The same for a list that shows fewer rows unless more are asked for.
    pub(super) fn pager_of(&self, fitting: usize, total: usize, usual: usize) -> Pager {
        let number = |name| self.one(name).and_then(|text| text.parse::<usize>().ok()).filter(|number| *number > 0);
        let per = number("per").unwrap_or(usual).min(MOST_PER_PAGE);
        let pages = fitting.div_ceil(per).max(1);
        let page = number("page").unwrap_or(1).min(pages);
        let link = |page: usize| self.with("page", &page.to_string());
        Pager {
            fitting: grouped(fitting),
            total: grouped(total),
            is_filtered: fitting != total,
            page,
            pages,
            from: (page - 1) * per,
            to: (page * per).min(fitting),
            previous: (page > 1).then(|| link(page - 1)),
            next: (page < pages).then(|| link(page + 1)),
        }
    }
}

/// A number with its thousands set apart.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing, in words.
pub(super) fn counted(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Whether `text` has `part`, which is written in lower case, in it.
pub(super) fn has(text: &str, part: &str) -> bool {
    if text.is_ascii() {
        let (text, part) = (text.as_bytes(), part.as_bytes());
        return part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    }
    text.to_lowercase().contains(part)
}

/// A label as it is asked for: `key=value`, or `key` with any value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    key: String,
    value: Option<String>,
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Self { key: key.to_owned(), value: Some(value.to_owned()) },
            None => Self { key: text.to_owned(), value: None },
        }
    }
}

impl Label {
    pub(super) fn fits(&self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        labels.get(&self.key).is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_what_was_asked_for_and_go_back_to_the_first_page() {
        let asked = Asked::of(&[("q", "a b&c"), ("status", ""), ("label", "x=1"), ("label", "y"), ("page", "7")]);
        assert_eq!(asked.with("sort", "-seen"), "?q=a%20b%26c&label=x%3D1&label=y&sort=%2Dseen");
        assert_eq!(asked.with("page", "8"), "?q=a%20b%26c&label=x%3D1&label=y&page=8");
        assert_eq!(asked.and("label", "z"), "?q=a%20b%26c&label=x%3D1&label=y&label=z");
        assert_eq!(asked.and("label", "y"), "?q=a%20b%26c&label=x%3D1&label=y", "once is enough");
        assert_eq!(asked.beside("label").collect::<Vec<_>>(), [("q", "a b&c")]);
        assert_eq!(asked.elsewhere("/list.csv"), "/list.csv?q=a%20b%26c&label=x%3D1&label=y");
        let chips = asked.chips(&["q", "status", "label"]);
        let chips: Vec<(&str, &str)> = chips.iter().map(|it| (it.text.as_str(), it.without.as_str())).collect();
        assert_eq!(
            chips,
            [
                ("q: a b&c", "?label=x%3D1&label=y"),
                ("label: x=1", "?q=a%20b%26c&label=y"),
                ("label: y", "?q=a%20b%26c&label=x%3D1"),
            ]
        );
        assert_eq!(Asked::of(&[("q", "a")]).chips(&["q"])[0].without, "./list");
    }

    #[test]
    fn a_page_is_never_behind_the_last_nor_longer_than_a_browser_can_draw() {
        let part = |pairs: &[(&str, &str)], fitting| {
            let pager = Asked::of(pairs).pager(fitting, 10_034);
            (pager.page, pager.pages, pager.from, pager.to)
        };
        assert_eq!(part(&[], 0), (1, 1, 0, 0));
        assert_eq!(part(&[], 101), (1, 2, 0, 100));
        assert_eq!(part(&[("page", "2")], 101), (2, 2, 100, 101));
        assert_eq!(part(&[("page", "9")], 101), (2, 2, 100, 101));
        assert_eq!(part(&[("page", "0"), ("per", "-1")], 101), (1, 2, 0, 100));
        assert_eq!(part(&[("per", "9999")], 10_034), (1, 21, 0, 500));
        let pager = Asked::of(&[("page", "2"), ("q", "x")]).pager(250, 10_034);
        assert_eq!((pager.previous.as_deref(), pager.next.as_deref()), (Some("?q=x&page=1"), Some("?q=x&page=3")));
        assert_eq!((pager.fitting.as_str(), pager.total.as_str(), pager.is_filtered), ("250", "10,034", true));
    }

    #[test]
    fn words_are_known_or_told() {
        let words = [("active", 1), ("dead", 2)];
        assert_eq!(Asked::of(&[("status", "dead")]).word("status", &words).unwrap(), Some(2));
        assert_eq!(Asked::of(&[("status", "")]).word("status", &words).unwrap(), None);
        let failure = Asked::of(&[("status", "zombie")]).word("status", &words).unwrap_err();
        assert_eq!(failure.detail(), "status is one of active, dead");
    }

    #[test]
    fn texts_are_found_whatever_their_case() {
        assert!(has("Debian GNU/Linux", "gnu") && has("x", "") && !has("x", "xy"));
        assert!(has("GRÜN", "grün") && !has("grau", "grün"));
        let labels = [("tier".to_owned(), "front".to_owned())].into();
        assert!(Label::from("tier").fits(&labels) && Label::from("tier=front").fits(&labels));
        assert!(!Label::from("tier=").fits(&labels) && !Label::from("zone").fits(&labels));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1_000, 10_034, 1_234_567].map(grouped), ["0", "999", "1,000", "10,034", "1,234,567"]);
        let lists = [0, 1, 2_000].map(|number| counted(number, "list"));
        assert_eq!(lists, ["0 lists", "1 list", "2,000 lists"]);
    }
}
