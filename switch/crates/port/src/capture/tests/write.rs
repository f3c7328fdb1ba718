//! What is written, and that it is read again.

use std::io;

use proptest::prelude::*;

use super::*;

fn sample() -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new()).unwrap();
    assert_eq!(writer.add_interface("e0", Some(1_000_000_000)).unwrap(), 0);
    let notes = FrameNotes { direction: Some(Direction::Outbound), comment: Some("hi".into()), ..FrameNotes::default() };
    writer.write_frame(0, (1 << 32) + 2, b"abcde", 60, &notes).unwrap();
    writer.write_statistics(0, (1 << 32) + 3, Some(7), Some(1)).unwrap();
    writer.finish().unwrap()
}

#[test]
fn exact_bytes() {
    let expected: &[u8] = &[
        0x0a, 0x0d, 0x0d, 0x0a, 48, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, // section header
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 4, 0, 11, 0, // written by
        b'b', b'l', b'a', b'd', b'e', b's', b'w', b'i', b't', b'c', b'h', 0, 0, 0, 0, 0, 48, 0, 0, 0, //
        1, 0, 0, 0, 52, 0, 0, 0, 1, 0, 0, 0, 0, 0, 4, 0, // interface: Ethernet, snap length 262,144
        2, 0, 2, 0, b'e', b'0', 0, 0, 8, 0, 8, 0, 0x00, 0xca, 0x9a, 0x3b, 0, 0, 0, 0, // name, speed
        9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 52, 0, 0, 0, // nanoseconds
        6, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 60, 0, 0, 0, // frame
        b'a', b'b', b'c', b'd', b'e', 0, 0, 0, 1, 0, 2, 0, b'h', b'i', 0, 0, 2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, //
        5, 0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, // statistics: the high half of the time comes first
        4, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 52, 0, 0, 0,
    ];
    assert_eq!(sample(), expected);
    assert_eq!(sample(), sample());
}

#[test]
fn a_file_without_interfaces_and_one_without_options() {
    let file = open(&CaptureWriter::new(Vec::new()).unwrap().finish().unwrap()).unwrap();
    assert_eq!((file.interfaces().len(), file.frames().count()), (0, 0));

    let mut writer = CaptureWriter::new(Vec::new()).unwrap();
    let port = writer.add_interface("", None).unwrap();
    writer.write_frame(port, 0, b"", 0, &FrameNotes::default()).unwrap();
    writer.write_statistics(port, 0, None, None).unwrap();
    let file = open(&writer.finish().unwrap()).unwrap();
    assert_eq!((file.interfaces()[0].speed_bps, read(&file).0.len()), (None, 1));
}

#[test]
fn what_does_not_fit_is_refused_and_the_file_goes_on() {
    let mut writer = CaptureWriter::new(Vec::new()).unwrap();
    let port = writer.add_interface("e0", None).unwrap();
    let plain = FrameNotes::default();
    let long_text = "x".repeat(65_536);
    let long_comment = FrameNotes { direction: None, comment: Some(long_text.as_str().into()), ..FrameNotes::default() };
    let too_long = vec![0; FRAME_LEN_MAX as usize + 1];
    let refused = [
        writer.add_interface(&long_text, None).map(drop),
        writer.write_frame(1, 0, b"", 0, &plain),
        writer.write_frame(port, 0, &too_long, 0, &plain),
        writer.write_frame(port, 0, b"", 0, &long_comment),
        writer.write_statistics(1, 0, None, None),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    // The longest that fit.
    let comment = FrameNotes { direction: None, comment: Some(long_text[1..].into()), ..FrameNotes::default() };
    writer.write_frame(port, 5, &too_long[1..], 0, &comment).unwrap();
    assert_eq!(writer.add_interface(&long_text[1..], None).unwrap(), 1);
    let file = open(&writer.finish().unwrap()).unwrap();
    let (frames, error) = read(&file);
    assert!(error.is_none());
    assert_eq!((frames[0].bytes.len(), frames[0].original_len), (too_long.len() - 1, FRAME_LEN_MAX));
    assert_eq!(frames[0].notes, comment);
    assert_eq!(file.interfaces()[1].name.len(), 65_535);
}

/// An output that is full after so many bytes.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.checked_sub(bytes.len()) {
            Some(room) => {
                self.0 = room;
                Ok(bytes.len())
            }
            None => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_at_the_latest_at_the_end() {
    let mut writer = CaptureWriter::new(Full(100)).unwrap();
    writer.add_interface("e0", None).unwrap();
    writer.write_frame(0, 0, &[0; 60], 60, &FrameNotes::default()).unwrap();
    assert_eq!(writer.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(writer.finish().map(drop).unwrap_err().kind(), io::ErrorKind::StorageFull);
}

fn direction() -> impl Strategy<Value = Option<Direction>> {
    prop_oneof![Just(None), Just(Some(Direction::Inbound)), Just(Some(Direction::Outbound))]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        interfaces in proptest::collection::vec((".{0,12}", any::<Option<u64>>()), 1..5),
        frames in proptest::collection::vec(
            (any::<u32>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..80), any::<u32>(), direction(), proptest::option::of(".{0,9}")),
            0..20,
        ),
    ) {
        let mut writer = CaptureWriter::new(Vec::new()).unwrap();
        for (number, (name, speed_bps)) in interfaces.iter().enumerate() {
            prop_assert_eq!(writer.add_interface(name, *speed_bps).unwrap(), number as u32);
        }
        for (interface, time_ns, bytes, original_len, direction, comment) in &frames {
            let notes = FrameNotes { direction: *direction, comment: comment.as_deref().map(Cow::Borrowed), ..FrameNotes::default() };
            writer.write_frame(interface % interfaces.len() as u32, *time_ns, bytes, *original_len, &notes).unwrap();
        }
        let file = open(&writer.finish().unwrap()).unwrap();

        let found: Vec<_> = file.interfaces().iter().map(|interface| (interface.name.clone(), interface.speed_bps)).collect();
        prop_assert_eq!(found, interfaces.clone());
        prop_assert!(file.interfaces().iter().all(|interface| interface.resolution == TimeResolution::Decimal(9)));
        let (read, error) = read(&file);
        prop_assert!(error.is_none());
        prop_assert_eq!(read.len(), frames.len());
        for (read, (interface, time_ns, bytes, original_len, direction, comment)) in read.iter().zip(&frames) {
            prop_assert_eq!(read.interface, interface % interfaces.len() as u32);
            prop_assert_eq!(read.time_ns, *time_ns);
            prop_assert_eq!(read.bytes, bytes);
            prop_assert_eq!(read.original_len, (*original_len).max(bytes.len() as u32));
            prop_assert_eq!(read.notes.direction, *direction);
            prop_assert_eq!(read.notes.comment.as_deref(), comment.as_deref());
        }
    }
}
