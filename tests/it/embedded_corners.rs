//! Corners of the embedded store that other stores settle otherwise, or do not have.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use fleetman::embedded::{EmbeddedError, Options, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::proxy::{Fault, FaultProxy, On, Rule};
use crate::support::{BUCKET, Store, client, options, wait_for};

fn refusal<T: std::fmt::Debug, E: ProvideErrorMetadata>(result: Result<T, SdkError<E>>) -> String {
    result.expect_err("a refusal").code().unwrap_or_default().to_owned()
}

async fn begin(client: &Client, key: &str) -> String {
    client.create_multipart_upload().bucket(BUCKET).key(key).send().await.unwrap().upload_id.unwrap()
}

async fn part(client: &Client, key: &str, id: &str, body: &'static [u8]) -> CompletedMultipartUpload {
    let part = client.upload_part().bucket(BUCKET).key(key).upload_id(id).part_number(1);
    let part = part.body(ByteStream::from_static(body)).send().await.unwrap();
    let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
    CompletedMultipartUpload::builder().parts(part).build()
}

#[tokio::test]
async fn an_upload_whose_completion_was_lost_is_completed_again() {
    let store = Store::start().await;
    let proxy = FaultProxy::start(&store.endpoint()).await;
    let client = client(&proxy.endpoint());
    let id = begin(&client, "k").await;
    let parts = part(&client, "k", &id, b"body").await;
    proxy.inject(Rule::new(On::write("k"), Fault::LoseResponse).times(1));
    let complete = client.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id).multipart_upload(parts);
    let etag = complete.clone().send().await.unwrap().e_tag.unwrap();
    assert_eq!(proxy.count(On::write("k")), 4, "the client asked twice to complete");
    assert!(etag.ends_with("-1\""), "{etag}");

    // Once something else is there, the upload is forgotten.
    client.put_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(refusal(complete.send().await), "NoSuchUpload");
}

#[tokio::test]
async fn an_upload_belongs_to_its_key_and_survives_a_restart() {
    let mut store = Store::start().await;
    let id = begin(&store.client(), "k").await;
    let parts = part(&store.client(), "k", &id, b"body").await;
    store.restart().await;
    let client = store.client();
    let complete = |key| {
        let complete = client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(&id);
        complete.multipart_upload(parts.clone()).send()
    };
    assert_eq!(refusal(complete("other").await), "NoSuchUpload");
    let wrong = client.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(&id);
    let wrong = wrong.multipart_upload(parts.clone()).checksum_crc64_nvme("AAAAAAAAAAA=").send().await;
    assert_eq!(refusal(wrong), "BadDigest");
    complete("k").await.unwrap();
    let outside = client.abort_multipart_upload().bucket(BUCKET).key("k").upload_id("../../fleet");
    assert_eq!(refusal(outside.send().await), "NoSuchUpload");
}

#[tokio::test]
async fn an_answer_without_a_body_names_the_etag() {
    let store = Store::start().await;
    let client = store.client();
    let etag = client.put_object().bucket(BUCKET).key("k").send().await.unwrap().e_tag.unwrap();
    let unchanged = client.get_object().bucket(BUCKET).key("k").if_none_match(&etag).send().await.unwrap_err();
    let answer = unchanged.raw_response().unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().get("etag")), (304, Some(etag.as_str())));
}

#[tokio::test]
async fn a_copy_of_parts_is_one_piece() {
    let store = Store::start().await;
    let client = store.client();
    let id = begin(&client, "k").await;
    let parts = part(&client, "k", &id, b"body").await;
    let complete = client.complete_multipart_upload().bucket(BUCKET).key("k").upload_id(id).multipart_upload(parts);
    complete.send().await.unwrap();
    let copy = client.copy_object().bucket(BUCKET).key("copy").copy_source(format!("{BUCKET}/k")).send().await.unwrap();
    let md5_of_body = "\"841a2d689ad86bd1611447453c22c6fc\"";
    assert_eq!(copy.copy_object_result().unwrap().e_tag(), Some(md5_of_body));

    let onto_itself = client.copy_object().bucket(BUCKET).key("copy").copy_source(format!("{BUCKET}/copy"));
    assert_eq!(refusal(onto_itself.send().await), "InvalidRequest");
}

#[tokio::test]
async fn what_would_not_be_kept_is_refused() {
    let store = Store::start().await;
    let client = store.client();
    let put = || client.put_object().bucket(BUCKET).key("k");
    assert_eq!(refusal(put().tagging("a=b").send().await), "NotImplemented");
    assert_eq!(refusal(put().website_redirect_location("/x").send().await), "NotImplemented");
    assert_eq!(refusal(put().storage_class("GLACIER".into()).send().await), "InvalidStorageClass");
    assert_eq!(refusal(put().acl("public-read".into()).send().await), "AccessControlListNotSupported");
    assert_eq!(refusal(put().metadata("m", "x".repeat(2048)).send().await), "MetadataTooLarge");
    assert_eq!(refusal(put().if_none_match("\"0123\"").send().await), "NotImplemented");
    assert_eq!(refusal(client.get_object().bucket(BUCKET).key("k").version_id("1").send().await), "NotImplemented");
    assert_eq!(refusal(client.get_bucket_policy().bucket(BUCKET).send().await), "NotImplemented");
    assert_eq!(refusal(client.get_object().bucket("no-such-bucket").key("k").send().await), "NoSuchBucket");
    let list = client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert_eq!(list.key_count(), Some(0));
    put().metadata("m", "x".repeat(2047)).storage_class("STANDARD".into()).send().await.unwrap();
}

