//! The body of an object as it comes: never more bytes than allowed, never waited for without end.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::stream;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::Store;
use super::attempt::{Failure, Kind};
use super::counts::Operation;
use super::error::{Doing, Outage, StoreError};

/// A body with a limit and a watch on its pace.
pub(super) struct Body {
    store: Store,
    bytes: ByteStream,
    /// How many bytes may still come.
    left: u64,
    /// How long was waited for what came last, and how much that was. The time that the reader takes for itself does
    /// not count.
    waited: Duration,
    came: u64,
}

impl Body {
    pub(super) fn new(store: Store, bytes: ByteStream, most_bytes: u64) -> Self {
        Self { store, bytes, left: most_bytes, waited: Duration::ZERO, came: 0 }
    }

    /// The next piece; None at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        // Only objects that were asked for come piece by piece.
        self.piece().await.map_err(|failure| failure.during(Operation::GetObject))
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        let (clock, deadlines) = (&self.store.inner.clock, self.store.inner.deadlines);
        loop {
            let began = clock.monotonic();
            let piece = tokio::select! {
                biased;
                piece = self.bytes.next() => Some(piece),
                () = clock.sleep(deadlines.stall.saturating_sub(self.waited)) => None,
            };
            self.waited += clock.monotonic().saturating_sub(began);
            let piece = match piece {
                Some(None) => return Ok(None),
                Some(Some(Err(error))) => return Err(Failure::of(Kind::Down(Outage::Cut), Some(error.into()))),
                Some(Some(Ok(piece))) => Some(piece),
                None => None,
            };
            self.came += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            if self.waited >= deadlines.stall {
                if self.came < deadlines.stall_bytes {
                    return Err(Failure::of(Kind::Down(Outage::Stalled(deadlines.stall)), None));
                }
                (self.waited, self.came) = (Duration::ZERO, 0);
            }
            if let Some(piece) = piece {
                self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(|| Failure::of(Kind::Excess, None))?;
                return Ok(Some(piece));
            }
        }
    }

    /// How many bytes may still come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }
}

/// A range of an object as it comes, for a reader that takes it apart and digests the parts itself. It fails when
/// fewer or more bytes come than were asked for.
pub struct ObjectStream {
    pub(super) body: Body,
    pub(super) doing: Doing,
}

impl ObjectStream {
    /// The next piece; None after the last byte that was asked for.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when the body breaks off or stalls, [`StoreError::TooLarge`] when more comes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let failure = match self.body.next().await {
            Ok(None) if self.body.left() > 0 => Failure::of(Kind::Down(Outage::Cut), None).during(Operation::GetObject),
            Ok(piece) => return Ok(piece),
            Err(failure) => failure,
        };
        Err(match failure.kind {
            Kind::Excess => StoreError::Refused {
                doing: self.doing.clone(),
                status: 200,
                code: "too many bytes".to_owned(),
                message: "more came than were asked for".to_owned(),
            },
            _ => self.body.store.explain(self.doing.clone(), failure),
        })
    }

    /// The same as a reader, whose errors hold a [`StoreError`].
    pub fn into_reader(self) -> impl AsyncRead + Send + Unpin {
        StreamReader::new(Box::pin(stream::try_unfold(self, |mut this| async {
            let piece = this.next().await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(piece.map(|piece| (piece, this)))
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, pending};
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};

    use aws_sdk_s3::primitives::SdkBody;
    use chrono::{DateTime, Utc};
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;
    use crate::clock::Clock;
    use crate::store::{Credentials, Secret, StoreSettings};

    /// A clock on which three seconds pass between two looks at it.
    #[derive(Debug, Default)]
    struct Stepping(Mutex<Duration>);

    impl Stepping {
        fn pass(&self, duration: Duration) -> Duration {
            let mut now = self.0.lock().unwrap();
            *now += duration;
            *now
        }
    }

    impl Clock for Stepping {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            self.pass(Duration::from_secs(3))
        }

        fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(pending())
        }
    }

    /// A body of 40 such pieces, each of which is three seconds in coming.
    async fn slow_body(clock: &Arc<Stepping>, piece_bytes: usize) -> Body {
        let credentials =
            Credentials::Static { access_key: "k".to_owned(), secret_key: Secret::new("s"), session_token: None };
        let endpoint = Some("http://127.0.0.1:9".to_owned());
        let settings = StoreSettings { credentials, endpoint, ..StoreSettings::new("bucket") };
        let store = Store::connect(settings, clock.clone()).await.unwrap();
        let piece = Bytes::from(vec![0; piece_bytes]);
        let frames = (0..40).map(move |_| Ok::<_, std::io::Error>(Frame::data(piece.clone())));
        let bytes = ByteStream::new(SdkBody::from_body_1_x(StreamBody::new(stream::iter(frames))));
        Body::new(store, bytes, u64::MAX)
    }

    async fn read(body: &mut Body, between: impl Fn()) -> Result<u64, Kind> {
        let mut bytes = 0;
        while let Some(piece) = body.next().await.map_err(|failure| failure.kind)? {
            bytes += piece.len() as u64;
            between();
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn a_slow_body_is_borne_and_a_trickle_is_not() {
        let clock = Arc::new(Stepping::default());
        let mut slow = slow_body(&clock, 3 * 1024).await;
        assert_eq!(read(&mut slow, || ()).await, Ok(40 * 3 * 1024));
        let mut trickle = slow_body(&clock, 2 * 1024).await;
        assert_eq!(read(&mut trickle, || ()).await, Err(Kind::Down(Outage::Stalled(Duration::from_secs(20)))));
    }

    #[tokio::test]
    async fn the_time_that_the_reader_takes_is_not_held_against_the_store() {
        let clock = Arc::new(Stepping::default());
        let mut body = slow_body(&clock, 3 * 1024).await;
        let between = || {
            clock.pass(Duration::from_secs(100));
        };
        assert_eq!(read(&mut body, between).await, Ok(40 * 3 * 1024));
    }
}
