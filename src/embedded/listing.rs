//! One page of a listing over the ordered index. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::object::Object;

/// What to list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Query<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    /// Only what comes after this key, or after all keys below this common prefix.
    pub(super) after: Option<&'a str>,
    /// Objects and common prefixes together.
    pub(super) limit: usize,
}

/// A page: objects and common prefixes, each in the byte order of keys.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    pub(super) objects: Vec<Arc<Object>>,
    pub(super) prefixes: Vec<String>,
    /// The last key or common prefix of the page, if there is more: `after` of the next page.
    pub(super) next: Option<String>,
}

/// Lists a page. The work grows with the page, not with what common prefixes hide.
pub(super) fn list(objects: &BTreeMap<String, Arc<Object>>, query: Query<'_>) -> Page {
    let mut page = Page::default();
    if query.limit == 0 {
        return page;
    }
    let delimiter = query.delimiter.filter(|delimiter| !delimiter.is_empty());
    // The common prefix that a key is rolled up into.
    let group = |key: &str| -> Option<usize> {
        let rest = key.strip_prefix(query.prefix)?;
        let delimiter = delimiter?;
        rest.find(delimiter).map(|at| query.prefix.len() + at + delimiter.len())
    };
    let mut start = match query.after {
        Some(after) if group(after) == Some(after.len()) => match successor(after) {
            Some(next) => Bound::Included(next),
            None => return page,
        },
        Some(after) if after >= query.prefix => Bound::Excluded(after.to_owned()),
        _ => Bound::Included(query.prefix.to_owned()),
    };
    let mut last = String::new();
    loop {
        let found = objects.range::<String, _>((start.as_ref(), Bound::Unbounded)).next();
        let Some((key, object)) = found.filter(|(key, _)| key.starts_with(query.prefix)) else {
            return page;
        };
        if page.objects.len() + page.prefixes.len() == query.limit {
            page.next = Some(last);
            return page;
        }
        match group(key) {
            Some(end) => {
                last = key[..end].to_owned();
                page.prefixes.push(last.clone());
                match successor(&last) {
                    Some(next) => start = Bound::Included(next),
                    None => return page,
                }
            }
            None => {
                last.clone_from(key);
                page.objects.push(Arc::clone(object));
                start = Bound::Excluded(last.clone());
            }
        }
    }
}

/// The smallest string that is greater than every string with this prefix. UTF-8 orders like its code points.
fn successor(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::digests::{Algorithm, Checksum, Scope};
    use super::super::object::Headers;
    use super::*;

    fn index(keys: &[String]) -> BTreeMap<String, Arc<Object>> {
        let checksum = Checksum { algorithm: Algorithm::Crc32, scope: Scope::FullObject, value: String::new() };
        let object = |key: &String| Object {
            key: key.clone(),
            size: 0,
            etag: String::new(),
            modified: chrono::DateTime::UNIX_EPOCH,
            checksum: checksum.clone(),
            headers: Headers::default(),
            parts: Vec::new(),
            upload: None,
        };
        keys.iter().map(|key| (key.clone(), Arc::new(object(key)))).collect()
    }

    fn pages(keys: &[String], prefix: &str, delimiter: Option<&str>, limit: usize) -> (Vec<String>, Vec<String>) {
        let objects = index(keys);
        let (mut found, mut prefixes, mut after) = (Vec::new(), Vec::new(), None::<String>);
        for _ in 0..=keys.len() {
            let page = list(&objects, Query { prefix, delimiter, after: after.as_deref(), limit });
            assert!(page.objects.len() + page.prefixes.len() <= limit);
            found.extend(page.objects.iter().map(|object| object.key.clone()));
            prefixes.extend(page.prefixes);
            after = page.next;
            if after.is_none() {
                return (found, prefixes);
            }
        }
        panic!("the listing does not end");
    }

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn a_folder_a_file_and_its_marker_are_told_apart() {
        let all = keys(&["a", "a/", "a/b", "a//b", "a0", "b/c/d"]);
        let (found, prefixes) = pages(&all, "", Some("/"), 1000);
        assert_eq!((found, prefixes), (keys(&["a", "a0"]), keys(&["a/", "b/"])));
        let (found, prefixes) = pages(&all, "a/", Some("/"), 1000);
        assert_eq!((found, prefixes), (keys(&["a/", "a/b"]), keys(&["a//"])));
    }

    #[test]
    fn start_after_a_common_prefix_skips_all_of_it_and_after_a_key_inside_does_not() {
        let objects = index(&keys(&["a/1", "a/2", "b"]));
        let query = |after| Query { prefix: "", delimiter: Some("/"), after: Some(after), limit: 10 };
        assert_eq!(list(&objects, query("a/")).prefixes, Vec::<String>::new());
        assert_eq!(list(&objects, query("a/1")).prefixes, keys(&["a/"]));
    }

    #[test]
    fn a_page_that_ends_with_the_last_key_is_not_truncated() {
        let objects = index(&keys(&["a", "b"]));
        let page = list(&objects, Query { limit: 2, ..Query::default() });
        assert_eq!((page.objects.len(), page.next), (2, None));
        let page = list(&objects, Query { limit: 0, ..Query::default() });
        assert_eq!(page, Page::default());
    }

    proptest! {
        /// Whatever the page size, pages together are what a plain filter over all keys finds.
        #[test]
        fn pages_add_up_to_the_whole(
            keys in proptest::collection::vec("[ab/\u{e9}\u{10ffff}]{1,6}", 0..40),
            prefix in "[ab/]{0,2}",
            delimiter in proptest::option::of("[/b\u{10ffff}]{1,2}"),
            limit in 1..6_usize,
        ) {
            let mut expected = (Vec::new(), Vec::new());
            for key in index(&keys).into_keys() {
                let Some(rest) = key.strip_prefix(prefix.as_str()) else { continue };
                match delimiter.as_deref().and_then(|delimiter| rest.find(delimiter).map(|at| at + delimiter.len())) {
                    Some(end) => expected.1.push(format!("{prefix}{}", &rest[..end])),
                    None => expected.0.push(key),
                }
            }
            expected.1.dedup();
            prop_assert_eq!(pages(&keys, &prefix, delimiter.as_deref(), limit), expected);
        }
    }
}
