//! The values of a sealed frame, in the smallest of several codecs.
//!
//! ```text
//! ┌─────────────────────────┐
//! │ scale u4 │ flags u1 │ codec u3 │ …      one byte, scale on top
//! └─────────────────────────┘
//! 0 constant   n signed                             every value is n / 10^scale
//! 1 constant   f64, 8 bytes                         every value is this one
//! 2 decimals   first signed │ ints of the rest      values are n / 10^scale
//! 3 bits       first, 8 bytes │ ints of the rest    values are these bits
//! 4 pco        length varint │ pco's version, chunk, page
//!
//! flag 1, with decimals: ints follow, from 0: what is to be added to the bits of n / 10^scale
//! ```
//!
//! *Decimals* carry most series: counts, and what is printed with a fixed number of places. Sums of
//! such numbers drift off by a few units in the last place, and the ints of the flag bring those
//! back. A value that is no decimal (a NaN, an infinity, a stale marker) has n of its neighbour and
//! the difference of the bits as an exception in the same ints. The decoder divides, and the
//! encoder has checked that the quotient has the same bits.

use crate::decimals::{self, Decimals};
use crate::ints::{Shape, put_ints, read_ints};
use crate::varint::{Reader, put_signed, put_varint};

const CONSTANT_DECIMAL: u8 = 0;
const CONSTANT_BITS: u8 = 1;
const DECIMALS: u8 = 2;
const BITS: u8 = 3;
const PCO: u8 = 4;
const ADJUSTED: u8 = 1 << 3;
/// pco is not worth its time and its own heads below this many values. As it takes some three
/// times as long to read as the other codecs, it also has to save a quarter.
const PCO_FROM_VALUES: usize = 64;
/// Bytes a value of the best other codec from which pco is tried.
const PCO_FROM_BYTES: usize = 2;
/// pco's own scale of effort, 0 to 12. On these few values higher levels save nothing.
const PCO_LEVEL: usize = 4;
/// Plain mode with no delta encoding, or with that of neighbours.
const PCO_MODES: [u8; 2] = [0x00, 0x10];

/// Memory of the encoder, kept from series to series.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    decimals: Decimals,
    bits: Vec<i64>,
    candidate: Vec<u8>,
}

/// Appends `values`, one or more.
pub(crate) fn put_values(out: &mut Vec<u8>, values: &[f64], scratch: &mut Scratch) {
    let first = values[0].to_bits();
    if values.iter().all(|value| value.to_bits() == first) {
        return put_constant(out, values[0]);
    }
    let start = out.len();
    let has_decimals = decimals::find(values, &mut scratch.decimals);
    if has_decimals {
        put_decimals(out, &scratch.decimals);
    }
    let candidate = &mut scratch.candidate;
    let dear = |out: &Vec<u8>| out.len() - start > PCO_FROM_BYTES * values.len();
    if !has_decimals || dear(out) {
        candidate.clear();
        put_bits(candidate, values, &mut scratch.bits);
        keep_smaller(out, start, candidate, has_decimals);
    }
    if dear(out) && values.len() >= PCO_FROM_VALUES {
        candidate.clear();
        // It refuses only what is no valid configuration; then the others stand.
        if put_pco(candidate, values).is_ok() && candidate.len() * 4 < (out.len() - start) * 3 {
            keep_smaller(out, start, candidate, true);
        }
    }
}

fn keep_smaller(out: &mut Vec<u8>, start: usize, candidate: &[u8], has_other: bool) {
    if !has_other || candidate.len() < out.len() - start {
        out.truncate(start);
        out.extend_from_slice(candidate);
    }
}

