//! The old format.

use super::*;

/// Little-endian, microseconds: the same frame 1122..66 at 1.000002 s, of 6 bytes.
const LITTLE_MICRO: &[u8] = &[
    0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0, // file header, snap length 262,144
    1, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0, 60, 0, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
];
const LITTLE_NANO: &[u8] = &[
    0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0, //
    1, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0, 60, 0, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
];
const BIG_MICRO: &[u8] = &[
    0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 1, //
    0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0, 60, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
];
const BIG_NANO: &[u8] = &[
    0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 1, //
    0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0, 60, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
];

/// A little-endian file of microseconds with these records: seconds, microseconds, captured and original length, bytes.
fn file(records: &[(u32, u32, u32, u32, &[u8])]) -> Vec<u8> {
    let mut bytes = LITTLE_MICRO[..24].to_vec();
    for (seconds, micros, captured_len, original_len, data) in records {
        for word in [seconds, micros, captured_len, original_len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(*data);
    }
    bytes
}

#[test]
fn four_magics() {
    for (bytes, time_ns, resolution) in [
        (LITTLE_MICRO, 1_000_002_000, TimeResolution::Decimal(6)),
        (LITTLE_NANO, 1_000_000_002, TimeResolution::Decimal(9)),
        (BIG_MICRO, 1_000_002_000, TimeResolution::Decimal(6)),
        (BIG_NANO, 1_000_000_002, TimeResolution::Decimal(9)),
    ] {
        let file = open(bytes).unwrap();
        let [interface] = file.interfaces() else { panic!("{:?}", file.interfaces()) };
        assert_eq!((interface.link_type, interface.snaplen, interface.resolution), (LinkType::ETHERNET, 262_144, resolution));
        let (frames, error) = read(&file);
        assert!(error.is_none());
        let expected = CapturedFrame {
            interface: 0,
            time_ns,
            bytes: &[0x11, 0x22, 0x33, 0x44, 0x55, 0x66],
            original_len: 60,
            offset: 24,
            notes: FrameNotes::default(),
        };
        assert_eq!(frames, [expected]);
        assert_eq!(file.frame_count(), 1);
    }
}

#[test]
fn times_from_1970_to_2106() {
    let bytes = file(&[(0, 0, 0, 0, b""), (u32::MAX, 999_999, 0, 0, b""), (5, u32::MAX, 0, 0, b"")]);
    let file = open(&bytes).unwrap();
    let times: Vec<u64> = read(&file).0.iter().map(|frame| frame.time_ns).collect();
    // A fraction of more than a second is carried over.
    assert_eq!(times, [0, 4_294_967_295_999_999_000, 5_000_000_000 + 4_294_967_295_000]);
}

#[test]
fn no_records_is_a_file_without_frames() {
    let file = open(&LITTLE_MICRO[..24]).unwrap();
    assert_eq!((file.frame_count(), file.frames().count(), file.interfaces().len()), (0, 0, 1));
}

#[test]
fn frames_of_no_bytes_and_beyond_the_snap_length() {
    let mut bytes = file(&[(0, 0, 0, 60, b""), (0, 0, 5, 5, b"abcde"), (0, 0, 3, 0, b"xyz")]);
    bytes[16..20].copy_from_slice(&2u32.to_le_bytes());
    let file = open(&bytes).unwrap();
    let (frames, error) = read(&file);
    assert!(error.is_none());
    let lens: Vec<_> = frames.iter().map(|frame| (frame.bytes, frame.original_len)).collect();
    // The last: an original length below the captured one is raised.
    assert_eq!(lens, [(&b""[..], 60), (b"abcde", 5), (b"xyz", 3)]);
    assert_eq!(file.interfaces()[0].snaplen, 2);
}

#[test]
fn cut_at_every_byte() {
    let bytes = file(&[(1, 2, 3, 3, b"abc"), (1, 3, 0, 60, b""), (2, 0, 4, 60, b"defg")]);
    let starts = [24, 43, 59];
    let ends = [43, 59, 79];
    assert_eq!(bytes.len(), 79);
    cut_everywhere(&bytes, &starts, |len| ends.iter().filter(|&&end| end <= len).count());
}

#[test]
fn errors_say_where_and_what() {
    let good: (u32, u32, u32, u32, &[u8]) = (1, 2, 3, 3, b"abc");
    let mut header_cut = file(&[good; 12]);
    header_cut.extend([0; 7]);
    assert_eq!(
        message_of(&header_cut),
        "test.pcap: at byte 252: record header cut short: expected 16 bytes, found 7 (the 12 frames before it were read)"
    );
    assert_eq!(
        message_of(&file(&[good, (0, 0, 60, 60, b"abcd")])),
        "test.pcap: at byte 43: frame cut short: expected 60 bytes, found 4 (the 1 frame before it was read)"
    );
    for absurd in [u32::MAX, FRAME_LEN_MAX + 1] {
        assert_eq!(
            message_of(&file(&[(0, 0, absurd, absurd, b"abcd")])),
            format!(
                "test.pcap: at byte 24: captured length of the record: expected at most 262144 bytes, found {absurd} (no frame before it was read)"
            )
        );
    }
    assert_eq!(message_of(&LITTLE_MICRO[..23]), "test.pcap: at byte 0: pcap file header cut short: expected 24 bytes, found 23");
}

#[test]
fn the_longest_frame_is_read_and_one_byte_more_is_not() {
    let data = vec![7; FRAME_LEN_MAX as usize + 1];
    let longest = open(&file(&[(0, 0, FRAME_LEN_MAX, FRAME_LEN_MAX, &data[1..])])).unwrap();
    assert_eq!(read(&longest).0[0].bytes, &data[1..]);
    let (len, bytes) = (FRAME_LEN_MAX + 1, &data[..]);
    assert!(matches!(error_of(&file(&[(0, 0, len, len, bytes)])).problem(), Some(Problem::Wrong { .. })));
}

#[test]
fn other_versions_and_link_types_are_refused() {
    let mut bytes = LITTLE_MICRO.to_vec();
    bytes[6] = 3;
    assert_eq!(message_of(&bytes), "test.pcap: at byte 4: pcap version: expected 2.4, found 2.3");
    let mut bytes = BIG_NANO.to_vec();
    bytes[23] = 113;
    assert_eq!(
        message_of(&bytes),
        "test.pcap: at byte 20: link type LINUX_SLL (113): only ETHERNET (1) frames can be switched; \
         record on an Ethernet interface (not on `any`)"
    );
    // Reserved bits beside link type 1: it is not known what that would be.
    let mut bytes = LITTLE_MICRO.to_vec();
    bytes[23] = 0x03;
    assert!(matches!(open(&bytes).unwrap_err().problem(), Some(Problem::LinkType(LinkType(0x0300_0001)))));
}

#[test]
fn the_frame_check_sequence_is_taken_off() {
    let mut bytes = file(&[(0, 0, 6, 6, b"ab\xf0\xf1\xf2\xf3"), (0, 0, 3, 8, b"abc"), (0, 0, 3, 3, b"abc")]);
    // Length in 16-bit units in the highest 4 bits, and the bit that says it is there.
    bytes[23] = 0x24;
    let with_fcs = open(&bytes).unwrap();
    assert_eq!(with_fcs.interfaces()[0].fcs_len, 4);
    let lens: Vec<_> = read(&with_fcs).0.iter().map(|frame| (frame.bytes.to_vec(), frame.original_len)).collect();
    assert_eq!(lens, [(b"ab".to_vec(), 2), (b"abc".to_vec(), 4), (vec![], 0)]);
    // Without that bit the length means nothing.
    bytes[23] = 0x20;
    assert_eq!(read(&open(&bytes).unwrap()).0[0].bytes.len(), 6);
}

#[test]
fn a_cursor_remembers_its_place() {
    let file = open(&file(&[(1, 0, 1, 1, b"a"), (2, 0, 1, 1, b"b")])).unwrap();
    let mut cursor = file.cursor(None);
    assert_eq!(file.next_frame(&mut cursor).unwrap().unwrap().bytes, b"a");
    let mut again = cursor.clone();
    assert_eq!(file.next_frame(&mut cursor).unwrap().unwrap().bytes, b"b");
    assert!(file.next_frame(&mut cursor).is_none());
    assert_eq!(file.next_frame(&mut again).unwrap().unwrap().bytes, b"b");
}
