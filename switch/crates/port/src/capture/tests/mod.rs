//! Capture files of literal bytes, and the frames or the error they must yield.

mod pcap;
mod pcapng;
mod stream;
mod write;

use proptest::prelude::*;

use super::*;

fn open(bytes: &[u8]) -> Result<CaptureFile, CaptureError> {
    CaptureFile::from_bytes("test.pcap", bytes.to_vec())
}

/// All frames, and the error after them if there is one. Checks that the walk ends there for good.
fn read(file: &CaptureFile) -> (Vec<CapturedFrame<'_>>, Option<CaptureError>) {
    collect(file.frames())
}

fn collect(mut walk: Frames<'_>) -> (Vec<CapturedFrame<'_>>, Option<CaptureError>) {
    let mut frames = Vec::new();
    let mut error = None;
    for next in walk.by_ref() {
        assert!(error.is_none(), "something follows the error {error:?}");
        match next {
            Ok(frame) => frames.push(frame),
            Err(problem) => error = Some(problem),
        }
    }
    assert!(walk.next().is_none());
    (frames, error)
}

/// The error after the frames of a file.
fn error_of(bytes: &[u8]) -> CaptureError {
    read(&open(bytes).unwrap()).1.expect("the file is damaged")
}

fn message_of(bytes: &[u8]) -> String {
    match open(bytes) {
        Ok(file) => read(&file).1.expect("the file is damaged").to_string(),
        Err(error) => error.to_string(),
    }
}

/// Cuts a file whose records begin at `starts` (the first of which ends the file header) at every byte: the frames whose records
/// are whole must come, and an error exactly if a record was cut.
fn cut_everywhere(bytes: &[u8], starts: &[usize], frames_before: impl Fn(usize) -> usize) {
    let all = open(bytes).unwrap();
    let (all_frames, error) = read(&all);
    assert!(error.is_none());
    for len in 0..bytes.len() {
        let file = match open(&bytes[..len]) {
            Ok(file) => file,
            Err(error) => {
                assert!(len < starts[0], "refused at {len}: {error}");
                assert!(error.offset().unwrap() <= len as u64);
                continue;
            }
        };
        let (frames, error) = read(&file);
        assert_eq!(frames, all_frames[..frames_before(len)], "cut at {len}");
        assert_eq!(file.frame_count(), frames.len() as u64);
        let record = *starts.iter().rfind(|&&start| start <= len).unwrap();
        match error {
            None => assert_eq!(record, len, "a cut was not noticed"),
            Some(error) => {
                assert_eq!(error.offset(), Some(record as u64), "cut at {len}: {error}");
                assert!(matches!(error.problem(), Some(Problem::Short { expected, found, .. }) if found < expected), "{error}");
                assert_ne!(record, len);
            }
        }
    }
}

#[test]
fn other_files_are_refused_with_what_to_do() {
    let refused = |bytes: &[u8]| open(bytes).unwrap_err().to_string();
    assert_eq!(refused(b""), "test.pcap: at byte 0: capture file cut short: expected 24 bytes, found 0");
    assert_eq!(refused(b"\xd4\xc3"), "test.pcap: at byte 0: capture file cut short: expected 24 bytes, found 2");
    assert_eq!(
        refused(b"\x7fELF and more"),
        "test.pcap: at byte 0: magic number: expected that of a pcap or pcapng file, found 7f 45 4c 46"
    );
    assert_eq!(refused(b"\x1f\x8b\x08\x00"), "test.pcap: at byte 0: compressed with gzip: run `gunzip` first and give the unpacked file");
    for (magic, with) in [(&b"\x28\xb5\x2f\xfd"[..], "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh9", "bzip2"), (b"\x04\x22\x4d\x18", "lz4")] {
        let error = open(magic).unwrap_err();
        assert!(matches!(error.problem(), Some(Problem::Compressed { with: found, .. }) if *found == with), "{error}");
    }
}

#[test]
fn files_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let missing = CaptureFile::open(folder.path().join("none.pcap")).unwrap_err();
    assert!(matches!(missing, CaptureError::Io { .. }), "{missing}");
    assert!(missing.to_string().contains("none.pcap"), "{missing}");
    assert_eq!((missing.offset(), missing.problem()), (None, None));
    assert!(matches!(CaptureFile::open(folder.path()).unwrap_err(), CaptureError::Io { .. }));

    // A sparse file: it is refused by its length and never read.
    let huge = folder.path().join("huge.pcap");
    std::fs::File::create(&huge).unwrap().set_len(FILE_LEN_MAX + 1).unwrap();
    let error = CaptureFile::open(&huge).unwrap_err().to_string();
    assert!(error.ends_with("length of the file: expected at most 1073741824 bytes, found 1073741825"), "{error}");
}

#[test]
fn link_types_have_names() {
    assert_eq!(LinkType::ETHERNET.to_string(), "ETHERNET (1)");
    assert_eq!(LinkType(113).to_string(), "LINUX_SLL (113)");
    assert_eq!(LinkType(276).to_string(), "LINUX_SLL2 (276)");
    assert_eq!(LinkType(0x0300_0001).to_string(), "unknown (50331649)");
}

#[test]
fn time_units() {
    let ns = |octet, ticks| TimeResolution::from_octet(octet).to_ns(ticks);
    assert_eq!(ns(0, 3), 3_000_000_000);
    assert_eq!(ns(6, 1_600_000_000_123_456), 1_600_000_000_123_456_000);
    assert_eq!(ns(9, 1_600_000_000_123_456_789), 1_600_000_000_123_456_789);
    assert_eq!(ns(12, 1_999), 1);
    assert_eq!(ns(47, u64::MAX), 0, "10^38 of the unit make a nanosecond");
    assert_eq!(ns(127, u64::MAX), 0);
    assert_eq!(ns(0x80 | 10, 512), 500_000_000);
    assert_eq!(ns(0x80, 7), 7_000_000_000);
    assert_eq!(ns(0x80 | 127, u64::MAX), 0);
    assert_eq!(ns(0, u64::MAX), u128::from(u64::MAX) * 1_000_000_000);
}