#[tokio::test]
async fn a_thousand_keys_are_deleted_at_once_and_no_more() {
    let store = Store::start().await;
    let client = store.client();
    client.put_object().bucket(BUCKET).key("7").send().await.unwrap();
    let delete = async |count: usize| {
        let id = |n: usize| ObjectIdentifier::builder().key(n.to_string()).build().unwrap();
        let delete = Delete::builder().set_objects(Some((0..count).map(id).collect())).quiet(true).build().unwrap();
        client.delete_objects().bucket(BUCKET).delete(delete).send().await
    };
    assert_eq!(refusal(delete(1001).await), "MalformedXML");
    assert!(delete(1000).await.unwrap().deleted().is_empty());
    assert_eq!(client.list_objects_v2().bucket(BUCKET).send().await.unwrap().key_count(), Some(0));
}

#[tokio::test]
async fn only_an_empty_bucket_is_deleted() {
    let store = Store::start().await;
    let client = store.client();
    client.put_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(refusal(client.delete_bucket().bucket(BUCKET).send().await), "BucketNotEmpty");
    assert_eq!(refusal(client.create_bucket().bucket(BUCKET).send().await), "BucketAlreadyOwnedByYou");
    client.delete_object().bucket(BUCKET).key("k").send().await.unwrap();
    begin(&client, "never completed").await;
    client.delete_bucket().bucket(BUCKET).send().await.unwrap();
    assert_eq!(refusal(client.put_object().bucket(BUCKET).key("k").send().await), "NoSuchBucket");
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    assert_eq!(client.list_multipart_uploads().bucket(BUCKET).send().await.unwrap().uploads().len(), 0);
}

#[tokio::test]
async fn a_bucket_name_that_no_client_could_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "ab", "Upper", "a/b", "..", "under_score", "-a-"] {
        let options = Options { buckets: vec![name.to_owned()], ..options(folder.path()) };
        let error = Server::start(options).await.unwrap_err();
        assert!(matches!(&error, EmbeddedError::BucketName { name: named } if named == name), "{error:?}");
    }
}

/// Sends a PUT of so many bytes, with a header more and this body, to a presigned URL; gives the status line.
async fn raw_put(store: &Store, length: usize, header: &str, body: &str) -> String {
    let config = aws_sdk_s3::presigning::PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let url = store.client().put_object().bucket(BUCKET).key("raw").presigned(config).await.unwrap();
    let (address, target) = url.uri().trim_start_matches("http://").split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers = format!("Host: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{header}");
    stream.write_all(format!("PUT /{target} HTTP/1.1\r\n{headers}\r\n{body}").as_bytes()).await.unwrap();
    if body.len() < length {
        stream.shutdown().await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_body_that_is_less_than_was_promised_is_no_object() {
    let store = Store::start().await;
    let cut = raw_put(&store, 40, "", "cut").await;
    assert!(!cut.contains(" 200 "), "{cut}");
    let bare = raw_put(&store, 4, "x-amz-trailer: x-amz-checksum-crc32\r\n", "body").await;
    assert_eq!(bare, "HTTP/1.1 400 Bad Request");
    assert_eq!(store.client().list_objects_v2().bucket(BUCKET).send().await.unwrap().key_count(), Some(0));
    assert_eq!(raw_put(&store, 4, "", "body").await, "HTTP/1.1 200 OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_finished_at_shutdown() {
    let mut store = Store::start().await;
    let client = store.client();
    let body: Vec<u8> = vec![b'b'; 30_000_000];
    client.put_object().bucket(BUCKET).key("k").body(body.clone().into()).send().await.unwrap();
    let mut reading = client.get_object().bucket(BUCKET).key("k").send().await.unwrap().body;
    let mut read = reading.next().await.unwrap().unwrap().len();
    let endpoint = store.endpoint();
    let stopping = tokio::spawn(async move {
        store.stop().await;
        store
    });
    let refused = async || TcpStream::connect(endpoint.trim_start_matches("http://")).await.is_err();
    wait_for(refused, "the server to refuse connections").await;
    while let Some(chunk) = reading.next().await {
        read += chunk.unwrap().len();
    }
    assert_eq!(read, body.len());
    // A connection that is idle by now is closed, not waited for until the bound of 10 s.
    tokio::time::timeout(Duration::from_secs(5), stopping).await.expect("a quick end").unwrap();
}
