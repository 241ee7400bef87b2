//! The framing of RocksDB's log files, which its manifest has too: read to say where one is
//! damaged, and to take one table file out of the manifest.
//!
//! A file is a row of blocks of 32 KiB. A record begins anywhere in a block; where fewer than seven
//! bytes are left, they are zero. A payload that does not fit is cut into records of the types
//! first, middle and last.
//!
//! ```text
//! ┌────────────────────────────────────────┬────────────┬─────────┬─────────┐
//! │ masked crc32c u32 of type and payload  │ length u16 │ type u8 │ payload │   all little-endian
//! └────────────────────────────────────────┴────────────┴─────────┴─────────┘
//! ```

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const FULL: u8 = 1;
const LAST_KNOWN_TYPE: u8 = 4;

/// The offset of the first record that is not whole. Records of types that have a longer header are
/// passed over unchecked.
pub(super) fn first_damage(file: &[u8]) -> Option<u64> {
    let mut at = 0;
    while at < file.len() {
        let left_in_block = BLOCK_BYTES - at % BLOCK_BYTES;
        if left_in_block < HEADER_BYTES {
            at += left_in_block;
            continue;
        }
        let Some((payload, kind, crc)) = record(file, at) else { return u64::try_from(at).ok() };
        if (FULL..=LAST_KNOWN_TYPE).contains(&kind) && masked_crc(kind, payload) != crc {
            return u64::try_from(at).ok();
        }
        if kind == 0 || HEADER_BYTES + payload.len() > left_in_block {
            return u64::try_from(at).ok();
        }
        at += HEADER_BYTES + payload.len();
    }
    None
}

/// The offset of the first record that is not whole, where a whole one lies behind it: the file is
/// not torn at its end, bytes of it have changed. RocksDB takes a length that points beyond the end
/// for the end.
pub(super) fn damage_within(file: &[u8]) -> Option<u64> {
    let damaged = first_damage(file)?;
    let behind = usize::try_from(damaged).ok()? + 1..file.len();
    behind.into_iter().any(|at| is_whole(file, at)).then_some(damaged)
}

fn is_whole(file: &[u8], at: usize) -> bool {
    let fits = |payload: &[u8]| HEADER_BYTES + payload.len() <= BLOCK_BYTES - at % BLOCK_BYTES;
    record(file, at).is_some_and(|(payload, kind, crc)| {
        (FULL..=LAST_KNOWN_TYPE).contains(&kind)
            && fits(payload)
            && masked_crc(kind, payload) == crc
    })
}

fn record(file: &[u8], at: usize) -> Option<(&[u8], u8, u32)> {
    let (crc, rest) = file.get(at..)?.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let payload = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
    Some((payload, *kind, u32::from_le_bytes(*crc)))
}

/// The bytes that append `payload` as one record to a file of `length` bytes; `payload` fits a
/// block.
pub(super) fn append(length: usize, payload: &[u8]) -> Vec<u8> {
    assert!(HEADER_BYTES + payload.len() <= BLOCK_BYTES, "one record, one block");
    let left = BLOCK_BYTES - length % BLOCK_BYTES;
    let mut out = Vec::new();
    if left < HEADER_BYTES {
        out.resize(left, 0);
    } else if left < HEADER_BYTES + payload.len() {
        let (head, tail) = payload.split_at(left - HEADER_BYTES);
        put(&mut out, 2, head);
        put(&mut out, LAST_KNOWN_TYPE, tail);
        return out;
    }
    put(&mut out, FULL, payload);
    out
}

fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    out.extend_from_slice(&masked_crc(kind, payload).to_le_bytes());
    let length = u16::try_from(payload.len()).expect("a record is shorter than a block");
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
}

fn masked_crc(kind: u8, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_end_is_no_damage_but_a_changed_length_is() {
        let mut file = append(0, b"one");
        let second = file.len();
        file.extend_from_slice(&append(second, b"two"));
        file.extend_from_slice(&append(file.len(), b"three"));
        for end in second..file.len() {
            assert_eq!(damage_within(&file[..end]), None, "{end}");
        }
        for high in [4, 5] {
            let mut changed = file.clone();
            changed[second + high] ^= 0x40;
            assert_eq!(damage_within(&changed), Some(second as u64));
        }
    }

    #[test]
    fn what_is_appended_is_whole_wherever_it_falls() {
        for before in [0, BLOCK_BYTES - 40, BLOCK_BYTES - 20, BLOCK_BYTES - 7, BLOCK_BYTES - 3] {
            let filler = vec![9; before.saturating_sub(HEADER_BYTES)];
            let mut file = if before == 0 { Vec::new() } else { append(0, &filler) };
            file.extend_from_slice(&append(file.len(), b"twenty bytes or more"));
            assert_eq!(first_damage(&file), None, "{before}");
            let last = file.len() - 1;
            file[last] ^= 1;
            assert!(first_damage(&file).is_some_and(|at| at >= before as u64), "{before}");
        }
    }
}
