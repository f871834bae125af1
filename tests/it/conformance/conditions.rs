//! Conditional requests, one at a time and raced. This is where stores lie.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{Flaw, Subject, checks, refusal, status};
use crate::support::{BUCKET, client};

checks![
    a_conditional_read_spares_the_body,
    create_only_does_not_overwrite,
    replace_needs_the_current_etag,
    one_of_many_creators_wins,
    one_of_many_replacers_wins,
    no_increment_is_lost,
    a_copy_minds_its_target,
    completing_an_upload_minds_its_target,
    deleting_minds_the_etag,
];

const RACERS: usize = 32;
const ROUNDS: usize = 8;

async fn a_conditional_read_spares_the_body(s: Subject) {
    let etag = s.put("k", "body").await;
    let get = || s.client.get_object().bucket(BUCKET).key(s.key("k"));
    let head = || s.client.head_object().bucket(BUCKET).key(s.key("k"));
    assert_eq!(status(&get().if_none_match(&etag).send().await.unwrap_err()), 304);
    assert_eq!(status(&head().if_none_match(&etag).send().await.unwrap_err()), 304);
    get().if_none_match("\"0123\"").send().await.unwrap();
    get().if_match(&etag).send().await.unwrap();
    assert_eq!(status(&get().if_match("\"0123\"").send().await.unwrap_err()), 412);
    let modified = get().send().await.unwrap().last_modified.unwrap();
    assert_eq!(status(&get().if_modified_since(modified).send().await.unwrap_err()), 304);
    get().if_unmodified_since(modified).send().await.unwrap();

    let new = s.put("k", "changed").await;
    let got = get().if_none_match(&etag).send().await.unwrap();
    assert_eq!(got.e_tag(), Some(new.as_str()));
}

async fn create_only_does_not_overwrite(s: Subject) {
    let create = async |body: &'static [u8]| {
        let put = s.client.put_object().bucket(BUCKET).key(s.key("k")).if_none_match("*");
        put.body(ByteStream::from_static(body)).send().await
    };
    create(b"first").await.unwrap();
    let second = create(b"second").await;
    if s.has(Flaw::CreateOverwrites) {
        second.expect("the store no longer ignores If-None-Match on PUT: take the flaw out of its table");
        assert_eq!(s.get("k").await, b"second");
        return;
    }
    assert_eq!(refusal(second), (412, "PreconditionFailed".to_owned()));
    assert_eq!(s.get("k").await, b"first");
    s.client.delete_object().bucket(BUCKET).key(s.key("k")).send().await.unwrap();
    create(b"third").await.unwrap();
}

async fn replace_needs_the_current_etag(s: Subject) {
    let replace = async |name: &str, etag: &str| {
        let put = s.client.put_object().bucket(BUCKET).key(s.key(name)).if_match(etag);
        put.body(ByteStream::from_static(b"replaced")).send().await
    };
    let old = s.put("k", "1").await;
    let current = s.put("k", "2").await;
    let stale = replace("k", &old).await;
    let absent = replace("absent", &old).await;
    if s.has(Flaw::ReplaceOverwrites) {
        stale.expect("the store no longer ignores If-Match on PUT: take the flaw out of its table");
        absent.expect("the store no longer ignores If-Match on PUT: take the flaw out of its table");
        return;
    }
    assert_eq!(refusal(stale), (412, "PreconditionFailed".to_owned()));
    assert_eq!(refusal(absent), (404, "NoSuchKey".to_owned()));
    assert_eq!(s.get("k").await, b"2");
    assert!(!s.exists("absent").await);
    replace("k", &current).await.unwrap();
    assert_eq!(s.get("k").await, b"replaced");
}

/// Lets racers loose on one key at once, each on its own connection; gives the bodies of those who were told 200.
async fn race(s: &Subject, name: &str, if_match: Option<&str>) -> Vec<String> {
    let barrier = Arc::new(Barrier::new(RACERS));
    let mut racers = JoinSet::new();
    for racer in 0..RACERS {
        let client: Client = client(&s.endpoint);
        let (barrier, key, if_match) = (Arc::clone(&barrier), s.key(name), if_match.map(str::to_owned));
        racers.spawn(async move {
            let body = format!("racer {racer}");
            let put = client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(body.clone().into_bytes()));
            let put = match if_match {
                Some(etag) => put.if_match(etag),
                None => put.if_none_match("*"),
            };
            barrier.wait().await;
            match put.send().await {
                Ok(_) => Some(body),
                Err(error) => {
                    assert_eq!(status(&error), 412, "{error:?}");
                    None
                }
            }
        });
    }
    racers.join_all().await.into_iter().flatten().collect()
}

