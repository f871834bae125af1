//! One request, what became of it, and whether it is worth another try.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId as _;
use chrono::TimeDelta;
use tracing::debug;

use super::Store;
use super::counts::Operation;
use super::error::{Call, Cause, Doing, Outage, StoreError};
use crate::entropy;
use crate::model::text::short;

/// A clock that is further off than this may be why a signature was refused. Stores allow 15 minutes.
const SUSPICIOUS_SKEW: TimeDelta = TimeDelta::minutes(4);

/// What a request came to that was no success.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// How often it was tried.
    pub(super) tries: u32,
    /// Whether the request may have been carried out although it failed: by this try or one before it.
    pub(super) may_have_happened: bool,
    status: u16,
    code: String,
    message: String,
    /// What was asked, if it got so far.
    operation: Option<Operation>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Cause>,
}

/// The most characters of a word of the store, and of a sentence.
const MOST_WORD: usize = 128;
const MOST_SENTENCE: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// The condition says that the reader has it already.
    Unchanged,
    Absent,
    NoSuchBucket,
    Denied,
    NoCredentials,
    BadCredentials,
    ClockSkew,
    /// A condition did not hold.
    Precondition,
    /// Another request for the same object was under way.
    Busy,
    Throttled,
    Down(Outage),
    Unsupported,
    /// The body has more bytes than it may have.
    Excess,
    /// Another region, another endpoint.
    WrongPlace,
    /// The object has no such bytes.
    BadRange,
    Refused,
}

impl Kind {
    /// What it is counted as. Never changed: monitoring compares it.
    fn counted_as(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Absent => "absent",
            Self::NoSuchBucket | Self::WrongPlace => "misconfigured",
            Self::Denied => "denied",
            Self::NoCredentials | Self::BadCredentials => "bad_credentials",
            Self::ClockSkew => "clock_skew",
            Self::Precondition | Self::Busy => "conflict",
            Self::Throttled => "throttled",
            Self::Down(Outage::Failed { .. }) => "failed",
            Self::Down(Outage::TimedOut(_)) => "timed_out",
            Self::Down(_) => "unreachable",
            Self::Unsupported => "unsupported",
            Self::Excess | Self::BadRange | Self::Refused => "refused",
        }
    }
}

/// The one table of what answers mean: the store's word for it decides, else the status.
fn classify(status: u16, code: &str) -> Kind {
    let failed = || Kind::Down(Outage::Failed { status, code: code.to_owned() });
    match code {
        "NoSuchBucket" => Kind::NoSuchBucket,
        "NoSuchKey" | "NotFound" => Kind::Absent,
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => Kind::ClockSkew,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "TokenRefreshRequired"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException" => Kind::BadCredentials,
        "PreconditionFailed" => Kind::Precondition,
        "ConditionalRequestConflict" | "OperationAborted" => Kind::Busy,
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded" => Kind::Throttled,
        // What arrived was not what was sent: send it again.
        "RequestTimeout" | "IncompleteBody" | "BadDigest" | "XAmzContentSHA256Mismatch" | "InternalError" => failed(),
        "NotImplemented" => Kind::Unsupported,
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "InvalidBucketName" => {
            Kind::WrongPlace
        }
        _ => match status {
            301 | 302 | 303 | 307 | 308 => Kind::WrongPlace,
            304 => Kind::Unchanged,
            401 => Kind::BadCredentials,
            403 => Kind::Denied,
            404 => Kind::Absent,
            405 | 501 => Kind::Unsupported,
            409 => Kind::Busy,
            412 => Kind::Precondition,
            416 => Kind::BadRange,
            429 => Kind::Throttled,
            408 | 500..=599 => failed(),
            _ => Kind::Refused,
        },
    }
}

impl Failure {
    /// A failure that the store did not put into words.
    pub(super) fn of(kind: Kind, source: Option<Cause>) -> Self {
        let (code, message) = Default::default();
        Self {
            kind,
            tries: 1,
            may_have_happened: false,
            status: 0,
            code,
            message,
            operation: None,
            request_id: None,
            retry_after: None,
            source,
        }
    }

