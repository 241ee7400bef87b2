//! Labels written from symbols in their canonical form, fast where they are short.

use rangekeeper_model::append_label;

use super::symbols::Symbol;

/// Texts up to this length are copied as one block of it, along with what happens to lie behind
/// them: a block is two instructions, a copy of just the right length is a call.
const BLOCK_BYTES: usize = 32;

/// Room that is made whenever there may be too little for one more short label.
const ROOM_BYTES: usize = 512;

/// A label of two blocks, with its keys and lengths.
const SHORT_LABEL_BYTES: usize = 6 + 2 * BLOCK_BYTES;

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
    pub(super) fn write(&mut self, name: Symbol, value: Symbol) {
        if value.len() == 0 {
            return;
        }
        if name.len() <= BLOCK_BYTES
            && value.len() <= BLOCK_BYTES
            && self.write_short(name, value).is_some()
        {
            return;
        }
        self.write_any(name, value);
    }

    /// Length of what was written so far.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Length of what was written.
    #[inline]
    pub(super) fn finish(self) -> usize {
        self.length
    }

    /// Writes a label of two texts that are no longer than a block, if a block lies in the body
    /// from each one's start on.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "lengths of at most two blocks")]
    fn write_short(&mut self, name: Symbol, value: Symbol) -> Option<()> {
        if self.buffer.len() < self.length + SHORT_LABEL_BYTES {
            self.buffer.resize(self.length + ROOM_BYTES, 0);
        }
        let name_block = self.block(name)?;
        let value_block = self.block(value)?;
        let inner = 4 + name.len() + value.len();
        let room = self.buffer[self.length..].first_chunk_mut::<SHORT_LABEL_BYTES>()?;
        room[..4].copy_from_slice(&[0x0a, inner as u8, 0x0a, name.len() as u8]);
        room[4..4 + BLOCK_BYTES].copy_from_slice(name_block);
        let rest = room[4 + name.len()..].first_chunk_mut::<{ 2 + BLOCK_BYTES }>()?;
        rest[..2].copy_from_slice(&[0x12, value.len() as u8]);
        rest[2..].copy_from_slice(value_block);
        self.length += 2 + inner;
        Some(())
    }

    #[inline]
    fn block(&self, symbol: Symbol) -> Option<&'a [u8; BLOCK_BYTES]> {
        self.body[symbol.place.start as usize..].first_chunk()
    }

    fn write_any(&mut self, name: Symbol, value: Symbol) {
        self.buffer.truncate(self.length);
        append_label(self.buffer, name.place.of(self.body), value.place.of(self.body));
        self.length = self.buffer.len();
    }
}
