//! Crashes and damage.

use super::*;

/// Three files of three records each, the last file as a crash leaves it.
fn crashed(dir: &Path) -> Image {
    let (log, _) = open(dir);
    for file in 0..3 {
        for n in 0..3 {
            write(&log, 2, f64::from(file * 3 + n));
        }
        if file < 2 {
            log.rotate().unwrap().wait().unwrap();
        }
    }
    log.abandon();
    Image::take(dir)
}

fn each() -> usize {
    record(2, 0.0).file_bytes()
}

#[test]
fn a_record_torn_at_any_byte_is_cut_and_all_before_is_kept() {
    let dir = scratch();
    let image = crashed(dir.path());
    let (all, _) = reopen(dir.path(), options()).unwrap();
    assert_eq!(all.len(), 9);
    let (path, bytes) = image.0.last().unwrap();
    let (begin, end) = (64 + 2 * each(), 64 + 3 * each());
    for at in begin..end {
        for zeros_follow in [false, true] {
            image.restore(dir.path());
            let mut torn = bytes[..at].to_vec();
            if zeros_follow {
                torn.resize(bytes.len(), 0);
            }
            // What was cut may be zeros, then nothing is missing.
            let whole = zeros_follow && torn[..end] == bytes[..end];
            fs::write(path, &torn).unwrap();
            let (held, recovery) = reopen(dir.path(), options()).unwrap();
            assert_eq!(held, all[..if whole { 9 } else { 8 }], "torn at {at}");
            let content = torn[begin..].iter().any(|byte| *byte != 0);
            assert_eq!(recovery.cut.is_some(), content && !whole, "torn at {at}");
        }
    }
}

#[test]
fn a_log_goes_on_after_a_cut() {
    let dir = scratch();
    let image = crashed(dir.path());
    let (path, bytes) = image.0.last().unwrap();
    fs::write(path, &bytes[..64 + 3 * each() - 5]).unwrap();
    let (log, recovery) = open(dir.path());
    assert_eq!(recovery.last, Position(8));
    assert_eq!(write(&log, 2, 50.0), Position(9));
    log.abandon();
    let (held, recovery) = reopen(dir.path(), options()).unwrap();
    assert_eq!(positions(&held), (1..=9).collect::<Vec<_>>());
    assert_eq!((held[8].1[0].2, recovery.cut), (50.0f64.to_bits(), None));
}

