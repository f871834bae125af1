//! The embedded store as its own process sees it: starting, stopping, refusing, surviving a restart.

use std::path::Path;

use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use fleetman::embedded::{EmbeddedError, Options, Server};

use crate::support::{BUCKET, Store, client_with, options, wait_for};

#[tokio::test]
async fn an_object_is_there_after_a_restart_with_all_that_was_said_about_it() {
    let mut store = Store::start().await;
    let put = store
        .client()
        .put_object()
        .bucket(BUCKET)
        .key("a/b c/\u{e9}%2F+")
        .content_type("text/x")
        .cache_control("no-store");
    let put = put.metadata("who", "Zoe").body(ByteStream::from_static(b"hello")).send().await.unwrap();
    store.restart().await;

    let got = store.client().get_object().bucket(BUCKET).key("a/b c/\u{e9}%2F+").send().await.unwrap();
    assert_eq!(got.e_tag(), put.e_tag());
    assert_eq!(got.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert_eq!(got.content_type(), Some("text/x"));
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.metadata().unwrap()["who"], "Zoe");
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let holder = std::net::TcpListener::bind(taken).unwrap();
    let error = Server::start(Options { listen: taken, ..options(folder.path()) }).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::PortTaken { address } if address == taken), "{error:?}");
    assert!(error.to_string().contains(&taken.to_string()));
    drop(holder);
}

#[tokio::test]
async fn a_folder_is_served_once_at_a_time() {
    let mut store = Store::start().await;
    let error = Server::start(options(store.folder())).await.unwrap_err();
    assert!(matches!(&error, EmbeddedError::InUse { root } if root == store.folder()), "{error:?}");
    store.stop().await;
    Server::start(options(store.folder())).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_dropped_server_gives_up_port_and_folder() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(options(folder.path())).await.unwrap();
    let listen = server.local_addr();
    drop(server);
    let again = async || Server::start(Options { listen, ..options(folder.path()) }).await.is_ok();
    wait_for(again, "port and folder to be free").await;
}

#[tokio::test]
async fn the_secret_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let printed = format!("{:?}", options(folder.path()));
    assert!(!printed.contains(crate::support::SECRET_KEY), "{printed}");
    assert!(printed.contains(crate::support::ACCESS_KEY), "{printed}");
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let store = Store::start().await;
    let client = client_with(&store.endpoint(), "us-east-1", crate::support::ACCESS_KEY, "wrong");
    let error = client.get_object().bucket(BUCKET).key("k").send().await.unwrap_err();
    assert_eq!(error.code(), Some("SignatureDoesNotMatch"));
    assert!(matches!(error, SdkError::ServiceError(error) if error.raw().status().as_u16() == 403));
}

#[tokio::test]
async fn a_damaged_or_misplaced_object_is_named_and_not_served() {
    let mut store = Store::start().await;
    store.client().put_object().bucket(BUCKET).key("k").send().await.unwrap();
    store.stop().await;
    let objects = store.folder().join("buckets").join(BUCKET).join("objects");
    let file = std::fs::read_dir(&objects).unwrap().next().unwrap().unwrap().path();
    let refused = async |damaged: &Path| {
        let error = Server::start(options(store.folder())).await.unwrap_err();
        assert!(matches!(&error, EmbeddedError::Damaged { path, .. } if path == damaged), "{error:?}");
    };
    let copy = objects.join("0123");
    std::fs::copy(&file, &copy).unwrap();
    refused(&copy).await;
    std::fs::remove_file(copy).unwrap();
    std::fs::write(&file, b"torn").unwrap();
    refused(&file).await;
}

#[tokio::test]
async fn what_was_never_finished_is_swept_at_start() {
    let mut store = Store::start().await;
    store.stop().await;
    let leftover = store.folder().join("tmp/17");
    std::fs::write(&leftover, b"half").unwrap();
    store.restart().await;
    assert!(!leftover.exists());
}
