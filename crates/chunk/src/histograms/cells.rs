//! The counts of histograms, bucket by bucket.

use rangekeeper_model::{Buckets, HistogramSample};

use super::layout::{self, Layout};
use crate::ints::{Shape, put_ints, read_ints};
use crate::sealed::Scratch;
use crate::values::{put_values, read_values};
use crate::varint::Reader;

/// Appends the counts of integer histograms.
pub(super) fn put_integers(out: &mut Vec<u8>, samples: &[&HistogramSample], scratch: &mut Scratch) {
    let cells = &mut scratch.ints;
    cells.clear();
    for run in layout::runs(samples) {
        let start = cells.len();
        let columns = columns_of(run[0]);
        cells.resize(start + columns * run.len(), 0);
        for (row, sample) in run.iter().enumerate() {
            put_row(sample, |column, count| cells[start + column * run.len() + row] = count);
        }
        for column in cells[start..].chunks_mut(run.len()) {
            for row in (1..column.len()).rev() {
                column[row] = column[row].wrapping_sub(column[row - 1]);
            }
        }
    }
    put_ints(out, 0, cells, Shape::Small);
}

fn columns_of(sample: &HistogramSample) -> usize {
    let (positive, negative) = layout::bucket_counts(&sample.histogram);
    2 + positive + negative
}

/// Gives `cell` the counts of an integer histogram: what the count has beyond all buckets, zero
/// bucket, buckets.
fn put_row(sample: &HistogramSample, mut cell: impl FnMut(usize, i64)) {
    let Buckets::Integer { count, zero_count, positive, negative } = &sample.histogram.buckets
    else {
        return;
    };
    let mut beyond = count.wrapping_sub(*zero_count).cast_signed();
    cell(1, zero_count.cast_signed());
    let mut column = 2;
    for side in [positive, negative] {
        let mut absolute = 0i64;
        for delta in side {
            absolute = absolute.wrapping_add(*delta);
            beyond = beyond.wrapping_sub(absolute);
            cell(column, absolute);
            column += 1;
        }
    }
    cell(0, beyond);
}

/// The counts of integer histograms, sample by sample.
pub(super) fn read_integers(reader: &mut Reader<'_>, layouts: &[Layout]) -> Option<Vec<Buckets>> {
    let mut cells = vec![0; layouts.iter().map(|layout| layout.columns() * layout.samples).sum()];
    read_ints(reader, 0, &mut cells)?;
    let mut buckets = Vec::new();
    let mut rest = &mut cells[..];
    for layout in layouts {
        let (matrix, after) = rest.split_at_mut(layout.columns() * layout.samples);
        rest = after;
        for column in matrix.chunks_mut(layout.samples) {
            for row in 1..column.len() {
                column[row] = column[row].wrapping_add(column[row - 1]);
            }
        }
        buckets.extend((0..layout.samples).map(|row| {
            let cell = |column: usize| matrix[column * layout.samples + row];
            integer_row(layout, cell)
        }));
    }
    Some(buckets)
}

/// The inverse of [`put_row`].
fn integer_row(layout: &Layout, cell: impl Fn(usize) -> i64) -> Buckets {
    let zero_count = cell(1).cast_unsigned();
    let mut count = cell(0).wrapping_add(cell(1));
    let mut side = |from: usize, length: usize| {
        let mut before = 0;
        (from..from + length)
            .map(|column| {
                let absolute = cell(column);
                count = count.wrapping_add(absolute);
                absolute.wrapping_sub(std::mem::replace(&mut before, absolute))
            })
            .collect()
    };
    let positive = side(2, layout.positive);
    let negative = side(2 + layout.positive, layout.negative);
    Buckets::Integer { count: count.cast_unsigned(), zero_count, positive, negative }
}

/// Appends the counts of float histograms.
pub(super) fn put_floats(out: &mut Vec<u8>, samples: &[&HistogramSample], scratch: &mut Scratch) {
    let cells = &mut scratch.floats;
    cells.clear();
    for run in layout::runs(samples) {
        let start = cells.len();
        cells.resize(start + columns_of(run[0]) * run.len(), 0.0);
        for (row, sample) in run.iter().enumerate() {
            let Buckets::Float { count, zero_count, positive, negative } =
                &sample.histogram.buckets
            else {
                continue;
            };
            let counts = [count, zero_count].into_iter().chain(positive).chain(negative);
            for (column, count) in counts.enumerate() {
                cells[start + column * run.len() + row] = *count;
            }
        }
    }
    put_values(out, cells, &mut scratch.values);
}

/// The counts of float histograms, sample by sample.
pub(super) fn read_floats(
    reader: &mut Reader<'_>,
    layouts: &[Layout],
    ints: &mut Vec<i64>,
) -> Option<Vec<Buckets>> {
    let mut cells = vec![0.0; layouts.iter().map(|layout| layout.columns() * layout.samples).sum()];
    read_values(reader, &mut cells, ints)?;
    let mut buckets = Vec::new();
    let mut rest = &cells[..];
    for layout in layouts {
        let (matrix, after) = rest.split_at(layout.columns() * layout.samples);
        rest = after;
        buckets.extend((0..layout.samples).map(|row| {
            let side = |from: usize, length: usize| {
                let columns = from..from + length;
                columns.map(|column| matrix[column * layout.samples + row]).collect()
            };
            Buckets::Float {
                count: matrix[row],
                zero_count: matrix[layout.samples + row],
                positive: side(2, layout.positive),
                negative: side(2 + layout.positive, layout.negative),
            }
        }));
    }
    Some(buckets)
}
