//! What the reading thread and those who ask about the output share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::ring::Ring;
use super::{FOLLOWED_BYTES, Follow, Lost, Piece, RING_BYTES, Snapshot};

/// The end of a process's output, and what is asked of the thread that reads it.
#[derive(Debug, Default)]
pub(super) struct Stream {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    ring: Ring,
    followers: usize,
    lost: Lost,
    drains_asked: u64,
    drains_done: u64,
    closing: bool,
    ended: bool,
}

/// What is asked of the thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// How many drains were asked for so far.
    pub(super) drains: u64,
    /// Whether one of them was not answered yet.
    pub(super) draining: bool,
    pub(super) closing: bool,
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when `done` holds.
    async fn until(&self, done: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if done(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Adds a chunk, which is in the log by now unless `lost` says otherwise.
    pub(super) fn append(&self, chunk: &[u8], lost: &Lost) {
        let mut state = self.lock();
        let most = if state.followers > 0 { FOLLOWED_BYTES } else { RING_BYTES };
        state.ring.append(chunk, most);
        if state.lost.bytes != lost.bytes {
            state.lost.clone_from(lost);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn asked(&self) -> Asked {
        let state = self.lock();
        let State { drains_asked, drains_done, closing, .. } = *state;
        Asked { drains: drains_asked, draining: drains_asked > drains_done, closing }
    }

    /// Answers the first `drains` that were asked for.
    pub(super) fn answer(&self, drains: u64) {
        self.lock().drains_done = drains;
        self.changed.notify_waiters();
    }

    /// Nothing will come any more.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_waiters();
    }

    /// Asks for a drain, and says which one it is.
    pub(super) fn ask_drain(&self) -> u64 {
        let mut state = self.lock();
        state.drains_asked += 1;
        state.drains_asked
    }

    pub(super) fn ask_close(&self) {
        self.lock().closing = true;
    }

    pub(super) async fn drained(&self, drain: u64) {
        self.until(|state| state.ended || state.drains_done >= drain).await;
    }

    pub(super) async fn ended(&self) {
        self.until(|state| state.ended).await;
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let begins_at = state.ring.begin_of_last(RING_BYTES);
        Snapshot { bytes: state.ring.read(begins_at, RING_BYTES), begins_at }
    }

    pub(super) fn lost(&self) -> Lost {
        self.lock().lost.clone()
    }

    /// How much of the stream is in memory.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> u64 {
        let state = self.lock();
        state.ring.end() - state.ring.begin()
    }
}

impl Follow {
    pub(super) fn new(stream: &Arc<Stream>) -> Self {
        let mut state = stream.lock();
        state.followers += 1;
        Self { stream: Arc::clone(stream), position: state.ring.begin_of_last(RING_BYTES) }
    }

    /// What comes next; `None` once the output is closed and all of it was told. Nothing is missed if the future is
    /// dropped before it completes.
    pub async fn next(&mut self) -> Option<Piece> {
        let stream = Arc::clone(&self.stream);
        loop {
            let changed = stream.changed.notified();
            {
                let state = stream.lock();
                let begin = state.ring.begin();
                if self.position < begin {
                    let lost = begin - self.position;
                    self.position = begin;
                    return Some(Piece::Lost(lost));
                }
                if self.position < state.ring.end() {
                    let bytes = state.ring.read(self.position, RING_BYTES);
                    self.position += bytes.len() as u64;
                    return Some(Piece::Bytes(bytes));
                }
                if state.ended {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        state.followers -= 1;
        if state.followers == 0 {
            state.ring.shrink(RING_BYTES);
        }
    }
}
