//! The two headers of a log file, and how its bytes are told from anything else.

use super::{FileSeq, Position};

/// The format that this build writes. It reads this one and no newer one.
pub const FORMAT_VERSION: u32 = 1;

/// First bytes of every log file. Line ends and a control byte show a file that went through a text
/// mode.
const MAGIC: [u8; 8] = *b"RKLOG\r\n\x1a";

/// Length of the file header.
pub(super) const FILE_HEADER_BYTES: usize = 64;
/// Length of a record's header.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// Records begin at multiples of this, so that a search for the next one tries an eighth of the
/// offsets.
pub(super) const ALIGNMENT: usize = 8;

/// No log gets this far; a higher position or file number is not one of ours, and adding to it
/// could overflow.
pub(super) const MAX_POSITION: Position = Position(1 << 62);

/// The largest body of a record. A request is at most 128 MiB when decoded, and a sample that takes
/// 9 bytes there (a zero value is left out) takes up to 12 here: twice is room for all but
/// histograms made of nothing.
pub const MAX_RECORD_BYTES: usize = 256 << 20;

/// The first 64 bytes of a file. Their shape and checksum stay as they are in every version, so
/// that a build can say "newer" rather than "damaged".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub version: u32,
    /// Written without syncs: what a power cut leaves of it may have holes.
    pub flush_only: bool,
    pub store: [u8; 16],
    pub sequence: FileSeq,
    pub first: Position,
    /// The last position of the file before. Less than `first − 1` only where positions were
    /// skipped on purpose.
    pub follows: Position,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..16].copy_from_slice(&u32::from(self.flush_only).to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store);
        bytes[32..40].copy_from_slice(&self.sequence.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.follows.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` where the bytes are no file header, whole and unchanged.
    pub(super) fn decode(bytes: &[u8; FILE_HEADER_BYTES]) -> Option<Self> {
        if bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return None;
        }
        Some(Self {
            version: u32_at(bytes, 8),
            flush_only: u32_at(bytes, 12) & 1 != 0,
            store: *bytes[16..32].first_chunk().expect("sixteen bytes"),
            sequence: FileSeq(u64_at(bytes, 32)),
            first: Position(u64_at(bytes, 40)),
            follows: Position(u64_at(bytes, 48)),
        })
    }

    /// Where the checksums of the file's record headers start from. A record is valid only in the
    /// file that it was written to, and nobody who does not know the store id can put bytes into a
    /// label that pass for a record.
    pub(super) fn seed(&self) -> u32 {
        u32_at(&self.encode(), 60)
    }
}

/// The header of a record, or with a body of no bytes the mark at the end of a file that was closed
/// in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// Bytes of the body, without the zeros that fill it up to [`ALIGNMENT`].
    pub body_bytes: u32,
    /// Checksum of the body and its filling.
    pub body_crc: u32,
    /// The record's position; in the end mark that of the last record.
    pub position: Position,
    /// How many bytes of the file were synced when this record was written: the proof that a bad
    /// byte before that offset is damage, and not the end of a write that never came to its sync.
    pub synced: u32,
}

impl RecordHeader {
    pub(super) fn encode(&self, seed: u32) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.synced.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` where the bytes are no record header of the file with this seed.
    pub(super) fn decode(bytes: &[u8; RECORD_HEADER_BYTES], seed: u32) -> Option<Self> {
        let header = Self {
            body_bytes: u32_at(bytes, 0),
            body_crc: u32_at(bytes, 4),
            position: Position(u64_at(bytes, 8)),
            synced: u32_at(bytes, 16),
        };
        let known = crc32c::crc32c_append(seed, &bytes[..20]) == u32_at(bytes, 20);
        (known && header.body_bytes as usize <= MAX_RECORD_BYTES).then_some(header)
    }

    pub(super) fn is_end_mark(&self) -> bool {
        self.body_bytes == 0
    }

    /// Bytes of the body with its filling.
    pub(super) fn filled_bytes(&self) -> usize {
        filled(self.body_bytes as usize)
    }
}

/// `bytes`, rounded up to [`ALIGNMENT`].
pub(super) fn filled(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// The name of the file whose first record has this position.
pub(super) fn file_name(first: Position) -> String {
    format!("{:020}.log", first.0)
}

/// The position in a log file's name; `None` for the name of anything else.
pub(super) fn position_in(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(".log")?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(Position)).flatten()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("within the header"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("within the header"))
}