/// Flips a bit of each byte in turn and opens: damage must be named, or what is served must be
/// right.
fn flips(dir: &Path, image: &Image, all: &[Held], last_group: std::ops::Range<usize>) {
    let last_path = &image.0.last().unwrap().0;
    for (path, bytes) in &image.0 {
        // Behind its content a preallocated file is all alike.
        let content = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 9;
        for at in 0..content.min(bytes.len()) {
            image.restore(dir);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(path, &flipped).unwrap();
            match reopen(dir, options()) {
                Err(LogError::Damaged { file, offset, .. }) => {
                    assert_eq!(&file, path, "flipped at {at}");
                    assert!(offset <= at as u64, "flipped at {at}, said {offset}");
                }
                Err(error) => panic!("flipped at {at}: {error}"),
                Ok((held, recovery)) if held.len() == all.len() => {
                    assert_eq!(held, all, "flipped at {at}");
                    assert!(recovery.losses.is_empty());
                }
                Ok((held, recovery)) => {
                    assert!(path == last_path && last_group.contains(&at), "flipped at {at}");
                    assert_eq!(held, all[..all.len() - 1]);
                    assert!(recovery.cut.is_some());
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_named_or_lies_in_the_last_record() {
    let dir = scratch();
    let image = crashed(dir.path());
    let (all, _) = reopen(dir.path(), options()).unwrap();
    let last = 64 + 2 * each()..64 + 3 * each();
    flips(dir.path(), &image, &all, last);
}

#[test]
fn after_closing_in_order_every_flipped_bit_in_a_record_is_named() {
    let dir = scratch();
    crashed(dir.path());
    // Opening has set the end mark.
    let (all, _) = reopen(dir.path(), options()).unwrap();
    let image = Image::take(dir.path());
    flips(dir.path(), &image, &all, 0..0);
}

#[test]
fn a_missing_file_is_named() {
    let dir = scratch();
    let image = crashed(dir.path());
    fs::remove_file(&image.0[1].0).unwrap();
    let error = reopen(dir.path(), options()).unwrap_err();
    let LogError::Missing { file, from, to } = &error else { panic!("{error}") };
    assert_eq!((file, from.0, to.0), (&image.0[2].0, 4, 6));
    let accepting = LogOptions { accept_loss: true, ..options() };
    let (held, recovery) = reopen(dir.path(), accepting).unwrap();
    assert_eq!(positions(&held), [1, 2, 3, 7, 8, 9]);
    assert_eq!((recovery.losses[0].from.0, recovery.losses[0].to.0), (4, 6));
    image.restore(dir.path());
    fs::remove_file(&image.0[0].0).unwrap();
    assert!(matches!(reopen(dir.path(), options()), Err(LogError::Missing { .. })));
    // A checkpoint that is past it needs it no more.
    assert!(open_with(dir.path(), up_to(3), options()).is_ok());
}

#[test]
fn accepted_damage_is_skipped_and_counted() {
    let dir = scratch();
    let image = crashed(dir.path());
    let (all, _) = reopen(dir.path(), options()).unwrap();
    let accepting = LogOptions { accept_loss: true, ..options() };
    let damage = |file: usize, record: usize| {
        image.restore(dir.path());
        let (path, bytes) = &image.0[file];
        let mut bytes = bytes.clone();
        bytes[64 + record * each() + 40] ^= 0x10;
        fs::write(path, bytes).unwrap();
    };
    for (file, number) in [(0, 0), (0, 1), (1, 2), (2, 1)] {
        damage(file, number);
        let gone = file * 3 + number + 1;
        let (log, recovery) =
            open_with(dir.path(), Checkpoints::default(), accepting.clone()).unwrap();
        assert_eq!(recovery.last, Position(9));
        log.abandon();
        let expected: Vec<_> = all.iter().filter(|held| held.0 != gone as u64).cloned().collect();
        let mut held = Vec::new();
        let mut losses = Vec::new();
        for file in recovery.files {
            let mut reader = file.read().unwrap();
            while let Some(view) = reader.next_record().unwrap() {
                held.push(view.position().0);
            }
            losses.extend_from_slice(reader.losses());
        }
        assert_eq!(held, positions(&expected));
        assert_eq!(losses.len(), 1);
        assert_eq!((losses[0].from, losses[0].to), (Position(gone as u64), Position(gone as u64)));
        assert_eq!(losses[0].from_offset, (64 + number * each()) as u64);
    }
}

#[test]
fn a_file_that_never_had_a_record_is_removed() {
    let dir = scratch();
    let image = crashed(dir.path());
    let unused = dir.path().join(format!("{:020}.log", 10));
    for bytes in [vec![], vec![0; 4096], image.0[0].1[..40].to_vec()] {
        image.restore(dir.path());
        fs::write(&unused, bytes).unwrap();
        assert_eq!(reopen(dir.path(), options()).unwrap().0.len(), 9);
        assert!(!unused.exists());
    }
    // With content behind a header that is not whole it is not such a file.
    let mut bytes = vec![0; 4096];
    bytes[1000] = 1;
    fs::write(&unused, bytes).unwrap();
    let error = reopen(dir.path(), options()).unwrap_err();
    assert!(matches!(&error, LogError::Damaged { file, offset: 0, .. } if *file == unused));
}

#[test]
fn a_file_whose_first_group_was_torn_is_gone_on_from() {
    let dir = scratch();
    let image = crashed(dir.path());
    let (path, bytes) = image.0.last().unwrap();
    fs::write(path, &bytes[..64 + 20]).unwrap();
    let (log, recovery) = open(dir.path());
    assert_eq!(recovery.last, Position(6));
    assert_eq!(write(&log, 2, 60.0), Position(7));
    log.abandon();
    let held = reopen(dir.path(), options()).unwrap().0;
    assert_eq!(positions(&held), (1..=7).collect::<Vec<_>>());
}

#[test]
fn a_newer_format_and_a_foreign_store_are_refused() {
    let dir = scratch();
    let image = crashed(dir.path());
    let (path, bytes) = &image.0[1];
    let mut newer = bytes.clone();
    newer[8] = 9;
    let crc = crc32c::crc32c(&newer[..60]);
    newer[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, newer).unwrap();
    let error = reopen(dir.path(), options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("log file {} has format 9, this build reads up to 1", path.display())
    );
    image.restore(dir.path());
    let opened = Log::open(dir.path(), [1; 16], Checkpoints::default(), options());
    assert!(matches!(opened.err(), Some(LogError::ForeignStore { .. })));
}

#[test]
fn records_that_a_checkpoint_needs_must_be_there() {
    let dir = scratch();
    let image = crashed(dir.path());
    let behind = |lowest, highest| Checkpoints {
        lowest: Position(lowest),
        highest: Position(highest),
        doubtful: false,
    };
    let error = open_with(dir.path(), behind(3, 12), options()).err().unwrap();
    assert!(matches!(error, LogError::Missing { from: Position(10), to: Position(12), .. }));
    // All stripes are past the end: nothing is missing, and no position is given twice.
    let (log, recovery) = open_with(dir.path(), behind(12, 12), options()).unwrap();
    assert_eq!((recovery.last, recovery.files.len()), (Position(12), 0));
    assert_eq!(write(&log, 2, 70.0), Position(13));
    log.close().unwrap();
    let (log, recovery) = open_with(dir.path(), behind(12, 12), options()).unwrap();
    assert_eq!(positions(&read(&recovery.files).unwrap()), [13]);
    // And so it is later, from any checkpoint: the file says that it skips positions.
    log.close().unwrap();
    let held = reopen(dir.path(), options()).unwrap().0;
    assert_eq!(positions(&held), [1, 2, 3, 4, 5, 6, 7, 8, 9, 13]);
    image.restore(dir.path());
    for (path, _) in &image.0 {
        fs::remove_file(path).unwrap();
    }
    assert!(matches!(
        open_with(dir.path(), behind(3, 5), options()).err(),
        Some(LogError::Missing { from: Position(4), to: Position(5), .. })
    ));
}

#[test]
fn only_what_lies_after_the_lowest_checkpoint_is_to_be_replayed() {
    let dir = scratch();
    crashed(dir.path());
    let (log, recovery) = open_with(dir.path(), up_to(3), options()).unwrap();
    let first: Vec<_> = recovery.files.iter().map(|file| file.first.0).collect();
    assert_eq!(first, [4, 7]);
    assert_eq!(log.delete_below(Position(3)).unwrap(), 1);
    assert_eq!(log.oldest(), Position(4));
}

#[test]
fn content_far_behind_the_end_is_damage() {
    let dir = scratch();
    let roomy = LogOptions { file_bytes: 8 << 20, ..options() };
    let (log, _) = open_with(dir.path(), Checkpoints::default(), roomy.clone()).unwrap();
    write(&log, 2, 1.0);
    log.abandon();
    let image = Image::take(dir.path());
    let (path, bytes) = &image.0[0];
    let end = 64 + each();
    for (at, damaged) in [(end + 8, false), (end + GROUP_BYTES - 1, false), (5 << 20, true)] {
        let mut bytes = bytes.clone();
        bytes[at] = 1;
        fs::write(path, bytes).unwrap();
        let opened = reopen(dir.path(), roomy.clone());
        let here = end as u64;
        let is_damage = matches!(opened, Err(LogError::Damaged { offset, .. }) if offset == here);
        assert_eq!(is_damage, damaged, "{opened:?}");
    }
}

#[test]
fn a_torn_record_larger_than_a_group_is_cut() {
    let dir = scratch();
    let roomy = LogOptions { file_bytes: 8 << 20, ..options() };
    let (log, _) = open_with(dir.path(), Checkpoints::default(), roomy.clone()).unwrap();
    write(&log, 2, 1.0);
    write(&log, 150_000, 2.0);
    log.abandon();
    let image = Image::take(dir.path());
    let (path, bytes) = &image.0[0];
    let mut torn = bytes.clone();
    let begin = 64 + each();
    assert!(log.bytes() > (begin + GROUP_BYTES) as u64);
    torn[begin + 8192..begin + 12_288].fill(0);
    fs::write(path, torn).unwrap();
    let (held, recovery) = reopen(dir.path(), roomy).unwrap();
    assert_eq!(positions(&held), [1]);
    assert_eq!(recovery.cut.unwrap().offset, begin as u64);
}
