//! A place in a protobuf message, and the steps from there: one-byte keys and lengths on the fast
//! path, everything else through `prost::encoding`, so that what is well-formed is decided in one
//! place.

use prost::encoding::{DecodeContext, WireType, decode_varint, skip_field};

use crate::error::{DecodeError, Fault};

/// The wire types that messages of ours use.
pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const BYTES: u32 = 2;

/// The key of field `tag` with `wire_type`.
pub(crate) const fn key(tag: u32, wire_type: u32) -> u32 {
    tag << 3 | wire_type
}

/// The set of field numbers that a message knows, as bits.
pub(crate) const fn fields(tags: &[u32]) -> u32 {
    let mut set = 0;
    let mut at = 0;
    while at < tags.len() {
        set |= 1 << tags[at];
        at += 1;
    }
    set
}

/// A place in a message. `bytes` begins where the body begins and ends where the message ends, so
/// that `at` is an offset into the body and running out of bytes is the end of the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The start of a whole body.
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { bytes: body, at: 0 }
    }

    /// The message at `start..end` of a body, which must lie within it.
    #[inline]
    pub(crate) fn within(body: &'a [u8], start: usize, end: usize) -> Self {
        Self { bytes: &body[..end], at: start }
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Offset of the next byte in the body.
    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// The same message from another place on.
    #[inline]
    pub(crate) fn at(&self, at: usize) -> Self {
        Self { at, ..*self }
    }

    /// The rest of the message.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The bytes from `start` to here.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Goes past `count` bytes that are there.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        self.at += count;
    }

    /// The next byte, if it is the message's.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The bytes up to the end of the message, from the start of the body on.
    #[inline]
    pub(crate) fn whole(&self) -> &'a [u8] {
        self.bytes
    }

    /// Goes to the end, so that an iterator that failed yields nothing more.
    pub(crate) fn finish(&mut self) {
        self.at = self.bytes.len();
    }

    #[cold]
    pub(crate) fn error(&self, fault: Fault) -> DecodeError {
        DecodeError { offset: self.at, fault }
    }

    /// The next field's key: its number and its wire type, not yet checked to exist.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<u32, DecodeError> {
        match self.peek() {
            Some(byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u32::from(byte))
            }
            _ => self.long_key(),
        }
    }

    #[cold]
    fn long_key(&mut self) -> Result<u32, DecodeError> {
        let start = *self;
        let key = self.long_varint()?;
        u32::try_from(key).map_err(|_| start.error(Fault::Key(key)))
    }

    /// Lengths and references of one or two bytes are the usual ones.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        match *self.rest() {
            [low, ..] if low < 0x80 => {
                self.at += 1;
                Ok(u64::from(low))
            }
            [low, high, ..] if high < 0x80 => {
                self.at += 2;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut rest = self.rest();
        match decode_varint(&mut rest) {
            Ok(value) => {
                self.at = self.bytes.len() - rest.len();
                Ok(value)
            }
            Err(_) if self.rest().len() < 10 && self.rest().iter().all(|b| *b >= 0x80) => {
                Err(self.error(Fault::Truncated))
            }
            Err(_) => Err(self.error(Fault::Varint)),
        }
    }

    /// Reads a length and goes past the bytes that it announces; returns where they begin.
    #[expect(clippy::inline_always, reason = "else results go through memory, in pieces")]
    #[inline(always)]
    pub(crate) fn skip_bytes(&mut self) -> Result<usize, DecodeError> {
        let before = *self;
        let length = self.varint()?;
        match usize::try_from(length) {
            Ok(length) if length <= self.bytes.len() - self.at => {
                let start = self.at;
                self.at += length;
                Ok(start)
            }
            _ => Err(before.error(Fault::Truncated)),
        }
    }

    /// Goes past all length-delimited fields from here on whose key is the one byte `key`.
    #[inline]
    pub(crate) fn skip_run(&mut self, key: u8) -> Result<(), DecodeError> {
        while self.peek() == Some(key) {
            self.at += 1;
            self.skip_bytes()?;
        }
        Ok(())
    }

    /// The bytes of a length-delimited field.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.skip_bytes()?;
        Ok(self.since(start))
    }

    /// The message in a length-delimited field.
    #[expect(clippy::inline_always, reason = "else results go through memory, in pieces")]
    #[inline(always)]
    pub(crate) fn message(&mut self) -> Result<Cursor<'a>, DecodeError> {
        let start = self.skip_bytes()?;
        Ok(Cursor::within(self.bytes, start, self.at))
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, DecodeError> {
        let Some((word, _)) = self.rest().split_first_chunk::<8>() else {
            return Err(self.error(Fault::Truncated));
        };
        self.at += 8;
        Ok(u64::from_le_bytes(*word))
    }

    #[inline]
    pub(crate) fn double(&mut self) -> Result<f64, DecodeError> {
        self.fixed64().map(f64::from_bits)
    }

    #[inline]
    pub(crate) fn int64(&mut self) -> Result<i64, DecodeError> {
        self.varint().map(u64::cast_signed)
    }

    /// As protobuf says, the upper half of an overlong value is dropped.
    #[inline]
    pub(crate) fn uint32(&mut self) -> Result<u32, DecodeError> {
        self.varint().map(low_half)
    }

    pub(crate) fn sint32(&mut self) -> Result<i32, DecodeError> {
        let value = self.uint32()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(crate) fn sint64(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Goes past the field whose key was just read, whichever it is.
    #[inline]
    pub(crate) fn skip(&mut self, key: u32) -> Result<(), DecodeError> {
        match key & 7 {
            BYTES if key >> 3 != 0 => self.skip_bytes().map(|_| ()),
            _ => self.skip_unknown(key, 0),
        }
    }

    /// Goes past the field whose key was just read. A field that the message knows is here only
    /// because its wire type was not the one that was looked for.
    #[cold]
    pub(crate) fn skip_unknown(&mut self, key: u32, known: u32) -> Result<(), DecodeError> {
        let (tag, wire_type) = (key >> 3, key & 7);
        if tag < 32 && known & (1 << tag) != 0 {
            return Err(self.error(Fault::WireType(tag)));
        }
        let wire_type = match WireType::try_from(u64::from(wire_type)) {
            Ok(wire_type) if tag != 0 => wire_type,
            _ => return Err(self.error(Fault::Key(key.into()))),
        };
        let mut rest = self.rest();
        if skip_field(wire_type, tag, &mut rest, DecodeContext::default()).is_err() {
            let group = matches!(wire_type, WireType::StartGroup | WireType::EndGroup);
            return Err(self.error(if group { Fault::Group } else { Fault::Truncated }));
        }
        self.at = self.bytes.len() - rest.len();
        Ok(())
    }
}

/// Where the length-delimited fields from `at` on end whose key is the one byte `key`, if all their
/// lengths take one byte. Past the end of `bytes` it says some place past the end.
#[inline]
pub(crate) fn end_of_short_run(bytes: &[u8], mut at: usize, key: u8) -> Option<usize> {
    // Nothing but the length just read decides where the next field lies: this chain is all that
    // the loop waits for.
    while let Some([found, length]) = bytes.get(at..).and_then(<[u8]>::first_chunk)
        && *found == key
    {
        if *length >= 0x80 {
            return None;
        }
        at += 2 + usize::from(*length);
    }
    Some(at)
}

/// The messages in one repeated field of a message whose fields were walked before, so that known
/// fields of other numbers are gone past by their wire type alone.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a> {
    fields: Cursor<'a>,
    key: u32,
}

