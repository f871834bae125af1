//! The last bytes of a stream, held in memory.

use std::collections::VecDeque;

/// The last bytes of a stream, and how long the stream is. It takes the memory of what it holds, and no more.
#[derive(Debug, Default)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    end: u64,
}

impl Ring {
    /// Adds `chunk` to the stream, of which the last `most` bytes are held from now on.
    pub(super) fn append(&mut self, chunk: &[u8], most: usize) {
        self.end += chunk.len() as u64;
        let kept = &chunk[chunk.len().saturating_sub(most)..];
        self.forget_all_but(most - kept.len());
        let needed = self.bytes.len() + kept.len();
        if needed > self.bytes.capacity() {
            // Left to itself it would double, beyond what is ever held.
            let capacity = needed.next_power_of_two().min(most);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend(kept);
    }

    /// Holds no more than the last `most` bytes, and gives back the memory of the others.
    pub(super) fn shrink(&mut self, most: usize) {
        self.forget_all_but(most);
        self.bytes.shrink_to(most);
    }

    fn forget_all_but(&mut self, most: usize) {
        self.bytes.drain(..self.bytes.len().saturating_sub(most));
    }

    /// The length of the stream so far.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Where in the stream the bytes begin that are held.
    pub(super) fn begin(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// Where in the stream its last `most` bytes begin, or what is held of them.
    pub(super) fn begin_of_last(&self, most: usize) -> u64 {
        self.end - self.bytes.len().min(most) as u64
    }

    /// At most `most` bytes from `position` on, which must be held or be the end.
    pub(super) fn read(&self, position: u64, most: usize) -> Vec<u8> {
        let skipped = usize::try_from(position.saturating_sub(self.begin())).unwrap_or(usize::MAX);
        let skipped = skipped.min(self.bytes.len());
        let end = skipped.saturating_add(most).min(self.bytes.len());
        let mut read = Vec::with_capacity(end - skipped);
        let (front, back) = self.bytes.as_slices();
        read.extend_from_slice(&front[skipped.min(front.len())..end.min(front.len())]);
        read.extend_from_slice(&back[skipped.saturating_sub(front.len())..end.saturating_sub(front.len())]);
        read
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_ring_holds_the_last_bytes_of_what_was_appended(
            steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 1_usize..50), 0..60),
            skipped in 0_usize..60, most in 0_usize..60,
        ) {
            let (mut ring, mut stream, mut held, mut most_ever) = (Ring::default(), Vec::new(), 0, 0);
            for (chunk, limit) in steps {
                stream.extend_from_slice(&chunk);
                ring.append(&chunk, limit);
                held = (held + chunk.len()).min(limit);
                most_ever = limit.max(most_ever);
                prop_assert_eq!(ring.end(), stream.len() as u64);
                prop_assert_eq!(ring.begin(), (stream.len() - held) as u64);
                prop_assert_eq!(ring.read(ring.begin(), usize::MAX), &stream[stream.len() - held..]);
                prop_assert!(ring.bytes.capacity() <= most_ever);
            }
            let from = (stream.len() - held + skipped).min(stream.len());
            let to = from.saturating_add(most).min(stream.len());
            prop_assert_eq!(ring.read(from as u64, most), &stream[from..to]);
            prop_assert_eq!(ring.begin_of_last(most), (stream.len() - held.min(most)) as u64);
        }
    }

    #[test]
    fn a_ring_that_shrinks_gives_its_memory_back() {
        let mut ring = Ring::default();
        ring.append(&[7; 4000], 4000);
        ring.append(b"end", 4000);
        ring.shrink(16);
        assert_eq!(ring.begin(), 4003 - 16);
        assert_eq!(ring.read(4000, 16), b"end");
        assert!(ring.bytes.capacity() < 100, "{}", ring.bytes.capacity());
    }
}
