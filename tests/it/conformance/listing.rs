//! Listings: order, pages, prefixes, delimiters.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;

use super::{Subject, checks};
use crate::support::BUCKET;

checks![
    keys_come_in_byte_order_page_by_page,
    a_delimiter_rolls_up_what_lies_below,
    a_listing_starts_after_a_key,
    the_first_version_lists_alike,
    keys_are_encoded_when_asked,
    a_listing_shows_a_write_at_once,
];

fn keys(s: &Subject, list: &ListObjectsV2Output) -> Vec<String> {
    list.contents().iter().map(|object| object.key().unwrap().strip_prefix(&s.prefix).unwrap().to_owned()).collect()
}

fn prefixes(s: &Subject, list: &ListObjectsV2Output) -> Vec<String> {
    let prefixes = list.common_prefixes().iter().filter_map(|common| common.prefix());
    prefixes.map(|prefix| prefix.strip_prefix(&s.prefix).unwrap().to_owned()).collect()
}

async fn keys_come_in_byte_order_page_by_page(s: Subject) {
    let names = ["A", "B", "a", "a!", "a-", "a.b", "a/b", "a0", "aa", "b", "\u{e9}", "\u{ff5e}", "\u{1f980}"];
    for name in names.iter().rev() {
        s.put(name, *name).await;
    }
    for limit in [1, 2, 5, 13, 1000] {
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let list = s.client.list_objects_v2().bucket(BUCKET).prefix(&s.prefix).max_keys(limit);
            let list = list.set_continuation_token(token.clone()).send().await.unwrap();
            assert_eq!(list.key_count(), Some(i32::try_from(list.contents().len()).unwrap()));
            found.extend(keys(&s, &list));
            token = list.next_continuation_token().map(str::to_owned);
            assert_eq!(list.is_truncated(), Some(token.is_some()));
            assert!(found.len() <= names.len(), "the listing does not end");
            if token.is_none() {
                break;
            }
        }
        assert_eq!(found, names, "pages of {limit}");
    }
}

async fn a_delimiter_rolls_up_what_lies_below(s: Subject) {
    for name in ["a", "a/1", "a/2", "a/b/3", "b/1", "c", "c-d/1", "\u{e9}/1"] {
        s.put(name, name).await;
    }
    let list = s.client.list_objects_v2().bucket(BUCKET).prefix(&s.prefix).delimiter("/").send().await.unwrap();
    assert_eq!(
        (keys(&s, &list), prefixes(&s, &list)),
        (
            vec!["a".to_owned(), "c".to_owned()],
            vec!["a/".to_owned(), "b/".to_owned(), "c-d/".to_owned(), "\u{e9}/".to_owned()],
        )
    );
    let below = s.client.list_objects_v2().bucket(BUCKET).prefix(s.key("a/")).delimiter("/").send().await.unwrap();
    assert_eq!(
        (keys(&s, &below), prefixes(&s, &below)),
        (vec!["a/1".to_owned(), "a/2".to_owned()], vec!["a/b/".to_owned()])
    );
    let other = s.client.list_objects_v2().bucket(BUCKET).prefix(&s.prefix).delimiter("-").send().await.unwrap();
    assert_eq!(prefixes(&s, &other), ["c-"]);

    // A common prefix stands on one page only, however small pages are.
    let (mut all, mut token) = (Vec::new(), None::<String>);
    for _ in 0..10 {
        let list = s.client.list_objects_v2().bucket(BUCKET).prefix(&s.prefix).delimiter("/").max_keys(1);
        let list = list.set_continuation_token(token.clone()).send().await.unwrap();
        all.extend(keys(&s, &list));
        all.extend(prefixes(&s, &list));
        token = list.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(all, ["a", "a/", "b/", "c", "c-d/", "\u{e9}/"]);
}

async fn a_listing_starts_after_a_key(s: Subject) {
    for name in ["a", "b", "c"] {
        s.put(name, name).await;
    }
    for (after, expected) in [("", vec!["a", "b", "c"]), ("a", vec!["b", "c"]), ("aa", vec!["b", "c"]), ("c", vec![])] {
        let list = s.client.list_objects_v2().bucket(BUCKET).prefix(&s.prefix).start_after(s.key(after));
        assert_eq!(keys(&s, &list.send().await.unwrap()), expected, "after {after:?}");
    }
}

async fn the_first_version_lists_alike(s: Subject) {
    for name in ["a/1", "a/2", "b", "c"] {
        s.put(name, name).await;
    }
    let (mut all, mut marker) = (Vec::new(), None::<String>);
    for _ in 0..10 {
        let list = s.client.list_objects().bucket(BUCKET).prefix(&s.prefix).delimiter("/").max_keys(1);
        let list = list.set_marker(marker.clone()).send().await.unwrap();
        all.extend(list.common_prefixes().iter().filter_map(|common| common.prefix().map(str::to_owned)));
        all.extend(list.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        marker = list.next_marker().map(str::to_owned);
        if list.is_truncated() != Some(true) {
            break;
        }
    }
    assert_eq!(all, [s.key("a/"), s.key("b"), s.key("c")]);
}

async fn keys_are_encoded_when_asked(s: Subject) {
    let name = "a b+c%/\u{e9}\u{1}&";
    s.put(name, "1").await;
    let list = s.client.list_objects_v2().bucket(BUCKET).prefix(&s.prefix).encoding_type(EncodingType::Url);
    let list = list.send().await.unwrap();
    assert_eq!(list.encoding_type(), Some(&EncodingType::Url));
    let key = list.contents()[0].key().unwrap();
    assert!(key.is_ascii(), "{key}");
    let decoded = percent_encoding::percent_decode_str(key).decode_utf8().unwrap();
    assert_eq!(decoded.strip_prefix(&s.prefix), Some(name));
}

async fn a_listing_shows_a_write_at_once(s: Subject) {
    for round in 0..50 {
        let name = format!("{round:02}");
        let etag = s.put(&name, name.as_str()).await;
        let list = s.client.list_objects_v2().bucket(BUCKET).prefix(s.key(&name)).send().await.unwrap();
        let [object] = list.contents() else { panic!("{list:?}") };
        assert_eq!((object.e_tag(), object.size()), (Some(etag.as_str()), Some(2)));
        s.client.delete_object().bucket(BUCKET).key(s.key(&name)).send().await.unwrap();
        let list = s.client.list_objects_v2().bucket(BUCKET).prefix(s.key(&name)).send().await.unwrap();
        assert_eq!(list.contents().len(), 0);
    }
}
