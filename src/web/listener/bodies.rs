//! Bodies that end: a request's when its sender is too slow, an event stream's with the server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;

/// A request's body whose sender keeps a pace. Only the time in which somebody waits for it counts: that a reader is
/// slow is no fault of the sender.
pub(super) struct Paced<B> {
    inner: B,
    stall: Duration,
    slowest_bytes_per_sec: u64,
    clock: SharedClock,
    /// All that was waited for, before the wait under way.
    waited: Duration,
    received_bytes: u64,
    wait: Option<Wait>,
}

/// A wait under way.
struct Wait {
    since: Duration,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<B> Paced<B> {
    pub(super) fn new(inner: B, stall: Duration, slowest_bytes_per_sec: u64, clock: SharedClock) -> Self {
        Self { inner, stall, slowest_bytes_per_sec, clock, waited: Duration::ZERO, received_bytes: 0, wait: None }
    }

    /// How long the next wait may be.
    fn patience(&self) -> Duration {
        let earned = Duration::from_secs(self.received_bytes / self.slowest_bytes_per_sec.max(1));
        (self.stall + earned).saturating_sub(self.waited).min(self.stall)
    }
}

impl<B> HttpBody for Paced<B>
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            if let Some(wait) = this.wait.take() {
                this.waited += this.clock.monotonic().saturating_sub(wait.since);
            }
            if let Some(Ok(frame)) = &frame {
                this.received_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = this.patience();
        let wait =
            this.wait.get_or_insert_with(|| Wait { since: this.clock.monotonic(), over: this.clock.sleep(patience) });
        ready!(wait.over.as_mut().poll(context));
        let slow = "the body of the request comes too slowly";
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, slow).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Whether an answer is an event stream.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// `body`, until `ended`.
pub(super) fn until(ended: CancellationToken, body: Body) -> Body {
    Body::from_stream(body.into_data_stream().take_until(ended.cancelled_owned()))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;
    use crate::clock::SystemClock;

    const STALL: Duration = Duration::from_secs(30);

    /// A body of `frames` frames of `bytes` bytes, one each `every`.
    fn sent(
        frames: usize,
        bytes: usize,
        every: Duration,
    ) -> Paced<impl HttpBody<Data = Bytes, Error: Into<axum::BoxError>>> {
        let clock = SystemClock::shared();
        let frames = futures_util::stream::iter(0..frames).then({
            let clock = clock.clone();
            move |_| {
                let wait = clock.sleep(every);
                async move {
                    wait.await;
                    Ok::<_, io::Error>(Frame::data(Bytes::from(vec![0; bytes])))
                }
            }
        });
        Paced::new(StreamBody::new(Box::pin(frames)), STALL, 1024, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_keeps_its_pace_comes_whole() {
        let all = sent(200, 2048, Duration::from_secs(2)).collect().await.unwrap();
        assert_eq!(all.to_bytes().len(), 200 * 2048);
        assert!(Paced::new(Full::new(Bytes::new()), STALL, 1024, SystemClock::shared()).is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_or_trickles_is_given_up() {
        let clock = SystemClock::shared();
        for (frames, bytes, every, expected) in [
            // Nothing at all.
            (1, 1, 1000, 30),
            // Much, then nothing.
            (2, 1024 * 1024, 31, 30),
            // A byte now and then: the 30 seconds are for all of it.
            (100, 1, 9, 30),
        ] {
            let start = clock.monotonic();
            let error = sent(frames, bytes, Duration::from_secs(every)).collect().await.err().unwrap();
            assert!(error.to_string().contains("too slowly"), "{error}");
            assert_eq!((clock.monotonic() - start).as_secs(), expected, "{frames} {bytes} {every}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_the_reader_takes_is_not_the_senders() {
        let clock = SystemClock::shared();
        let mut body = sent(10, 1, Duration::from_secs(1));
        while let Some(frame) = body.frame().await {
            frame.unwrap();
            clock.sleep(Duration::from_secs(60)).await;
        }
    }

    #[tokio::test]
    async fn an_event_stream_ends_with_the_server() {
        let ended = CancellationToken::new();
        let endless = futures_util::stream::pending::<Result<Bytes, io::Error>>();
        let body = until(ended.clone(), Body::from_stream(endless));
        ended.cancel();
        assert_eq!(body.collect().await.unwrap().to_bytes(), Bytes::new());

        let kind = |kind: &str| is_event_stream(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]));
        assert!(kind("text/event-stream") && kind("Text/Event-Stream; charset=utf-8"));
        assert!(!kind("text/html") && !is_event_stream(&HeaderMap::new()));
    }
}
