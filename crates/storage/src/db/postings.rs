//! The value of a label's postings: the numbers of its series, as parts that unite.
//!
//! ```text
//! ┌─────────┬────────────┬───────┐
//! │ kind u8 │ length u32 │ bytes │ ... once or more
//! └─────────┴────────────┴───────┘
//! kind 1: a roaring bitmap in the portable format of the Roaring specification
//! kind 2: bytes that a merge could not read, as they were; a reader reports them
//! ```
//!
//! A merge unites all parts of kind 1 into one and keeps each part of kind 2 once.

use roaring::RoaringBitmap;

const BITMAP: u8 = 1;
const DAMAGED: u8 = 2;

/// Appends `bitmap` as a part.
pub(super) fn append(value: &mut Vec<u8>, bitmap: &RoaringBitmap) {
    value.push(BITMAP);
    let length = u32::try_from(bitmap.serialized_size()).expect("numbers of 32 bits fit 512 MiB");
    value.extend_from_slice(&length.to_le_bytes());
    bitmap.serialize_into(value).expect("a Vec takes all");
}

/// The numbers in a value; `Err` when some of it cannot be read.
pub(super) fn decode(value: &[u8]) -> Result<RoaringBitmap, Unreadable> {
    let mut all: Option<RoaringBitmap> = None;
    for part in Parts(value) {
        let Part::Bitmap(bitmap) = part else { return Err(Unreadable) };
        all = Some(match all {
            Some(all) => all | bitmap,
            None => bitmap,
        });
    }
    Ok(all.unwrap_or_default())
}

/// A posting holds bytes that are no bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The union of values. Never fails: what it cannot read it keeps.
pub(super) fn unite<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut all = RoaringBitmap::new();
    let mut damaged: Vec<&[u8]> = Vec::new();
    for part in values.flat_map(Parts) {
        match part {
            Part::Bitmap(bitmap) => all |= bitmap,
            Part::Damaged(bytes) => damaged.push(bytes),
        }
    }
    damaged.sort_unstable();
    damaged.dedup();
    all.optimize();
    let mut value = Vec::with_capacity(all.serialized_size() + 5);
    append(&mut value, &all);
    for bytes in damaged {
        value.push(DAMAGED);
        // Longer than 4 GiB no value can be: RocksDB's own limit is below that.
        value.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        value.extend_from_slice(bytes);
    }
    value
}

enum Part<'a> {
    Bitmap(RoaringBitmap),
    Damaged(&'a [u8]),
}

struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let Some((kind, bytes, rest)) = take(self.0) else {
            return Some(Part::Damaged(std::mem::take(&mut self.0)));
        };
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(match kind {
            BITMAP => read(bytes).map_or(Part::Damaged(whole), Part::Bitmap),
            DAMAGED => Part::Damaged(bytes),
            _ => Part::Damaged(whole),
        })
    }
}

fn read(bytes: &[u8]) -> Option<RoaringBitmap> {
    let mut rest = bytes;
    let bitmap = RoaringBitmap::deserialize_from(&mut rest).ok()?;
    rest.is_empty().then_some(bitmap)
}

fn take(value: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = value.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((*kind, bytes, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(numbers: &[u32]) -> Vec<u8> {
        let mut value = Vec::new();
        append(&mut value, &numbers.iter().copied().collect());
        value
    }

    #[test]
    fn parts_unite() {
        let (a, b) = (value(&[1, 2, 70_000]), value(&[2, 3]));
        let both = unite([a.as_slice(), &b].into_iter());
        assert_eq!(both, value(&[1, 2, 3, 70_000]));
        assert_eq!(decode(&[a, b].concat()).unwrap(), decode(&both).unwrap());
        assert_eq!(unite([both.as_slice(), &both].into_iter()), both);
    }

    #[test]
    fn what_cannot_be_read_is_kept_once_and_reported() {
        let good = value(&[1]);
        let bad = [&value(&[5])[..6], b"???"].concat();
        let united = unite([good.as_slice(), &bad, &bad].into_iter());
        assert_eq!(decode(&united), Err(Unreadable));
        assert!(united.windows(bad.len()).any(|w| w == bad));
        let again = unite([united.as_slice(), &united, &good].into_iter());
        assert_eq!(again, united);
    }
}
