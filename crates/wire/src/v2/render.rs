//! Labels written from symbols in their canonical form, fast where they are short.

use rangekeeper_model::append_label;

use super::Place;

/// Texts up to this length are copied as one block of it, along with what happens to lie behind them: a block is two
/// instructions, a copy of just the right length is a call.
const BLOCK_BYTES: usize = 32;

/// Room that is made whenever there may be too little for one more short label.
const ROOM_BYTES: usize = 512;

/// A label whose length takes one byte: its own two bytes, those of name and value, and both texts.
const SHORT_LABEL_BYTES: usize = 2 + 0x7f;

/// Writes labels to the front of a buffer. What lies behind them in the buffer means nothing.
pub(super) struct LabelWriter<'b, 'a> {
    body: &'a [u8],
    buffer: &'b mut Vec<u8>,
    length: usize,
}

impl<'b, 'a> LabelWriter<'b, 'a> {
    /// Begins at the front of `buffer`, with symbols that lie in `body`.
    #[inline]
    pub(super) fn new(body: &'a [u8], buffer: &'b mut Vec<u8>) -> Self {
        Self { body, buffer, length: 0 }
    }

    /// Writes a label; one without a value is none.
    #[inline]
    pub(super) fn write(&mut self, name: Place, value: Place) {
        if value.is_empty() {
            return;
        }
        let inner = 4 + name.len() + value.len();
        match u8::try_from(inner) {
            Ok(inner) if inner < 0x80 => self.write_short(inner, name, value),
            _ => self.write_long(name, value),
        }
    }

    /// Length of what was written.
    #[inline]
    pub(super) fn finish(self) -> usize {
        self.length
    }

    #[inline]
    fn write_short(&mut self, inner: u8, name: Place, value: Place) {
        if self.buffer.len() < self.length + SHORT_LABEL_BYTES + BLOCK_BYTES {
            self.buffer.resize(self.length + ROOM_BYTES, 0);
        }
        let room = &mut self.buffer[self.length..][..SHORT_LABEL_BYTES + BLOCK_BYTES];
        let (name_length, value_length) = (name.len(), value.len());
        let short = |length: usize| u8::try_from(length).expect("a part of a short label is short");
        room[..4].copy_from_slice(&[0x0a, inner, 0x0a, short(name_length)]);
        copy_block(room, 4, self.body, name);
        let value_at = 4 + name_length;
        room[value_at..value_at + 2].copy_from_slice(&[0x12, short(value_length)]);
        copy_block(room, value_at + 2, self.body, value);
        self.length += 2 + usize::from(inner);
    }

    #[cold]
    fn write_long(&mut self, name: Place, value: Place) {
        self.buffer.truncate(self.length);
        append_label(self.buffer, name.of(self.body), value.of(self.body));
        self.length = self.buffer.len();
    }
}

#[inline]
fn copy_block(room: &mut [u8], at: usize, body: &[u8], text: Place) {
    let target = room[at..].first_chunk_mut::<BLOCK_BYTES>();
    let source = body[text.start as usize..].first_chunk::<BLOCK_BYTES>();
    match (target, source) {
        (Some(target), Some(source)) if text.len() <= BLOCK_BYTES => *target = *source,
        _ => room[at..at + text.len()].copy_from_slice(text.of(body)),
    }
}
