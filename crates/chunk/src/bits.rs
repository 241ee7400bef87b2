//! Bits, most significant first: appended to a vector, read from a slice.

/// Appends the low `count` (1 to 56) bits of `bits`, which has no others set, behind what `bytes`
/// holds; `used` counts the bits in use in the last byte, 1 to 8, and 8 where there is none.
#[inline]
pub(crate) fn put_bits(bytes: &mut Vec<u8>, used: &mut u8, bits: u64, count: u32) {
    debug_assert!((1..=56).contains(&count) && bits >> count == 0);
    let used_before = u32::from(*used & 7);
    let open = if used_before == 0 { 0 } else { bytes.pop().unwrap_or(0) };
    let total = used_before + count;
    let word = (u64::from(open) << 56) | (bits << (64 - total));
    let length = total.div_ceil(8) as usize;
    if bytes.capacity() - bytes.len() >= 8 {
        // A store of constant length is several times as fast as one of a length known only now.
        let end = bytes.len() + length;
        bytes.extend_from_slice(&word.to_be_bytes());
        bytes.truncate(end);
    } else {
        reserve_in_small_steps(bytes, length);
        bytes.extend_from_slice(&word.to_be_bytes()[..length]);
    }
    *used = (total - 8 * (length as u32 - 1)) as u8;
}

/// Makes room by an eighth, at least 16 bytes: millions of open segments must not lie half empty.
#[cold]
pub(crate) fn reserve_in_small_steps(bytes: &mut Vec<u8>, needed: usize) {
    if bytes.capacity() - bytes.len() < needed {
        let step = (bytes.capacity() / 8).next_multiple_of(16).max(16);
        bytes.reserve_exact(bytes.capacity() - bytes.len() + step);
    }
}

/// Reads bits. Past the end it reads zeros and remembers.
#[derive(Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The first byte that is not in `word`.
    at: usize,
    /// The next bits, at the top; zeros below them.
    word: u64,
    /// How many bits of `word` are read from `bytes`.
    have: u32,
    overrun: bool,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, word: 0, have: 0, overrun: false }
    }

    /// Whether more was read than there is.
    pub(crate) fn overrun(&self) -> bool {
        self.overrun
    }

    /// Makes at least 56 bits available, fewer at the end.
    #[inline]
    pub(crate) fn refill(&mut self) {
        if let Some(next) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            self.word |= u64::from_be_bytes(*next) >> self.have;
            let bytes = (63 - self.have) / 8;
            self.at += bytes as usize;
            self.have += bytes * 8;
            // The shifted-in bits beyond `have` would be or-ed again at the next refill: they are
            // the same bits.
            return;
        }
        while self.have <= 56 && self.at < self.bytes.len() {
            self.word |= u64::from(self.bytes[self.at]) << (56 - self.have);
            self.at += 1;
            self.have += 8;
        }
    }

    /// The number of zeros next, as far as can be seen.
    #[inline]
    pub(crate) fn zeros(&self) -> u32 {
        self.word.leading_zeros().min(self.have)
    }

    /// The next bits without taking them, at the top of the word. Valid to 56 bits after a refill.
    #[inline]
    pub(crate) fn peek(&self) -> u64 {
        self.word
    }

    /// Takes `count` (0 to 63) bits.
    #[inline]
    pub(crate) fn skip(&mut self, count: u32) {
        self.overrun |= count > self.have;
        self.have = self.have.saturating_sub(count);
        self.word <<= count;
    }

    /// The next `count` (1 to 56) bits, of those that the last refill made available.
    #[inline]
    pub(crate) fn take(&mut self, count: u32) -> u64 {
        let bits = self.word >> (64 - count);
        self.skip(count);
        bits
    }
}
