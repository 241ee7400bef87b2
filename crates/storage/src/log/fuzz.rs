//! The body of a fuzz target: any bytes as a log file.

use std::fs;
use std::path::Path;

use super::format::{FILE_HEADER_BYTES, FileHeader, RECORD_HEADER_BYTES, RecordHeader, file_name};
use super::record::RecordView;
use super::{Checkpoints, Log, LogOptions, Position};

/// Takes `data` for the body of a record, and for a log file in the empty folder `dir`, which it
/// leaves empty. Whatever the bytes are, nothing panics, and what is read fits the memory that the
/// bytes take.
pub fn log_file(data: &[u8], dir: &Path) {
    if let Ok(view) = RecordView::parse(Position(1), data) {
        read_all(&view);
    }
    let mut file = data.to_vec();
    repair_checksums(&mut file);
    let Some(header) = file.first_chunk().and_then(FileHeader::decode) else { return };
    let path = dir.join(file_name(header.first));
    fs::write(&path, &file).expect("the folder takes a file");
    for accept_loss in [false, true] {
        let options = LogOptions { accept_loss, ..LogOptions::default() };
        let opened = Log::open(dir, header.store, Checkpoints::default(), options);
        let files = opened.map_or_else(|_| Vec::new(), |(_, recovery)| recovery.files);
        for file in files {
            let Ok(mut reader) = file.read() else { continue };
            while let Ok(Some(view)) = reader.next_record() {
                read_all(&view);
            }
        }
    }
    // The log may have deleted it as a file that never had a record.
    let _ = fs::remove_file(&path);
}

/// Makes the checksums right, so that the fuzzer gets past them.
fn repair_checksums(file: &mut [u8]) {
    let Some(bytes) = file.first_chunk_mut::<FILE_HEADER_BYTES>() else { return };
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    let Some(header) = FileHeader::decode(bytes) else { return };
    let mut rest = &mut file[FILE_HEADER_BYTES..];
    while let Some((bytes, body)) = rest.split_first_chunk_mut::<RECORD_HEADER_BYTES>() {
        let crc = crc32c::crc32c_append(header.seed(), &bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        let Some(mut record) = RecordHeader::decode(bytes, header.seed()) else { return };
        let Some((body, after)) = body.split_at_mut_checked(record.filled_bytes()) else { return };
        record.body_crc = crc32c::crc32c(body);
        *bytes = record.encode(header.seed());
        rest = after;
    }
}

fn read_all(view: &RecordView<'_>) {
    let _ = view.definitions().count() + view.metadata().count();
    let _ = view.floats().map(|runs| runs.map(|run| run.elements.count()).sum::<usize>());
    let _ = view.histograms().map(|runs| runs.map(|run| run.elements.count()).sum::<usize>());
    let _ = view.exemplars().map(|runs| runs.map(|run| run.elements.count()).sum::<usize>());
    let _ = view.imports().map(Iterator::count);
}
