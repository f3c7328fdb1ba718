//! The new format.

use proptest::prelude::*;

use super::*;

/// Little-endian: a section, an Ethernet interface "e0" of nanoseconds, a frame "abcde" of 60 bytes at 1.5 s with a comment "hi",
/// coming in.
const LITTLE: &[u8] = &[
    0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, // section header
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 28, 0, 0, 0, //
    1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, // interface: Ethernet, no snap length
    2, 0, 2, 0, b'e', b'0', 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, // name, unit, end
    6, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x2f, 0x68, 0x59, // enhanced packet: interface, 1,500,000,000
    5, 0, 0, 0, 60, 0, 0, 0, b'a', b'b', b'c', b'd', b'e', 0, 0, 0, //
    1, 0, 2, 0, b'h', b'i', 0, 0, 2, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0,
];
/// The same in big-endian order.
const BIG: &[u8] = &[
    0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, //
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 28, //
    0, 0, 0, 1, 0, 0, 0, 40, 0, 1, 0, 0, 0, 0, 0, 0, //
    0, 2, 0, 2, b'e', b'0', 0, 0, 0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, //
    0, 0, 0, 6, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0x59, 0x68, 0x2f, 0x00, //
    0, 0, 0, 5, 0, 0, 0, 60, b'a', b'b', b'c', b'd', b'e', 0, 0, 0, //
    0, 1, 0, 2, b'h', b'i', 0, 0, 0, 2, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 60,
];

/// Code and value of an option.
type Opt<'a> = (u16, &'a [u8]);

/// Lays out blocks, in either byte order.
struct Blocks {
    big: bool,
    bytes: Vec<u8>,
}

impl Blocks {
    fn new(big: bool) -> Blocks {
        Blocks { big, bytes: Vec::new() }.section(big)
    }

