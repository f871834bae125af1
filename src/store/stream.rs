//! The body of an object as it comes: never more bytes than allowed, never waited for without end.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::stream;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::Store;
use super::attempt::{Failure, Kind};
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
            Ok(None) if self.body.left() > 0 => Failure::of(Kind::Down(Outage::Cut), None),
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
