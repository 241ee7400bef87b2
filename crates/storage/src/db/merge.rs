//! RocksDB's merge operators: unions, full and partial alike.
//!
//! An operator that fails refuses writes to every family, again after every reopen, and one that
//! panics aborts the process: so these do neither, whatever bytes they are given.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rocksdb::{MergeOperands, Options};

use super::keys::Family;
use super::{metadata, postings};

/// Sets the operator of `family`; most have none.
pub(super) fn install(family: Family, options: &mut Options) {
    match family {
        Family::Chunks => install_union(options, "rangekeeper.chunk", |values| {
            rangekeeper_chunk::merge(None, values.iter().copied())
        }),
        Family::Postings => install_union(options, "rangekeeper.postings", |values| {
            postings::unite(values.iter().copied())
        }),
        Family::Metadata => install_union(options, "rangekeeper.metadata", |values| {
            metadata::unite(values.iter().copied())
        }),
        _ => {}
    }
}

fn install_union(options: &mut Options, name: &str, unite: fn(&[&[u8]]) -> Vec<u8>) {
    let merge = move |_key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands| {
        let values: Vec<&[u8]> = existing.into_iter().chain(operands.iter()).collect();
        Some(never_fails(&values, unite))
    };
    options.set_merge_operator(name, merge, merge);
}

/// Should a union panic, the values are kept one behind the other: none is lost, and readers will
/// report what they cannot read.
fn never_fails(values: &[&[u8]], unite: fn(&[&[u8]]) -> Vec<u8>) -> Vec<u8> {
    catch_unwind(AssertUnwindSafe(|| unite(values))).unwrap_or_else(|_| values.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_keeps_the_bytes() {
        let united = never_fails(&[b"a", b"b"], |_| panic!("as if the union had a fault"));
        assert_eq!(united, b"ab");
    }
}