    fn u16(&self, value: u16) -> [u8; 2] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u32(&self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn block(mut self, kind: u32, words: &[u32], tail: &[u8]) -> Blocks {
        let len = self.u32((12 + words.len() * 4 + tail.len().next_multiple_of(4)) as u32);
        self.bytes.extend(self.u32(kind));
        self.bytes.extend(len);
        for &word in words {
            self.bytes.extend(self.u32(word));
        }
        self.bytes.extend(tail);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend(len);
        self
    }

    fn section(mut self, big: bool) -> Blocks {
        self.big = big;
        let version = if big { 1 << 16 } else { 1 };
        self.block(0x0a0d_0d0a, &[0x1a2b_3c4d, version, u32::MAX, u32::MAX], b"")
    }

    fn interface(self, link_type: u16, snaplen: u32, options: &[Opt]) -> Blocks {
        let tail = [&self.u16(link_type)[..], &[0, 0], &self.u32(snaplen), &self.options(options)].concat();
        self.block(1, &[], &tail)
    }

    fn packet(self, interface: u32, ticks: u64, original_len: u32, data: &[u8], options: &[Opt]) -> Blocks {
        let mut tail = data.to_vec();
        tail.resize(tail.len().next_multiple_of(4), 0);
        tail.extend(self.options(options));
        self.block(6, &[interface, (ticks >> 32) as u32, ticks as u32, data.len() as u32, original_len], &tail)
    }

    /// Without an end mark: readers must not count on it.
    fn options(&self, options: &[Opt]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, value) in options {
            bytes.extend(self.u16(*code));
            bytes.extend(self.u16(value.len() as u16));
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }
}

fn times_and_bytes(bytes: &[u8]) -> Vec<(u32, u64, Vec<u8>)> {
    let file = open(bytes).unwrap();
    let (frames, error) = read(&file);
    assert!(error.is_none(), "{error:?}");
    frames.iter().map(|frame| (frame.interface, frame.time_ns, frame.bytes.to_vec())).collect()
}

#[test]
fn both_byte_orders() {
    for bytes in [LITTLE, BIG] {
        let file = open(bytes).unwrap();
        let [interface] = file.interfaces() else { panic!("{:?}", file.interfaces()) };
        assert_eq!((interface.name.as_str(), interface.resolution), ("e0", TimeResolution::Decimal(9)));
        let (frames, error) = read(&file);
        assert!(error.is_none());
        let notes = FrameNotes { direction: Some(Direction::Inbound), comment: Some("hi".into()), ..FrameNotes::default() };
        let expected = CapturedFrame { interface: 0, time_ns: 1_500_000_000, bytes: b"abcde", original_len: 60, offset: 68, notes };
        assert_eq!(frames, [expected]);
    }
}

#[test]
fn what_an_interface_says() {
    for big in [false, true] {
        let speed = if big { 10_000_000_000u64.to_be_bytes() } else { 10_000_000_000u64.to_le_bytes() };
        let offset = if big { (-7i64).to_be_bytes() } else { (-7i64).to_le_bytes() };
        // Time zone, a name that is not UTF-8, and a code nobody knows.
        let options: &[Opt] = &[(2, b"up\xff"), (8, &speed), (9, &[0x8a]), (10, &[0; 4]), (13, &[32]), (14, &offset), (4711, b"?")];
        let bytes = Blocks::new(big).interface(1, 96, options).packet(0, 10 << 10, 10, b"frameFCS!!", &[]).bytes;
        let file = open(&bytes).unwrap();
        let expected = Interface {
            name: "up\u{fffd}".to_string(),
            link_type: LinkType::ETHERNET,
            snaplen: 96,
            resolution: TimeResolution::Binary(10),
            time_offset_s: -7,
            speed_bps: Some(10_000_000_000),
            fcs_len: 4,
        };
        assert_eq!(file.interfaces(), [expected]);
        assert_eq!(times_and_bytes(&bytes), [(0, 3_000_000_000, b"frameF".to_vec())]);
    }
}

#[test]
fn units_of_time() {
    let micro = 1_700_000_000_123_456;
    let cases: &[(&[Opt], u64, u64)] = &[
        (&[], micro, micro * 1_000),
        (&[(9, &[6])], micro, micro * 1_000),
        (&[(9, &[9])], 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (&[(9, &[0x8a])], (1_700_000_000 << 10) + 1, 1_700_000_000_000_976_562),
        (&[(9, &[0])], 0, 0),
        (&[(9, &[0])], 18_446_744_073, 18_446_744_073_000_000_000),
    ];
    for (options, ticks, time_ns) in cases {
        let bytes = Blocks::new(false).interface(1, 0, options).packet(0, *ticks, 0, b"", &[]).bytes;
        assert_eq!(times_and_bytes(&bytes)[0].1, *time_ns, "{options:?}");
    }
}

#[test]
fn times_that_do_not_fit() {
    let second: &[Opt] = &[(9, &[0])];
    let late = Blocks::new(false).interface(1, 0, second).packet(0, 1, 0, b"", &[]).packet(0, 18_446_744_074, 0, b"", &[]).bytes;
    assert_eq!(
        message_of(&late),
        "test.pcap: at byte 88: time of the frame: expected a time from 1970 to 2554, \
         found 18446744074 units of 10^-0 s and 0 s (the 1 frame before it was read)"
    );
    let offset = i64::MIN.to_le_bytes();
    let early = Blocks::new(false).interface(1, 0, &[(14, &offset)]).packet(0, u64::MAX, 0, b"", &[]).bytes;
    assert!(matches!(error_of(&early).problem(), Some(Problem::Wrong { what: "time of the frame", .. })));
}

#[test]
fn interfaces_and_sections_count_on() {
    let bytes = Blocks::new(false)
        .interface(1, 0, &[(2, b"a")])
        .interface(1, 0, &[(2, b"b"), (9, &[9])])
        .packet(1, 5, 0, b"one", &[])
        .packet(0, 5, 0, b"two", &[])
        .section(true)
        .interface(1, 0, &[(2, b"c"), (9, &[3])])
        .packet(0, 5, 0, b"three", &[])
        .interface(1, 0, &[(2, b"d")])
        .packet(1, 6, 0, b"four", &[])
        .bytes;
    let expected = [(1, 5, b"one".to_vec()), (0, 5_000, b"two".to_vec()), (2, 5_000_000, b"three".to_vec()), (3, 6_000, b"four".to_vec())];
    assert_eq!(times_and_bytes(&bytes), expected);
    let file = open(&bytes).unwrap();
    let names: Vec<&str> = file.interfaces().iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    let (frames, error) = collect(file.frames_of(2));
    assert!(error.is_none() && frames.len() == 1 && frames[0].bytes == b"three");
    assert_eq!(file.frames_of(4).count(), 0);
}

#[test]
fn an_interface_must_be_described_before_it_is_used_and_in_its_section() {
    let early = Blocks::new(false).packet(0, 0, 0, b"", &[]).interface(1, 0, &[]).bytes;
    assert_eq!(
        message_of(&early),
        "test.pcap: at byte 28: interface of the frame: expected one of the 0 described so far in its section, found 0 \
         (no frame before it was read)"
    );
    let other_section = Blocks::new(false).interface(1, 0, &[]).packet(0, 0, 0, b"", &[]).section(true).packet(0, 0, 0, b"", &[]).bytes;
    assert_eq!(error_of(&other_section).offset(), Some(48 + 32 + 28));
    for id in [1, 7, u32::MAX] {
        let bytes = Blocks::new(true).interface(1, 0, &[]).packet(id, 0, 0, b"", &[]).interface(1, 0, &[]).bytes;
        assert_eq!(error_of(&bytes).offset(), Some(48), "interface {id}");
    }
}

#[test]
fn other_link_types_are_an_error_when_used() {
    let bytes = Blocks::new(false)
        .interface(113, 0, &[])
        .interface(1, 0, &[])
        .packet(1, 1, 0, b"good", &[])
        .packet(0, 2, 0, b"cooked", &[])
        .packet(1, 3, 0, b"more", &[])
        .bytes;
    let file = open(&bytes).unwrap();
    assert_eq!(file.frame_count(), 3);
    let (frames, error) = read(&file);
    assert_eq!(frames.len(), 1);
    assert_eq!(
        error.unwrap().to_string(),
        "test.pcap: at byte 104: link type LINUX_SLL (113): only ETHERNET (1) frames can be switched; \
         record on an Ethernet interface (not on `any`) (the 1 frame before it was read)"
    );
    let (frames, error) = collect(file.frames_of(1));
    assert!(error.is_none() && frames.len() == 2);
    assert!(collect(file.frames_of(0)).1.is_some());
}

#[test]
fn simple_packets_have_the_time_before_and_are_cut_to_the_snap_length() {
    for big in [false, true] {
        let bytes = Blocks::new(big)
            .interface(1, 5, &[(9, &[9])])
            .block(3, &[3], b"abc\0")
            .packet(0, 77, 60, b"timed", &[])
            .block(3, &[60], b"snaps\0\0\0")
            .block(3, &[0], b"")
            .bytes;
        let expected = [(0, 0, b"abc".to_vec()), (0, 77, b"timed".to_vec()), (0, 77, b"snaps".to_vec()), (0, 77, vec![])];
        assert_eq!(times_and_bytes(&bytes), expected);
        assert_eq!(read(&open(&bytes).unwrap()).0[2].original_len, 60);
    }
    let short = Blocks::new(false).interface(1, 0, &[]).block(3, &[9], b"12345678").bytes;
    assert_eq!(
        message_of(&short),
        "test.pcap: at byte 48: frame in its block cut short: expected 9 bytes, found 8 (no frame before it was read)"
    );
    let alone = Blocks::new(false).block(3, &[0], b"").bytes;
    assert!(matches!(error_of(&alone).problem(), Some(Problem::Wrong { what: "interface of the frame", .. })));
}

#[test]
fn obsolete_packets_are_read() {
    for big in [false, true] {
        // Interface 1 and 9 drops share the first word; the time is high half first in either order.
        let first = if big { 1 << 16 | 9 } else { 9 << 16 | 1 };
        let flags = if big { [0, 0, 0, 2] } else { [2, 0, 0, 0] };
        let tail = [&b"abc\0"[..], if big { &[0, 2, 0, 4] } else { &[2, 0, 4, 0] }, &flags].concat();
        let bytes = Blocks::new(big).interface(1, 0, &[]).interface(1, 0, &[(9, &[9])]).block(2, &[first, 1, 2, 3, 60], &tail).bytes;
        assert_eq!(times_and_bytes(&bytes), [(1, (1 << 32) + 2, b"abc".to_vec())]);
        let file = open(&bytes).unwrap();
        let frame = &read(&file).0[0];
        assert_eq!((frame.notes.direction, frame.original_len), (Some(Direction::Outbound), 60));
    }
}

#[test]
fn what_a_frame_says() {
    let notes = |options: &[Opt]| {
        let bytes = Blocks::new(false).interface(1, 0, &[]).packet(0, 0, 0, b"12345678", options).bytes;
        let file = open(&bytes).unwrap();
        let frame = read(&file).0.remove(0);
        (frame.notes.direction, frame.notes.comment.map(Cow::into_owned), frame.bytes.len())
    };
    assert_eq!(notes(&[]), (None, None, 8));
    assert_eq!(notes(&[(2, &[3, 0, 0, 0])]), (None, None, 8));
    assert_eq!(notes(&[(2, &[0x82, 0, 0, 0])]), (Some(Direction::Outbound), None, 4), "4 bytes of FCS");
    assert_eq!(notes(&[(1, b"first"), (1, b"second"), (3, b"?")]), (None, Some("first".to_string()), 8));
    assert_eq!(notes(&[(1, b"\xff")]), (None, Some("\u{fffd}".to_string()), 8));
    // Nothing after the end mark counts.
    assert_eq!(notes(&[(0, b""), (1, b"late")]), (None, None, 8));
}

#[test]
fn unknown_blocks_are_skipped() {
    let bytes = Blocks::new(false)
        .block(0xbad, &[], b"who knows")
        .interface(1, 0, &[])
        .block(4, &[], b"names")
        .packet(0, 1, 0, b"x", &[])
        .block(5, &[0, 0, 0], b"")
        .block(10, &[], b"")
        .bytes;
    assert_eq!(times_and_bytes(&bytes), [(0, 1_000, b"x".to_vec())]);
}

#[test]
fn wrong_lengths() {
    let good = Blocks::new(false).interface(1, 0, &[]).packet(0, 1, 0, b"x", &[]).bytes;
    assert_eq!(good.len(), 84);
    let problem = |at: usize, word: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        let error = error_of(&bytes);
        assert_eq!(error.offset(), Some(48));
        error.problem().unwrap().to_string()
    };
    assert_eq!(problem(52, 0), "block length: expected a multiple of 4, 12 or more, found 0");
    assert_eq!(problem(52, 8), "block length: expected a multiple of 4, 12 or more, found 8");
    assert_eq!(problem(52, 38), "block length: expected a multiple of 4, 12 or more, found 38");
    assert_eq!(problem(52, 0xffff_fffc), "enhanced packet block cut short: expected 4294967292 bytes, found 36");
    assert_eq!(problem(52, 12), "block length at the end of the block: expected 12, found 0");
    assert_eq!(problem(80, 40), "block length at the end of the block: expected 36, found 40");
    assert_eq!(problem(68, 5), "frame in its block cut short: expected 5 bytes, found 4");
    assert_eq!(problem(68, u32::MAX), "captured length of the block: expected at most 262144 bytes, found 4294967295");

    for (kind, body_len, what) in
        [(1, 4, "interface description"), (2, 16, "obsolete packet"), (3, 0, "simple packet"), (6, 16, "enhanced packet")]
    {
        let bytes = Blocks::new(true).interface(1, 0, &[]).block(kind, &[], &vec![0; body_len]).bytes;
        let error = error_of(&bytes).to_string();
        assert!(error.contains(&format!("at byte 48: {what} block cut short")), "{error}");
    }
}

#[test]
fn wrong_options() {
    let problem = |options: &[Opt]| {
        let bytes = Blocks::new(false).interface(1, 0, options).bytes;
        error_of(&bytes).problem().unwrap().to_string()
    };
    assert_eq!(problem(&[(9, b"")]), "if_tsresol option: expected 1 bytes, found 0 bytes");
    assert_eq!(problem(&[(14, &[0; 4])]), "if_tsoffset option: expected 8 bytes, found 4 bytes");
    assert_eq!(problem(&[(8, &[0; 9])]), "if_speed option: expected 8 bytes, found 9 bytes");
    assert_eq!(problem(&[(13, &[0; 2])]), "if_fcslen option: expected 1 bytes, found 2 bytes");

    let beyond = Blocks::new(false).interface(1, 0, &[]).block(6, &[0, 0, 0, 0, 0], &[1, 0, 9, 0, b'x', 0, 0, 0]).bytes;
    assert_eq!(error_of(&beyond).problem().unwrap().to_string(), "option cut short: expected 9 bytes, found 4");
}

#[test]
fn wrong_section_headers() {
    let first = Blocks::new(false).bytes;
    let mut magic = first.clone();
    magic[8] = 0;
    assert!(matches!(open(&magic).unwrap_err(), CaptureError::Refused { offset: 0, .. }));
    let mut version = first.clone();
    version[12] = 2;
    assert_eq!(message_of(&version), "test.pcap: at byte 0: pcapng version: expected 1.x, found 2.0");
    // A later one is an error of the walk.
    let later = [LITTLE, &version].concat();
    assert_eq!(message_of(&later), "test.pcap: at byte 128: pcapng version: expected 1.x, found 2.0 (the 1 frame before it was read)");
    let alone = open(&first).unwrap();
    assert_eq!((alone.interfaces().len(), alone.frames().count()), (0, 0));
}

#[test]
fn cut_at_every_byte() {
    for (bytes, other) in [(LITTLE, BIG), (BIG, LITTLE)] {
        let two = [bytes, other].concat();
        let starts = [28, 68, 128, 156, 196];
        cut_everywhere(&two, &starts, |len| usize::from(len >= 128) + usize::from(len >= 256));
    }
}

#[test]
fn interfaces_have_a_limit() {
    let one = Blocks::new(false).interface(1, 0, &[]).bytes;
    let mut bytes = one[..28].to_vec();
    for _ in 0..=INTERFACES_MAX {
        bytes.extend(&one[28..]);
    }
    let file = open(&bytes).unwrap();
    assert_eq!(file.interfaces().len(), INTERFACES_MAX);
    assert!(matches!(read(&file).1.unwrap().problem(), Some(Problem::Wrong { what: "interfaces of the file", .. })));
}

proptest! {
    /// Whatever the bytes: no panic, an end, and offsets inside the file.
    #[test]
    fn any_bytes(tail in proptest::collection::vec(any::<u8>(), 0..300), start in 0usize..4) {
        let head: &[u8] = [&LITTLE[..28], &BIG[..28], &LITTLE[..68], b""][start];
        survives(&[head, &tail].concat())?;
    }

    /// A good file with some bytes changed: reaches deeper than noise does.
    #[test]
    fn damaged_files(changes in proptest::collection::vec((0usize..256, any::<u8>()), 1..6)) {
        let mut bytes = [LITTLE, BIG].concat();
        for (at, value) in changes {
            bytes[at] = value;
        }
        survives(&bytes)?;
    }
}

fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    let len = bytes.len() as u64;
    match open(bytes) {
        Ok(file) => {
            let (frames, error) = read(&file);
            for frame in &frames {
                prop_assert!(frame.offset + frame.bytes.len() as u64 <= len);
                prop_assert!(frame.original_len as usize >= frame.bytes.len());
                prop_assert!((frame.interface as usize) < file.interfaces().len());
            }
            prop_assert!(error.is_none_or(|error| error.offset().is_some_and(|offset| offset < len)));
        }
        Err(error) => prop_assert!(error.offset().is_some_and(|offset| offset <= len)),
    }
    Ok(())
}