fn put_constant(out: &mut Vec<u8>, value: f64) {
    if let Some((scale, n)) = decimals::exact(value) {
        out.push(CONSTANT_DECIMAL | scale << 4);
        put_signed(out, n);
    } else {
        out.push(CONSTANT_BITS);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

fn put_decimals(out: &mut Vec<u8>, decimals: &Decimals) {
    let Decimals { scale, ints, adjustments, is_adjusted } = decimals;
    out.push(DECIMALS | if *is_adjusted { ADJUSTED } else { 0 } | scale << 4);
    put_signed(out, ints[0]);
    put_ints(out, ints[0], &ints[1..], Shape::Series);
    if *is_adjusted {
        put_ints(out, 0, adjustments, Shape::Series);
    }
}

fn put_bits(out: &mut Vec<u8>, values: &[f64], bits: &mut Vec<i64>) {
    bits.clear();
    bits.extend(values.iter().map(|value| value.to_bits().cast_signed()));
    out.push(BITS);
    out.extend_from_slice(&bits[0].to_le_bytes());
    put_ints(out, bits[0], &bits[1..], Shape::Series);
}

fn put_pco(out: &mut Vec<u8>, values: &[f64]) -> pco::errors::PcoResult<()> {
    let config = pco::ChunkConfig::default()
        .with_compression_level(PCO_LEVEL)
        .with_mode_spec(pco::ModeSpec::Classic)
        .with_delta_spec(pco::DeltaSpec::TryConsecutive(1))
        .with_paging_spec(pco::PagingSpec::Exact(vec![values.len()]));
    let file = pco::wrapped::FileCompressor::default();
    let mut bytes = Vec::new();
    file.write_header(&mut bytes)?;
    let mut chunk = file.chunk_compressor(values, &config)?;
    chunk.write_meta(&mut bytes)?;
    chunk.write_page(0, &mut bytes)?;
    out.push(PCO);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
    Ok(())
}

/// The name of the codec that wrote what comes next.
pub(crate) fn codec_name(reader: &mut Reader<'_>) -> Option<&'static str> {
    let tag = reader.byte()?;
    Some(match (tag & 7, tag & ADJUSTED) {
        (CONSTANT_DECIMAL | CONSTANT_BITS, _) => "constant",
        (DECIMALS, 0) if tag >> 4 == 0 => "whole numbers",
        (DECIMALS, 0) => "decimals",
        (DECIMALS, _) => "drifting decimals",
        (BITS, _) => "bits",
        (PCO, _) => "pco",
        _ => return None,
    })
}

/// Fills `out`, which has a value or more. `ints` is only memory.
pub(crate) fn read_values(
    reader: &mut Reader<'_>,
    out: &mut [f64],
    ints: &mut Vec<i64>,
) -> Option<()> {
    let tag = reader.byte()?;
    let scale = tag >> 4;
    match tag & 7 {
        CONSTANT_DECIMAL => out.fill(decimals::value(reader.signed()?, scale)?),
        CONSTANT_BITS => out.fill(f64::from_le_bytes(reader.array()?)),
        DECIMALS => {
            let first = reader.signed()?;
            read_series(reader, first, out.len(), ints)?;
            decimals::values(ints, scale, out)?;
            if tag & ADJUSTED != 0 {
                read_ints(reader, 0, ints)?;
                for (value, adjustment) in out.iter_mut().zip(ints) {
                    *value = decimals::adjusted(*value, *adjustment);
                }
            }
        }
        BITS => {
            let first = i64::from_le_bytes(reader.array()?);
            read_series(reader, first, out.len(), ints)?;
            for (value, bits) in out.iter_mut().zip(ints) {
                *value = f64::from_bits(bits.cast_unsigned());
            }
        }
        PCO => {
            let length = usize::try_from(reader.varint()?).ok()?;
            read_pco(reader.take(length)?, out)?;
        }
        _ => return None,
    }
    Some(())
}

fn read_series(
    reader: &mut Reader<'_>,
    first: i64,
    count: usize,
    ints: &mut Vec<i64>,
) -> Option<()> {
    ints.clear();
    ints.resize(count, first);
    read_ints(reader, first, &mut ints[1..])
}

fn read_pco(bytes: &[u8], out: &mut [f64]) -> Option<()> {
    let (file, rest) = pco::wrapped::FileDecompressor::new(bytes).ok()?;
    // The chunk begins with four bits of mode and four of delta encoding. Other modes than the
    // plain one and other encodings than of neighbours allocate by what they say; we never write
    // them.
    if !PCO_MODES.contains(rest.first()?) {
        return None;
    }
    let (mut chunk, rest) = file.chunk_decompressor::<f64, _>(rest).ok()?;
    let mut page = chunk.page_decompressor(rest, out.len()).ok()?;
    let progress = page.read(out).ok()?;
    (progress.n_processed == out.len()).then_some(())
}