async fn one_of_many_creators_wins(s: Subject) {
    let mut most = 0;
    for round in 0..ROUNDS {
        let name = format!("round {round}");
        let winners = race(&s, &name, None).await;
        most = most.max(winners.len());
        let stored = String::from_utf8(s.get(&name).await).unwrap();
        assert!(winners.contains(&stored), "{stored} was told that it lost");
    }
    assert_eq!(most > 1, s.has(Flaw::CreateOverwrites), "up to {most} racers were told that they won");
}

async fn one_of_many_replacers_wins(s: Subject) {
    let mut most = 0;
    for round in 0..ROUNDS {
        let name = format!("round {round}");
        let etag = s.put(&name, "start").await;
        let winners = race(&s, &name, Some(&etag)).await;
        most = most.max(winners.len());
        let stored = String::from_utf8(s.get(&name).await).unwrap();
        assert!(winners.contains(&stored), "{stored} was told that it lost");
    }
    assert_eq!(most > 1, s.has(Flaw::ReplaceOverwrites), "up to {most} racers were told that they won");
}

async fn no_increment_is_lost(s: Subject) {
    if s.has(Flaw::ReplaceOverwrites) {
        return;
    }
    const WRITERS: usize = 8;
    const INCREMENTS: usize = 12;
    s.put("counter", "0").await;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let s = s.clone();
        writers.spawn(async move {
            let mut done = 0;
            while done < INCREMENTS {
                let got = s.client.get_object().bucket(BUCKET).key(s.key("counter")).send().await.unwrap();
                let etag = got.e_tag().unwrap().to_owned();
                let text = got.body.collect().await.unwrap().to_vec();
                let next = String::from_utf8(text).unwrap().parse::<usize>().unwrap() + 1;
                let put = s.client.put_object().bucket(BUCKET).key(s.key("counter")).if_match(etag);
                match put.body(ByteStream::from(next.to_string().into_bytes())).send().await {
                    Ok(_) => done += 1,
                    Err(error) => assert_eq!(status(&error), 412, "{error:?}"),
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(s.get("counter").await, (WRITERS * INCREMENTS).to_string().as_bytes());
}

async fn a_copy_minds_its_target(s: Subject) {
    s.put("source", "source").await;
    let old = s.put("k", "1").await;
    let current = s.put("k", "2").await;
    let source = format!("{BUCKET}/{}", s.key("source"));
    let copy = || s.client.copy_object().bucket(BUCKET).key(s.key("k")).copy_source(&source);
    let create = copy().if_none_match("*").send().await;
    let stale = copy().if_match(&old).send().await;
    if s.has(Flaw::CopyOverwrites) {
        create.expect("the store no longer ignores If-None-Match on copies: take the flaw out of its table");
        stale.expect("the store no longer ignores If-Match on copies: take the flaw out of its table");
        return;
    }
    assert_eq!(refusal(create), (412, "PreconditionFailed".to_owned()));
    assert_eq!(refusal(stale), (412, "PreconditionFailed".to_owned()));
    assert_eq!(s.get("k").await, b"2");
    copy().if_match(&current).send().await.unwrap();
    assert_eq!(s.get("k").await, b"source");
    copy().key(s.key("new")).if_none_match("*").send().await.unwrap();
}

async fn completing_an_upload_minds_its_target(s: Subject) {
    s.put("k", "there").await;
    let begun = s.client.create_multipart_upload().bucket(BUCKET).key(s.key("k")).send().await.unwrap();
    let id = begun.upload_id().unwrap();
    let part = s.client.upload_part().bucket(BUCKET).key(s.key("k")).upload_id(id).part_number(1);
    let part = part.body(ByteStream::from_static(b"part")).send().await.unwrap();
    let part = CompletedPart::builder().part_number(1).e_tag(part.e_tag().unwrap()).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = s.client.complete_multipart_upload().bucket(BUCKET).key(s.key("k")).upload_id(id);
    let complete = complete.multipart_upload(parts);
    let create = complete.clone().if_none_match("*").send().await;
    if s.has(Flaw::CompleteOverwrites) {
        create.expect("the store no longer ignores If-None-Match on completion: take the flaw out of its table");
        return;
    }
    assert_eq!(refusal(create), (412, "PreconditionFailed".to_owned()));
    assert_eq!(s.get("k").await, b"there");
    complete.send().await.unwrap();
    assert_eq!(s.get("k").await, b"part");
}

async fn deleting_minds_the_etag(s: Subject) {
    let old = s.put("k", "1").await;
    let current = s.put("k", "2").await;
    let delete = async |etag: &str| s.client.delete_object().bucket(BUCKET).key(s.key("k")).if_match(etag).send().await;
    let stale = delete(&old).await;
    if s.has(Flaw::DeleteDeletes) {
        stale.expect("the store no longer ignores If-Match on DELETE: take the flaw out of its table");
        assert!(!s.exists("k").await);
        return;
    }
    assert_eq!(refusal(stale), (412, "PreconditionFailed".to_owned()));
    assert!(s.exists("k").await);
    delete(&current).await.unwrap();
    assert!(!s.exists("k").await);
}
