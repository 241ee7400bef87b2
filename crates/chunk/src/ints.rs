//! Series of integers in blocks: bits of one width, and patches for the few that need more.
//!
//! ```text
//! ┌───────────────────┬──────┬─────────┬───────────┬────────────┬─────────┐
//! │ 65·mode + width   │ base │ patches │ gap × p   │ high × p   │ packed  │
//! │ u8                │ sgn. │ varint  │ varint    │ varint     │ width·n │
//! └───────────────────┴──────┴─────────┴───────────┴────────────┴─────────┘
//! ```
//!
//! A block holds up to [`BLOCK`] integers; only the last of a series may hold fewer. By mode, what
//! is stored of each is
//!
//! - 0, *delta*: the zigzag of its difference to the one before (of the block before, at first);
//! - 1, *offset*: its distance from a base, which is stored as the difference to the integer before
//!   the block;
//! - 2, *plain*: its own zigzag;
//! - 3, *rise*: its difference to the one before less a base, which is the smallest of those; where
//!   a counter falls, the difference wraps and is a patch. The width is at most 60.
//!
//! Only *offset* and *rise* have a base.
//!
//! The low `width` bits (0 to 64) of all come last, lowest first, packed to a whole number of
//! bytes. A patch is an integer that needs more: its gap is the number of integers between it and
//! the patch before, its high part belongs above `width`. Width 0 makes a list of the few
//! exceptions in an otherwise even series, and gaps and high parts lie apart as they are in blocks
//! of one series after the other: bytes of a kind compress again.
//!
//! All arithmetic wraps, so any integers come back.

use crate::varint::{Reader, put_signed, put_varint, unzigzag, varint_bytes, zigzag};

/// Most integers of a block.
pub(crate) const BLOCK: usize = 256;
const DELTA: u8 = 0;
const OFFSET: u8 = 1;
const PLAIN: u8 = 2;
const RISE: u8 = 3;
const WIDTHS: u8 = 65;
/// What of the tags is left for the last mode.
const WIDEST_RISE: u32 = 60;
/// Falls of a counter in a block up to which a patch for each beats a sign for all.
const FEW_FALLS: usize = 2;

/// What a series is like, and so which modes are worth a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Successive values of one thing: deltas or offsets.
    Series,
    /// Differences already, or values near zero.
    Small,
}

/// Appends `values`, of which `previous` came before.
pub(crate) fn put_ints(out: &mut Vec<u8>, mut previous: i64, values: &[i64], shape: Shape) {
    for block in values.chunks(BLOCK) {
        match shape {
            Shape::Small => {
                let plain = Candidate::new(PLAIN, 0, block.iter().map(|&value| zigzag(value)));
                plain.put(out);
            }
            Shape::Series => put_series(out, previous, block),
        }
        previous = block[block.len() - 1];
    }
}

fn put_series(out: &mut Vec<u8>, previous: i64, block: &[i64]) {
    let mut last = previous;
    let deltas =
        block.iter().map(|&value| zigzag(value.wrapping_sub(std::mem::replace(&mut last, value))));
    let mut deltas = Candidate::new(DELTA, 0, deltas);
    // No bits and no patch: nothing is smaller.
    if deltas.bytes <= 2 {
        return deltas.put(out);
    }
    if let Some(rises) = deltas.as_rises()
        && rises.bytes < deltas.bytes
    {
        deltas = rises;
    }
    let base = block.iter().copied().min().expect("blocks are not empty");
    let offsets = block.iter().map(|&value| value.wrapping_sub(base).cast_unsigned());
    let offsets = Candidate::new(OFFSET, base.wrapping_sub(previous), offsets);
    if offsets.bytes < deltas.bytes { offsets.put(out) } else { deltas.put(out) }
}

/// One way to store a block, with its cost.
struct Candidate {
    mode: u8,
    base: i64,
    words: [u64; BLOCK],
    length: usize,
    width: u32,
    patches: usize,
    bytes: usize,
}

impl Candidate {
    fn new(mode: u8, base: i64, items: impl Iterator<Item = u64>) -> Self {
        let mut words = [0; BLOCK];
        let mut lengths = [0u16; WIDTHS as usize];
        let mut length = 0;
        for (word, item) in words.iter_mut().zip(items) {
            *word = item;
            lengths[64 - item.leading_zeros() as usize] += 1;
            length += 1;
        }
        let (width, patches, bytes) = best_width(&lengths, length);
        let base_bytes = if has_base(mode) { varint_bytes(zigzag(base)) } else { 0 };
        Self { mode, base, words, length, width, patches, bytes: 1 + base_bytes + bytes }
    }