    /// The same, of a request of this kind.
    pub(super) fn during(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// The request, as errors tell of it.
    fn call(&self) -> Option<Call> {
        let status = Some(self.status).filter(|status| *status != 0);
        // Without a word of the store its status stands for it.
        let code = Some(self.code.clone()).filter(|code| !code.is_empty() && *code != self.status.to_string());
        let request_id = self.request_id.clone();
        Some(Call { operation: self.operation?.name(), status, code, request_id })
    }

    /// What the store said about one object in an answer that was a success as a whole.
    pub(super) fn told(code: &str, message: &str) -> Self {
        // Its status is that of the whole answer, so only the word can decide.
        let status = 200;
        let kind = if code == "AccessDenied" { Kind::Denied } else { classify(status, code) };
        let (code, message) = (short(code, MOST_WORD), short(message, MOST_SENTENCE));
        Self { status, code, message, ..Self::of(kind, None) }
    }

    /// The store cannot do something that it did not refuse either.
    pub(super) fn unable(what: &str) -> Self {
        Self { code: what.to_owned(), ..Self::of(Kind::Unsupported, None) }
    }

    fn from_sdk<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        if find::<CredentialsError>(&error).is_some() {
            return Self::of(Kind::NoCredentials, Some(error.into()));
        }
        let Some(raw) = error.raw_response() else {
            let kind = match &error {
                SdkError::ConstructionFailure(_) => Kind::WrongPlace,
                _ => Kind::Down(Outage::Connection),
            };
            return Self::of(kind, Some(error.into()));
        };
        let status = raw.status().as_u16();
        let retry_after = raw.headers().get("retry-after").and_then(|secs| secs.trim().parse().ok());
        let (code, message) = match &error {
            SdkError::ServiceError(told) => (
                short(told.err().code().unwrap_or_default(), MOST_WORD),
                short(told.err().message().unwrap_or_default(), MOST_SENTENCE),
            ),
            _ => Default::default(),
        };
        let kind = match raw.status().is_success() {
            // A success that cannot be read is one that broke off, or an error that came after the headers.
            true if code.is_empty() => Kind::Down(Outage::Cut),
            _ => classify(status, &code),
        };
        Self {
            kind,
            status,
            code: if code.is_empty() { status.to_string() } else { code },
            message,
            request_id: error.request_id().map(|id| short(id, MOST_WORD)),
            retry_after: retry_after.map(Duration::from_secs),
            ..Self::of(Kind::Refused, Some(error.into()))
        }
    }

    /// The same failure for another key of the same request.
    pub(super) fn without_source(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            code: self.code.clone(),
            message: self.message.clone(),
            request_id: self.request_id.clone(),
            source: None,
            ..*self
        }
    }

    /// Whether the store found another digest in what it got than it was told.
    pub(super) fn is_of_digest(&self) -> bool {
        matches!(self.code.as_str(), "BadDigest" | "InvalidDigest")
    }

    /// Whether the same request may succeed when sent again.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Throttled | Kind::Down(_) | Kind::Busy)
    }
}

/// The first error of type `T` in the chain that begins with `error`.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The tries at one piece of work.
pub(super) struct Tries<'a> {
    store: &'a Store,
    made: u32,
    may_have_happened: bool,
    clock_corrected: bool,
}

impl<'a> Tries<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, made: 0, may_have_happened: false, clock_corrected: false }
    }

    /// Counts anew, because the last try got somewhere.
    pub(super) fn count_anew(&mut self) {
        self.made = 0;
    }

    /// Returns when it is time for the next try.
    ///
    /// # Errors
    /// The failure itself, when there is no next try.
    pub(super) async fn wait_after(&mut self, failure: Failure) -> Result<(), Failure> {
        let store = &self.store.inner;
        self.made += 1;
        self.may_have_happened |= matches!(failure.kind, Kind::Down(_) | Kind::Busy);
        if !self.clock_corrected && self.may_be_skew(&failure) {
            // The SDK signs with the store's time as the last answer told it: once more, at once.
            self.clock_corrected = true;
            return Ok(());
        }
        if self.made >= store.retry.tries || !failure.is_transient() {
            return Err(Failure { tries: self.made, may_have_happened: self.may_have_happened, ..failure });
        }
        let wait = match failure.retry_after {
            Some(asked) => asked.min(store.retry.most),
            None => entropy::up_to(store.retry.ceiling(self.made)),
        };
        debug!(kind = ?failure.kind, tries = self.made, wait_ms = wait.as_millis(), "store request failed, trying again");
        store.clock.sleep(wait).await;
        Ok(())
    }

    fn may_be_skew(&self, failure: &Failure) -> bool {
        match failure.kind {
            Kind::ClockSkew => true,
            Kind::Denied | Kind::BadCredentials => {
                self.store.clock_skew().is_some_and(|skew| skew.abs() > SUSPICIOUS_SKEW)
            }
            _ => false,
        }
    }
}