impl<'a> Messages<'a> {
    /// The messages in field `tag`, from `fields` on.
    #[inline]
    pub(crate) fn new(fields: Cursor<'a>, tag: u32) -> Self {
        Self { fields, key: key(tag, BYTES) }
    }

    /// What is left of the message that holds the field.
    #[inline]
    pub(crate) fn fields(&mut self) -> &mut Cursor<'a> {
        &mut self.fields
    }

    /// Reads the next one. After an error there is none.
    #[inline]
    pub(crate) fn read_next<T>(
        &mut self,
        read: impl FnOnce(Cursor<'a>) -> Result<T, DecodeError>,
    ) -> Option<Result<T, DecodeError>> {
        let item = match self.find() {
            Ok(Some(message)) => read(message),
            Ok(None) => return None,
            Err(error) => Err(error),
        };
        if item.is_err() {
            self.fields.finish();
        }
        Some(item)
    }

    #[inline]
    fn find(&mut self) -> Result<Option<Cursor<'a>>, DecodeError> {
        while !self.fields.is_done() {
            let key = self.fields.key()?;
            if key == self.key {
                return self.fields.message().map(Some);
            }
            self.fields.skip(key)?;
        }
        Ok(None)
    }
}

fn low_half(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).expect("32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_prost_writes() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(value, &mut bytes);
            assert_eq!(Cursor::new(&bytes).varint(), Ok(value));
            let cut = Cursor::new(&bytes[..bytes.len() - 1]).varint();
            assert_eq!(cut, Err(DecodeError { offset: 0, fault: Fault::Truncated }));
        }
        let overlong = Cursor::new(&[0xff; 11]).varint();
        assert_eq!(overlong, Err(DecodeError { offset: 0, fault: Fault::Varint }));
    }

    #[test]
    fn skips_unknown_fields_of_every_wire_type_and_names_the_byte_of_a_bad_one() {
        let skip = |bytes: &[u8]| {
            let mut cursor = Cursor::new(bytes);
            let key = cursor.key()?;
            cursor.skip_unknown(key, fields(&[1])).map(|()| cursor.offset())
        };
        assert_eq!(skip(&[0x10, 0x96, 0x01, 7]), Ok(3));
        assert_eq!(skip(&[0x11, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Ok(9));
        assert_eq!(skip(&[0x12, 2, 1, 1, 9]), Ok(4));
        assert_eq!(skip(&[0x15, 1, 2, 3, 4, 5]), Ok(5));
        assert_eq!(skip(&[0x13, 0x18, 1, 0x14, 9]), Ok(4));
        let fault = |bytes: &[u8]| skip(bytes).unwrap_err();
        assert_eq!(fault(&[0x0d]), DecodeError { offset: 1, fault: Fault::WireType(1) });
        assert_eq!(fault(&[0x13, 0x18]), DecodeError { offset: 1, fault: Fault::Group });
        assert_eq!(fault(&[0x14]), DecodeError { offset: 1, fault: Fault::Group });
        assert_eq!(fault(&[0x16]), DecodeError { offset: 1, fault: Fault::Key(0x16) });
        assert_eq!(fault(&[0x02]), DecodeError { offset: 1, fault: Fault::Key(2) });
        assert_eq!(fault(&[0x12, 3, 1]), DecodeError { offset: 1, fault: Fault::Truncated });
    }
}