    /// The same deltas without their signs, if they seldom have one.
    fn as_rises(&self) -> Option<Self> {
        let deltas = || self.words[..self.length].iter().map(|&word| unzigzag(word));
        let falls = deltas().filter(|&delta| delta < 0).count();
        if falls > FEW_FALLS {
            return None;
        }
        let base = deltas().filter(|&delta| delta >= 0).min()?;
        let rises = deltas().map(|delta| delta.wrapping_sub(base).cast_unsigned());
        Some(Self::new(RISE, base, rises)).filter(|rises| rises.width <= WIDEST_RISE)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let words = &self.words[..self.length];
        out.push(self.mode * WIDTHS + self.width as u8);
        if has_base(self.mode) {
            put_signed(out, self.base);
        }
        put_varint(out, self.patches as u64);
        if self.patches > 0 {
            let mut gap = 0;
            for word in words {
                if word >> self.width == 0 {
                    gap += 1;
                } else {
                    put_varint(out, gap);
                    gap = 0;
                }
            }
            let highs = words.iter().map(|word| word >> self.width).filter(|&high| high > 0);
            highs.for_each(|high| put_varint(out, high));
        }
        pack(out, words, self.width);
    }
}

fn has_base(mode: u8) -> bool {
    matches!(mode, OFFSET | RISE)
}

/// The width that needs the fewest bytes, the patches it leaves and the bytes; `lengths` counts
/// integers by their number of bits.
fn best_width(lengths: &[u16; WIDTHS as usize], count: usize) -> (u32, usize, usize) {
    let longest = lengths.iter().rposition(|&n| n > 0).unwrap_or(0);
    let mut best = (longest as u32, 0, packed_bytes(count, longest as u32) + 1);
    let (mut patches, mut width) = (0, longest);
    while width > 0 {
        patches += usize::from(lengths[width]);
        width -= 1;
        // As many patches as this only get worse.
        if patches * 2 > best.2 {
            break;
        }
        let highs: usize = (width + 1..=longest)
            .map(|bits| usize::from(lengths[bits]) * (1 + (bits - width).div_ceil(7)))
            .sum();
        let bytes = packed_bytes(count, width as u32) + varint_bytes(patches as u64) + highs;
        if bytes < best.2 {
            best = (width as u32, patches, bytes);
        }
    }
    best
}

fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

fn mask(width: u32) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (64 - width) }
}

fn pack(out: &mut Vec<u8>, words: &[u64], width: u32) {
    if width == 0 {
        return;
    }
    let end = out.len() + packed_bytes(words.len(), width);
    out.reserve(packed_bytes(words.len(), width) + 8);
    let (mut pending, mut bits) = (0u128, 0);
    for word in words {
        pending |= u128::from(word & mask(width)) << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&(pending as u64).to_le_bytes());
            pending >>= 64;
            bits -= 64;
        }
    }
    out.extend_from_slice(&(pending as u64).to_le_bytes());
    out.truncate(end);
}

/// Fills `out` with the integers that [`put_ints`] wrote after `previous`.
pub(crate) fn read_ints(reader: &mut Reader<'_>, mut previous: i64, out: &mut [i64]) -> Option<()> {
    for block in out.chunks_mut(BLOCK) {
        let tag = reader.byte()?;
        let (mode, width) = (tag / WIDTHS, u32::from(tag % WIDTHS));
        let base = if has_base(mode) { reader.signed()? } else { 0 };
        let patches = usize::try_from(reader.varint()?).ok()?;
        if patches > block.len() || (width == 64 && patches > 0) {
            return None;
        }
        if width == 0 && mode != RISE {
            // Nothing but patches, as most series have it.
            let first = if mode == PLAIN { 0 } else { previous.wrapping_add(base) };
            read_patches(reader, patches, mode, first, block)?;
            previous = block[block.len() - 1];
            continue;
        }
        let mut words = [0; BLOCK];
        let words = &mut words[..block.len()];
        let (mut gaps, mut highs) = patch_columns(reader, patches)?;
        unpack(reader, words, width)?;
        let mut at = 0usize;
        for _ in 0..patches {
            at = at.checked_add(usize::try_from(gaps.varint()?).ok()?)?;
            *words.get_mut(at)? |= highs.varint()? << width;
            at += 1;
        }
        match mode {
            DELTA => {
                for (value, &word) in block.iter_mut().zip(&*words) {
                    previous = previous.wrapping_add(unzigzag(word));
                    *value = previous;
                }
            }
            RISE => {
                for (value, &word) in block.iter_mut().zip(&*words) {
                    previous = previous.wrapping_add(base).wrapping_add(word.cast_signed());
                    *value = previous;
                }
            }
            OFFSET => {
                let base = previous.wrapping_add(base);
                for (value, &word) in block.iter_mut().zip(&*words) {
                    *value = base.wrapping_add(word.cast_signed());
                }
            }
            _ => {
                for (value, &word) in block.iter_mut().zip(&*words) {
                    *value = unzigzag(word);
                }
            }
        }
        previous = block[block.len() - 1];
    }
    Some(())
}