impl Store {
    /// Sends one request and waits for its answer, at most until `deadline`.
    pub(super) async fn send<T, E>(
        &self,
        operation: Operation,
        deadline: Duration,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        // On the heap: the SDK's futures have kilobytes, and each caller's would hold every one below it.
        let request = Box::pin(request);
        let mut begun = self.inner.counter.begin(operation, &self.inner.clock);
        let answer = self.within(deadline, async { request.await.map_err(Failure::from_sdk) }).await;
        begun.result = answer.as_ref().map_or_else(|failure| failure.kind.counted_as(), |_| "ok");
        answer.map_err(|failure| failure.during(operation))
    }

    /// Gives up `work` at `deadline`.
    pub(super) async fn within<T>(
        &self,
        deadline: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            () = self.inner.clock.sleep(deadline) => Err(Failure::of(Kind::Down(Outage::TimedOut(deadline)), None)),
        }
    }

    /// Does `once` until it succeeds, fails for good, or the tries are used up.
    pub(super) async fn with_retries<T, F>(&self, mut once: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut tries = Tries::new(self);
        loop {
            match Box::pin(once()).await {
                Ok(value) => return Ok(value),
                Err(failure) => tries.wait_after(failure).await?,
            }
        }
    }

    /// What was being done to the object at `key`, for errors.
    pub(super) fn doing(&self, verb: &'static str, key: &str) -> Doing {
        Doing::new(verb, format!("s3://{}/{key}", self.inner.bucket))
    }

    /// The failure as the caller must take it.
    pub(super) fn explain(&self, doing: Doing, failure: Failure) -> StoreError {
        let doing = doing.by(failure.call());
        let Failure { kind, tries, status, code, message, source, .. } = failure;
        let endpoint = || self.inner.endpoint_shown();
        match kind {
            Kind::Absent => StoreError::NotFound { doing },
            Kind::Denied => StoreError::Denied { doing, code, message },
            Kind::Precondition | Kind::Busy => StoreError::Conflict { doing },
            Kind::Throttled => StoreError::Throttled { doing, code, tries },
            Kind::Down(why) => StoreError::Unreachable { doing, endpoint: endpoint(), why, tries, source },
            Kind::ClockSkew => StoreError::ClockSkew { doing, skew: self.clock_skew() },
            Kind::NoCredentials => StoreError::NoCredentials { doing, looked: self.inner.looked.clone(), source },
            Kind::BadCredentials => StoreError::BadCredentials { doing, code },
            Kind::NoSuchBucket => {
                StoreError::NoSuchBucket { doing, bucket: self.inner.bucket.clone(), endpoint: endpoint() }
            }
            Kind::WrongPlace => StoreError::Misconfigured {
                bucket: self.inner.bucket.clone(),
                what: format!("{} does not serve it ({code} {message}); check endpoint, region and name", endpoint()),
                source,
            },
            Kind::Unsupported => StoreError::Unsupported { doing, code },
            Kind::Unchanged | Kind::BadRange | Kind::Excess | Kind::Refused => {
                StoreError::Refused { doing, status, code, message }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_word_outweighs_the_status() {
        assert_eq!(classify(403, "RequestTimeTooSkewed"), Kind::ClockSkew);
        assert_eq!(classify(403, "SignatureDoesNotMatch"), Kind::BadCredentials);
        assert_eq!(classify(403, "AccessDenied"), Kind::Denied);
        assert_eq!(classify(404, "NoSuchBucket"), Kind::NoSuchBucket);
        assert_eq!(classify(404, "NoSuchKey"), Kind::Absent);
        assert_eq!(classify(503, "SlowDown"), Kind::Throttled);
        assert!(matches!(classify(400, "RequestTimeout"), Kind::Down(_)));
    }

    #[test]
    fn without_a_known_word_the_status_decides() {
        for (status, kind) in [
            (304, Kind::Unchanged),
            (307, Kind::WrongPlace),
            (401, Kind::BadCredentials),
            (403, Kind::Denied),
            (404, Kind::Absent),
            (409, Kind::Busy),
            (412, Kind::Precondition),
            (416, Kind::BadRange),
            (429, Kind::Throttled),
            (501, Kind::Unsupported),
            (400, Kind::Refused),
        ] {
            assert_eq!(classify(status, ""), kind, "{status}");
        }
        assert!(matches!(classify(503, "ServiceUnavailable"), Kind::Down(_)));
    }
}
