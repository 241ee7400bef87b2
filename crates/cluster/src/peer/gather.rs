//! Gathering the parts of a frame: until it is full, or its first part has waited long enough.

use std::time::Duration;

use tokio::time::Instant;

/// Parts that wait for their frame.
pub(super) struct Gather<T> {
    parts: Vec<T>,
    bytes: usize,
    /// When the first part is to be sent at the latest; only with one.
    due: Option<Instant>,
    full_at: usize,
    wait: Duration,
}

impl<T> Gather<T> {
    /// Nothing yet. A frame is full with `full_at` bytes, and goes `wait` after its first part.
    pub(super) fn new(full_at: usize, wait: Duration) -> Self {
        Self { parts: Vec::new(), bytes: 0, due: None, full_at, wait }
    }

    /// Adds a part of so many bytes.
    pub(super) fn add(&mut self, part: T, bytes: usize, now: Instant) {
        self.due.get_or_insert(now + self.wait);
        self.bytes += bytes;
        self.parts.push(part);
    }

    /// Whether no part should be added before the frame is sent.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.full_at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// When the frame is to be sent, given that it is `now`; none if there is nothing to send.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.due.map(|due| if self.is_full() { now } else { due })
    }

    /// The parts; the next frame begins empty.
    pub(super) fn take(&mut self) -> Vec<T> {
        (self.bytes, self.due) = (0, None);
        std::mem::take(&mut self.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(2);

    #[test]
    fn a_frame_goes_when_its_first_part_has_waited() {
        let mut gather = Gather::new(100, WAIT);
        let now = Instant::now();
        assert_eq!(gather.due(now), None);
        gather.add('a', 10, now);
        gather.add('b', 10, now + WAIT / 2);
        assert_eq!(gather.due(now), Some(now + WAIT));
        assert_eq!(gather.take(), ['a', 'b']);
        assert_eq!((gather.due(now), gather.is_empty()), (None, true));
    }

    #[test]
    fn a_full_frame_goes_at_once() {
        let mut gather = Gather::new(100, WAIT);
        let now = Instant::now();
        gather.add('a', 99, now);
        assert!(!gather.is_full());
        gather.add('b', 1, now);
        assert!(gather.is_full());
        assert_eq!(gather.due(now), Some(now));
        gather.take();
        gather.add('c', 1, now);
        assert!(!gather.is_full(), "the next frame begins empty");
    }
}