/// Takes gaps and high parts.
fn patch_columns<'a>(reader: &mut Reader<'a>, patches: usize) -> Option<(Reader<'a>, Reader<'a>)> {
    let gaps = *reader;
    for _ in 0..patches {
        reader.varint()?;
    }
    let highs = *reader;
    for _ in 0..patches {
        reader.varint()?;
    }
    Some((gaps, highs))
}

/// Fills a block of width 0: `first`, but for the patches.
fn read_patches(
    reader: &mut Reader<'_>,
    patches: usize,
    mode: u8,
    mut first: i64,
    block: &mut [i64],
) -> Option<()> {
    let (mut gaps, mut highs) = patch_columns(reader, patches)?;
    let mut rest = block;
    for _ in 0..patches {
        let gap = usize::try_from(gaps.varint()?).ok()?;
        let (even, after) = rest.split_at_mut_checked(gap)?;
        even.fill(first);
        let (patched, after) = after.split_first_mut()?;
        let high = highs.varint()?;
        *patched = match mode {
            DELTA => first.wrapping_add(unzigzag(high)),
            OFFSET => first.wrapping_add(high.cast_signed()),
            _ => unzigzag(high),
        };
        if mode == DELTA {
            first = *patched;
        }
        rest = after;
    }
    rest.fill(first);
    Some(())
}

fn unpack(reader: &mut Reader<'_>, words: &mut [u64], width: u32) -> Option<()> {
    if width == 0 {
        return Some(());
    }
    let ahead = reader.rest();
    let packed = reader.take(packed_bytes(words.len(), width))?;
    // Each word is cut out of 8 bytes that may reach beyond the packed ones; what follows them
    // usually suffices.
    let mut padded = [0; BLOCK * 8 + 8];
    let bytes = if ahead.len() >= packed.len() + 8 {
        &ahead[..packed.len() + 8]
    } else {
        padded[..packed.len()].copy_from_slice(packed);
        &padded[..packed.len() + 8]
    };
    let load = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let mask = mask(width);
    let width = width as usize;
    let places = (0..).step_by(width).map(|bit| (bit / 8, bit % 8));
    if width <= 57 {
        for (word, (at, shift)) in words.iter_mut().zip(places) {
            *word = load(at) >> shift & mask;
        }
    } else {
        for (word, (at, shift)) in words.iter_mut().zip(places) {
            let above = u64::from(bytes[at + 8]).checked_shl(64 - shift as u32).unwrap_or(0);
            *word = (load(at) >> shift | above) & mask;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series() -> impl Strategy<Value = Vec<i64>> {
        let item = (any::<i64>(), 0..64u32).prop_map(|(value, shift)| value >> shift);
        prop_oneof![
            prop::collection::vec(item, 0..600),
            prop::collection::vec(
                prop_oneof![9 => Just(0i64), 1 => any::<i16>().prop_map(i64::from)],
                0..600
            ),
            prop::collection::vec(1_000_000..1_000_100i64, 0..600),
            prop::collection::vec(0..100i64, 0..600).prop_map(|mut values| {
                values.sort_unstable();
                values
            }),
        ]
    }

    proptest! {
        #[test]
        fn integers_come_back(
            values in series(),
            previous in any::<i64>(),
            small in any::<bool>(),
        ) {
            let shape = if small { Shape::Small } else { Shape::Series };
            let mut bytes = Vec::new();
            put_ints(&mut bytes, previous, &values, shape);
            for padding in [0, 8] {
                let length = bytes.len();
                bytes.resize(length + padding, 0xff);
                let mut out = vec![1; values.len()];
                let mut reader = Reader::new(&bytes);
                prop_assert_eq!(read_ints(&mut reader, previous, &mut out), Some(()));
                prop_assert_eq!(reader.rest().len(), padding);
                prop_assert_eq!(&out, &values);
            }
        }
    }

    #[test]
    fn even_series_and_rare_exceptions_are_small() {
        let length = |values: &[i64]| {
            let mut bytes = Vec::new();
            put_ints(&mut bytes, values[0], &values[1..], Shape::Series);
            bytes.len()
        };
        let mut values = [7; 241];
        assert_eq!(length(&values), 2);
        values[100] = 9;
        assert!(length(&values) <= 5, "a gap and an offset");
        values[100..].fill(9);
        assert!(length(&values) <= 5, "a gap and a delta");
        let steady: Vec<i64> = (0..241).map(|index| index * 1000 + index % 2).collect();
        assert!(length(&steady) <= 70, "two bits each: {}", length(&steady));
        let mut reset = steady;
        reset[100..].iter_mut().for_each(|value| *value -= 100_000);
        assert!(length(&reset) <= 82, "and a patch: {}", length(&reset));
    }
}
