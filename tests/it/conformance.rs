//! One suite of S3 behaviour over any endpoint, with a table of what each is known to get wrong.
//!
//! A known flaw is asserted like everything else: a store that gets better fails the suite, so that the table, and
//! what the documentation says about the store, are put right.

mod checksums;
mod conditions;
mod listing;
mod multipart;
mod objects;

use std::pin::Pin;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;

use crate::support::garage::Garage;
use crate::support::{BUCKET, Store};

/// What a store does otherwise than S3. The first five are lies: it says 200 to a condition and overwrites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// `If-None-Match: *` on PUT is ignored.
    CreateOverwrites,
    /// `If-Match` on PUT is ignored.
    ReplaceOverwrites,
    /// The conditions on the target of a copy are ignored.
    CopyOverwrites,
    /// The conditions of completing an upload are ignored.
    CompleteOverwrites,
    /// `If-Match` on DELETE is ignored.
    DeleteDeletes,
    /// A checksum that comes behind a streamed body is refused.
    RefusesTrailers,
    /// Any part may be shorter than 5 MiB.
    JoinsSmallParts,
    /// `+` in the source of a copy is not taken for a space.
    PlusIsNoSpace,
}

/// What Garage 2.5.0 is known to get wrong.
const GARAGE_FLAWS: [Flaw; 8] = [
    Flaw::CreateOverwrites,
    Flaw::ReplaceOverwrites,
    Flaw::CopyOverwrites,
    Flaw::CompleteOverwrites,
    Flaw::DeleteDeletes,
    Flaw::RefusesTrailers,
    Flaw::JoinsSmallParts,
    Flaw::PlusIsNoSpace,
];

/// A store under test, and a prefix that one check has to itself.
#[derive(Clone)]
struct Subject {
    endpoint: String,
    client: Client,
    flaws: &'static [Flaw],
    prefix: String,
}

type Check = fn(Subject) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// The named checks of one file.
macro_rules! checks {
    ($($name:ident),+ $(,)?) => {
        pub(super) const CHECKS: &[(&str, crate::conformance::Check)] =
            &[$((stringify!($name), |subject| Box::pin($name(subject)))),+];
    };
}
use checks;

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_conforms() {
    let store = Store::start().await;
    run(&store.endpoint(), store.client(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garage_conforms_but_for_its_known_flaws() {
    let Some(garage) = Garage::start().await else { return };
    run(&garage.endpoint(), garage.client(), &GARAGE_FLAWS).await;
}

/// Runs every check and then names all that failed, not just the first.
async fn run(endpoint: &str, client: Client, flaws: &'static [Flaw]) {
    let all = [objects::CHECKS, conditions::CHECKS, listing::CHECKS, multipart::CHECKS, checksums::CHECKS].concat();
    let mut failed = Vec::new();
    for (name, check) in all {
        let (endpoint, client) = (endpoint.to_owned(), client.clone());
        let subject = Subject { endpoint, client, flaws, prefix: format!("{name}/") };
        if tokio::spawn(check(subject)).await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{endpoint} fails: {failed:?}; see above");
}

impl Subject {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaws.contains(&flaw)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Puts an object and gives its ETag.
    async fn put(&self, name: &str, body: impl Into<Vec<u8>>) -> String {
        let put = self.client.put_object().bucket(BUCKET).key(self.key(name));
        let put = put.body(ByteStream::from(body.into())).send().await.unwrap();
        put.e_tag.unwrap()
    }

    async fn get(&self, name: &str) -> Vec<u8> {
        let got = self.client.get_object().bucket(BUCKET).key(self.key(name)).send().await.unwrap();
        got.body.collect().await.unwrap().to_vec()
    }

    async fn exists(&self, name: &str) -> bool {
        match self.client.head_object().bucket(BUCKET).key(self.key(name)).send().await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(status(&error), 404, "{error:?}");
                false
            }
        }
    }
}

/// The HTTP status of a refusal.
fn status<E: std::fmt::Debug>(error: &SdkError<E>) -> u16 {
    error.raw_response().unwrap_or_else(|| panic!("not an answer: {error:?}")).status().as_u16()
}

/// Status and code of a refusal.
fn refusal<T, E>(result: Result<T, SdkError<E>>) -> (u16, String)
where
    T: std::fmt::Debug,
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    let error = result.expect_err("a refusal");
    (status(&error), error.code().unwrap_or_default().to_owned())
}
